//! A server of protocols whose requests differ in what they ask for: none, one or several replies,
//! ids, and a state on which the next request's form may depend.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use millpond::{
    framed::FramedStream,
    framing::{self, Answer, Demand, Failure, Frame, FrameError, Framing, Note, Scan, Step, Told},
    server::{Handler, Reply, Request, Server, raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use crate::{
    serving::{Site, serve_with},
    store::{
        Store,
        numbered::{Numbered, frame},
    },
};

/// All lines that answer these requests, written at once.
async fn lines(site: &Site, requests: &str) -> String {
    let mut client = site.connect().await;
    client.write(requests).await;
    client.stream.shutdown().await.expect("an open stream");
    let mut lines = String::new();
    let read = client.stream.read_to_string(&mut lines).await;
    read.expect("the end");
    lines
}

/// Answers with the request, after a while where it begins so.
struct Slow;

static AT_ONCE: AtomicUsize = AtomicUsize::new(0);

impl Handler for Slow {
    async fn handle(&self, request: Request) -> Result<Reply, Failure> {
        let text = String::from_utf8_lossy(request.body()).into_owned();
        match text.as_str() {
            "fail" | "set a b noreply" => return Err(Failure::handler_failed("it failed")),
            "subscribe a b" => return Ok(Reply::bodies(["subscribed a 1", "subscribed b 2"])),
            "multi" => {
                AT_ONCE.fetch_add(1, SeqCst);
                sleep(Duration::from_secs(1)).await;
                AT_ONCE.fetch_sub(1, SeqCst);
                return Ok("OK".into());
            }
            "set a 1 noreply" => return Ok("nobody sees this".into()),
            _ => {}
        }
        Ok(format!("{text} {}", AT_ONCE.load(SeqCst)).into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gets_no_reply_gets_none_whatever_its_handler_says() {
    let site = serve_with(Server::builder(Slow).framing(Store)).await;
    let requests = "a\nset a 1 noreply\nb\nset a b noreply\nc\nfail\n";
    assert_eq!(
        lines(&site, requests).await,
        "a 0\nb 0\nc 0\nERROR it failed\n"
    );
    let totals = site.snapshot().totals;
    assert_eq!((totals.requests, totals.failures.handler_failed), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn several_bodies_get_a_frame_each() {
    let site = serve_with(Server::builder(Slow).framing(Store)).await;
    assert_eq!(
        lines(&site, "subscribe a b\nz\n").await,
        "subscribed a 1\nsubscribed b 2\nz 0\n"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_framing_refuses_reaches_no_handler() {
    let site = serve_with(Server::builder(Slow).framing(Store)).await;
    assert_eq!(
        lines(&site, "a\ncrash\ncrash noreply\nb\n").await,
        "a 0\nERROR crash is not for clients\nb 0\n"
    );
    assert_eq!(site.snapshot().totals.failures.refused, 2);
}

/// The form of a request may depend on the state that the one before it leaves.
#[tokio::test(start_paused = true)]
async fn no_request_is_read_while_one_that_changes_the_state_is_not_answered() {
    let site = serve_with(Server::builder(Slow).framing(Store)).await;
    // Handled together with what pins, it would say 1.
    assert_eq!(lines(&site, "multi\na\nb\n").await, "OK\na 0\nb 0\n");
}

#[tokio::test(start_paused = true)]
async fn a_reply_has_the_id_of_its_request() {
    let echo = raw(async |body: Bytes| match &body[..] {
        b"fail" => Err(Failure::handler_failed("failed")),
        _ => Ok(body),
    });
    let site = serve_with(Server::builder(echo).framing(Numbered)).await;
    let mut client = site.connect().await;
    for (id, body, reply) in [(7, "a", "a"), (65_535, "b", "b"), (9, "fail", "failed")] {
        client.write(frame(id, body.as_bytes())).await;
        let mut bytes = vec![0; 4 + reply.len()];
        client.stream.read_exact(&mut bytes).await.expect("a reply");
        assert_eq!(bytes, frame(id, reply.as_bytes()));
    }
}

/// What a proxy passes on is another request's reply: its id is the request's all the same.
struct Passes;

impl Handler for Passes {
    async fn handle(&self, request: Request) -> Result<Reply, Failure> {
        let frames: Vec<Frame> = vec![request.frame().clone()];
        Ok(Reply::frames(frames))
    }
}

#[tokio::test(start_paused = true)]
async fn whole_frames_are_passed_on_as_they_came() {
    let site = serve_with(Server::builder(Passes).framing(Numbered)).await;
    let mut client = site.connect().await;
    let request = frame(513, b"as it came");
    client.write(&request).await;
    let mut reply = vec![0; request.len()];
    client.stream.read_exact(&mut reply).await.expect("a reply");
    assert_eq!(reply, request);
}

/// Both ends of a stream of their own.
#[tokio::test(start_paused = true)]
async fn framed_streams_know_the_requests_as_well() {
    let (near, far) = tokio::net::UnixStream::pair().expect("a pair");
    let mut client = FramedStream::new(near.into(), Store);
    let mut server = FramedStream::accepted(far.into(), Store);
    client.queue(b"get a b").expect("room");
    client.queue(b"set a 1 noreply").expect("room");
    client.send(b"echo").await.expect("a peer");
    for expected in ["get a b", "set a 1 noreply", "echo"] {
        assert_eq!(server.receive().await.unwrap().unwrap(), expected);
    }
    server.queue(b"1\nEND").expect("room");
    server.send(b"END").await.expect("a peer");
    assert_eq!(client.receive().await.unwrap().unwrap(), "1\nEND");
    assert_eq!(client.receive().await.unwrap().unwrap(), "END");
    let refused = client.queue(b"crash").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the protocol refuses this request: crash is not for clients"
    );

    let (near, far) = tokio::net::UnixStream::pair().expect("a pair");
    let mut client = FramedStream::new(near.into(), Numbered);
    let mut server = FramedStream::accepted(far.into(), Numbered);
    client.send_frame(&frame(5, b"a")).await.expect("a peer");
    client.send_frame(&frame(5, b"b")).await.expect("a peer");
    let first = server.receive_frame().await.unwrap().unwrap();
    let second = server.receive_frame().await.unwrap().unwrap();
    assert_ne!(first.as_bytes()[..2], second.as_bytes()[..2]);
    server.send(b"A").await.expect("a peer");
    let reply = client.receive_frame().await.unwrap().unwrap();
    assert_eq!(reply.as_bytes(), frame(5, b"A"));
    // Once more, and it is the second's turn.
    let again = [&first.as_bytes()[..2], &[0, 1], b"A"].concat();
    let mut wire = server.into_stream();
    wire.write_all(&again).await.expect("a peer");
    for _ in 0..2 {
        let error = client.receive().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "a reply came that answers another request"
        );
    }
}

/// What a handler answers is checked: one frame too many or too few would shift all replies behind.
#[tokio::test(start_paused = true)]
async fn a_reply_of_another_number_of_frames_than_its_request_gets_has_failed() {
    let shifts = raw(async |body: Bytes| {
        Ok(match &body[..] {
            b"two" => Reply::bodies(["1", "2"]),
            b"none" => Reply::bodies::<&str>([]),
            b"split" => Reply::from("1\n2"),
            b"subscribe a b" => Reply::bodies(["subscribed a 1"]),
            b"subscribe c" => Reply::bodies(["subscribed c 1", "subscribed c 2"]),
            b"push" => Reply::bodies(["push a news", "1"]),
            _ => body.into(),
        })
    });
    let site = serve_with(Server::builder(shifts).framing(Store)).await;
    for (request, reply) in [
        (
            "two",
            "ERROR the reply can't be sent: it has more frames than its request gets",
        ),
        (
            "none",
            "ERROR the reply can't be sent: it has fewer frames than its request gets",
        ),
        (
            "split",
            "ERROR the reply can't be sent: 4 bytes were to be sent as one frame, and they aren't one",
        ),
        (
            "subscribe a b",
            "ERROR the reply can't be sent: it has fewer frames than its request gets",
        ),
        (
            "subscribe c",
            "ERROR the reply can't be sent: it has more frames than its request gets",
        ),
        ("push", "push a news\n1"),
    ] {
        let replies = lines(&site, &format!("a\n{request}\nb\n")).await;
        assert_eq!(replies, format!("a\n{reply}\nb\n"), "{request}");
    }

    // Where requests aren't looked at, each gets one frame.
    let two = raw(async |_: Bytes| Ok(Reply::bodies(["1", "2"])));
    let site = serve_with(Server::builder(two)).await;
    let mut client = site.connect().await;
    let reply = client.ask("0").await;
    assert!(
        reply.contains("more frames than its request gets"),
        "{reply}"
    );
}

/// As [`Store`], but bodies that begin with `wide` can't be encoded. It shows what a reply depends
/// on: a request to subscribe is answered by as many frames as the connection's state says.
struct Narrow {
    /// Whether it has a reply for failures.
    tells: bool,
}

impl Framing for Narrow {
    fn next(
        &self,
        context: framing::Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        Store.next(context, bytes, scan)
    }

    fn encode(
        &self,
        context: framing::Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        match body.starts_with(b"wide") {
            true => Err(FrameError::TooLong {
                length: body.len() as u64,
                limit: 3,
                setting: None,
            }),
            false => Store.encode(context, body, out),
        }
    }

    fn max_frame(&self) -> usize {
        Store.max_frame()
    }

    fn demand(&self, request: &[u8], state: &Note) -> Demand {
        Store.demand(request, state)
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        Store.answers(asked, reply, state)
    }

    fn encode_failure(
        &self,
        context: framing::Context<'_>,
        request: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        match self.tells {
            true => Store.encode_failure(context, request, failure, out),
            false => Told::ByClosing,
        }
    }
}

/// Frames that were put together for a reply and never sent have changed nothing.
#[tokio::test(start_paused = true)]
async fn a_reply_that_cannot_be_sent_leaves_the_state_as_it_was() {
    let wide = "x".repeat(2_000);
    for unsendable in ["wide", "two\nlines", "push", &wide] {
        let handler = || {
            let last = unsendable.to_owned();
            raw(move |body: Bytes| {
                let reply = match &body[..] {
                    b"subscribe a" => Reply::bodies(["subscribed a 1"]),
                    b"subscribe b c" => Reply::bodies(["subscribed b 2".to_owned(), last.clone()]),
                    // The state was 1, and so it is answered by two.
                    b"subscribe d e" => Reply::bodies(["subscribed d 2", "subscribed e 3"]),
                    _ => body.into(),
                };
                std::future::ready(Ok::<_, Failure>(reply))
            })
        };
        let requests = "subscribe a\nsubscribe b c\nsubscribe d e\nz\n";
        let tells = serve_with(Server::builder(handler()).framing(Narrow { tells: true })).await;
        let replies = lines(&tells, requests).await;
        let replies: Vec<&str> = replies.lines().collect();
        assert!(
            replies[1].starts_with("ERROR the reply can't be sent: "),
            "{replies:?}"
        );
        let others = [&replies[..1], &replies[2..]].concat();
        assert_eq!(
            others,
            ["subscribed a 1", "subscribed d 2", "subscribed e 3", "z"],
            "after {unsendable}"
        );

        // Where failures have no reply, the connection ends, and nothing of the reply was sent.
        let closes = serve_with(Server::builder(handler()).framing(Narrow { tells: false })).await;
        assert_eq!(lines(&closes, requests).await, "subscribed a 1\n");
    }
}
