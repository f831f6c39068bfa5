//! The limits that a server sets its clients: on the time for a head, a body, a reply, a heartbeat,
//! on idle connections, and on their number.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use crate::serving::{Client, connect_tcp, frame, serve, serve_tcp, serve_with, until};
use bytes::Bytes;
use millpond::server::{Closed, Handler, HeartbeatLimit, Server, json, raw};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
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
