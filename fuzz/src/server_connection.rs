//! A connection of a real server, over a Unix socket: what a client sends is the input, in the
//! pieces that it says. Each request must be answered as the reference says, in order and nothing
//! else; the connection must end, for the reason that the bytes give; and the server must hold
//! nothing when it is over.
//!
//! The first byte's bits: 0 and 1, the server's settings; 2, the client waits after each piece for
//! the replies that it is owed; 3, it goes away without reading any.

use std::{path::PathBuf, time::Instant};

use bytes::Bytes;
use millpond::{
    framing::{Direction, Failure, FailureKind, LengthJson, json},
    server::{Closed, HeartbeatLimit, Running, Server, ServerTotals, raw},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::Runtime,
    task::yield_now,
};

use crate::{
    grammar,
    pieces::{self, Scripted},
    reference::{self, End, First, Item, Refusal},
    stage,
};

/// Longer inputs would fill the sockets' buffers while the client isn't reading.
const LONGEST_INPUT: usize = 8 << 10;

/// How many heartbeats a client may send at once, and another one each second.
const BURST: u32 = 16;

/// What the servers differ in: the longest body, the requests in flight, the longest batch.
const SETTINGS: [(usize, usize, usize); 4] = [
    (64, 16, 64 << 10),
    (1024, 1, 64 << 10),
    (1024, 2, 1),
    (1024, 16, 64 << 10),
];

/// How an exchange ends.
enum Outcome {
    Reply(Vec<u8>),
    Failed(FailureKind),
}

/// What a client must see, and the server count.
struct Expected {
    outcomes: Vec<Outcome>,
    /// Frames that the server may take.
    requests: usize,
    heartbeats: u32,
    closed: Closed,
}

struct Stage {
    runtime: Runtime,
    servers: Vec<(PathBuf, Running)>,
}

thread_local! {
    static STAGE: Stage = Stage::new();
}

impl Stage {
    fn new() -> Self {
        let runtime = stage::runtime();
        let servers = runtime.block_on(async {
            let mut servers = Vec::new();
            for (max_body, max_in_flight, max_batch) in SETTINGS {
                let (path, listener) = stage::listener().await;
                let server = Server::builder(raw(handle).only_json())
                    .framing(LengthJson::with_max_body(max_body))
                    .max_in_flight(max_in_flight)
                    .max_batch(max_batch)
                    .heartbeat_interval(std::time::Duration::ZERO)
                    .heartbeat_limit(HeartbeatLimit {
                        burst: BURST,
                        per_second: 1,
                    });
                servers.push((path, server.serve(listener).expect("it can be served")));
            }
            servers
        });
        Stage { runtime, servers }
    }
}

/// The handler. A number is answered some turns later, as many as its first digit says, so that
/// replies are ready in another order than they were asked for; the rest at once.
async fn handle(body: Bytes) -> Result<Bytes, Failure> {
    if let Some(digit @ b'0'..=b'9') = body.first() {
        for _ in b'0'..*digit {
            yield_now().await;
        }
    }
    match answer(&body) {
        Outcome::Reply(reply) => Ok(reply.into()),
        Outcome::Failed(kind) => Err(Failure::new(kind, "no")),
    }
}

/// What a request that is JSON is answered: an array comes back twice, a string is refused,
/// everything else comes back.
fn answer(body: &[u8]) -> Outcome {
    match body.trim_ascii_start().first() {
        Some(b'[') => Outcome::Reply([b"[", body, b",", body, b"]"].concat()),
        Some(b'"') => Outcome::Failed(FailureKind::Refused),
        _ => Outcome::Reply(body.to_vec()),
    }
}

/// What must come of these bytes.
fn expect(max_body: usize, wire: &[u8]) -> Expected {
    let (items, end) = reference::all(Direction::Request, max_body, wire);
    let mut expected = Expected {
        outcomes: Vec::new(),
        requests: 0,
        heartbeats: 0,
        closed: match end {
            End::Open(rest) if rest.is_empty() => Closed::ByPeer,
            End::Open(_) => Closed::Truncated,
            End::Refused(Refusal::Http) => Closed::Http,
            End::Refused(Refusal::Tls) => Closed::Tls,
            End::Refused(Refusal::TooLong { .. }) => Closed::FrameTooLong,
            End::Refused(_) => Closed::ProtocolError,
        },
    };
    for item in &items {
        match item {
            Item::Heartbeat => expected.heartbeats += 1,
            Item::Frame(_) => expected.requests += 1,
        }
    }
    for item in items {
        let Item::Frame(body) = item else { continue };
        let (outcome, quotes) = match grammar::is_json(&body) {
            false => (Outcome::Failed(FailureKind::Malformed), true),
            true => match answer(&body) {
                Outcome::Reply(reply) if reply.len() > max_body => {
                    (Outcome::Failed(FailureKind::HandlerFailed), true)
                }
                outcome => (outcome, false),
            },
        };
        // Where bodies are short, an error reply in the library's words is too long to be one; the
        // handler's single word isn't.
        if quotes && max_body < 100 {
            expected.closed = Closed::ToldFailure;
            break;
        }
        expected.outcomes.push(outcome);
    }
    // Told by a reply, where one in the library's words fits.
    if expected.closed == Closed::FrameTooLong && max_body >= 1_000 {
        expected
            .outcomes
            .push(Outcome::Failed(FailureKind::Refused));
    }
    expected
}

/// Plays one connection.
///
/// # Panics
///
/// A reply is missing, wrong, one too many or in the wrong place; the connection doesn't end as it
/// must, or hangs; the server still holds something afterwards, or has counted wrong.
pub fn run(input: &[u8]) {
    if input.len() > LONGEST_INPUT {
        return;
    }
    let Some(script) = pieces::scripted(input) else {
        return;
    };
    STAGE.with(|stage| {
        let choice = usize::from(script.choice) % SETTINGS.len();
        let (path, server) = &stage.servers[choice];
        let play = play(path, server, &script, SETTINGS[choice].0);
        stage
            .runtime
            .block_on(stage::promptly("a connection", play));
    });
}

async fn play(path: &PathBuf, server: &Running, script: &Scripted<'_>, max_body: usize) {
    let (awaits, leaves) = (script.choice & 4 != 0, script.choice & 8 != 0);
    let before = server.snapshot().totals;
    let begun = Instant::now();
    let mut stream = UnixStream::connect(path).await.expect("the server listens");
    let (mut sent, mut received) = (0, Vec::new());
    for piece in &script.pieces {
        // A server that has refused may have closed already.
        let written = stream.write_all(piece).await;
        sent += piece.len();
        let so_far = expect(max_body, &script.wire[..sent]);
        let may_have_ended = so_far.closed != Closed::ByPeer && so_far.closed != Closed::Truncated
            || so_far.heartbeats > BURST;
        if written.is_err() {
            assert!(
                may_have_ended,
                "the server closed a connection on which all was well"
            );
            break;
        }
        if awaits && !leaves && !may_have_ended {
            while frames(max_body, &received).0.len() < so_far.outcomes.len() {
                let read = stream
                    .read_buf(&mut received)
                    .await
                    .expect("it can be read");
                assert!(
                    read > 0,
                    "the server closed a connection on which it owed replies"
                );
            }
        } else {
            // The server reads this piece before there is another.
            yield_now().await;
        }
    }
    if !leaves {
        // If the server has closed already, the connection may be gone.
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut received).await;
    }
    drop(stream);
    let after = rest(server, before.accepted + 1).await;
    if !leaves {
        let expected = expect(max_body, script.wire);
        let refilled = u32::try_from(begun.elapsed().as_secs()).expect("not that long") + 1;
        judge(&expected, max_body, &received, &before, &after, refilled);
    }
}

/// The totals, once so many connections have been accepted and none is left.
async fn rest(server: &Running, accepted: u64) -> ServerTotals {
    loop {
        let snapshot = server.snapshot();
        if snapshot.totals.accepted == accepted && snapshot.open == 0 {
            assert_eq!(snapshot.handled, 0, "requests of nobody's are handled");
            return snapshot.totals;
        }
        yield_now().await;
    }
}

fn judge(
    expected: &Expected,
    max_body: usize,
    received: &[u8],
    before: &ServerTotals,
    after: &ServerTotals,
    refilled: u32,
) {
    let (replies, rest) = frames(max_body, received);
    let times =
        |closed| after.closed.get(&closed).unwrap_or(&0) - before.closed.get(&closed).unwrap_or(&0);
    let flooded = times(Closed::HeartbeatFlood) == 1;
    if flooded {
        assert!(
            expected.heartbeats > BURST,
            "{} heartbeats were too many",
            expected.heartbeats
        );
        assert!(
            replies.len() <= expected.outcomes.len(),
            "replies to nothing"
        );
    } else {
        assert_eq!(
            times(expected.closed),
            1,
            "{:?} was expected: {:?}",
            expected.closed,
            after.closed
        );
        assert_eq!(
            replies.len(),
            expected.outcomes.len(),
            "replies, and requests that had to be answered"
        );
    }
    for (reply, outcome) in replies.iter().zip(&expected.outcomes) {
        match outcome {
            Outcome::Reply(body) => assert_eq!(reply, body, "the reply to something else"),
            Outcome::Failed(kind) => {
                let reply: Value = serde_json::from_slice(reply).expect("an error reply is JSON");
                assert_eq!(reply["error"]["code"], json::code(*kind), "{reply}");
                assert!(reply["error"]["message"].is_string(), "{reply}");
            }
        }
    }
    if expected.closed == Closed::Http && !flooded {
        assert_eq!(
            http_body(rest),
            Some("This port speaks the length: protocol with JSON bodies, not HTTP.\n")
        );
    } else {
        assert!(
            rest.is_empty(),
            "more than replies: {:?}",
            String::from_utf8_lossy(rest)
        );
    }
    if !flooded && expected.closed != Closed::ToldFailure {
        assert!(
            expected.heartbeats <= BURST + refilled,
            "{} heartbeats weren't too many",
            expected.heartbeats
        );
        assert_eq!(after.requests - before.requests, expected.requests as u64);
        assert_eq!(
            after.heartbeats_received - before.heartbeats_received,
            u64::from(expected.heartbeats)
        );
        let failed = expected
            .outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Failed(_)));
        let succeeded = expected.outcomes.len() - failed.count();
        assert_eq!(after.replies - before.replies, succeeded as u64);
    }
}

/// The replies' bodies, and what is behind them.
fn frames(max_body: usize, received: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut bodies, mut rest) = (Vec::new(), received);
    while let First::Frame(body) = reference::first(Direction::Reply, max_body, rest) {
        bodies.push(body);
        rest = &rest[20 + body.len()..];
    }
    (bodies, rest)
}

/// The body of an HTTP reply with status 400, if it is as long as it says.
fn http_body(reply: &[u8]) -> Option<&str> {
    let (head, body) = std::str::from_utf8(reply).ok()?.split_once("\r\n\r\n")?;
    let mut lines = head
        .strip_prefix("HTTP/1.1 400 Bad Request\r\n")?
        .split("\r\n");
    let length = lines.find_map(|line| line.strip_prefix("Content-Length: "))?;
    (length.parse() == Ok(body.len())).then_some(body)
}
