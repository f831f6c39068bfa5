//! A server with framings that are not the crate's own: which deadline a frame falls under, what
//! happens when a framing is wrong, and that a task whose budget is used up doesn't take unread
//! bytes for silence.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use crate::serving::{Client, Site, frame, serve_with, until};
use bytes::Bytes;
use millpond::{
    framing::{Context, Extent, FrameError, Framing, Scan, Step},
    server::{Closed, Handler, Server, raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::{consume_budget, coop::has_budget_remaining},
    time::{Instant, sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

/// Lines: their end is searched for, and nothing is announced.
struct Lines;

impl Framing for Lines {
    fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        let searched = scan.searched();
        let end = bytes[searched..].iter().position(|&byte| byte == b'\n');
        scan.set_searched(bytes.len());
        Ok(end.map_or(Step::More { missing: 1 }, |at| {
            Step::Frame(Extent {
                head: 0,
                body: searched + at,
                tail: 1,
            })
        }))
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        out.push(b'\n');
        Ok(())
    }
}

/// Eight bytes with the body's length, which is announced, and not limited.
struct Prefixed;

impl Framing for Prefixed {
    fn max_frame(&self) -> usize {
        usize::MAX
    }

    fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        let Some(head) = bytes.first_chunk::<8>() else {
            return Ok(Step::More {
                missing: 8 - bytes.len(),
            });
        };
        let extent = Extent {
            head: 8,
            body: u64::from_be_bytes(*head) as usize,
            tail: 0,
        };
        scan.announce(extent);
        Ok(extent.within(bytes.len()))
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        out.extend_from_slice(body);
        Ok(())
    }
}

/// Always answers the same.
struct Stubborn(Step);

impl Framing for Stubborn {
    fn next(&self, _: Context<'_>, _: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
        Ok(self.0)
    }

    fn encode(&self, _: Context<'_>, _: &[u8], _: &mut Vec<u8>) -> Result<(), FrameError> {
        Ok(())
    }
}

/// A body has a second, and a second for each 1,000 bytes; a head has 10 s.
async fn site(framing: impl Framing) -> Site {
    let builder = Server::builder(raw(async |body: Bytes| Ok(body)));
    serve_with(
        builder
            .framing(framing)
            .body_timeout(SECOND)
            .least_rate(1_000),
    )
    .await
}

fn encoded(framing: &impl Framing, length: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    let body = vec![b'x'; length];
    framing
        .encode(Context::REQUEST, &body, &mut wire)
        .expect("no limit");
    wire
}

/// Writes so many bytes a second until the server has closed the connection, or all are written.
async fn drip(client: &mut Client<UnixStream>, wire: &[u8], each: usize) {
    for part in wire.chunks(each) {
        if client.stream.write_all(part).await.is_err() {
            return;
        }
        sleep(SECOND).await;
    }
}

async fn is_served_at_the_lowest_rate(framing: impl Framing) {
    let wire = encoded(&framing, 30_000);
    let site = site(framing).await;
    let mut client = site.connect().await;
    drip(&mut client, &wire, 1_000).await;
    let mut reply = vec![0; wire.len()];
    client
        .stream
        .read_exact(&mut reply)
        .await
        .expect("its reply");
    assert!(reply == wire);
}

#[tokio::test(start_paused = true)]
async fn a_long_body_that_comes_at_the_lowest_rate_is_served_whatever_frames_it() {
    is_served_at_the_lowest_rate(Prefixed).await;
    is_served_at_the_lowest_rate(Lines).await;
}

/// Writes the first part at once, the rest a byte a second. Says how the connection ended, and
/// after how many seconds.
async fn dripped(framing: impl Framing, at_once: usize) -> (Closed, u64) {
    let wire = encoded(&framing, 10_000);
    let site = site(framing).await;
    let mut client = site.connect().await;
    let since = Instant::now();
    client.write(&wire[..at_once]).await;
    drip(&mut client, &wire[at_once..], 1).await;
    (site.closed().await, since.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_body_of_a_byte_a_second_is_closed_as_such_whatever_frames_it() {
    // A second, and what 10,008 bytes take.
    assert_eq!(dripped(Prefixed, 9).await, (Closed::BodyTimeout, 12));
    // A second, and what 2,000 bytes take.
    assert_eq!(dripped(Lines, 2_000).await, (Closed::BodyTimeout, 4));
}

#[tokio::test(start_paused = true)]
async fn a_head_of_a_byte_a_second_is_closed_as_such_whatever_frames_it() {
    // A byte a second, and the head would end within 10 s: so one is left out of it.
    let site = site(Prefixed).await;
    let mut client = site.connect().await;
    drip(&mut client, &[0; 7], 1).await;
    assert_eq!(site.closed().await, Closed::HeaderTimeout);
    assert_eq!(dripped(Lines, 1).await, (Closed::HeaderTimeout, 11));
}

#[tokio::test(start_paused = true)]
async fn any_length_may_be_announced() {
    let builder = Server::builder(raw(async |body: Bytes| Ok(body))).framing(Prefixed);
    let site = serve_with(builder.body_timeout(SECOND).least_rate(1)).await;
    let mut client = site.connect().await;
    client.write([0xff; 30]).await;
    sleep(60 * SECOND).await;
    assert_eq!(site.snapshot().open, 1, "it waits for the rest");
    drop(client);
    assert_eq!(site.closed().await, Closed::Truncated);
}

#[tokio::test(start_paused = true)]
async fn a_framing_that_is_wrong_costs_the_connection_and_nothing_else() {
    let nothing = Extent {
        head: 0,
        body: 0,
        tail: 0,
    };
    let beyond = Extent { body: 4, ..nothing };
    for wrong in [
        Step::Frame(nothing),
        Step::Frame(beyond),
        Step::Heartbeat { length: 0 },
        Step::Heartbeat { length: 4 },
        Step::More { missing: 0 },
    ] {
        let site = site(Stubborn(wrong)).await;
        let mut client = site.connect().await;
        client.write("abc").await;
        let rest = timeout(10 * SECOND, client.rest()).await.expect("an end");
        assert_eq!(rest, b"", "{wrong:?}");
        drop(client);
        assert_eq!(site.closed().await, Closed::ProtocolError, "{wrong:?}");
    }
}

/// Answers a body that is longer than a byte at once; another after so many seconds, with all of
/// its task's budget used up.
fn exhausting(seconds: u64) -> impl Handler {
    raw(move |body: Bytes| async move {
        if body.len() == 1 {
            sleep(Duration::from_secs(seconds)).await;
            poll_fn(|cx| {
                while has_budget_remaining() {
                    let _ = pin!(consume_budget()).poll(cx);
                }
                Poll::Ready(())
            })
            .await;
        }
        Ok(body)
    })
}

#[tokio::test(start_paused = true)]
async fn heartbeats_that_a_task_without_budget_may_not_read_are_not_missed() {
    let builder = Server::builder(exhausting(100)).max_in_flight(1);
    let site = serve_with(builder.handler_deadline(None)).await;
    let mut client = site.connect().await;
    client.write([b"HeartBeat", &frame("1")[..]].concat()).await;
    until(|| (site.snapshot().handled == 1).then_some(())).await;
    // While one request is handled the connection isn't read: these wait in the socket.
    for _ in 0..10 {
        client.write("HeartBeat").await;
        sleep(9 * SECOND).await;
    }
    assert_eq!(client.reply().await, "1");
    assert_eq!(client.ask("22").await, "22");
    assert_eq!(site.snapshot().totals.closed.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_what_has_arrived_although_the_task_was_without_budget() {
    let site = serve_with(Server::builder(exhausting(5)).max_in_flight(1)).await;
    let mut client = site.connect().await;
    // More than one read takes, so that a part waits in the socket.
    let long = format!("\"{}\"", "x".repeat(20_000));
    client.write([frame("1"), frame(&long)].concat()).await;
    until(|| (site.snapshot().handled == 1).then_some(())).await;
    let drained = async { site.running.drain(60 * SECOND).await };
    let replies = async move {
        assert_eq!(client.next_reply().await.as_deref(), Some("1"));
        assert_eq!(client.next_reply().await, Some(long));
    };
    let (ended, ()) = tokio::join!(drained, replies);
    assert_eq!(ended.forced, 0);
}
