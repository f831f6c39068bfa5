//! Many tasks send requests over few connections, every third of them is cancelled at some point,
//! and no reply reaches the wrong task.
//!
//! The connector here knows when its connection is in the middle of an exchange: that is all the
//! pool needs.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use millpond::pool::{Connector, Ends, Eviction, LastExchange, Pool};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const REQUESTS: u64 = 10_000;
const TASKS: u64 = 64;

/// One line out, one line back.
struct LineConnection {
    stream: BufReader<TcpStream>,
    /// From before the first byte of a request until its whole reply has been read.
    in_exchange: bool,
}

impl LineConnection {
    async fn exchange(&mut self, request: &str) -> io::Result<String> {
        self.in_exchange = true;
        self.stream
            .write_all(format!("{request}\n").as_bytes())
            .await?;
        let mut reply = String::new();
        if self.stream.read_line(&mut reply).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.in_exchange = false;
        Ok(reply.trim_end().to_owned())
    }
}

struct Lines {
    address: std::net::SocketAddr,
}

impl Connector for Lines {
    type Connection = LineConnection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<LineConnection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(LineConnection {
            stream: BufReader::new(stream),
            in_exchange: false,
        })
    }

    fn is_clean(&self, connection: &LineConnection, _: LastExchange) -> bool {
        !connection.in_exchange && connection.stream.buffer().is_empty()
    }

    fn check(&self, connection: &mut LineConnection) -> Result<(), Eviction> {
        // What tokio knows already: no system call unless something has arrived.
        match connection.stream.get_mut().try_read(&mut [0]) {
            Ok(0) => Err(Eviction::PeerClosed),
            Ok(_) => Err(Eviction::UnsolicitedBytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Eviction::PeerReset),
        }
    }

    fn poll_idle(&self, connection: &mut LineConnection, cx: &mut Context<'_>) -> Poll<Eviction> {
        // Until nothing is left to read: only then has the waker been kept.
        while connection.stream.get_mut().poll_read_ready(cx).is_ready() {
            if let Err(reason) = self.check(connection) {
                return Poll::Ready(reason);
            }
        }
        Poll::Pending
    }

    fn ends(&self, _: &LineConnection) -> Ends {
        Ends::to(self.address)
    }
}

/// Answers each line with itself, a little later.
async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream
                .read_line(&mut line)
                .await
                .is_ok_and(|length| length > 0)
            {
                tokio::task::yield_now().await;
                if stream.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener));
    let pool = Pool::builder(Lines { address })
        .name("lines")
        .max_size(8)
        .build()?;

    let right = Arc::new(AtomicU64::new(0));
    let cancelled = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (pool, right, cancelled) =
                (pool.clone(), Arc::clone(&right), Arc::clone(&cancelled));
            tokio::spawn(async move {
                for number in (task..REQUESTS).step_by(TASKS as usize) {
                    let request = format!("request {number}");
                    let patience = match number % 3 {
                        0 => Duration::from_micros(number % 500),
                        _ => Duration::from_secs(10),
                    };
                    let exchange =
                        pool.with(async |connection| connection.exchange(&request).await);
                    match timeout(patience, exchange).await {
                        Ok(reply) => {
                            let reply = reply.expect("the server is there");
                            assert_eq!(reply, request, "a wrong reply");
                            right.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => drop(cancelled.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }

    let snapshot = pool.snapshot();
    println!(
        "{} right replies, 0 wrong ones",
        right.load(Ordering::Relaxed)
    );
    println!(
        "{} requests cancelled; {} connections closed in the middle of an exchange",
        cancelled.load(Ordering::Relaxed),
        snapshot.totals.evicted(Eviction::UnfinishedExchange),
    );
    println!("{} connections opened in all", snapshot.totals.opened);
    println!("{snapshot}");
    pool.close(Duration::from_secs(1)).await?;
    Ok(())
}
