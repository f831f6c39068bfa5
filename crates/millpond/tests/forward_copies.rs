//! How often a proxy's bytes are copied: each copy of a long frame is memory of its length, so the
//! bytes that are allocated while one is forwarded tell. The peer takes whatever is written at once
//! and allocates nothing of note, and so do no sockets.

use std::{
    alloc::System,
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use millpond::{
    client::{Client, Pipelining},
    connectors::StreamConnector,
    framing::{
        self, FrameError, Framing, IdSettings, LengthPrefixed, LengthPrefixedSettings, Scan, Step,
    },
    net::Stream,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The body of a long frame: far more than all buffers that are kept.
const LONG: usize = 4 << 20;
const SHORT: usize = 100;

/// A frame's length, and its id where there is one.
const HEAD: usize = 6;

fn settings() -> LengthPrefixedSettings {
    LengthPrefixedSettings {
        header: Some(HEAD),
        max_body: LONG,
        ..LengthPrefixedSettings::default()
    }
}

/// Looks at no requests.
fn plain() -> LengthPrefixed {
    LengthPrefixed::new(settings()).expect("valid settings")
}

fn numbered() -> LengthPrefixed {
    let id = IdSettings {
        offset: 4,
        width: 2,
        ..IdSettings::default()
    };
    let settings = LengthPrefixedSettings {
        id: Some(id),
        ..settings()
    };
    LengthPrefixed::new(settings).expect("valid settings")
}

/// Looks at requests, and has no ids.
struct Looks(LengthPrefixed);

impl Framing for Looks {
    fn next(
        &self,
        context: framing::Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        self.0.next(context, bytes, scan)
    }

    fn encode(
        &self,
        context: framing::Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        self.0.encode(context, body, out)
    }

    fn max_frame(&self) -> usize {
        self.0.max_frame()
    }
}

fn frame(id: u16, body: usize) -> Vec<u8> {
    let mut frame = head(id.to_be_bytes(), body).to_vec();
    frame.resize(HEAD + body, 0);
    frame
}

fn head(id: [u8; 2], body: usize) -> [u8; HEAD] {
    let length = u32::try_from(body).expect("a length").to_be_bytes();
    [length[0], length[1], length[2], length[3], id[0], id[1]]
}

/// Answers each request by a frame of zeros, with the request's id.
#[derive(Default)]
struct Peer {
    /// How long the bodies of its replies are.
    reply: Arc<AtomicUsize>,
    /// How much of a request it has taken, and the beginning of that.
    taken: usize,
    head: [u8; HEAD],
    /// The ids of the requests that it has to answer.
    owed: VecDeque<[u8; 2]>,
    /// How much of the next reply it has sent.
    sent: usize,
    reader: Option<Waker>,
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            if self.taken < HEAD {
                let at = self.taken;
                (self.head[at], rest) = (byte, behind);
                self.taken += 1;
                continue;
            }
            let [a, b, c, d, id @ ..] = self.head;
            let whole = HEAD + u32::from_be_bytes([a, b, c, d]) as usize;
            let more = rest.len().min(whole - self.taken);
            rest = &rest[more..];
            self.taken += more;
            if self.taken == whole {
                self.taken = 0;
                self.owed.push_back(id);
            }
        }
        self.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(&id) = self.owed.front() else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let body = self.reply.load(Relaxed);
        let head = head(id, body);
        while self.sent < HEAD && buffer.remaining() > 0 {
            buffer.put_slice(&head[self.sent..=self.sent]);
            self.sent += 1;
        }
        let more = buffer.remaining().min(HEAD + body - self.sent);
        buffer.initialize_unfilled_to(more).fill(0);
        buffer.advance(more);
        self.sent += more;
        if self.sent == HEAD + body {
            self.sent = 0;
            self.owed.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

/// How many times so many bytes of the long frame are allocated while frames with such bodies are
/// forwarded.
async fn copies(client: &Client<impl Framing>, request: usize, reply: &AtomicUsize) -> f64 {
    // Whose id nobody else has: it is changed on the way, and back.
    let request = frame(7, request);
    let mut copies = 0.0;
    // The first of them finds no buffers that are kept.
    for _ in 0..5 {
        let before = ALLOCATOR.stats().bytes_allocated;
        let frames = client.forward(&request).await.expect("a reply");
        copies = (ALLOCATOR.stats().bytes_allocated - before) as f64 / LONG as f64;
        let [one] = &frames[..] else {
            panic!("{} frames", frames.len());
        };
        let body = reply.load(Relaxed);
        assert_eq!(one.as_bytes()[..HEAD], head([0, 7], body));
        assert_eq!(one.body().len(), body);
    }
    copies
}

/// The copies of a long request, and those of a long reply.
async fn measure<F: Framing>(framing: F, pipelined: bool) -> [f64; 2] {
    let reply = Arc::new(AtomicUsize::new(SHORT));
    let of_peers = Arc::clone(&reply);
    let name = "127.0.0.1:1".parse().expect("an endpoint");
    let streams = StreamConnector::opened_by(name, move || {
        let peer = Peer {
            reply: Arc::clone(&of_peers),
            ..Peer::default()
        };
        std::future::ready(Ok(Stream::foreign(peer)))
    });
    let builder = Client::over(streams).framing(framing);
    let builder = builder
        .heartbeat_interval(Duration::ZERO)
        .pool(|pool| pool.max_size(1));
    let builder = match pipelined {
        true => builder.pipelined(Pipelining::default()),
        false => builder,
    };
    let client = builder.build().expect("valid settings");
    // The peer is known to read frames, and there is a connection.
    let small = frame(7, SHORT);
    let (one, two, three) = tokio::join!(
        client.forward(&small),
        client.forward(&small),
        client.forward(&small),
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    let of_request = copies(&client, LONG, &reply).await;
    reply.store(LONG, Relaxed);
    let of_reply = copies(&client, SHORT, &reply).await;
    [of_request, of_reply]
}

/// One test, for the whole binary's allocations are counted.
#[tokio::test(start_paused = true)]
async fn a_frame_that_is_forwarded_is_copied_no_more_than_it_must() {
    // The memory that a reply is received into is the one that its caller gets.
    for (what, measured, expected) in [
        ("exclusive", measure(plain(), false).await, [0.0, 1.0]),
        (
            "exclusive, looked at",
            measure(Looks(plain()), false).await,
            [0.0, 1.0],
        ),
        (
            "exclusive, renumbered",
            measure(numbered(), false).await,
            [1.0, 1.0],
        ),
        // Requests lie one behind the other until they are written.
        ("pipelined", measure(plain(), true).await, [1.0, 1.0]),
        (
            "pipelined, looked at",
            measure(Looks(plain()), true).await,
            [1.0, 1.0],
        ),
        (
            "pipelined, renumbered",
            measure(numbered(), true).await,
            [2.0, 1.0],
        ),
    ] {
        let [request, reply] = measured;
        println!("{what}: request {request:.3}, reply {reply:.3} times its length");
        for (measured, expected) in measured.into_iter().zip(expected) {
            assert!(
                (measured - expected).abs() < 0.05,
                "{what}: {measured:.3} times its length was allocated, and {expected} expected"
            );
        }
    }
}
