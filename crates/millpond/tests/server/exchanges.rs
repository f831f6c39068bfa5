//! Requests and replies as clients see them, however the bytes are cut, whatever is in them, and
//! whatever the handler does.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::serving::{closed, connect_tcp, frame, serve, serve_tcp, serve_with, until};
use bytes::Bytes;
use millpond::{
    client::{Client, Execution, RequestError},
    framing::{ApplicationCode, Failure, LengthJson},
    server::{Closed, Handler, Reply, Request, Server, json, raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};

const MILLISECOND: Duration = Duration::from_millis(1);

fn echo() -> impl Handler {
    raw(async |body: Bytes| Ok(body))
}

/// Sleeps for as many milliseconds as it is told, and answers with that number.
fn sleeper() -> impl Handler {
    json(async |milliseconds: u64| -> Result<u64, String> {
        sleep(Duration::from_millis(milliseconds)).await;
        Ok(milliseconds)
    })
}

#[tokio::test(start_paused = true)]
async fn the_reference_exchange_is_answered_byte_by_byte() {
    let site = serve(raw(async |body: Bytes| {
        let text = String::from_utf8_lossy(&body);
        let reply = format!("服务端的数据数据:{text}");
        Ok::<_, Failure>(millpond::framing::json::write(&reply).expect("JSON"))
    }))
    .await;
    let mut client = site.connect().await;
    client.write(r#"length:0000000000009{"a":"a"}"#).await;
    let expected = r#"length:0000000000040"服务端的数据数据:{\"a\":\"a\"}""#;
    let mut reply = vec![0; expected.len()];
    client.stream.read_exact(&mut reply).await.expect("a reply");
    assert_eq!(String::from_utf8_lossy(&reply), expected);
    client.write("HeartBeat").await;
    client
        .write(r#"length:0000000000031"Tue, 03 Apr 2018 06:12:37 GMT""#)
        .await;
    let reply = client.reply().await;
    assert_eq!(
        reply,
        r#""服务端的数据数据:\"Tue, 03 Apr 2018 06:12:37 GMT\"""#
    );
}

#[tokio::test(start_paused = true)]
async fn frames_and_heartbeats_are_the_same_however_they_are_cut() {
    let site = serve(echo()).await;
    let bodies = ["1", r#""HeartBeat""#, r#"{"length:":[]}"#];
    let wire = [
        b"HeartBeat".to_vec(),
        frame(bodies[0]),
        b"HeartBeatHeartBeat".to_vec(),
        frame(bodies[1]),
        frame(bodies[2]),
        b"HeartBeat".to_vec(),
    ]
    .concat();
    for cut in 0..=wire.len() {
        let mut client = site.connect().await;
        client.write(&wire[..cut]).await;
        sleep(MILLISECOND).await;
        client.write(&wire[cut..]).await;
        for body in bodies {
            assert_eq!(client.reply().await, body, "cut at {cut}");
        }
    }
    let mut client = site.connect().await;
    for byte in &wire {
        client.write([*byte]).await;
        sleep(MILLISECOND).await;
    }
    for body in bodies {
        assert_eq!(client.reply().await, body);
    }
    let totals = site.snapshot().totals;
    let connections = wire.len() as u64 + 2;
    assert_eq!(totals.requests, 3 * connections);
    assert_eq!(totals.replies, totals.requests);
    assert_eq!(totals.heartbeats_received, 4 * connections);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_no_json_is_answered_and_the_connection_stays() {
    let site = serve(raw(async |body: Bytes| Ok(body)).only_json()).await;
    let reader = serve(json(async |_: serde::de::IgnoredAny| Ok::<_, String>(1))).await;
    let (mut client, mut typed) = (site.connect().await, reader.connect().await);
    let bomb = "[".repeat(1_000_000);
    let keys: Vec<_> = (0..50_000).map(|key| format!("\"{key}\":0")).collect();
    let keys = format!("{{{}}}", keys.join(","));
    for bad in [
        &b""[..],
        b"nonsense",
        b"{\"a\":1} 2",
        b"{\"a\":",
        b"\"\xff\"",
        bomb.as_bytes(),
    ] {
        client.send(bad).await;
        assert_eq!(client.code().await, -32700);
        assert_eq!(client.ask("[1]").await, "[1]");
        typed.send(bad).await;
        assert_eq!(typed.code().await, -32700);
        assert_eq!(typed.ask("[1]").await, "1");
    }
    assert_eq!(client.ask(&keys).await, keys);
    let failures = site.snapshot().totals.failures;
    assert_eq!((failures.malformed, failures.refused), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn typed_handlers_refuse_what_is_of_another_type() {
    let site = serve(json(async |(a, b): (i64, i64)| {
        a.checked_div(b).ok_or("division by zero")
    }))
    .await;
    let mut client = site.connect().await;
    assert_eq!(client.ask("[6,3]").await, "2");
    for (body, code) in [
        ("[6,0]", -32603),
        ("[6]", -32600),
        ("{}", -32600),
        ("[6,3]]", -32700),
    ] {
        client.send(body).await;
        assert_eq!(client.code().await, code, "{body}");
    }
    let long = format!("\"{}\"", "x".repeat(100_000));
    let told = client.ask(&long).await;
    assert!(
        told.len() < 1_000,
        "what a client is told doesn't repeat all it sent"
    );
    assert_eq!(client.ask("[6,3]").await, "2");
}

#[tokio::test(start_paused = true)]
async fn opaque_bodies_are_nobodys_business() {
    let site = serve(raw(async |body: Bytes| Ok(body))).await;
    assert_eq!(site.connect().await.ask("nonsense").await, "nonsense");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_or_takes_too_long_costs_its_request_alone() {
    let site = serve(json(async |what: String| -> Result<String, String> {
        match what.as_str() {
            "panic" => panic!("with a secret"),
            "hang" => pending().await,
            _ => Ok(what),
        }
    }))
    .await;
    let mut client = site.connect().await;
    let told = client.ask("\"panic\"").await;
    assert!(
        told.contains("-32603") && !told.contains("secret"),
        "{told}"
    );
    let since = Instant::now();
    client
        .write([frame("\"hang\""), frame("\"on\"")].concat())
        .await;
    assert_eq!(client.code().await, -32002);
    assert_eq!(client.reply().await, "\"on\"");
    let waited = since.elapsed().as_secs_f64();
    assert!((30.0..30.1).contains(&waited), "{waited}");
    let failures = site.snapshot().totals.failures;
    assert_eq!((failures.handler_failed, failures.timed_out), (1, 1));
    assert_eq!(site.snapshot().handled, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_asks_for_it_ends_the_connection_behind_the_replies_before_it() {
    let handler = raw(async |body: Bytes| match &body[..] {
        b"\"last\"" => Err(Failure::unavailable("what was kept is lost").closing()),
        _ => Ok(body),
    });
    let site = serve(handler).await;
    let mut client = site.connect().await;
    client
        .write([frame("1"), frame("2"), frame("\"last\""), frame("3")].concat())
        .await;
    assert_eq!(client.reply().await, "1");
    assert_eq!(client.reply().await, "2");
    assert_eq!(client.code().await, -32000);
    let mut rest = Vec::new();
    let read = client.stream.read_to_end(&mut rest).await;
    assert_eq!((read.expect("an end"), &rest[..]), (0, &b""[..]));
    // Others go on.
    assert_eq!(site.connect().await.ask("4").await, "4");
}

#[tokio::test(start_paused = true)]
async fn a_request_knows_its_deadline() {
    struct Tells;
    impl Handler for Tells {
        async fn handle(&self, request: Request) -> Result<Reply, Failure> {
            sleep(Duration::from_secs(1)).await;
            let left = request
                .remaining()
                .expect("a deadline")
                .as_secs()
                .to_string();
            assert_eq!((request.peer_addr(), request.body()), (None, &b"0"[..]));
            Ok(left.into())
        }
    }
    let site =
        serve_with(Server::builder(Tells).handler_deadline(Some(Duration::from_secs(3)))).await;
    assert_eq!(site.connect().await.ask("0").await, "2");
}

#[tokio::test(start_paused = true)]
async fn requests_are_handled_together_and_answered_in_their_order() {
    let site = serve(sleeper()).await;
    let mut client = site.connect().await;
    let since = Instant::now();
    let requests: Vec<_> = (0..16).rev().map(|n| 100 * n).collect();
    let wire: Vec<_> = requests.iter().map(|n| frame(n.to_string())).collect();
    client.write(wire.concat()).await;
    for request in requests {
        assert_eq!(client.reply().await, request.to_string());
    }
    assert!(
        since.elapsed() < Duration::from_millis(1_510),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn replies_that_are_ready_leave_in_one_write() {
    let site = serve(echo()).await;
    let mut client = site.connect().await;
    let wire = frame("[1,2,3]").repeat(10);
    client.write(&wire).await;
    let mut replies = vec![0; 10_000];
    let read = client.stream.read(&mut replies).await.expect("replies");
    assert_eq!(&replies[..read], wire);
}

#[tokio::test(start_paused = true)]
async fn beyond_max_in_flight_a_connection_is_not_read() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let handler = raw(async |body: Bytes| {
        MOST.fetch_max(NOW.fetch_add(1, SeqCst) + 1, SeqCst);
        sleep(MILLISECOND).await;
        NOW.fetch_sub(1, SeqCst);
        Ok(body)
    });
    let site = serve_with(Server::builder(handler).max_in_flight(3)).await;
    let mut client = site.connect().await;
    client.write(frame("7").repeat(50)).await;
    for _ in 0..50 {
        assert_eq!(client.reply().await, "7");
    }
    assert_eq!(MOST.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn beyond_max_handled_a_client_is_told_at_once() {
    let site = serve_with(Server::builder(sleeper()).max_handled(2)).await;
    let mut busy = [site.connect().await, site.connect().await];
    for client in &mut busy {
        client.send("1000").await;
    }
    until(|| (site.snapshot().handled == 2).then_some(())).await;
    let mut client = site.connect().await;
    let since = Instant::now();
    client.send("0").await;
    assert_eq!(client.code().await, -32001);
    assert_eq!(since.elapsed(), Duration::ZERO);
    for client in &mut busy {
        assert_eq!(client.reply().await, "1000");
    }
    assert_eq!(
        client.ask("0").await,
        "0",
        "the connection is as usable as before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_any_kind_reaches_the_client_as_such() {
    let site = serve(raw(async |_: Bytes| {
        Err::<Bytes, _>(Failure::unavailable("nobody there"))
    }))
    .await;
    let told = site.connect().await.ask("1").await;
    assert_eq!(
        told,
        r#"{"error":{"code":-32000,"message":"nobody there"}}"#
    );
}

const OUT_OF_STOCK: ApplicationCode = ApplicationCode::new(4_001).unwrap();

#[tokio::test(start_paused = true)]
async fn an_application_tells_of_its_failures_by_codes_of_its_own() {
    let sell = async |what: String| match &*what {
        "tea" => Ok("here you are"),
        "milk" => Err(Failure::application(OUT_OF_STOCK, "no milk before Monday")),
        _ => Err(Failure::unavailable("the shop is closed")),
    };
    let site = serve(json(sell)).await;
    let client = Client::to(&site.running.endpoint().to_string()).expect("an endpoint");
    let client = client.build().expect("a client");
    let ask = async |what: &str| client.request::<_, String>(&what).await;
    assert_eq!(ask("tea").await.expect("a reply"), "here you are");
    let refused = async |what: &str| match ask(what).await.expect_err("a failure") {
        RequestError::Refused(error) => (error.application_code(), error.to_string()),
        other => panic!("{other}"),
    };
    assert_eq!(
        refused("milk").await,
        (
            Some(OUT_OF_STOCK),
            String::from("no milk before Monday (4001)")
        )
    );
    assert_eq!(
        refused("bread").await,
        (None, String::from("the shop is closed (-32000)"))
    );
    let totals = site.snapshot().totals;
    assert_eq!(
        (totals.failures.application, totals.failures.unavailable),
        (1, 1)
    );
    assert_eq!(totals.accepted, 1, "such a failure ends no connection");
}

/// A handler that passes requests on says so of those that it couldn't pass on.
#[tokio::test(start_paused = true)]
async fn what_a_handler_says_it_has_not_taken_counts_as_not_executed() {
    let site = serve(raw(async |_: Bytes| {
        Err::<Bytes, _>(Failure::not_taken("come again"))
    }))
    .await;
    let client = Client::to(&site.running.endpoint().to_string()).expect("an endpoint");
    let client = client.build().expect("a client");
    let error = client.request::<_, i64>(&1).await.expect_err("not taken");
    assert_eq!(error.execution(), Execution::Impossible, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_too_long_to_be_sent_is_a_failure_of_the_handler() {
    let handler = raw(async |_: Bytes| Ok(Bytes::from(vec![b'1'; 2_000])));
    let builder = Server::builder(handler).framing(LengthJson::with_max_body(1_000));
    let site = serve_with(builder).await;
    let mut client = site.connect().await;
    client.send("1").await;
    assert_eq!(client.code().await, -32603);
}

#[tokio::test(start_paused = true)]
async fn where_not_even_an_error_reply_fits_the_connection_is_closed() {
    let handler = raw(async |body: Bytes| Ok(body)).only_json();
    let builder = Server::builder(handler).framing(LengthJson::with_max_body(8));
    let site = serve_with(builder).await;
    let mut client = site.connect().await;
    client
        .write([frame("1"), frame("x"), frame("2")].concat())
        .await;
    assert_eq!(client.rest().await, frame("1"));
    drop(client);
    assert_eq!(site.closed().await, Closed::ToldFailure);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_side_gets_the_replies_owed() {
    let site = serve(sleeper()).await;
    let mut client = site.connect().await;
    client.write([frame("50"), frame("10")].concat()).await;
    client.stream.shutdown().await.expect("a shutdown");
    assert_eq!(client.reply().await, "50");
    assert_eq!(client.reply().await, "10");
    assert_eq!(client.next_reply().await, None);
    assert_eq!(site.closed().await, Closed::ByPeer);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_ends_is_told_from_a_clean_end() {
    let site = serve(sleeper()).await;
    let mut client = site.connect().await;
    let wire = [frame("5"), frame("50")].concat();
    client.write(&wire[..wire.len() - 1]).await;
    client.stream.shutdown().await.expect("a shutdown");
    assert_eq!(
        client.reply().await,
        "5",
        "the whole frame before it is answered"
    );
    assert_eq!(client.next_reply().await, None);
    assert_eq!(site.closed().await, Closed::Truncated);
}

#[tokio::test]
async fn a_reset_drops_the_handlers() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = dropped.clone();
    let handler = raw(move |_: Bytes| {
        let dropped = Dropped(counter.clone());
        async move {
            pending::<()>().await;
            drop(dropped);
            Ok::<Bytes, Failure>(Bytes::new())
        }
    });
    let (running, port) = serve_tcp(Server::builder(handler)).await;
    let mut client = connect_tcp(port).await;
    client.write([frame("1"), frame("2")].concat()).await;
    until(|| (running.snapshot().handled == 2).then_some(())).await;
    client.stream.set_zero_linger().expect("a socket option");
    drop(client);
    let ended = timeout(Duration::from_secs(20), closed(&running)).await;
    assert_eq!(ended.expect("soon"), Closed::Broken);
    assert_eq!((dropped.load(SeqCst), running.snapshot().handled), (2, 0));
}
