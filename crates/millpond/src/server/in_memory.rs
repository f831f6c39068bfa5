//! A server without a listener, for tests: it is given its connections, which are streams in memory.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{
    ServerBuilder, ServerSnapshot,
    accepting::Serve,
    handler::ConnectionHandler,
    ledger::{Ledger, Service},
};
use crate::{
    framing::Framing,
    memory::{Inlet, MemoryStream, Pace},
    net::Stream,
};

/// What a stream in memory holds in one direction, as sockets do some of.
const CAPACITY: usize = 64 << 10;

/// See the module.
pub(crate) struct InMemory<F, H> {
    service: Arc<Service<F, H>>,
}

impl<F: Framing, H: ConnectionHandler> InMemory<F, H> {
    pub(crate) fn new(builder: ServerBuilder<H, F>) -> Self {
        let endpoint = "127.0.0.1:1".parse().expect("an endpoint");
        let ledger = Arc::new(Ledger::new(builder.settings.clone(), endpoint, 1));
        InMemory {
            service: Arc::new(builder.service(ledger)),
        }
    }

    /// A client connects. This is its end.
    pub(crate) fn connect(&self) -> MemoryStream {
        let (inlet, mut far, _) = Inlet::new(Pace::AtOnce, CAPACITY);
        let near = inlet.open().expect("somebody listens");
        self.serve(near);
        far.try_recv().expect("it was opened")
    }

    /// Serves a connection until it ends.
    pub(crate) fn serve(&self, stream: Stream) -> JoinHandle<()> {
        let service = Arc::clone(&self.service);
        tokio::spawn(async move {
            if let Ok(mut permit) = service.ledger.admit(None) {
                service.serve(stream, None, &mut permit).await;
            }
        })
    }

    pub(crate) fn snapshot(&self) -> ServerSnapshot {
        self.service.ledger.snapshot()
    }
}
