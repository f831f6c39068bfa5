//! Every reply is its request's, through a route in all modes and every preset, while its upstreams
//! are killed, suspended and swapped at random: 200 clients that open a connection for each request
//! and 50 that stay, all of which leave at random. Upstreams lie too, where the protocol tells which
//! reply is whose. No token may be answered by another's, nor be executed twice; and at the end
//! nothing is pinned, no descriptor is left and no memory is kept.
//!
//! `MILLPOND_REQUESTS=1000000 cargo test --release --test tokens_routes -- --nocapture` runs it long.
//! It counts what the whole process has, so it is alone in this binary.

#![cfg(unix)]

mod speaks;

use std::{
    future::{Future, poll_fn},
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use millpond::{
    client::{Client, Pipelining},
    connectors::StreamConnector,
    framed::FramedStream,
    framing::{Context, Frame, Framing, Protocol},
    net::{Dialer, Endpoint, ListenOptions, Listener},
    proxy::{Mode, Route},
};
use speaks::{PRESETS, Speaks};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

/// Clients that open a connection for each request, and those that stay.
const SHORT: u64 = 200;
const LONG: u64 = 50;
const UPSTREAMS: usize = 3;
/// More than a route reads of one client, and than a pipeline takes.
const MOST_TOGETHER: u64 = 24;
/// How long a request may take in the route: about as long as an upstream is suspended at most.
const DEADLINE: Duration = Duration::from_millis(200);
/// How much more memory the process may have in the end, in bytes.
const MOST_GROWTH: u64 = 64 << 20;

#[derive(Debug, Default)]
struct Counts {
    right: AtomicU64,
    wrong: AtomicU64,
    /// Failures that the route has told in the protocol's words.
    told: AtomicU64,
    /// Requests whose connection ended first.
    closed: AtomicU64,
    /// Requests whose client left.
    left: AtomicU64,
    killed: AtomicU64,
    suspended: AtomicU64,
    swapped: AtomicU64,
    /// Replies to another request, by the upstream.
    lies: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

/// What all of a run share.
struct Run {
    speaks: &'static Speaks,
    counts: Counts,
    /// How often each token was executed.
    executed: Vec<AtomicU8>,
    /// Tokens of which the route has said that they weren't executed.
    refused: Vec<AtomicBool>,
    front: PathBuf,
    /// An upstream was killed, one suspended, and two were swapped.
    had_all_trouble: watch::Sender<bool>,
}

/// An upstream: its connections end with it.
struct Upstream {
    path: PathBuf,
    suspended: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Upstream {
    fn start(path: &Path, run: &Arc<Run>) -> Upstream {
        let listener = UnixListener::bind(path).expect("a socket");
        let (run, suspended) = (Arc::clone(run), Arc::<AtomicUsize>::default());
        let suspension = Arc::clone(&suspended);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, which ends them all.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                connections.spawn(serve(stream, Arc::clone(&run), Arc::clone(&suspension)));
                while connections.try_join_next().is_some() {}
            }
        });
        Upstream {
            path: path.into(),
            suspended,
            accepting,
        }
    }

    async fn kill(self) -> PathBuf {
        let _ = std::fs::remove_file(&self.path);
        self.accepting.abort();
        let _ = self.accepting.await;
        self.path
    }
}

/// Answers each request as the preset says, and pauses while it is suspended.
async fn serve(stream: UnixStream, run: Arc<Run>, suspended: Arc<AtomicUsize>) {
    let protocol = (run.speaks.protocol)();
    let mut stream = FramedStream::accepted(stream.into(), protocol.clone());
    let pause = async || {
        while suspended.load(Relaxed) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let mut before = None;
    while let Ok(Some(request)) = stream.receive_frame().await {
        pause().await;
        let token = (run.speaks.token)(request.body());
        run.executed[token as usize].fetch_add(1, Relaxed);
        if fastrand::u8(..) < 64 {
            tokio::task::yield_now().await;
        }
        pause().await;
        if let Some(before) = before.filter(|_| fastrand::u8(..32) == 0)
            && let Some(lie) = lie(run.speaks, &protocol, &before)
        {
            add(&run.counts.lies);
            let _ = stream.into_stream().write_all(&lie).await;
            return;
        }
        before = Some(request.clone());
        for body in protocol.echo(&request).expect("an echo") {
            stream.queue(&body).expect("a reply");
        }
        if stream.flush().await.is_err() {
            return;
        }
    }
}

/// The reply to another request, where the protocol tells which reply is whose.
fn lie(speaks: &Speaks, protocol: &Protocol, other: &Frame) -> Option<Vec<u8>> {
    match speaks.name {
        "length-prefixed-renumbered" | "modbus" => Some(other.as_bytes().to_vec()),
        "mllp" => {
            let body = protocol.echo(other).expect("an echo").swap_remove(0);
            let mut lie = Vec::new();
            let encoded = protocol.encode(Context::REPLY, &body, &mut lie);
            encoded.expect("a reply");
            Some(lie)
        }
        _ => None,
    }
}

/// Kills, suspends and swaps upstreams until it is told that it is enough.
async fn trouble(mut upstreams: Vec<Upstream>, run: Arc<Run>, enough: Arc<AtomicBool>) {
    let mut suspensions = JoinSet::new();
    // Each kind once in three, in any order: short runs have all of them as well.
    let mut kinds = Vec::new();
    while !enough.load(Relaxed) {
        sleep(Duration::from_micros(fastrand::u64(5_000..30_000))).await;
        let chosen = fastrand::usize(..upstreams.len());
        if kinds.is_empty() {
            kinds.extend(0..3);
            fastrand::shuffle(&mut kinds);
        }
        let completes = kinds.len() == 1;
        match kinds.pop() {
            Some(0) => {
                add(&run.counts.killed);
                let path = upstreams.swap_remove(chosen).kill().await;
                sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
                upstreams.push(Upstream::start(&path, &run));
            }
            Some(1) => {
                add(&run.counts.suspended);
                let suspended = Arc::clone(&upstreams[chosen].suspended);
                suspended.fetch_add(1, Relaxed);
                suspensions.spawn(async move {
                    sleep(DEADLINE * fastrand::u32(..110) / 100).await;
                    suspended.fetch_sub(1, Relaxed);
                });
            }
            // Who dials one gets the other, as when an address is given to another machine.
            _ => {
                add(&run.counts.swapped);
                let other = (chosen + 1) % upstreams.len();
                let [one, other] = [chosen, other].map(|at| upstreams[at].path.clone());
                let aside = one.with_extension("aside");
                for (from, to) in [(&one, &aside), (&other, &one), (&aside, &other)] {
                    std::fs::rename(from, to).expect("a socket");
                }
                let at = upstreams.iter().position(|upstream| upstream.path == one);
                let its = upstreams.iter().position(|upstream| upstream.path == other);
                upstreams[at.expect("it is there")].path = other;
                upstreams[its.expect("it is there")].path = one;
            }
        }
        if completes {
            run.had_all_trouble.send_replace(true);
        }
    }
    for upstream in upstreams {
        upstream.kill().await;
    }
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

type Framed = FramedStream<Protocol>;

/// Sends all of these, most often in one write, and takes what comes; false once the connection has
/// ended.
async fn exchange(stream: &mut Framed, run: &Run, tokens: std::ops::Range<u64>) -> bool {
    for token in tokens.clone() {
        let body = (run.speaks.body)(token);
        stream.queue(&body).expect("a body");
        if fastrand::u8(..32) == 0 && stream.flush().await.is_err() {
            break;
        }
    }
    let mut is_open = stream.flush().await.is_ok();
    for token in tokens {
        let reply: Option<Bytes> = match is_open {
            true => stream.receive().await.unwrap_or_default(),
            false => None,
        };
        let Some(reply) = reply else {
            is_open = false;
            add(&run.counts.closed);
            continue;
        };
        match (run.speaks.told)(&reply) {
            Some(may_be_executed) => {
                add(&run.counts.told);
                if !may_be_executed {
                    run.refused[token as usize].store(true, Relaxed);
                }
            }
            None if (run.speaks.token)(&reply) == token => add(&run.counts.right),
            None => add(&run.counts.wrong),
        }
    }
    is_open
}

/// A client. One that stays sends up to [`MOST_TOGETHER`] requests at once, and connects again if it must. Each
/// begins, and goes on once there was all trouble: however fast it all is, there is some.
async fn client(run: Arc<Run>, tokens: std::ops::Range<u64>, stays: bool) {
    let mut stream: Option<Framed> = None;
    let mut next = tokens.start;
    while next < tokens.end {
        if next > tokens.start {
            let mut had_all = run.had_all_trouble.subscribe();
            had_all
                .wait_for(|had_all| *had_all)
                .await
                .expect("the run is there");
        }
        let most = match stays {
            true if fastrand::u8(..4) == 0 => fastrand::u64(1..=MOST_TOGETHER),
            true => fastrand::u64(1..=4),
            false => 1,
        };
        let these = next..(next + most).min(tokens.end);
        next = these.end;
        let mut open = match stream.take() {
            Some(open) => open,
            None => {
                let stream = UnixStream::connect(&run.front).await.expect("it listens");
                FramedStream::new(stream.into(), (run.speaks.protocol)())
            }
        };
        let exchanged = exchange(&mut open, &run, these.clone());
        let ended = match fastrand::u8(..100) {
            0..15 => cut(fastrand::u32(1..4), exchanged).await,
            15..25 => {
                let limit = Duration::from_micros(fastrand::u64(..2_000));
                timeout(limit, exchanged).await.ok()
            }
            _ => Some(exchanged.await),
        };
        match ended {
            Some(true) if stays => stream = Some(open),
            Some(_) => {}
            None => add(&run.counts.left),
        }
    }
}

fn endpoint(path: &Path) -> Endpoint {
    let text = format!("unix://{}", path.display());
    text.parse().expect("an endpoint")
}

/// A route to all of them.
fn route(speaks: &Speaks, mode: Mode, upstreams: &[PathBuf]) -> Route<Protocol> {
    let dialers = upstreams.iter().map(|path| Dialer::new(endpoint(path)));
    let connector = StreamConnector::among(dialers);
    let builder = Client::over(connector)
        .framing((speaks.protocol)())
        .deadline(DEADLINE)
        .pool(move |pool| {
            // In session mode as many as clients, so that most find one.
            let size = if mode == Mode::Session { 100 } else { 8 };
            pool.max_size(size)
        });
    let builder = match mode {
        Mode::Pipeline => builder.pipelined(Pipelining::default().depth(16)),
        _ => builder,
    };
    Route::builder(builder.build().expect("valid settings"))
        .session(mode == Mode::Session)
        .build()
}

/// How many requests got no reply. Those that did got their own.
async fn replies_are_right(speaks: &'static Speaks, mode: Mode, requests: u64) -> u64 {
    let name = format!(
        "millpond-routes-{}-{}-{mode:?}",
        std::process::id(),
        speaks.name
    );
    let socket = |which: &str| std::env::temp_dir().join(format!("{name}-{which}"));
    let run = Arc::new(Run {
        speaks,
        counts: Counts::default(),
        executed: (0..requests).map(|_| AtomicU8::new(0)).collect(),
        refused: (0..requests).map(|_| AtomicBool::new(false)).collect(),
        front: socket("front"),
        had_all_trouble: watch::Sender::new(false),
    });
    let paths: Vec<_> = (0..UPSTREAMS).map(|at| socket(&at.to_string())).collect();
    let upstreams = paths
        .iter()
        .map(|path| Upstream::start(path, &run))
        .collect();
    let route = route(speaks, mode, &paths);
    let listener = Listener::bind(&endpoint(&run.front), ListenOptions::default()).await;
    let running = route.server().serve(listener.expect("a socket"));
    let running = running.expect("valid settings");
    let enough = Arc::<AtomicBool>::default();
    let trouble = tokio::spawn(trouble(upstreams, Arc::clone(&run), Arc::clone(&enough)));

    let begun = Instant::now();
    let each = requests / (SHORT + LONG);
    let clients: Vec<_> = (0..SHORT + LONG)
        .map(|number| {
            let tokens = number * each..(number + 1) * each;
            tokio::spawn(client(Arc::clone(&run), tokens, number >= SHORT))
        })
        .collect();
    for client in clients {
        client.await.expect("no panic");
    }
    let took = begun.elapsed();
    enough.store(true, Relaxed);
    trouble.await.expect("no panic");
    let ended = running.drain(Duration::from_secs(10)).await;
    let shown = route.snapshot();
    println!("{}, {mode:?}: {:?} in {took:?}", speaks.name, run.counts);
    println!("{:?}", shown.totals);
    assert_eq!(ended.forced, 0, "all clients have left");
    assert!(shown.pins.is_empty(), "{:?}", shown.pins);
    assert_eq!(shown.upstream.waiting, 0);
    assert!(mode == Mode::Pipeline || shown.upstream.pool.active == 0);
    let closed = route.client().pool().close(Duration::from_secs(10)).await;
    closed.expect("nothing is lent");
    let _ = std::fs::remove_file(&run.front);

    let counts = &run.counts;
    assert_eq!(counts.wrong.load(Relaxed), 0, "wrong replies");
    for (token, times) in run.executed.iter().enumerate() {
        let times = times.load(Relaxed);
        assert!(times <= 1, "{token} was executed twice");
        let refused = run.refused[token].load(Relaxed);
        assert!(
            times == 0 || !refused,
            "{token} was told not to be executed"
        );
    }
    for (count, what) in [
        (&counts.right, "right"),
        (&counts.left, "left"),
        (&counts.killed, "killed"),
        (&counts.suspended, "suspended"),
        (&counts.swapped, "swapped"),
    ] {
        assert!(count.load(Relaxed) > 0, "none was {what}");
    }
    let could_lie = ["length-prefixed-renumbered", "mllp", "modbus"].contains(&speaks.name);
    assert_eq!(counts.lies.load(Relaxed) > 0, could_lie, "{}", speaks.name);
    counts.closed.load(Relaxed) + counts.told.load(Relaxed)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// How many bytes of memory this process occupies; 0 where nobody says.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_is_its_requests_whatever_happens_to_upstreams_and_clients() {
    let long = std::env::var("MILLPOND_REQUESTS").ok();
    let requests = long.as_ref().map_or(500, |text| {
        text.parse().expect("MILLPOND_REQUESTS is a number")
    });
    let before = descriptors();
    let mut resident_before = None;
    let mut failed = 0;
    for (number, speaks) in PRESETS.iter().enumerate() {
        for (at, mode) in [Mode::Exchange, Mode::Pipeline, Mode::Session]
            .into_iter()
            .enumerate()
        {
            // All combinations take long: in short runs each preset has one mode, and each mode two.
            if long.is_none() && number % 3 != at {
                continue;
            }
            failed += replies_are_right(speaks, mode, requests).await;
            // After the first, which brings what the process needs in any case.
            let before = *resident_before.get_or_insert_with(resident);
            let now = resident();
            assert!(now < before + MOST_GROWTH, "{before} bytes, and now {now}");
        }
    }
    // A short run with one mode may be lucky; not all of them.
    assert!(failed > 0, "none was lost");
    let ending = async {
        while descriptors() > before {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let ended = timeout(Duration::from_secs(30), ending).await;
    ended.unwrap_or_else(|_| panic!("{before} descriptors, and now {}", descriptors()));
}
