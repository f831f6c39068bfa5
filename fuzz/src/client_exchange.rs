//! A client whose server answers with the input, in the pieces that it says: an exchange that goes
//! well, so that the connection has proved itself; one that is answered with the input; and one
//! that goes well again. The second's outcome must be what the reference finds in the input.
//! The third must have its own reply, and on the same connection only if nothing but heartbeats
//! came behind the second's.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use millpond::{
    client::{Client, HeartbeatLimit, Loss, RequestError},
    framing::{Direction, LengthJson},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    runtime::Runtime,
    task::yield_now,
};

use crate::{
    pieces::{self, Scripted},
    reference::{self, First, HEARTBEAT, Refusal},
    stage,
};

/// Longer inputs would fill the socket's buffer.
const LONGEST_INPUT: usize = 8 << 10;

/// The longest body of a reply.
const MAX_BODY: usize = 256;

/// What must come of the exchange that is answered with the input.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// This reply; and behind it came nothing but heartbeats, the last of which lacks this.
    Clean(Vec<u8>, Vec<u8>),
    /// This reply, and something behind it; or none, if that came together with it, for which of
    /// them is the reply nobody knows.
    Dirty(Vec<u8>),
    NoFrame(Refusal),
    /// The server closes, for it has nothing more to say.
    Lost,
}

struct Stage {
    runtime: Runtime,
    path: PathBuf,
    listener: UnixListener,
}

thread_local! {
    static STAGE: Stage = Stage::new();
}

impl Stage {
    fn new() -> Self {
        let (runtime, path) = (stage::runtime(), stage::socket_path());
        let listener = runtime.block_on(async { UnixListener::bind(&path) });
        let listener = listener.expect("a socket in the folder for temporary files");
        Stage {
            runtime,
            path,
            listener,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It is in a folder for such files anyway.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn expect(mut wire: &[u8]) -> Outcome {
    while let Some(rest) = wire.strip_prefix(HEARTBEAT) {
        wire = rest;
    }
    let body = match reference::first(Direction::Reply, MAX_BODY, wire) {
        First::Frame(body) => body,
        First::Refused(refusal) => return Outcome::NoFrame(refusal),
        _ => return Outcome::Lost,
    };
    wire = &wire[20 + body.len()..];
    while let Some(rest) = wire.strip_prefix(HEARTBEAT) {
        wire = rest;
    }
    match HEARTBEAT.strip_prefix(wire) {
        Some(_) if wire.is_empty() => Outcome::Clean(body.to_vec(), Vec::new()),
        Some(rest) => Outcome::Clean(body.to_vec(), rest.to_vec()),
        None => Outcome::Dirty(body.to_vec()),
    }
}

/// Plays three exchanges.
///
/// # Panics
///
/// One ends otherwise than it must, or hangs; a connection with leftovers is used again, or a clean
/// one isn't.
pub fn run(input: &[u8]) {
    if input.len() > LONGEST_INPUT {
        return;
    }
    let Some(script) = pieces::scripted(input) else {
        return;
    };
    STAGE.with(|stage| {
        stage
            .runtime
            .block_on(stage::promptly("a client", play(stage, &script)))
    });
}

async fn play(stage: &Stage, script: &Scripted<'_>) {
    let client = Client::to(&format!("unix://{}", stage.path.display())).expect("an endpoint");
    let client = client
        .framing(LengthJson::with_max_body(MAX_BODY))
        .heartbeat_interval(Duration::ZERO)
        // No time passes here, and an input may be nothing but heartbeats.
        .heartbeat_limit(HeartbeatLimit {
            burst: u32::MAX,
            per_second: u32::MAX,
        })
        .pool(|pool| pool.max_size(1))
        .build()
        .expect("a client");
    let first = async {
        let (stream, _) = stage.listener.accept().await.expect("it listens");
        answer(stream, b"first", b"").await
    };
    let (reply, stream) = tokio::join!(client.exchange(b"first"), first);
    assert_eq!(reply.expect("a reply"), "first");

    let expected = expect(script.wire);
    let (reply, stream) = tokio::join!(
        client.exchange(b"second"),
        recite(stream, script, &expected)
    );
    compare(reply, &expected);
    // What has been written is in the client's socket, and its runtime gets to know.
    yield_now().await;

    let third = async {
        match (stream, &expected) {
            (Some(stream), Outcome::Clean(_, missing)) => answer(stream, b"third", missing).await,
            (stream, _) => {
                let (fresh, _) = stage.listener.accept().await.expect("it listens");
                drop(stream);
                answer(fresh, b"third", b"").await
            }
        }
    };
    let (reply, stream) = tokio::join!(client.exchange(b"third"), third);
    assert_eq!(reply.expect("a reply"), "third");
    let snapshot = client.snapshot();
    assert_eq!(
        (snapshot.pool.active, snapshot.waiting),
        (0, 0),
        "{snapshot}"
    );
    drop((client, stream));
    // The pool's tasks end.
    yield_now().await;
}

/// Takes the request that must come, and echoes it, after what is missing of a heartbeat.
async fn answer(mut stream: UnixStream, request: &[u8], missing: &[u8]) -> UnixStream {
    take(&mut stream, request).await;
    let reply = [missing, &reference::frame(request)].concat();
    stream.write_all(&reply).await.expect("the client listens");
    stream
}

async fn take(stream: &mut UnixStream, request: &[u8]) {
    let mut wire = vec![0; 20 + request.len()];
    stream.read_exact(&mut wire).await.expect("a request");
    assert_eq!(wire, reference::frame(request));
}

/// Takes the second request, and answers with the input. Hangs up if the client has to wait for
/// more.
async fn recite(
    mut stream: UnixStream,
    script: &Scripted<'_>,
    expected: &Outcome,
) -> Option<UnixStream> {
    take(&mut stream, b"second").await;
    for piece in &script.pieces {
        if stream.write_all(piece).await.is_err() {
            assert!(
                !matches!(expected, Outcome::Clean(..)),
                "the client closed a clean connection"
            );
            return None;
        }
        yield_now().await;
    }
    (*expected != Outcome::Lost).then_some(stream)
}

fn compare(reply: Result<Bytes, RequestError>, expected: &Outcome) {
    let agree = match (&reply, expected) {
        (Ok(reply), Outcome::Clean(body, _) | Outcome::Dirty(body)) => reply == body,
        (
            Err(RequestError::Lost {
                cause: Loss::NoReply,
                ..
            }),
            Outcome::Dirty(_),
        ) => true,
        (Err(RequestError::NoFrame(error)), Outcome::NoFrame(refusal)) => {
            Refusal::of(error) == *refusal
        }
        (
            Err(RequestError::Lost {
                cause: Loss::Closed,
                ..
            }),
            Outcome::Lost,
        ) => true,
        _ => false,
    };
    assert!(agree, "{reply:?}, and the reference says {expected:?}");
}
