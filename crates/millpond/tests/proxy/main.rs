//! Routes: many clients share few connections to an upstream, and nobody notices.

#![cfg(unix)]

#[cfg(feature = "tls")]
#[path = "../../../millpond-net/tests/certificates/mod.rs"]
mod certificates;
mod hostile;
mod misread;
mod order;
mod pins;
mod raw;
mod recorder;
mod sharing;
#[path = "../store/mod.rs"]
mod store;
#[cfg(feature = "tls")]
mod tls;
mod upstream_fails;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use millpond::{
    framing::Framing,
    net::{Endpoint, ListenOptions, Listener},
    proxy::Route,
    server::Running,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// A Unix socket of one's own.
fn path() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    let name = format!("millpond-proxy-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    path
}

fn endpoint(path: &std::path::Path) -> Endpoint {
    let text = format!("unix://{}", path.display());
    text.parse().expect("an endpoint")
}

async fn listen(path: &std::path::Path) -> Listener {
    let listener = Listener::bind(&endpoint(path), ListenOptions::default()).await;
    listener.expect("a socket")
}

/// Serves a route on a socket.
async fn serve<F: Framing>(route: &Route<F>) -> (PathBuf, Running) {
    let path = path();
    let running = route.server().serve(listen(&path).await);
    (path, running.expect("valid settings"))
}

/// A client that knows nothing of this library.
struct Plain(BufReader<UnixStream>);

impl Plain {
    async fn connect(path: &std::path::Path) -> Self {
        let stream = UnixStream::connect(path).await.expect("it is accepted");
        Plain(BufReader::new(stream))
    }

    async fn write(&mut self, bytes: &[u8]) {
        let written = self.0.get_mut().write_all(bytes).await;
        written.expect("it is open");
    }

    async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes).await
    }

    /// Says that it sends nothing more, if it isn't closed.
    async fn finish(&mut self) {
        let _ = self.0.get_mut().shutdown().await;
    }

    /// The next line; empty at the end.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await;
        read.expect("it is open");
        line.trim_end().to_owned()
    }

    async fn ask(&mut self, line: &str) -> String {
        self.write(format!("{line}\n").as_bytes()).await;
        self.line().await
    }

    /// A body in the `length:` format.
    async fn ask_json(&mut self, body: &str) -> String {
        self.write(framed(body).as_bytes()).await;
        self.json().await
    }

    async fn json(&mut self) -> String {
        let mut header = [0; 20];
        self.0.read_exact(&mut header).await.expect("a header");
        let digits = std::str::from_utf8(&header[7..]).expect("digits");
        let mut body = vec![0; digits.parse().expect("a length")];
        self.0.read_exact(&mut body).await.expect("a body");
        String::from_utf8(body).expect("text")
    }
}

fn framed(body: &str) -> String {
    format!("length:{:013}{body}", body.len())
}
