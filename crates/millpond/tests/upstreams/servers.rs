//! Servers that count what reaches them, and a connector among them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use millpond::{
    client::Client,
    connectors::{Ejection, StreamConnector, Upstream},
    net::Dialer,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::{AbortHandle, JoinSet},
};

use crate::loopback::MS;

/// The request on which a server closes the connection.
pub(crate) const POISON: &str = "666";

/// A server on a port of its own. It echoes the bodies of `length:` frames.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    task: Option<AbortHandle>,
}

#[derive(Default)]
pub(crate) struct Counts {
    /// Connections accepted, and those that are open.
    pub(crate) accepted: AtomicUsize,
    pub(crate) open: AtomicUsize,
    /// How often each body was executed.
    pub(crate) executed: Mutex<HashMap<String, usize>>,
    /// It answers with zeros: it accepts, and can't serve.
    pub(crate) is_sick: AtomicBool,
}

impl Counts {
    pub(crate) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    pub(crate) fn executed(&self, body: &str) -> usize {
        self.executed.lock().get(body).copied().unwrap_or(0)
    }
}

impl Server {
    pub(crate) async fn start() -> Server {
        let mut server = Server {
            address: "127.0.0.1:0".parse().expect("an address"),
            counts: Arc::default(),
            task: None,
        };
        server.revive().await;
        server
    }

    pub(crate) async fn three() -> [Server; 3] {
        [
            Server::start().await,
            Server::start().await,
            Server::start().await,
        ]
    }

    /// Listens on its port, again.
    pub(crate) async fn revive(&mut self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("set");
        socket.bind(self.address).expect("its port is free");
        let listener = socket.listen(64).expect("a listener");
        self.address = listener.local_addr().expect("bound");
        let serving = serve(listener, Arc::clone(&self.counts));
        self.task = Some(tokio::spawn(serving).abort_handle());
    }

    /// Ends it at once, and all its connections.
    pub(crate) fn kill(&mut self) {
        self.task.take().expect("it runs").abort();
    }

    pub(crate) fn dialer(&self) -> Dialer {
        Dialer::new(self.address.into())
    }
}

async fn serve(listener: TcpListener, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        counts.accepted.fetch_add(1, SeqCst);
        connections.spawn(answer(stream, Open::new(&counts)));
    }
}

/// Counts an open connection for as long as it is.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Open {
        counts.open.fetch_add(1, SeqCst);
        Open(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

async fn answer(mut stream: TcpStream, open: Open) -> std::io::Result<()> {
    loop {
        let mut header = [0; 20];
        stream.read_exact(&mut header).await?;
        // A heartbeat would be an error: none is due in a test.
        let length = std::str::from_utf8(&header[7..]).expect("digits");
        let mut body = vec![0; length.parse().expect("a length")];
        stream.read_exact(&mut body).await?;
        let text = String::from_utf8(body).expect("text");
        *open.0.executed.lock().entry(text.clone()).or_default() += 1;
        if text == POISON {
            return Ok(());
        }
        let text = match open.0.is_sick.load(SeqCst) {
            true => "0".repeat(text.len()),
            false => text,
        };
        let reply = [&header[..], text.as_bytes()].concat();
        stream.write_all(&reply).await?;
    }
}

/// Short pauses.
pub(crate) fn ejection() -> Ejection {
    Ejection {
        pause: 10 * MS,
        max_pause: 50 * MS,
        ..Ejection::default()
    }
}

/// Streams among these, with as many connections to each at the most.
pub(crate) fn among(servers: &[Server], max_size: u32) -> StreamConnector {
    let upstream = |server: &Server| Upstream::new(server.dialer()).max_size(max_size);
    StreamConnector::among(servers.iter().map(upstream)).ejection(ejection())
}

/// How many connections the servers have, by their own count.
pub(crate) fn open(servers: &[Server]) -> Vec<usize> {
    servers.iter().map(|server| server.counts.open()).collect()
}

/// Which upstreams of a client are ejected.
pub(crate) fn is_ejected(client: &Client) -> Vec<bool> {
    let upstreams = client.pool().connector().streams().upstreams();
    upstreams
        .iter()
        .map(|upstream| upstream.is_ejected)
        .collect()
}
