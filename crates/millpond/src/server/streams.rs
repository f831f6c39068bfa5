//! A server of whole streams: what is said on them is for others to know. Clients are admitted,
//! counted and drained as those of any server.

use std::{future::Future, net::SocketAddr, sync::Arc};

use super::{
    accepting::{self, Serve},
    ledger::{ConnectionPermit, Ledger},
    running::Running,
    settings::{ServeError, ServerSettings},
    snapshot::Closed,
    storms::Event,
};
use crate::net::{Listener, Stream};

/// Serves clients' streams from their beginning to their end.
pub(crate) trait StreamService: Send + Sync + 'static {
    /// Serves one, closes it, and tells why it has ended; or why it couldn't be served, in words
    /// for the log. Dropped by the server when it closes, and at the drain's deadline.
    fn serve(&self, stream: Stream) -> impl Future<Output = Result<Closed, String>> + Send;
}

/// Serves on this runtime. Of the settings, those that count here are the limits on connections
/// and on the TLS handshake; whatever else there is to be limited, the service limits.
pub(crate) fn serve_streams<S: StreamService>(
    settings: ServerSettings,
    listener: Listener,
    service: S,
) -> Result<Running, ServeError> {
    accepting::begin(settings, listener, |ledger| Streams { ledger, service })
}

struct Streams<S> {
    ledger: Arc<Ledger>,
    service: S,
}

impl<S: StreamService> Serve for Streams<S> {
    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    async fn serve<'s>(
        self: &'s Arc<Self>,
        stream: Stream,
        peer: Option<SocketAddr>,
        permit: &'s mut ConnectionPermit,
    ) {
        let peer = peer.map(tracing::field::display);
        let closed = match self.service.serve(stream).await {
            Ok(closed) => closed,
            Err(why) => {
                if self.ledger.storms.happened(Event::NotServed) {
                    tracing::warn!(target: "millpond::server", peer = &peer, why, "a client can't be served, and is closed");
                }
                Closed::ToldFailure
            }
        };
        tracing::debug!(target: "millpond::server", peer, %closed, "connection ended");
        permit.ended(closed);
    }
}
