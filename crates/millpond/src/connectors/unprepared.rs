//! A stream between its dial and its first use.

use std::{borrow::Cow, net::SocketAddr};

use millpond_words::Chain;

use crate::{
    net::{ConnectError, Dialer, Stream},
    upstreams::{Held, Loss},
};

/// A stream that is being prepared. If it is dropped before that has succeeded, the dialler tries
/// other addresses of the name first, and of several upstreams its own has failed.
pub(crate) struct Unprepared<'c> {
    dialer: &'c Dialer,
    address: Option<SocketAddr>,
    loss: Option<Loss>,
    cause: Cow<'static, str>,
}

impl<'c> Unprepared<'c> {
    pub(crate) fn new(dialer: &'c Dialer, stream: &Stream) -> Self {
        Unprepared {
            dialer,
            address: stream.peer_addr(),
            loss: stream.companion().map(Held::loss),
            cause: Cow::Borrowed("preparing its connection took too long, or was given up"),
        }
    }

    /// It couldn't be prepared.
    pub(crate) fn failed(mut self, error: &ConnectError) {
        self.cause = Cow::Owned(Chain(error).to_string());
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
            loss.count(&self.cause);
        }
    }
}
