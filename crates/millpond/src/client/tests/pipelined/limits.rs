//! How many are in flight and how many wait, who is next, and how many connections that takes.

use super::*;

#[tokio::test(start_paused = true)]
async fn never_more_are_in_flight_than_the_depth_and_who_came_first_is_served_first() {
    let (builder, mut port) = pipelined(4);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let all = all_asked(&client, 10, 20).await;
    assert_eq!(far.arrived().await, numbers(10..14));
    let mut answered = 10;
    for replies in [1, 2, 3, 4, 1, 1, 4] {
        far.replies(&numbers(answered..answered + replies)).await;
        let next = answered + 4;
        answered += replies;
        assert_eq!(far.arrived().await, numbers(next..(answered + 4).min(30)));
    }
    far.replies(&numbers(answered..30)).await;
    assert_all_answered(all, 10).await;
    assert_eq!(port.tally.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_urgent_are_served_first() {
    let (builder, mut port) = pipelined(1);
    let client = builder.build().unwrap();
    let first = asked(&client, "first");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["first"]);
    let mut all = Vec::new();
    for (name, priority) in [
        ("e", Priority::LOWEST),
        ("c", Priority::NORMAL),
        ("a", Priority::HIGHEST),
        ("d", Priority::NORMAL),
        ("f", Priority::LOWEST),
        ("b", Priority::HIGHEST),
    ] {
        all.push((asked_so(&client, urgent(priority), name), name));
        settle().await;
    }
    far.reply(b"first").await;
    assert_eq!(reply_of(first).await, "first");
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(far.arrived().await, [name]);
        far.reply(name.as_bytes()).await;
    }
    for (asked, name) in all {
        assert_eq!(reply_of(asked).await, name);
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_others_wait_does_not_overtake_them() {
    let (builder, mut port) = builder(Pace::AtOnce);
    let client = builder
        .pipelined(Pipelining::default().max_bytes(100))
        .build()
        .unwrap();
    let mut far = proven(&client, &mut port).await;
    let one = asked(&client, "1");
    settle().await;
    // It doesn't fit, and the next one would.
    let long = asked(&client, "2".repeat(90));
    settle().await;
    let short = asked(&client, "3");
    assert_eq!(far.arrived().await, ["1"]);
    far.reply(b"1").await;
    assert_eq!(
        far.arrived().await,
        ["2".repeat(90)],
        "longer than may be: alone"
    );
    far.reply(b"2").await;
    assert_eq!(far.arrived().await, ["3"]);
    far.reply(b"3").await;
    for (asked, reply) in [(one, "1"), (long, "2"), (short, "3")] {
        assert_eq!(reply_of(asked).await, reply);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_bytes_are_unanswered_than_may_be() {
    let (builder, mut port) = builder(Pace::AtOnce);
    // A frame with a body of 30 bytes has 48 or 50.
    let body = |number: usize| format!("{number:030}");
    let client = builder
        .pipelined(Pipelining::default().max_bytes(3 * frame(body(0).as_bytes()).len()))
        .build()
        .unwrap();
    let mut far = proven(&client, &mut port).await;
    let mut all = Vec::new();
    for number in 0..7 {
        all.push(asked(&client, body(number)));
        settle().await;
    }
    assert_eq!(far.arrived().await, (0..3).map(body).collect::<Vec<_>>());
    far.replies(&[body(0)]).await;
    assert_eq!(far.arrived().await, [body(3)]);
    far.replies(&(1..4).map(body).collect::<Vec<_>>()).await;
    let rest = far.arrived().await;
    assert_eq!(rest, (4..7).map(body).collect::<Vec<_>>());
    far.replies(&rest).await;
    for (number, asked) in all.into_iter().enumerate() {
        assert_eq!(reply_of(asked).await, body(number));
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_as_many_waiting_as_may_is_refused() {
    let (builder, mut port) = pipelined(2);
    let client = builder.pool(|pool| pool.max_waiting(3)).build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let all = all_asked(&client, 0, 5).await;
    let error = error_of(asked(&client, "5")).await;
    assert!(
        matches!(
            error,
            RequestError::Acquire(AcquireError::Full {
                waiting: 3,
                max_waiting: 3
            })
        ),
        "{error:?}"
    );
    assert_eq!(error.execution(), Execution::Impossible);
    assert_eq!(far.arrived().await, ["0", "1"]);
    far.reply(b"0").await;
    settle().await;
    let next = asked(&client, "6");
    assert_eq!(far.arrived().await, ["2"]);
    far.replies(&numbers(1..3)).await;
    assert_eq!(far.arrived().await, ["3", "4"]);
    far.replies(&numbers(3..5)).await;
    assert_all_answered(all, 0).await;
    assert_eq!(far.arrived().await, ["6"]);
    far.reply(b"6").await;
    assert_eq!(reply_of(next).await, "6");
}

/// A pipelined client of depth 1 whose waiting requests may hold so many bytes.
fn with_waiting_bytes(bytes: usize) -> (ClientBuilder, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    let pipelining = Pipelining::default().depth(1).max_waiting_bytes(bytes);
    (builder.pipelined(pipelining), port)
}

#[tokio::test(start_paused = true)]
async fn who_finds_as_many_bytes_waiting_as_may_is_refused() {
    // A frame with a body of 30 bytes has 50.
    let body = |number: usize| format!("{number:030}");
    let length = frame(body(0).as_bytes()).len();
    let (builder, mut port) = with_waiting_bytes(2 * length);
    let client = builder.build().unwrap();
    let mut all = Vec::new();
    for number in 0..3 {
        all.push(asked(&client, body(number)));
        settle().await;
    }
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, [body(0)]);
    assert_eq!(waiting_bytes(&client), 2 * length);
    let error = error_of(asked(&client, "3")).await;
    assert!(
        matches!(
            error,
            RequestError::FullOfBytes {
                waiting_bytes,
                request: 21,
                max_waiting_bytes,
            } if waiting_bytes == 2 * length && max_waiting_bytes == waiting_bytes
        ),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("max_waiting_bytes is"),
        "{error}"
    );
    assert_eq!(error.execution(), Execution::Impossible);
    // Whoever is served, or gives up, makes room.
    far.reply(body(0).as_bytes()).await;
    assert_eq!(far.arrived().await, [body(1)]);
    let next = asked(&client, body(3));
    settle().await;
    next.abort();
    settle().await;
    assert_eq!(waiting_bytes(&client), length);
    all.push(asked(&client, body(3)));
    for number in 1..4 {
        far.reply(body(number).as_bytes()).await;
        settle().await;
    }
    for (number, asked) in all.into_iter().enumerate() {
        assert_eq!(reply_of(asked).await, body(number));
    }
    assert_eq!(waiting_bytes(&client), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_longer_than_may_wait_waits_if_nobody_else_does() {
    let (builder, mut port) = with_waiting_bytes(1);
    let client = builder.build().unwrap();
    let first = asked(&client, "1");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["1"]);
    let second = asked(&client, "2".repeat(1_000));
    settle().await;
    let error = error_of(asked(&client, "3")).await;
    assert!(
        matches!(error, RequestError::FullOfBytes { .. }),
        "{error:?}"
    );
    far.reply(b"1").await;
    assert_eq!(far.arrived().await, ["2".repeat(1_000)]);
    far.reply(b"2").await;
    assert_eq!(
        (reply_of(first).await, reply_of(second).await),
        ("1".into(), "2".into())
    );
}

/// Two have to wait together for that.
#[tokio::test(start_paused = true)]
async fn a_server_is_found_to_read_frames_however_few_bytes_may_wait() {
    let (builder, mut port) = builder(Pace::AtOnce);
    let pipelining = Pipelining::default().depth(3).max_waiting_bytes(1);
    let client = builder.pipelined(pipelining).build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let all = all_asked(&client, 0, 3).await;
    assert_eq!(far.arrived().await, numbers(0..3));
    far.replies(&numbers(0..3)).await;
    assert_all_answered(all, 0).await;
}

#[test]
fn that_no_bytes_may_wait_is_refused() {
    let (builder, _port) = with_waiting_bytes(0);
    let error = builder.build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "max_waiting_bytes is 0, and must be at least 1"
    );
}

#[tokio::test(start_paused = true)]
async fn connections_are_leased_as_load_asks_and_given_back_when_it_falls() {
    let (builder, mut port) = pipelined(4);
    let client = builder.pool(|pool| pool.max_size(3)).build().unwrap();
    let mut fars = vec![proven(&client, &mut port).await];
    let few = all_asked(&client, 0, 4).await;
    assert_eq!(port.tally.opened(), 1, "four fit on one");
    let many = all_asked(&client, 4, 16).await;
    for _ in 0..2 {
        fars.push(port.accept().await);
    }
    let snapshot = client.snapshot();
    assert_eq!(
        (snapshot.pool.active, snapshot.waiting),
        (3, 8),
        "{snapshot}"
    );
    assert_eq!(in_flight(&client), [4; 3]);
    for _ in 0..3 {
        for far in &mut fars {
            let arrived = far.arrived().await;
            assert!(arrived.len() <= 4);
            far.replies(&arrived).await;
        }
    }
    assert_all_answered(few, 0).await;
    assert_all_answered(many, 4).await;
    assert_eq!(port.tally.opened(), 3);
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 3);
    assert_eq!(in_flight(&client), [0; 0]);

    // The next request leases one of them, without a dial.
    let next = asked(&client, "next");
    settle().await;
    let snapshot = client.pool().snapshot();
    assert_eq!(
        (snapshot.active, snapshot.idle, snapshot.totals.dials),
        (1, 2, 3),
        "{snapshot}"
    );
    let mut served = 0;
    for far in &mut fars {
        let arrived = far.arrived().await;
        served += arrived.len();
        far.replies(&arrived).await;
    }
    assert_eq!(served, 1);
    assert_eq!(reply_of(next).await, "next");
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 3);
}

/// The first with room is used, so the others fall quiet.
#[tokio::test(start_paused = true)]
async fn a_light_load_keeps_one_connection_busy_and_the_others_idle_out() {
    let (builder, mut port) = pipelined(2);
    let client = builder
        .pool(|pool| pool.max_size(3).idle_timeout(5 * SECOND))
        .build()
        .unwrap();
    let mut fars = vec![proven(&client, &mut port).await];
    let many = all_asked(&client, 0, 6).await;
    for _ in 0..2 {
        fars.push(port.accept().await);
    }
    for far in &mut fars {
        let arrived = far.arrived().await;
        far.replies(&arrived).await;
    }
    assert_all_answered(many, 0).await;
    for number in 0..200 {
        let next = asked(&client, number.to_string());
        for far in &mut fars {
            if let Ok(Some(body)) = (settle().await, cut(1, far.request_or_end()).await).1 {
                far.reply(&body).await;
            }
        }
        assert_eq!(reply_of(next).await, number.to_string());
        tokio::time::sleep(50 * MS).await;
    }
    let snapshot = client.pool().snapshot();
    assert_eq!((snapshot.active, snapshot.idle), (1, 0), "{snapshot}");
    assert_eq!(evicted(&client, Eviction::IdleTimeout), 2);
}

#[tokio::test(start_paused = true)]
async fn one_caller_who_waits_is_counted_once() {
    let (builder, mut port) = pipelined(4);
    let client = builder.build().unwrap();
    client.pool().pause();
    let all = all_asked(&client, 0, 1).await;
    assert_eq!(client.snapshot().waiting, 1);
    client.pool().resume();
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["0"]);
    assert_eq!(
        (client.snapshot().waiting, in_flight(&client)),
        (0, vec![1])
    );
    far.reply(b"0").await;
    assert_all_answered(all, 0).await;
    assert_eq!(in_flight(&client), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_says_what_waits_and_what_is_in_flight() {
    let (builder, mut port) = pipelined(4);
    let client = builder.build().unwrap();
    let _far = proven(&client, &mut port).await;
    let _all = all_asked(&client, 0, 6).await;
    let snapshot = client.snapshot();
    let shown = snapshot.to_string();
    assert!(shown.starts_with(&snapshot.pool.to_string()), "{shown}");
    assert!(
        shown.ends_with("; pipelined: 4 in flight, 2 waiting"),
        "{shown}"
    );
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_value(&snapshot).expect("JSON");
        assert_eq!(json["version"], 1);
        assert_eq!(json["waiting"], 2);
        let pipelines = serde_json::json!({ "waiting_bytes": 2 * 21, "in_flight": { "1": 4 } });
        assert_eq!(json["pipelines"], pipelines);
        assert_eq!(json["pool"]["active"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_depth_may_be_any_number() {
    for depth in [0, 1, usize::MAX] {
        let (builder, mut port) = pipelined(depth);
        let client = builder.pool(|pool| pool.max_size(2)).build().unwrap();
        tokio::spawn(async move {
            while let Some(stream) = port.accepted.recv().await {
                tokio::spawn(Far(stream).echo());
            }
        });
        for round in 0..3 {
            let all = all_asked(&client, round * 10, 10).await;
            assert_all_answered(all, round * 10).await;
        }
    }
}

/// A connection that has served for long without ever falling quiet has not died early when its
/// server goes.
#[tokio::test(start_paused = true)]
async fn a_busy_connection_that_ends_is_no_failed_dial() {
    let (builder, mut port) = pipelined(4);
    let client = builder.build().unwrap();
    let far = proven(&client, &mut port).await;
    drop(far);
    settle().await;
    let snapshot = client.pool().snapshot();
    assert!(!snapshot.failing, "{snapshot}");
    let began = Instant::now();
    let next = asked(&client, "1");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["1"]);
    assert_eq!(began.elapsed(), Duration::ZERO, "no pause before the dial");
    far.reply(b"1").await;
    assert_eq!(reply_of(next).await, "1");
}
