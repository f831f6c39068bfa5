//! Pooled raw connections to a real redis-server, which this starts and stops itself. Ignored by an
//! ordinary run, since it needs that program: `.ci/redis` runs it, and fails where it is missing.

use std::{
    io,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use millpond::{
    connectors::StreamConnector,
    net::Stream,
    pool::{Eviction, Pool},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A server of its own folder, ended with the test.
struct Redis {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Redis {
    fn start() -> Redis {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("millpond-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        Redis {
            process: Redis::run(&folder, port),
            folder,
            port,
        }
    }

    fn run(folder: &PathBuf, port: u16) -> Child {
        Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--unixsocket", "redis.sock", "--daemonize", "no"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts: install it (apt-get install redis-server)")
    }

    fn stop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    fn restart(&mut self) {
        self.process = Redis::run(&self.folder, self.port);
    }

    fn tcp(&self) -> Pool<StreamConnector> {
        pool(&format!("tcp://127.0.0.1:{}", self.port))
    }

    fn unix(&self) -> Pool<StreamConnector> {
        pool(&format!("unix://{}/redis.sock", self.folder.display()))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits for a server that is only just starting.
fn pool(endpoint: &str) -> Pool<StreamConnector> {
    let connector = StreamConnector::to(endpoint).expect("an endpoint");
    let builder = Pool::builder(connector).max_size(8).outage_grace(PATIENCE);
    builder.acquire_timeout(PATIENCE).build().expect("a pool")
}

/// Sends a command and reads a reply of one line, or of a string.
async fn command(stream: &mut Stream, words: &[&str]) -> io::Result<String> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    loop {
        let mut part = [0; 256];
        let length = stream.read(&mut part).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&reply);
        let lines: Vec<_> = text.split_inclusive("\r\n").collect();
        let wanted = if text.starts_with('$') && !text.starts_with("$-1") {
            2
        } else {
            1
        };
        if lines.len() == wanted && lines[wanted - 1].ends_with("\r\n") {
            return Ok(lines[wanted - 1].trim_end().to_owned());
        }
    }
}

/// 64 callers over 8 connections, each third of them cancelled somewhere: every reply is its own
/// request's.
async fn every_reply_is_its_own(pool: &Pool<StreamConnector>) {
    const REQUESTS: u64 = 20_000;
    let (right, cancelled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let (pool, right, cancelled) =
                (pool.clone(), Arc::clone(&right), Arc::clone(&cancelled));
            tokio::spawn(async move {
                for number in (caller..REQUESTS).step_by(64) {
                    let token = format!("token {number}");
                    let exchange =
                        pool.with(async |stream| command(stream, &["ECHO", &token]).await);
                    let limit = match number % 3 {
                        0 => Duration::from_micros(number % 900),
                        _ => PATIENCE,
                    };
                    match timeout(limit, exchange).await {
                        Ok(reply) => {
                            assert_eq!(reply.expect("the server is there"), token);
                            right.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => drop(cancelled.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no wrong reply");
    }
    let (right, cancelled) = (
        right.load(Ordering::Relaxed),
        cancelled.load(Ordering::Relaxed),
    );
    assert_eq!(right + cancelled, REQUESTS);
    assert!(right > REQUESTS / 2, "{right} right, {cancelled} cancelled");
    assert!(
        cancelled > 100,
        "enough were cancelled to mean something: {cancelled}"
    );
    let snapshot = pool.snapshot();
    assert!(
        snapshot.totals.evicted(Eviction::UnfinishedExchange) > 0,
        "{snapshot}"
    );
    println!(
        "{right} right, {cancelled} cancelled, {} connections",
        snapshot.totals.opened
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run .ci/redis"]
async fn no_reply_reaches_the_wrong_caller_over_tcp() {
    let redis = Redis::start();
    every_reply_is_its_own(&redis.tcp()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run .ci/redis"]
async fn no_reply_reaches_the_wrong_caller_over_a_unix_socket() {
    let redis = Redis::start();
    every_reply_is_its_own(&redis.unix()).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run .ci/redis"]
async fn a_connection_that_the_server_kills_while_idle_is_gone_without_callers() {
    let redis = Redis::start();
    let pool = redis.tcp();
    let idle = pool.with(async |stream| command(stream, &["CLIENT", "ID"]).await);
    let id = idle.await.expect("an answer");
    let other = redis.tcp();
    let killed = other.with(async |stream| {
        command(
            stream,
            &["CLIENT", "KILL", "ID", id.trim_start_matches(':')],
        )
        .await
    });
    assert_eq!(killed.await.expect("an answer"), ":1");
    let gone = timeout(PATIENCE, async {
        while pool.snapshot().totals.evicted(Eviction::PeerClosed) == 0 {
            tokio::task::yield_now().await;
        }
    });
    gone.await.expect("evicted");
    let again = pool.with(async |stream| command(stream, &["PING"]).await);
    assert_eq!(again.await.expect("an answer"), "+PONG");
}

#[tokio::test]
#[ignore = "needs redis-server: run .ci/redis"]
async fn callers_are_served_soon_after_the_server_listens_again() {
    let mut redis = Redis::start();
    let pool = redis.tcp();
    let ping = async || {
        pool.with(async |stream| command(stream, &["PING"]).await)
            .await
    };
    assert_eq!(ping().await.expect("an answer"), "+PONG");
    redis.stop();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move {
            pool.with(async |stream| command(stream, &["PING"]).await)
                .await
        }
    });
    redis.restart();
    let listens = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", redis.port))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Instant::now()
    };
    let back = listens.await;
    // The caller may have hit the connection that died; then it is told so at once, and the next is
    // served.
    if waiting.await.expect("no panic").is_err() {
        assert_eq!(ping().await.expect("an answer"), "+PONG");
    }
    println!(
        "served {:?} after the server listened again",
        back.elapsed()
    );
}
