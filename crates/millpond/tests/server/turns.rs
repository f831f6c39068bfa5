//! Who waits for whom: a client with a small request waits neither for a flood of others' requests
//! nor for the long requests and replies of all of them.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use crate::serving::{Client, frame, serve, until};
use bytes::Bytes;
use millpond::server::{Handler, raw};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Notify,
    time::timeout,
};

const SECOND: Duration = Duration::from_secs(1);

fn echo() -> impl Handler {
    raw(async |body: Bytes| Ok(body))
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_tiny_frames_keeps_no_neighbour_waiting() {
    let site = serve(echo()).await;
    let mut flood = site.connect().await;
    let mut honest = site.connect().await;
    honest.ask("1").await;
    let wire = frame("1").repeat(1_000);
    flood.write(&wire).await;
    let before = site.snapshot().totals.requests;
    assert_eq!(honest.ask("2").await, "2");
    let between = site.snapshot().totals.requests - before;
    assert!(
        between <= 200,
        "{between} requests of the other were served first"
    );
    let mut replies = vec![0; wire.len()];
    flood
        .stream
        .read_exact(&mut replies)
        .await
        .expect("all replies");
    assert_eq!(replies, wire);
}

/// How many send or get what is long, and how long it is: all of it is in the socket before the
/// server comes by.
const LONG_ONES: usize = 16;
const LONG: usize = 100_000;

#[tokio::test(start_paused = true)]
async fn a_small_request_waits_for_one_long_request_and_not_for_those_of_all_others() {
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    let handler = raw(async |body: Bytes| {
        HANDLED.fetch_add(usize::from(body.len() == LONG), SeqCst);
        Ok(Bytes::from_static(b"1"))
    });
    let site = serve(handler).await;
    let mut honest = site.connect().await;
    honest.ask("1").await;
    let mut others = Vec::new();
    for _ in 0..LONG_ONES {
        let mut other = site.connect().await;
        other.ask("1").await;
        others.push(other);
    }
    // This thread is the only one: nobody has a turn before all have sent.
    let wire = frame(vec![b'1'; LONG]);
    for other in &others {
        assert_eq!(other.stream.try_write(&wire).expect("room"), wire.len());
    }
    honest.stream.try_write(&frame("2")).expect("room");
    assert_eq!(honest.reply().await, "1");
    let before = HANDLED.load(SeqCst);
    assert!(before <= 2, "{before} long requests came first");
    for other in &mut others {
        assert_eq!(other.reply().await, "1");
    }
    assert_eq!(HANDLED.load(SeqCst), LONG_ONES, "all had their turn");
}

#[tokio::test(start_paused = true)]
async fn a_small_request_waits_for_one_long_reply_and_not_for_those_of_all_others() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static GATE: Notify = Notify::const_new();
    let handler = raw(async |body: Bytes| {
        if body == "1" {
            return Ok(body);
        }
        let opened = GATE.notified();
        ASKED.fetch_add(1, SeqCst);
        opened.await;
        Ok(Bytes::from(vec![b'1'; LONG]))
    });
    let site = serve(handler).await;
    let mut honest = site.connect().await;
    honest.ask("1").await;
    let mut others = Vec::new();
    for _ in 0..LONG_ONES {
        let mut other = site.connect().await;
        other.send("2").await;
        others.push(other);
    }
    until(|| (ASKED.load(SeqCst) == LONG_ONES).then_some(())).await;
    GATE.notify_waiters();
    honest.stream.try_write(&frame("1")).expect("room");
    assert_eq!(honest.reply().await, "1");
    let mut first = [0; 1];
    let has_some = |other: &&mut Client<UnixStream>| other.stream.try_read(&mut first).is_ok();
    let before = others.iter_mut().filter(has_some).count();
    assert!(before <= 2, "{before} long replies came first");
}

#[tokio::test(start_paused = true)]
async fn a_long_reply_behind_a_short_one_needs_a_long_turn_as_well() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static GATE: Notify = Notify::const_new();
    let handler = raw(async |body: Bytes| {
        let opened = GATE.notified();
        ASKED.fetch_add(1, SeqCst);
        opened.await;
        match &body[..] {
            b"1" => Ok(body),
            _ => Ok(Bytes::from(vec![b'1'; LONG])),
        }
    });
    let site = serve(handler).await;
    let mut honest = site.connect().await;
    honest.send("1").await;
    let mut others = Vec::new();
    for _ in 0..LONG_ONES {
        let mut other = site.connect().await;
        other.write([frame("1"), frame("2")].concat()).await;
        others.push(other);
    }
    until(|| (ASKED.load(SeqCst) == 1 + 2 * LONG_ONES).then_some(())).await;
    GATE.notify_waiters();
    assert_eq!(honest.reply().await, "1");
    let mut first = [0; 1_000];
    let has_long = |other: &&mut Client<UnixStream>| {
        let more_than_the_short_one = |read| read > frame("1").len();
        other
            .stream
            .try_read(&mut first)
            .is_ok_and(more_than_the_short_one)
    };
    let before = others.iter_mut().filter(has_long).count();
    assert!(before <= 2, "{before} long replies came first");
}

/// While a handler works others give their turns back, on another worker: a turn may come between
/// the end of reading, which waits for it with a long request, and a long reply that wants it as
/// well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_comes_while_a_handler_works_loses_no_request() {
    let handler = raw(async |body: Bytes| {
        if body.len() == LONG {
            return Ok(body.slice(..4));
        }
        std::thread::sleep(Duration::from_millis(1));
        Ok(Bytes::from(body.repeat(LONG / body.len())))
    });
    let site = serve(handler).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let client = site.connect().await;
        clients.push(tokio::spawn(async move {
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            for number in 1_000..1_300 {
                let (short, long) = (number.to_string(), number.to_string().repeat(LONG / 4));
                wire.extend([frame(&short), frame(&long)].concat());
                expected.extend([frame(&long), frame(&short)].concat());
            }
            let (mut reader, mut writer) = client.stream.into_split();
            let mut replies = vec![0; expected.len()];
            let both =
                async { tokio::join!(writer.write_all(&wire), reader.read_exact(&mut replies)) };
            let (sent, read) = timeout(60 * SECOND, both).await.expect("in time");
            sent.expect("a write");
            read.expect("all replies");
            assert!(replies == expected, "in their order");
        }));
    }
    for client in clients {
        client.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn long_requests_that_come_together_are_all_answered_in_their_order() {
    let site = serve(raw(async |body: Bytes| Ok(body.slice(..4)))).await;
    let client = site.connect().await;
    let (mut reader, mut writer) = client.stream.into_split();
    let sending = tokio::spawn(async move {
        for number in 1_000..1_100 {
            let wire = frame(number.to_string().repeat(10_000));
            writer.write_all(&wire).await.expect("a write");
        }
    });
    let mut replies = vec![0; 100 * frame("1000").len()];
    timeout(60 * SECOND, reader.read_exact(&mut replies))
        .await
        .expect("in time")
        .expect("all replies");
    let expected: Vec<_> = (1_000..1_100)
        .flat_map(|number| frame(number.to_string()))
        .collect();
    assert_eq!(replies, expected);
    sending.await.expect("no panic");
}
