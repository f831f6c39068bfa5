//! Every reply is its request's, in every preset, both modes, and through a route in all of its:
//! callers of whom a third give up, over few connections that the server cuts whenever it likes, at
//! any byte. Each request carries a token, and none may be answered by another's, nor be executed
//! twice.
//!
//! `MILLPOND_REQUESTS=1000000 cargo test --release --test tokens_presets -- --nocapture` runs it
//! long.

#![cfg(unix)]

mod speaks;

use std::{
    future::{Future, poll_fn},
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use millpond::{
    client::{Client, Execution, Pipelining, RequestError, RequestErrorKind},
    framed::FramedStream,
    framing::{Context, Frame, Framing, Protocol},
    net::{ListenOptions, Listener},
    proxy::Route,
    server::Running,
};
use speaks::{PRESETS, Speaks};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
};

const CALLERS: u64 = 32;

#[derive(Debug, Default)]
struct Counts {
    right: AtomicU64,
    wrong: AtomicU64,
    cancelled: AtomicU64,
    lost: AtomicU64,
    /// Failures that a route has told in the protocol's words.
    told: AtomicU64,
    cut: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

type Executed = Arc<Vec<AtomicU8>>;

/// Answers each request as the preset says, and ends at one in fifty: before it, within its
/// reply, or behind it.
async fn serve(
    stream: UnixStream,
    protocol: Protocol,
    token: fn(&[u8]) -> u64,
    counts: Arc<Counts>,
    executed: Executed,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut stream = FramedStream::accepted(stream.into(), protocol.clone());
    while let Some(request) = stream.receive_frame().await? {
        let cut = fastrand::u32(..100);
        if cut == 0 {
            add(&counts.cut);
            return Ok(());
        }
        executed[token(request.body()) as usize].fetch_add(1, Relaxed);
        match fastrand::u8(..) {
            0..16 => tokio::time::sleep(Duration::from_micros(fastrand::u64(..1_000))).await,
            16..80 => tokio::task::yield_now().await,
            _ => {}
        }
        let bodies = protocol.echo(&request)?;
        if cut == 1 {
            add(&counts.cut);
            let mut reply = Vec::new();
            protocol.encode(Context::REPLY, &bodies[0], &mut reply)?;
            let part = &reply[..fastrand::usize(..reply.len())];
            stream.into_stream().write_all(part).await?;
            return Ok(());
        }
        for body in bodies {
            stream.queue(&body)?;
        }
        stream.flush().await?;
    }
    Ok(())
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

/// How a caller reaches the server, or a route to it.
#[derive(Clone)]
enum Caller {
    /// Over a client's pool.
    Pooled(Client<Protocol>),
    /// By a connection for each request.
    Short(std::path::PathBuf, Protocol),
}

impl Caller {
    async fn exchange(&self, body: &[u8]) -> Result<Bytes, Option<RequestError>> {
        match self {
            Caller::Pooled(client) => client.exchange(body).await.map_err(Some),
            Caller::Short(path, protocol) => {
                let replied = async {
                    let stream = UnixStream::connect(path).await.expect("it is accepted");
                    let mut stream = FramedStream::new(stream.into(), protocol.clone());
                    stream.send(body).await.ok()?;
                    stream.receive().await.ok()?
                };
                replied.await.ok_or(None)
            }
        }
    }
}

async fn call(
    caller: Caller,
    speaks: &'static Speaks,
    tokens: std::ops::Range<u64>,
    counts: Arc<Counts>,
    executed: Executed,
) {
    for token in tokens {
        let body = (speaks.body)(token);
        let request = caller.exchange(&body);
        let replied: Option<Result<Bytes, _>> = match fastrand::u8(..100) {
            0..30 => cut(fastrand::u32(1..3), request).await,
            30..50 => {
                let limit = Duration::from_micros(fastrand::u64(..1_000));
                tokio::time::timeout(limit, request).await.ok()
            }
            _ => Some(request.await),
        };
        let times = executed[token as usize].load(Relaxed);
        add(match replied {
            None => &counts.cancelled,
            Some(Ok(reply)) => match (speaks.told)(&reply) {
                Some(may_be_executed) => {
                    assert!(times == 0 || may_be_executed, "{token}");
                    &counts.told
                }
                None if (speaks.token)(&reply) == token => &counts.right,
                None => &counts.wrong,
            },
            Some(Err(error)) => {
                if let Some(error) = error {
                    let kinds = [RequestErrorKind::Lost, RequestErrorKind::NotPipelining];
                    assert!(kinds.contains(&error.kind()), "{token}: {error}");
                    assert!(times == 0 || error.execution() == Execution::Possible);
                }
                &counts.lost
            }
        });
    }
}

/// Between the callers and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nothing,
    Route,
    Sessions,
}

/// A route on a socket of this path.
async fn route(
    client: Client<Protocol>,
    between: Between,
    path: &Path,
) -> (Route<Protocol>, Running) {
    let route = Route::builder(client).session(between == Between::Sessions);
    let route = route.build();
    let endpoint = format!("unix://{}", path.display())
        .parse()
        .expect("an endpoint");
    let listener = Listener::bind(&endpoint, ListenOptions::default()).await;
    let running = route.server().serve(listener.expect("a socket"));
    (route, running.expect("valid settings"))
}

async fn replies_are_right(speaks: &'static Speaks, pipelined: bool, between: Between) {
    let few = if between == Between::Nothing {
        3_200
    } else {
        1_600
    };
    let requests = std::env::var("MILLPOND_REQUESTS").map_or(few, |text| {
        text.parse().expect("MILLPOND_REQUESTS is a number")
    });
    let name = format!(
        "millpond-presets-{}-{}-{pipelined}-{between:?}",
        std::process::id(),
        speaks.name
    );
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).expect("a socket");
    let counts = Arc::<Counts>::default();
    let executed: Executed = Arc::new((0..requests).map(|_| AtomicU8::new(0)).collect());
    let (counting, executing) = (Arc::clone(&counts), Arc::clone(&executed));
    let protocol = (speaks.protocol)();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (counts, executed) = (Arc::clone(&counting), Arc::clone(&executing));
            tokio::spawn(serve(
                stream,
                protocol.clone(),
                speaks.token,
                counts,
                executed,
            ));
        }
    });
    let client = |path: &Path, pipelined, connections| {
        let builder = Client::to(&format!("unix://{}", path.display()))
            .expect("an endpoint")
            .framing((speaks.protocol)())
            .pool(move |pool| pool.max_size(connections));
        let builder = match pipelined {
            true => builder.pipelined(Pipelining::default().depth(8)),
            false => builder,
        };
        builder.build().expect("valid settings")
    };
    // As many as clients, where each has one to itself.
    let connections = if between == Between::Sessions {
        CALLERS as u32
    } else {
        6
    };
    let direct = client(&path, pipelined, connections);
    let mut between_path = path.clone();
    between_path.as_mut_os_string().push("-route");
    let through = match between {
        Between::Nothing => None,
        Between::Route | Between::Sessions => {
            Some(route(direct.clone(), between, &between_path).await)
        }
    };
    let callers: Vec<Caller> = match &through {
        None => vec![Caller::Pooled(direct)],
        // Long connections of which each has one request in flight, or many; and short ones.
        Some(_) => vec![
            Caller::Pooled(client(&between_path, false, 6)),
            Caller::Pooled(client(&between_path, true, 6)),
            Caller::Short(between_path.clone(), (speaks.protocol)()),
            Caller::Short(between_path.clone(), (speaks.protocol)()),
        ],
    };
    let each = requests / CALLERS;
    let calls: Vec<_> = (0..CALLERS)
        .zip(callers.iter().cycle())
        .map(|(number, caller)| {
            let tokens = number * each..(number + 1) * each;
            let (counts, executed) = (Arc::clone(&counts), Arc::clone(&executed));
            tokio::spawn(call(caller.clone(), speaks, tokens, counts, executed))
        })
        .collect();
    for call in calls {
        call.await.expect("no panic");
    }
    println!(
        "{}, pipelined {pipelined}, {between:?}: {counts:?}",
        speaks.name
    );
    if let Some((route, running)) = through {
        drop(callers);
        running.drain(Duration::from_secs(10)).await;
        let shown = route.snapshot();
        println!("{:?}", shown.totals);
        assert!(shown.pins.is_empty(), "{:?}", shown.pins);
        let active = shown.upstream.pool.active;
        assert!(pipelined || active == 0, "{active} are lent still");
    }
    server.abort();
    for path in [&path, &between_path] {
        let _ = std::fs::remove_file(path);
    }
    assert_eq!(counts.wrong.load(Relaxed), 0, "wrong replies");
    for (token, times) in executed.iter().enumerate() {
        assert!(times.load(Relaxed) <= 1, "{token} was executed twice");
    }
    for (count, what) in [
        (&counts.right, "right"),
        (&counts.cancelled, "cancelled"),
        (&counts.cut, "cut"),
    ] {
        assert!(count.load(Relaxed) > 0, "none was {what}");
    }
    let failed = counts.lost.load(Relaxed) + counts.told.load(Relaxed);
    assert!(failed > 0, "none was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_exchange_at_a_time() {
    for speaks in &PRESETS {
        replies_are_right(speaks, false, Between::Nothing).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_in_flight() {
    for speaks in &PRESETS {
        replies_are_right(speaks, true, Between::Nothing).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_route_one_exchange_at_a_time() {
    for speaks in &PRESETS {
        replies_are_right(speaks, false, Between::Route).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_route_many_in_flight() {
    for speaks in &PRESETS {
        replies_are_right(speaks, true, Between::Route).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_route_of_sessions() {
    for speaks in &PRESETS {
        replies_are_right(speaks, false, Between::Sessions).await;
    }
}

/// Each request gets another token's reply once in a while: the test must see it.
#[tokio::test]
async fn a_wrong_reply_would_be_seen() {
    for speaks in &PRESETS {
        let protocol = (speaks.protocol)();
        let frame = |token| {
            let mut wire = Vec::new();
            let body = (speaks.body)(token);
            protocol
                .encode(Context::REQUEST, &body, &mut wire)
                .expect("a body");
            Frame::parse(&protocol, Context::REQUEST, wire).expect("a frame")
        };
        let reply = protocol.echo(&frame(7)).expect("a reply");
        assert_eq!((speaks.token)(&reply[0]), 7);
        assert_ne!((speaks.token)(&reply[0]), (speaks.token)(frame(8).body()));
    }
}
