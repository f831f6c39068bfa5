//! How long a client with small requests waits beside others: alone, beside 32 clients with bodies
//! of 1 MiB, and beside 100 that send such and never read.
//!
//! ```text
//! cargo run --release --example neighbours [-- SECONDS]
//! ```
//!
//! The server has two workers of its own; the others' clients share a thread, and the one whose
//! waits are measured has another. On a machine with two cores they all compete for these, so what
//! is told is an upper bound of what the server itself does.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use millpond::{
    framing::Failure,
    net::{Endpoint, ListenOptions, Listener},
    server::{Bodies, Handler, Reply, Request, Running, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Runtime},
    time::timeout,
};

/// Between two small requests.
const PAUSE: Duration = Duration::from_millis(2);

/// A client that never reads and can't send for so long begins anew, so that the flood goes on.
const STUCK: Duration = Duration::from_millis(100);

/// How many long requests were answered.
static EXCHANGED: AtomicU64 = AtomicU64::new(0);

/// Answers with what it was sent, which has been checked to be JSON.
struct Echo;

impl Handler for Echo {
    async fn handle(&self, request: Request) -> Result<Reply, Failure> {
        Ok(request.into_body().into())
    }

    fn bodies(&self) -> Bodies {
        Bodies::Json
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let time = Duration::from_secs(seconds);
    println!(
        "{:28} {:>6} {:>9} {:>9} {:>9} {:>13}",
        "", "asked", "median", "p99", "longest", "others"
    );
    measure("alone", time, |_, _| {})?;
    measure("beside 32 with 1 MiB", time, |runtime, address| {
        (0..32).for_each(|_| drop(runtime.spawn(exchange_long(address))));
    })?;
    measure("beside 100 that never read", time, |runtime, address| {
        (0..100).for_each(|_| drop(runtime.spawn(never_read(address))));
    })
}

/// Measures the waits of one client beside those that `others` spawns.
fn measure(
    what: &str,
    time: Duration,
    others: impl Fn(&Runtime, SocketAddr),
) -> Result<(), Box<dyn std::error::Error>> {
    let server = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let clients = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let running = server.block_on(serve())?;
    let Endpoint::Tcp(at) = running.endpoint() else {
        return Err("not TCP".into());
    };
    let address = SocketAddr::from(([127, 0, 0, 1], at.port));
    others(&clients, address);
    let mut waits = ping(address, time)?;
    clients.shutdown_background();
    server.block_on(running.close());
    waits.sort();
    let part =
        |of: usize| waits[(waits.len() * of / 1_000).min(waits.len() - 1)].as_secs_f64() * 1e3;
    let (median, p99, longest) = (part(500), part(990), part(1_000));
    let asked = waits.len();
    let others = EXCHANGED.swap(0, Relaxed) as f64 / time.as_secs_f64();
    println!(
        "{what:28} {asked:>6} {median:>6.2} ms {p99:>6.2} ms {longest:>6.1} ms {others:>8.0} ex/s"
    );
    Ok(())
}

async fn serve() -> Result<Running, Box<dyn std::error::Error>> {
    let listener = Listener::bind(&"127.0.0.1:0".parse()?, ListenOptions::default()).await?;
    Ok(Server::builder(Echo).serve(listener)?)
}

/// How long each small request waited for its reply.
fn ping(address: SocketAddr, time: Duration) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let request = frame(b"1");
    let mut reply = vec![0; request.len()];
    // The others have begun.
    thread::sleep(Duration::from_millis(300));
    let (end, mut waits) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        let since = Instant::now();
        stream.write_all(&request)?;
        stream.read_exact(&mut reply)?;
        waits.push(since.elapsed());
        thread::sleep(PAUSE);
    }
    Ok(waits)
}

async fn exchange_long(address: SocketAddr) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = long();
    let mut reply = vec![0; request.len()];
    loop {
        stream.write_all(&request).await?;
        stream.read_exact(&mut reply).await?;
        EXCHANGED.fetch_add(1, Relaxed);
    }
}

async fn never_read(address: SocketAddr) -> io::Result<()> {
    let request = long();
    loop {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        while let Ok(written) = timeout(STUCK, stream.write_all(&request)).await {
            written?;
        }
    }
}

/// A body of 1 MiB: numbers, which take a parser longer than one long string.
fn long() -> Vec<u8> {
    let mut body = b"[1".to_vec();
    while body.len() < (1 << 20) - 5 {
        body.extend_from_slice(b",123");
    }
    body.push(b']');
    frame(&body)
}

fn frame(body: &[u8]) -> Vec<u8> {
    [format!("length:{:013}", body.len()).as_bytes(), body].concat()
}
