//! A stream between its dial and its first use.

use std::net::SocketAddr;

use crate::{
    net::{Dialer, Stream},
    upstreams::{Held, Loss},
};

/// A stream that is being prepared. If it is dropped before that has succeeded, the dialler tries
/// other addresses of the name first, and of several upstreams its own has failed.
pub(crate) struct Unprepared<'c> {
    dialer: &'c Dialer,
    address: Option<SocketAddr>,
    loss: Option<Loss>,
}

impl<'c> Unprepared<'c> {
    pub(crate) fn new(dialer: &'c Dialer, stream: &Stream) -> Self {
        Unprepared {
            dialer,
            address: stream.peer_addr(),
            loss: stream.companion().map(Held::loss),
        }
    }

    pub(crate) fn succeeded(mut self) {
        self.address = None;
        self.loss = None;
    }
}

impl Drop for Unprepared<'_> {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.dialer.doubt(address);
        }
        if let Some(loss) = &self.loss {
            loss.count();
        }
    }
}
