//! The client over streams in memory, on the paused clock: servers that do exactly what a test
//! says, and time that passes only when nothing else can happen. Sockets are used in the tests
//! beside the source.

mod asking;
mod beats;
mod cancelling;
mod demands;
mod draining;
mod exchanges;
mod floods;
mod login;
mod pauses;
mod pipelined;
mod places;
mod retrying;
mod timing;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::{consume_budget, coop::has_budget_remaining},
    time::timeout,
};

use super::{Client, ClientBuilder, HeartbeatLimit, Pipelining};
use crate::{
    Chain,
    connectors::StreamConnector,
    framing::{Context, Framing, LengthJson},
    memory::{Inlet, MemoryStream, Pace, Tally},
    pool::{AcquireError, Connector, Eviction, PoolBuilder, PoolSnapshot, Priority},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Longer than any test takes, by its clock: who waits for what never comes fails, and doesn't
/// hang.
const FOREVER: Duration = Duration::from_secs(2_000);
const HEARTBEAT: &[u8] = b"HeartBeat";

/// What a stream in memory holds in one direction, as sockets do some of.
const CAPACITY: usize = 64 << 10;

/// No time passes where these servers send as many heartbeats as they like.
const UNLIMITED: HeartbeatLimit = HeartbeatLimit {
    burst: u32::MAX,
    per_second: u32::MAX,
};

/// The far side of a client: where its streams arrive.
struct Port {
    accepted: mpsc::UnboundedReceiver<MemoryStream>,
    tally: Arc<Tally>,
}

impl Port {
    /// The next stream that the client opens.
    async fn accept(&mut self) -> Far {
        let accepted = timeout(FOREVER, self.accepted.recv()).await;
        Far(accepted.expect("a connection").expect("a client"))
    }
}

/// A client with the settings of these tests, and the port that it leads to. Heartbeats are off.
fn builder(pace: Pace) -> (ClientBuilder, Port) {
    builder_with(LengthJson::default(), pace, CAPACITY)
}

/// As [`builder`], with streams that hold so many bytes in one direction.
fn builder_with(framing: LengthJson, pace: Pace, capacity: usize) -> (ClientBuilder, Port) {
    let (inlet, accepted, tally) = Inlet::new(pace, capacity);
    let builder = ClientBuilder::new(StreamConnector::in_memory(inlet), framing);
    let builder = builder
        .heartbeat_interval(Duration::ZERO)
        .heartbeat_limit(UNLIMITED)
        .pool(small);
    (builder, Port { accepted, tally })
}

/// The pool of these tests: one connection, which only what a test is about can end.
fn small<C: Connector>(pool: PoolBuilder<C>) -> PoolBuilder<C> {
    pool.max_size(1).idle_timeout(None).max_lifetime(None)
}

fn in_mode(pipelined: bool, builder: ClientBuilder) -> ClientBuilder {
    match pipelined {
        true => builder.pipelined(Pipelining::default()),
        false => builder,
    }
}

/// A client whose streams carry as much as there is.
fn client() -> (Client, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    (builder.build().expect("valid settings"), port)
}

/// An exchange that succeeds and leaves an idle connection, whose far end this is.
async fn warm(client: &Client, port: &mut Port) -> Far {
    let (reply, far) = tokio::join!(client.exchange(b"0"), async {
        let mut far = port.accept().await;
        assert_eq!(far.request().await, b"0");
        far.reply(b"0").await;
        far
    });
    assert_eq!(reply.unwrap(), &b"0"[..]);
    far
}

/// The far end of a stream, as a server holds it.
struct Far(MemoryStream);

impl Far {
    /// The next request's body, of one that is no heartbeat.
    async fn request(&mut self) -> Vec<u8> {
        let request = timeout(FOREVER, self.request_or_end()).await;
        request.expect("a request in time").expect("a request")
    }

    /// As [`request`](Far::request); nothing when the client has closed the stream.
    async fn request_or_end(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            if head == HEARTBEAT {
                continue;
            }
            let mut digits = [0; 11];
            self.0.read_exact(&mut digits).await.ok()?;
            let digits = [&head[7..], &digits].concat();
            assert_eq!(&head[..7], b"length:", "a header where one must be");
            let length = std::str::from_utf8(&digits)
                .expect("digits")
                .parse()
                .expect("a number");
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.ok()?;
            return Some(body);
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("a client that reads");
    }

    /// Sends a reply with this body.
    async fn reply(&mut self, body: &[u8]) {
        self.send(&frame(body)).await;
    }

    /// Answers every request with its own body, until the client closes the stream.
    async fn echo(mut self) {
        while let Some(body) = self.request_or_end().await {
            if self.0.write_all(&frame(&body)).await.is_err() {
                break;
            }
        }
    }

    /// The next bytes, exactly so many.
    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = timeout(FOREVER, self.0.read_exact(&mut bytes)).await;
        read.expect("bytes in time").expect("so many bytes");
        bytes
    }

    /// The client has closed the stream, and sent nothing before.
    async fn ended(&mut self) -> bool {
        matches!(timeout(FOREVER, self.0.read(&mut [0])).await, Ok(Ok(0)))
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    LengthJson::with_max_body(usize::MAX)
        .encode(Context::REPLY, body, &mut frame)
        .expect("a length that can be written");
    frame
}

/// Polls a future until it is `Pending` for the `limit`-th time, and drops it then.
async fn cut<F: Future>(limit: usize, future: F) -> Result<F::Output, Dropped> {
    let mut future = Box::pin(future);
    let mut pending = 0;
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => {
            pending += 1;
            match pending == limit {
                true => Poll::Ready(Err(Dropped)),
                false => Poll::Pending,
            }
        }
    })
    .await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dropped;

/// Polls a future at each turn of the scheduler, and drops it at its `limit`-th `Pending`. A turn
/// is one only within a task.
async fn cut_at_turn<F: Future>(limit: usize, future: F) -> Result<F::Output, Dropped> {
    cut(limit, async move {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            cx.waker().wake_by_ref();
            polled
        })
        .await
    })
    .await
}

/// Lets everything run that can run without time passing.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Runs a future in a task that has used up tokio's budget before it is polled, while `starved`
/// says so: then it may read nothing.
fn spawn_starved<F>(starved: &Arc<AtomicBool>, future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let starved = Arc::clone(starved);
    tokio::spawn(async move {
        let mut future = Box::pin(future);
        std::future::poll_fn(move |cx| {
            while starved.load(Ordering::Relaxed) && has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            future.as_mut().poll(cx)
        })
        .await
    })
}

/// Oracle C: nothing is under way, as many connections are idle, and as many streams are open.
#[track_caller]
fn at_rest<F: Framing>(client: &Client<F>, port: &Port, idle: usize) -> PoolSnapshot {
    let snapshot = client.pool().snapshot();
    let under_way = snapshot.connecting + snapshot.checking + snapshot.active + snapshot.closing;
    assert_eq!((under_way, snapshot.idle), (0, idle), "{snapshot}");
    assert_eq!(port.tally.open(), idle, "{snapshot}");
    snapshot
}

#[track_caller]
fn evicted<F: Framing>(client: &Client<F>, reason: Eviction) -> u64 {
    client.pool().snapshot().totals.evicted(reason)
}
