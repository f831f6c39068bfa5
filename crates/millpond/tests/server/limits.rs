//! What a client can't do to the server and its neighbours: keep it waiting, keep it busy, fill its
//! memory, take all places.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use crate::serving::{Client, closed, connect_tcp, frame, serve, serve_tcp, serve_with, until};
use bytes::Bytes;
use millpond::{
    framing::{LengthJson, json::as_error_reply},
    server::{Closed, Handler, HeartbeatLimit, Server, json, raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::Notify,
    time::{Instant, sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

fn echo() -> impl Handler {
    raw(async |body: Bytes| Ok(body))
}

/// Sleeps for as many seconds as it is told.
fn sleeper() -> impl Handler {
    json(async |seconds: u64| -> Result<u64, String> {
        sleep(Duration::from_secs(seconds)).await;
        Ok(seconds)
    })
}

fn assert_about(measured: Duration, seconds: f64) {
    let measured = measured.as_secs_f64();
    assert!(
        (seconds..seconds + 0.1).contains(&measured),
        "{measured} s, and not {seconds}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_not_waited_for() {
    for begun in ["l", "length:00000", "Heart"] {
        let site = serve(echo()).await;
        let mut client = site.connect().await;
        let since = Instant::now();
        client.write(begun).await;
        assert_eq!(site.closed().await, Closed::HeaderTimeout, "{begun}");
        assert_about(since.elapsed(), 10.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_byte_by_byte_has_no_more_time_than_at_once() {
    let site = serve(echo()).await;
    let mut client = site.connect().await;
    let since = Instant::now();
    for byte in frame("1") {
        if client.stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(SECOND).await;
    }
    assert_eq!(site.closed().await, Closed::HeaderTimeout);
    assert_about(since.elapsed(), 11.0);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_came_in_parts_leaves_no_deadline_behind() {
    let site = serve(echo()).await;
    let mut client = site.connect().await;
    for cut in [3, 20, 24] {
        let wire = frame("[1,2]");
        client.write(&wire[..cut]).await;
        sleep(SECOND).await;
        client.write(&wire[cut..]).await;
        assert_eq!(client.reply().await, "[1,2]");
        sleep(100 * SECOND).await;
    }
    assert_eq!(client.ask("3").await, "3");
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_request_is_being_handled_is_not_idle() {
    let builder = Server::builder(sleeper()).idle_timeout(Some(10 * SECOND));
    let site = serve_with(builder.handler_deadline(None)).await;
    assert_eq!(site.connect().await.ask("60").await, "60");
}

#[tokio::test(start_paused = true)]
async fn a_body_has_time_for_its_length() {
    let builder = || {
        Server::builder(echo())
            .body_timeout(SECOND)
            .least_rate(1_000)
    };
    let body = format!("\"{}\"", "x".repeat(9_998));
    // At the lowest rate, in steps of a second: it ends in time.
    let site = serve_with(builder()).await;
    let mut client = site.connect().await;
    for part in frame(&body).chunks(1_000) {
        client.write(part).await;
        sleep(SECOND).await;
    }
    assert_eq!(client.reply().await, body);
    // Slower than that: it doesn't.
    let site = serve_with(builder()).await;
    let mut client = site.connect().await;
    let since = Instant::now();
    for part in frame(&body).chunks(700) {
        if client.stream.write_all(part).await.is_err() {
            break;
        }
        sleep(SECOND).await;
    }
    assert_eq!(site.closed().await, Closed::BodyTimeout);
    // A second, and what a frame of 10,020 bytes takes.
    assert!(
        since.elapsed() < Duration::from_secs(13),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn replies_owed_are_written_before_a_frame_that_does_not_end_closes_the_connection() {
    let site = serve(sleeper()).await;
    let mut client = site.connect().await;
    client.write([&frame("20")[..], b"leng"].concat()).await;
    assert_eq!(client.reply().await, "20");
    assert_eq!(client.next_reply().await, None);
    assert_eq!(site.closed().await, Closed::HeaderTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed_and_costs_bounded_memory() {
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    let handler = raw(async |_: Bytes| {
        HANDLED.fetch_add(1, SeqCst);
        Ok(Bytes::from(vec![b'1'; 200_000]))
    });
    let site = serve_with(Server::builder(handler).write_timeout(5 * SECOND)).await;
    let mut client = site.connect().await;
    let since = Instant::now();
    let wire = frame("1").repeat(200);
    // The server stops reading long before it has read all these.
    let _ = timeout(SECOND, client.stream.write_all(&wire)).await;
    assert_eq!(site.closed().await, Closed::WriteTimeout);
    assert!(since.elapsed() < 20 * SECOND, "{:?}", since.elapsed());
    let handled = HANDLED.load(SeqCst);
    assert!(
        handled <= 40,
        "{handled} replies were made for a client that reads none"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_everything() {
    let handler = raw(async |_: Bytes| Ok(Bytes::from(vec![b'1'; 100_000])));
    let site = serve_with(Server::builder(handler).write_timeout(10 * SECOND)).await;
    let mut client = site.connect().await;
    client.write(frame("1").repeat(30)).await;
    for _ in 0..30 {
        sleep(2 * SECOND).await;
        assert_eq!(client.reply().await.len(), 100_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_closed_and_heartbeats_are_none() {
    let site = serve_with(Server::builder(echo()).idle_timeout(Some(60 * SECOND))).await;
    let mut client = site.connect().await;
    sleep(30 * SECOND).await;
    client.ask("1").await;
    let since = Instant::now();
    while since.elapsed() < 55 * SECOND {
        sleep(5 * SECOND).await;
        client.write("HeartBeat").await;
    }
    assert_eq!(site.closed().await, Closed::IdleTimeout);
    // And a second for the client to close its side.
    assert_about(since.elapsed(), 61.0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_heartbeats_is_closed_and_its_neighbours_are_served() {
    let limit = HeartbeatLimit {
        burst: 50,
        per_second: 10,
    };
    let site = serve_with(Server::builder(echo()).heartbeat_limit(limit)).await;
    let mut honest = site.connect().await;
    for _ in 0..100 {
        honest.write("HeartBeat").await;
        sleep(SECOND / 10).await;
    }
    assert_eq!(honest.ask("1").await, "1");
    let mut flood = site.connect().await;
    flood.write("HeartBeat".repeat(51)).await;
    assert_eq!(site.closed().await, Closed::HeartbeatFlood);
    assert_eq!(honest.ask("2").await, "2");
    assert_eq!(site.snapshot().totals.heartbeats_received, 151);
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

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_closes_the_connection_after_the_replies_owed() {
    for wrong in [
        "length:+000000000009",
        "length: 000000000009",
        "length:0x00000000009",
        "length:000000000009{",
        "length:00000000000009",
        "LENGTH:0000000000001",
        "HeartBear",
        "\u{1}\u{2}",
    ] {
        let site = serve(sleeper()).await;
        let mut client = site.connect().await;
        let wire = [
            &frame("2")[..],
            &frame("1"),
            wrong.as_bytes(),
            b"and more of the same",
        ]
        .concat();
        client.write(wire).await;
        let rest = timeout(10 * SECOND, client.rest()).await.expect("an end");
        if wrong == "length:00000000000009" {
            // 13 digits, and then a body of zero bytes, and then a 9.
            assert!(rest.starts_with(&frame("2")));
        } else {
            assert_eq!(rest, [frame("2"), frame("1")].concat(), "{wrong}");
        }
        drop(client);
        assert_eq!(site.closed().await, Closed::ProtocolError, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_too_long_is_told_as_such_after_the_replies_owed() {
    for (long, length) in [
        ("length:9999999999999", "9,999,999,999,999"),
        ("length:0000001048577", "1,048,577"),
    ] {
        let site = serve(sleeper()).await;
        let mut client = site.connect().await;
        let wire = [&frame("2")[..], &frame("1"), long.as_bytes(), b"and more"].concat();
        client.write(wire).await;
        assert_eq!(client.reply().await, "2");
        assert_eq!(client.reply().await, "1");
        let told = client.reply().await;
        let expected = format!(
            "a body of {length} bytes is longer than the limit of 1,048,576; the limit is set by LengthJson::with_max_body on the server"
        );
        let error = as_error_reply(told.as_bytes()).expect("an error reply");
        assert_eq!((error.code, error.message), (-32600, expected));
        assert_eq!(client.next_reply().await, None);
        drop(client);
        assert_eq!(site.closed().await, Closed::FrameTooLong);
        let totals = site.snapshot().totals;
        assert_eq!((totals.requests, totals.failures.refused), (2, 1));
    }
}

/// Ten times as much as is allowed, on the real clock and with the kernel's own buffers: a reset
/// would take the reply from the client's hands.
#[tokio::test]
async fn a_client_that_is_still_sending_what_is_too_long_reads_that_it_is() {
    let wire = frame(vec![b'1'; 10 << 20]);
    for _ in 0..20 {
        let framing = LengthJson::default().limit_named("--max-frame");
        let (running, port) = serve_tcp(Server::builder(echo()).framing(framing)).await;
        let mut client = connect_tcp(port).await;
        client.stream.write_all(&wire).await.expect("no reset");
        let told = client.rest_or_reset().await.expect("no reset");
        let told = String::from_utf8(told).expect("UTF-8");
        assert!(
            told.contains("10,485,760 bytes") && told.contains("set by --max-frame"),
            "{told}"
        );
        drop(client);
        assert_eq!(closed(&running).await, Closed::FrameTooLong);
    }
}

/// Where bodies are short the reply in the library's words, which quotes, is too long to be one.
#[tokio::test]
async fn a_failure_that_cannot_be_told_ends_a_connection_before_a_frame_that_is_too_long() {
    let (no_json, too_long) = (frame(b"\"\xff\xfe\""), frame(vec![b'1'; 65]));
    for (wire, ended) in [
        ([&no_json[..], &too_long].concat(), Closed::ToldFailure),
        (too_long, Closed::FrameTooLong),
    ] {
        let server = Server::builder(raw(async |body: Bytes| Ok(body)).only_json());
        let site = serve_with(server.framing(LengthJson::with_max_body(64))).await;
        site.connect().await.write(wire).await;
        assert_eq!(site.closed().await, ended);
    }
}

#[tokio::test]
async fn an_http_client_is_told_what_this_port_speaks() {
    for method in ["GET", "POST", "HEAD", "OPTIONS"] {
        let (running, port) = serve_tcp(Server::builder(echo())).await;
        let mut client = connect_tcp(port).await;
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n{}",
            "x".repeat(20_000)
        );
        client.write(request).await;
        // The rest of what it has to say meets no reset.
        sleep(SECOND / 20).await;
        client.write("more").await;
        sleep(SECOND / 20).await;
        client.write("more").await;
        let mut told = String::new();
        // A read that fails is a reset: the words would be lost.
        client
            .stream
            .read_to_string(&mut told)
            .await
            .expect("no reset");
        assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{told}");
        assert!(
            told.ends_with("This port speaks the length: protocol with JSON bodies, not HTTP.\n")
        );
        drop(client);
        assert_eq!(closed(&running).await, Closed::Http);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tls_handshake_on_a_plain_port_is_closed_as_such() {
    let site = serve(echo()).await;
    let mut client = site.connect().await;
    client.write(b"\x16\x03\x01\x02\x00\x01\x00").await;
    assert_eq!(client.rest().await, b"");
    assert_eq!(site.closed().await, Closed::Tls);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_sent_after_a_whole_interval_of_silence_and_while_a_handler_is_busy() {
    let builder = Server::builder(sleeper()).heartbeat_interval(10 * SECOND);
    let site = serve_with(builder.handler_deadline(None)).await;
    let mut client = site.connect().await;
    // Busy: no request for 5 s never lets it come to a heartbeat.
    let mut read = [0; 64];
    for _ in 0..10 {
        client.ask("5").await;
    }
    assert_eq!(site.snapshot().totals.heartbeats_sent, 0);
    let since = Instant::now();
    client.send("35").await;
    for _ in 0..3 {
        let length = client.stream.read(&mut read).await.expect("a heartbeat");
        assert_eq!(&read[..length], b"HeartBeat");
    }
    let waited = since.elapsed().as_secs_f64() / 3.0;
    assert!((8.9..11.1).contains(&waited), "{waited}");
    assert_eq!(client.reply().await, "35");
}

#[tokio::test(start_paused = true)]
async fn no_heartbeats_are_sent_where_the_interval_is_zero() {
    let site = serve_with(
        Server::builder(echo())
            .heartbeat_interval(Duration::ZERO)
            .idle_timeout(Some(60 * SECOND)),
    )
    .await;
    let _client = site.connect().await;
    assert_eq!(site.closed().await, Closed::IdleTimeout);
    assert_eq!(site.snapshot().totals.heartbeats_sent, 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_its_heartbeats_is_dead_and_one_that_never_sent_any_is_not() {
    let site = serve(echo()).await;
    let mut silent = site.connect().await;
    silent.ask("1").await;
    let mut client = site.connect().await;
    client.write("HeartBeat").await;
    let since = Instant::now();
    assert_eq!(site.closed().await, Closed::HeartbeatMissed);
    let waited = since.elapsed().as_secs_f64();
    assert!(
        (22.4..27.6).contains(&waited),
        "2.5 intervals of 9 to 11 s: {waited}"
    );
    sleep(300 * SECOND).await;
    assert_eq!(silent.ask("1").await, "1");
}

#[tokio::test(start_paused = true)]
async fn while_a_client_is_not_read_its_silence_means_nothing() {
    let builder = Server::builder(sleeper()).max_in_flight(1);
    let site = serve_with(builder.handler_deadline(None)).await;
    let mut client = site.connect().await;
    client.write("HeartBeat").await;
    // The second is begun, and can't be read on while the first is handled.
    client.write([&frame("100")[..], b"leng"].concat()).await;
    assert_eq!(client.reply().await, "100");
    client.write(&frame("1")[4..]).await;
    assert_eq!(client.reply().await, "1");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_takes_its_time_is_a_sign_of_life() {
    let site = serve(echo()).await;
    let mut client = site.connect().await;
    client.write("HeartBeat").await;
    let body = format!("\"{}\"", "x".repeat(999_998));
    for part in frame(&body).chunks(25_000) {
        client.write(part).await;
        sleep(SECOND).await;
    }
    assert_eq!(client.reply().await, body);
}

#[tokio::test(start_paused = true)]
async fn beyond_max_connections_clients_are_turned_away_until_a_place_is_free() {
    let site = serve_with(Server::builder(echo()).max_connections(2)).await;
    let mut first = site.connect().await;
    first.ask("1").await;
    let mut second = site.connect().await;
    second.ask("1").await;
    for _ in 0..5 {
        let mut refused = site.connect().await;
        assert_eq!(refused.rest().await, b"");
    }
    drop(first);
    until(|| (site.snapshot().open == 1).then_some(())).await;
    assert_eq!(site.connect().await.ask("1").await, "1");
    let totals = site.snapshot().totals;
    assert_eq!((totals.accepted, totals.refused_max_connections), (3, 5));
}

#[tokio::test]
async fn one_address_takes_no_more_than_its_share() {
    let builder = Server::builder(echo()).max_connections_per_address(Some(2));
    let (running, port) = serve_tcp(builder).await;
    let mut first = connect_tcp(port).await;
    first.ask("1").await;
    let mut second = connect_tcp(port).await;
    second.ask("1").await;
    let mut third = connect_tcp(port).await;
    let refused = timeout(5 * SECOND, third.stream.read(&mut [0]))
        .await
        .expect("soon");
    assert_eq!(
        refused.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::ConnectionReset)
    );
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.2:0".parse().expect("an address"))
        .expect("an address of loopback");
    let other: TcpStream = socket
        .connect(([127, 0, 0, 1], port).into())
        .await
        .expect("a connection");
    assert_eq!(
        Client::new(other).ask("1").await,
        "1",
        "another address has its own"
    );
    drop(first);
    until(|| (running.snapshot().open <= 2).then_some(())).await;
    assert_eq!(connect_tcp(port).await.ask("1").await, "1");
    assert_eq!(running.snapshot().totals.refused_per_address, 1);
}

/// Nagle's algorithm against delayed acknowledgements, on the real clock: about 40 ms for each
/// exchange without help.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_writes_head_and_body_apart_waits_for_no_delayed_acknowledgement() {
    let (_running, port) = serve_tcp(Server::builder(echo())).await;
    let mut client = connect_tcp(port).await;
    client.stream.set_nodelay(false).expect("a socket option");
    let wire = frame("[1,2,3]");
    let since = std::time::Instant::now();
    for _ in 0..100 {
        client.write(&wire[..20]).await;
        client.write(&wire[20..]).await;
        assert_eq!(client.reply().await, "[1,2,3]");
    }
    let elapsed = since.elapsed();
    assert!(
        elapsed < Duration::from_millis(2_000),
        "100 exchanges took {elapsed:?}"
    );
}

#[tokio::test]
async fn settings_out_of_their_range_are_named() {
    let any = "127.0.0.1:0".parse().expect("an endpoint");
    let listener = millpond::net::Listener::bind(&any, Default::default())
        .await
        .expect("a listener");
    let error = Server::builder(echo())
        .max_in_flight(0)
        .serve(listener)
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "max_in_flight is 0, and must be at least 1"
    );
}
