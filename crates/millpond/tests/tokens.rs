//! Every reply is its request's: many callers over few connections, a third of them gone before
//! their reply, heartbeats all the time. Each request carries a token of its own; a reply with
//! another one is wrong, and none may be. Pipelined, the server also ends connections whenever it
//! likes, and remembers what it has executed: nothing twice that wasn't declared idempotent, and
//! nothing that is said not to have been.
//!
//! `MILLPOND_REQUESTS=1000000 cargo test --release --test tokens -- --nocapture` runs it long.

#![cfg(unix)]

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use millpond::client::{
    Client, ClientSnapshot, Execution, HeartbeatLimit, Loss, Pipelining, RequestError,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

const CALLERS: u64 = 64;
const CONNECTIONS: u32 = 8;
const BEAT: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct Counts {
    right: AtomicU64,
    cancelled: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    missed: AtomicU64,
    /// A connection was ended by the server, and the client said so.
    lost: AtomicU64,
    ended_by_server: AtomicU64,
    connections: AtomicU64,
    beats_sent: AtomicU64,
    beats_received: AtomicU64,
}

/// How the client works, and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Exclusive,
    /// Our own heartbeats are so rare that no exchange looks at the clock before it has lasted for
    /// a while.
    ExclusiveAndCalm,
    /// Many in flight, and the server ends a connection at one request in a thousand.
    PipelinedAndKilled,
}

/// How often each request was executed, by its token.
type Executed = Arc<Vec<AtomicU8>>;

fn add(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

/// Answers each request with its own body, most of them at once, and beats whenever it has been
/// quiet for a moment or not.
async fn serve(
    mut stream: UnixStream,
    counts: Arc<Counts>,
    executed: Executed,
    mode: Mode,
) -> io::Result<()> {
    let mut received = Vec::new();
    let mut beats = tokio::time::interval(BEAT);
    loop {
        while let Some(length) = whole(&received) {
            let item: Vec<_> = received.drain(..length).collect();
            if item == b"HeartBeat" {
                add(&counts.beats_received);
                continue;
            }
            let kills = mode == Mode::PipelinedAndKilled && fastrand::u16(..2_000) == 0;
            if kills && fastrand::bool() {
                add(&counts.ended_by_server);
                return Ok(());
            }
            let (token, _): (usize, &str) = serde_json::from_slice(&item[20..]).expect("ours");
            executed[token].fetch_add(1, Relaxed);
            if kills {
                add(&counts.ended_by_server);
                return Ok(());
            }
            match fastrand::u8(..) {
                // Slow, but alive: the client beats meanwhile as well.
                0 => {
                    for _ in 0..3 {
                        tokio::time::sleep(BEAT).await;
                        stream.write_all(b"HeartBeat").await?;
                        add(&counts.beats_sent);
                    }
                }
                1..16 => tokio::time::sleep(Duration::from_micros(fastrand::u64(..2_000))).await,
                16..80 => tokio::task::yield_now().await,
                _ => {}
            }
            // In one piece or in two.
            let (head, rest) = item.split_at(fastrand::usize(..item.len()));
            stream.write_all(head).await?;
            if fastrand::bool() {
                tokio::task::yield_now().await;
            }
            stream.write_all(rest).await?;
        }
        tokio::select! {
            read = stream.read_buf(&mut received) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            _ = beats.tick() => {
                stream.write_all(b"HeartBeat").await?;
                add(&counts.beats_sent);
            }
        }
    }
}

/// The length of the first item, if all of it is there.
fn whole(received: &[u8]) -> Option<usize> {
    if received.starts_with(b"HeartBeat") {
        return Some(9);
    }
    let digits = std::str::from_utf8(received.get(7..20)?).expect("a header");
    let length = 20 + digits.parse::<usize>().expect("13 digits");
    (received.len() >= length).then_some(length)
}

/// Polls it until it is `Pending` for the `limit`-th time.
async fn cut<F: Future>(limit: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut pending = 0;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            pending += 1;
            match pending >= limit {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        }
    })
    .await
}

/// Which requests may be executed twice.
fn is_idempotent(token: u64) -> bool {
    token % 2 == 1
}

async fn call(
    client: Client,
    tokens: std::ops::Range<u64>,
    counts: Arc<Counts>,
    executed: Executed,
    mode: Mode,
) {
    // Pipelined, a request waits once: for its reply.
    let turns = match mode {
        Mode::Exclusive | Mode::ExclusiveAndCalm => 1..4,
        Mode::PipelinedAndKilled => 1..2,
    };
    for token in tokens {
        let requests = client.within(Duration::from_secs(30));
        let requests = match is_idempotent(token) {
            true => requests.idempotent(),
            false => requests,
        };
        let request =
            requests.request::<_, (u64, String)>(&(token, "x".repeat(fastrand::usize(..200))));
        let reply = match fastrand::u8(..100) {
            0..25 => cut(fastrand::u32(turns.clone()), request).await,
            25..50 => {
                let limit = Duration::from_micros(fastrand::u64(..2_000));
                tokio::time::timeout(limit, request).await.ok()
            }
            _ => Some(request.await),
        };
        add(match reply {
            None => &counts.cancelled,
            Some(Ok((reply, _))) if reply == token => &counts.right,
            Some(Ok(_)) => &counts.wrong,
            // On a machine that is busy elsewhere 12.5 ms pass now and then.
            Some(Err(RequestError::Lost {
                cause: Loss::HeartbeatMissed,
                ..
            })) => &counts.missed,
            Some(Err(RequestError::Lost { cause, execution }))
                if counts.ended_by_server.load(Relaxed) > 0 =>
            {
                if execution == Execution::Impossible {
                    let executed = executed[token as usize].load(Relaxed);
                    assert_eq!(executed, 0, "{token} was executed, and: {cause}");
                }
                &counts.lost
            }
            Some(Err(error)) => {
                eprintln!("{token}: {error}");
                &counts.failed
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_is_that_of_its_request() {
    replies_are_right(Mode::Exclusive).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_is_that_of_its_request_though_nobody_looks_at_the_clock() {
    replies_are_right(Mode::ExclusiveAndCalm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_every_reply_is_that_of_its_request_and_nothing_is_executed_twice() {
    replies_are_right(Mode::PipelinedAndKilled).await;
}

async fn replies_are_right(mode: Mode) {
    let requests = std::env::var("MILLPOND_REQUESTS").map_or(20_000, |text| {
        text.parse().expect("MILLPOND_REQUESTS is a number")
    });
    let folder =
        std::env::temp_dir().join(format!("millpond-tokens-{}-{mode:?}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("server");
    let listener = UnixListener::bind(&path).expect("a socket");
    let counts = Arc::<Counts>::default();
    let executed: Executed = Arc::new((0..requests).map(|_| AtomicU8::new(0)).collect());
    let (counting, executing) = (Arc::clone(&counts), Arc::clone(&executed));
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            add(&counting.connections);
            // It ends when the client closes it, whatever was under way.
            tokio::spawn(serve(
                stream,
                Arc::clone(&counting),
                Arc::clone(&executing),
                mode,
            ));
        }
    });

    let client = Client::to(&format!("unix://{}", path.display()))
        .expect("an endpoint")
        .heartbeat_interval(match mode {
            Mode::ExclusiveAndCalm => Duration::from_secs(1),
            Mode::Exclusive | Mode::PipelinedAndKilled => BEAT,
        })
        // This server beats two hundred times a second and more.
        .heartbeat_limit(HeartbeatLimit {
            burst: 1_000,
            per_second: 1_000,
        })
        .pool(|pool| pool.max_size(CONNECTIONS));
    let client = match mode {
        Mode::Exclusive | Mode::ExclusiveAndCalm => client,
        // So few that callers wait, and several connections are used.
        Mode::PipelinedAndKilled => client.pipelined(Pipelining::default().depth(6)),
    };
    let client = client.build().expect("valid settings");
    let each = requests / CALLERS;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| caller * each..(caller + 1) * each)
        .map(|tokens| {
            tokio::spawn(call(
                client.clone(),
                tokens,
                Arc::clone(&counts),
                Arc::clone(&executed),
                mode,
            ))
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    let snapshot = given_back(&client).await;
    client
        .pool()
        .close(Duration::from_secs(5))
        .await
        .expect("closed");
    server.abort();
    std::fs::remove_dir_all(&folder).expect("the folder is ours");

    println!("{} requests, {mode:?}: {counts:?}", each * CALLERS);
    for (token, times) in executed.iter().enumerate() {
        let times = times.load(Relaxed);
        let most = 1 + u8::from(is_idempotent(token as u64));
        assert!(times <= most, "{token} was executed {times} times");
    }
    assert_eq!(
        mode == Mode::PipelinedAndKilled,
        counts.ended_by_server.load(Relaxed) > 0
    );
    assert_eq!(counts.wrong.load(Relaxed), 0, "wrong replies");
    assert_eq!(counts.failed.load(Relaxed), 0, "failed requests");
    let ended: u64 = [
        &counts.right,
        &counts.cancelled,
        &counts.missed,
        &counts.lost,
    ]
    .map(|count| count.load(Relaxed))
    .iter()
    .sum();
    assert_eq!(ended, each * CALLERS);
    let cancelled = counts.cancelled.load(Relaxed) as f64 / ended as f64;
    // Of the load, not of the client: the busier the machine is, the more requests are overtaken by
    // their cancellation.
    assert!((0.2..0.7).contains(&cancelled), "{cancelled}");
    assert!(counts.beats_sent.load(Relaxed) > 0);
    assert!(mode == Mode::ExclusiveAndCalm || counts.beats_received.load(Relaxed) > 0);
    assert!(
        is_at_rest(&snapshot),
        "every place has come back: {snapshot}"
    );
    assert!(
        snapshot.pool.connections.len() <= CONNECTIONS as usize,
        "{snapshot}"
    );
}

/// The client once it is at rest: its pipelines have found that nobody asks any more, and upkeep
/// isn't just looking at what is idle.
async fn given_back(client: &Client) -> ClientSnapshot {
    for _ in 0..500 {
        let snapshot = client.snapshot();
        if is_at_rest(&snapshot) {
            return snapshot;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.snapshot()
}

fn is_at_rest(snapshot: &ClientSnapshot) -> bool {
    let pool = &snapshot.pool;
    snapshot.waiting == 0 && pool.idle + pool.connecting == pool.connections.len()
}
