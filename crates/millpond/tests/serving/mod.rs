//! What the tests of the server share: a server on a Unix socket or on loopback, and clients that
//! speak byte by byte.
//!
//! On tokio's paused clock a Unix socket within one thread is as good as memory: what was written
//! can be read at once, and time moves only when nobody has anything to do.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use millpond::{
    framing::{Framing, LengthJson},
    net::{Endpoint, ListenOptions, Listener},
    server::{Closed, Handler, Running, Server, ServerBuilder, ServerSnapshot},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout},
};

/// A server, and where it is.
pub(crate) struct Site {
    pub(crate) running: Running,
    path: PathBuf,
}

/// Serves on a Unix socket of its own.
pub(crate) async fn serve<H: Handler>(handler: H) -> Site {
    serve_with(Server::builder(handler)).await
}

pub(crate) async fn serve_with<H: Handler, F: Framing>(builder: ServerBuilder<H, F>) -> Site {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!(
        "millpond-server-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, SeqCst)
    );
    let path = std::env::temp_dir().join(name);
    let endpoint = Endpoint::Unix(path.clone());
    let listener = Listener::bind(&endpoint, ListenOptions::default())
        .await
        .expect("a listener");
    let running = builder.serve(listener).expect("a server");
    Site { running, path }
}

/// Serves on loopback.
pub(crate) async fn serve_tcp<H: Handler>(builder: ServerBuilder<H, LengthJson>) -> (Running, u16) {
    let any = "127.0.0.1:0".parse().expect("an endpoint");
    let listener = Listener::bind(&any, ListenOptions::default())
        .await
        .expect("a listener");
    let running = builder.serve(listener).expect("a server");
    let Endpoint::Tcp(at) = running.endpoint() else {
        panic!("not TCP");
    };
    let port = at.port;
    (running, port)
}

pub(crate) async fn connect_tcp(port: u16) -> Client<TcpStream> {
    Client::new(
        TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("a connection"),
    )
}

impl Site {
    pub(crate) async fn connect(&self) -> Client<UnixStream> {
        Client::new(UnixStream::connect(&self.path).await.expect("a connection"))
    }

    pub(crate) async fn try_connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(&self.path).await
    }

    pub(crate) fn snapshot(&self) -> ServerSnapshot {
        self.running.snapshot()
    }

    /// Waits for the first connection to end, and says why it did.
    pub(crate) async fn closed(&self) -> Closed {
        closed(&self.running).await
    }
}

pub(crate) async fn closed(running: &Running) -> Closed {
    until(|| running.snapshot().totals.closed.keys().next().copied()).await
}

/// Waits for a condition, on whichever clock.
pub(crate) async fn until<T>(mut met: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        if let Some(met) = met() {
            return met;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        sleep(Duration::from_millis(1)).await;
    }
}

/// A client that writes bytes, and reads frames slowly but surely.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
}

pub(crate) fn frame(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("length:{:013}", body.len()).as_bytes(), body].concat()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Client { stream }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("a write");
        self.stream.flush().await.expect("a flush");
    }

    pub(crate) async fn send(&mut self, body: impl AsRef<[u8]>) {
        self.write(frame(body)).await;
    }

    /// The next frame's body; heartbeats are skipped.
    pub(crate) async fn reply(&mut self) -> String {
        self.next_reply().await.expect("a reply, and not the end")
    }

    /// The next frame's body, or `None` at the end.
    pub(crate) async fn next_reply(&mut self) -> Option<String> {
        loop {
            let mut first = [0; 9];
            if self.stream.read(&mut first[..1]).await.ok()? == 0 {
                return None;
            }
            self.stream
                .read_exact(&mut first[1..])
                .await
                .expect("a whole item");
            if &first != b"HeartBeat" {
                assert_eq!(&first[..7], b"length:");
                let mut digits = first[7..].to_vec();
                digits.resize(13, 0);
                self.stream
                    .read_exact(&mut digits[2..])
                    .await
                    .expect("a header");
                let length = String::from_utf8(digits)
                    .expect("digits")
                    .parse()
                    .expect("a length");
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body).await.expect("a body");
                return Some(String::from_utf8(body).expect("UTF-8"));
            }
        }
    }

    pub(crate) async fn ask(&mut self, body: impl AsRef<[u8]>) -> String {
        self.send(body).await;
        timeout(Duration::from_secs(3_600), self.reply())
            .await
            .expect("a reply in time")
    }

    /// The code of the error reply that comes next.
    pub(crate) async fn code(&mut self) -> i64 {
        let reply = self.reply().await;
        let error = millpond::framing::json::as_error_reply(reply.as_bytes());
        error
            .unwrap_or_else(|| panic!("no error reply: {reply}"))
            .code
    }

    /// All that comes until the end, which a reset isn't.
    pub(crate) async fn rest_or_reset(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await?;
        Ok(rest)
    }

    /// All that comes until the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.stream.read_to_end(&mut rest).await;
        rest
    }
}
