//! Routes over streams in memory, on the paused clock: what takes time takes exactly as long as a
//! test says, and as many clients come as it says.

mod overload;
#[cfg(all(unix, not(millpond_loom)))]
mod together;
mod waiting;

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use super::Route;
use crate::{
    client::{Client, Pipelining, Sessions},
    connectors::StreamConnector,
    framing::{Context, Framing, LengthJson},
    memory::{Inlet, MemoryStream, Pace},
    pool::PoolBuilder,
    server::{Server, ServerBuilder, in_memory::InMemory, raw},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A route, and the tasks of its upstream, which answers every request with its own body after
/// `takes`.
struct Scene {
    route: Route,
    clients: InMemory<std::sync::Arc<LengthJson>, Route>,
    _upstream: JoinSet<()>,
}

impl Scene {
    fn new(
        takes: Duration,
        pool: impl FnOnce(PoolBuilder<Sessions>) -> PoolBuilder<Sessions> + 'static,
        server: impl FnOnce(
            ServerBuilder<Route, std::sync::Arc<LengthJson>>,
        ) -> ServerBuilder<Route, std::sync::Arc<LengthJson>>,
    ) -> Scene {
        Scene::with(takes, None, pool, server)
    }

    fn with(
        takes: Duration,
        pipelining: Option<Pipelining>,
        pool: impl FnOnce(PoolBuilder<Sessions>) -> PoolBuilder<Sessions> + 'static,
        server: impl FnOnce(
            ServerBuilder<Route, std::sync::Arc<LengthJson>>,
        ) -> ServerBuilder<Route, std::sync::Arc<LengthJson>>,
    ) -> Scene {
        let (inlet, mut accepted, _) = Inlet::new(Pace::AtOnce, 64 << 10);
        let echo = raw(move |body: Bytes| async move {
            tokio::time::sleep(takes).await;
            Ok(body)
        });
        let serving = InMemory::new(Server::builder(echo));
        let mut upstream = JoinSet::new();
        upstream.spawn(async move {
            while let Some(far) = accepted.recv().await {
                serving.serve(crate::net::Stream::foreign(far));
            }
        });
        let mut client = Client::over(StreamConnector::in_memory(inlet)).pool(pool);
        if let Some(pipelining) = pipelining {
            client = client.pipelined(pipelining);
        }
        let route = Route::to(client.build().expect("valid settings"));
        let clients = InMemory::new(server(route.server()));
        Scene {
            route,
            clients,
            _upstream: upstream,
        }
    }

    fn connect(&self) -> Plain {
        Plain(self.clients.connect())
    }
}

/// A client that knows nothing of this library.
struct Plain(MemoryStream);

impl Plain {
    async fn send(&mut self, body: &[u8]) {
        let mut frame = Vec::new();
        let encoded = LengthJson::default().encode(Context::REQUEST, body, &mut frame);
        encoded.expect("short");
        self.0.write_all(&frame).await.expect("it is open");
    }

    /// The body of the next reply that is no heartbeat.
    async fn reply(&mut self) -> Vec<u8> {
        let mut header = [0; 20];
        let read = self.0.read_exact(&mut header).await;
        read.expect("a header");
        let digits = std::str::from_utf8(&header[7..]).expect("digits");
        let mut body = vec![0; digits.parse().expect("a length")];
        self.0.read_exact(&mut body).await.expect("a body");
        body
    }

    async fn ask(&mut self, body: &[u8]) -> Vec<u8> {
        self.send(body).await;
        self.reply().await
    }
}
