//! The other side of every measurement over loopback: a process of its own that sends back what it
//! is sent, on one thread.

use std::{
    cell::RefCell,
    io::{self, BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    pin::Pin,
    process::{Child, Command, Stdio},
    task::{Poll, ready},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

/// The other side, in a process of its own; ended when dropped.
pub(crate) struct Peer {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["role", "peer"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("piped")?).read_line(&mut line)?;
        let address = line.trim().parse().context("the peer's address")?;
        Ok(Peer { process, address })
    }

    /// The processor time it has used, where Linux tells: near a whole core, it is the peer that is
    /// measured.
    pub(crate) fn used(&self) -> Option<Duration> {
        let text =
            std::fs::read_to_string(format!("/proc/{}/schedstat", self.process.id())).ok()?;
        let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Threads would do for a few connections, but there are thousands: one task each.
pub(crate) fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    listener.set_nonblocking(true)?;
    std::thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    on_one_thread(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(echo(stream));
        }
    })
}

pub(crate) fn on_one_thread(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

thread_local! {
    /// One for all connections, since thousands of them are idle; large enough for what a pipelined client sends at once.
    static BYTES: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let unwritten = std::future::poll_fn(|context| {
            BYTES.with_borrow_mut(|bytes| {
                let mut bytes = ReadBuf::new(bytes);
                ready!(Pin::new(&mut stream).poll_read(context, &mut bytes))?;
                Poll::Ready(back(&stream, bytes.filled()))
            })
        });
        match unwritten.await? {
            Some(bytes) if bytes.is_empty() => {}
            Some(bytes) => stream.write_all(&bytes).await?,
            None => return Ok(()),
        }
    }
}

/// All of a read goes back in one write, but for heartbeats before the frames (others do no harm).
/// Returns what the socket doesn't take at once, and `None` at the end.
fn back(stream: &TcpStream, read: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if read.is_empty() {
        return Ok(None);
    }
    let mut frames = read;
    while let Some(rest) = frames.strip_prefix(b"HeartBeat") {
        frames = rest;
    }
    if frames.is_empty() {
        return Ok(Some(Vec::new()));
    }
    match stream.try_write(frames) {
        Ok(written) => Ok(Some(frames[written..].to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(frames.to_vec())),
        Err(error) => Err(error),
    }
}
