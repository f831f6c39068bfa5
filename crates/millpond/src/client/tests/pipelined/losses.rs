//! What comes wrong, unasked or no more: the connection is discarded, everybody on it is told what
//! may have been executed, nobody gets what is another's, and what may be sent again is.

use super::*;

/// A next request on a new connection gets its own reply.
async fn assert_goes_on(client: &Client, port: &mut Port) -> Far {
    let next = asked(client, "goes on");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["goes on"]);
    far.reply(b"goes on").await;
    assert_eq!(reply_of(next).await, "goes on");
    far
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asked_for_ends_the_connection() {
    let unasked = [
        frame(b"9"),
        [HEARTBEAT, &frame(b"9")].concat(),
        frame(b"9")[..5].to_vec(),
        b"Heartache".to_vec(),
        b"\0".to_vec(),
        [HEARTBEAT.repeat(4_000), frame(b"9")].concat(),
    ];
    for bytes in unasked {
        // At once, while the connection is still held, or when it has been given back.
        for pause in [Duration::ZERO, 50 * MS, QUIET] {
            let (builder, mut port) = pipelined(8);
            let client = builder.build().unwrap();
            let mut far = proven(&client, &mut port).await;
            tokio::time::sleep(pause).await;
            far.send(&bytes).await;
            tokio::time::sleep(QUIET).await;
            at_rest(&client, &port, 0);
            assert_goes_on(&client, &mut port).await;
        }
    }
}

/// Half a heartbeat is the beginning of a whole one, also when the connection has been given back.
#[tokio::test(start_paused = true)]
async fn a_torn_heartbeat_is_none_of_that() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    for at in 1..HEARTBEAT.len() {
        let next = asked(&client, at.to_string());
        let arrived = far.arrived().await;
        assert_eq!(arrived, [at.to_string()]);
        far.send(&[&frame(at.to_string().as_bytes()), &HEARTBEAT[..at]].concat())
            .await;
        assert_eq!(reply_of(next).await, at.to_string());
        if at % 2 == 0 {
            tokio::time::sleep(QUIET).await;
            at_rest(&client, &port, 1);
        }
        far.send(&HEARTBEAT[at..]).await;
    }
    assert_eq!(port.tally.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_reply_too_many_reaches_nobody() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let both = all_asked(&client, 10, 2).await;
    assert_eq!(far.arrived().await, ["10", "11"]);
    far.replies(&["10".into(), "11".into()]).await;
    assert_all_answered(both, 10).await;
    far.reply(b"99").await;
    let next = asked(&client, "12");
    let mut second = port.accept().await;
    assert_eq!(second.arrived().await, ["12"]);
    second.reply(b"12").await;
    assert_eq!(reply_of(next).await, "12");
    assert!(far.ended().await);
    assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
}

/// Which of them nobody has asked for can't be told: the first may be, and then the others are all
/// another's.
#[tokio::test(start_paused = true)]
async fn replies_that_come_with_one_too_many_reach_nobody() {
    let behind = [
        frame(b"99"),
        frame(b"99")[..7].to_vec(),
        b"?".to_vec(),
        [HEARTBEAT, b"Heartache"].concat(),
    ];
    for behind in behind {
        let (builder, mut port) = pipelined(8);
        let client = builder.build().unwrap();
        let mut far = proven(&client, &mut port).await;
        let both = all_asked(&client, 10, 2).await;
        assert_eq!(far.arrived().await, ["10", "11"]);
        far.send(&[frame(b"99"), frame(b"10"), behind].concat())
            .await;
        for asked in both {
            let error = error_of(asked).await;
            assert_lost(
                &error,
                |loss| matches!(loss, Loss::NoReply),
                Execution::Possible,
            );
        }
        assert!(far.ended().await);
        assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
        assert_goes_on(&client, &mut port).await;
    }
}

/// Whoever is about to write looks first, if no reply is owed: what is there already is no reply to
/// what hasn't been sent.
#[tokio::test(start_paused = true)]
async fn what_is_there_before_a_request_is_written_is_not_its_reply() {
    for unasked in [
        frame(b"99"),
        frame(b"99")[..3].to_vec(),
        [HEARTBEAT, &frame(b"99")].concat(),
        b"?".to_vec(),
    ] {
        for callers in [1, 2] {
            let (builder, mut port) = pipelined(8);
            let client = builder.build().unwrap();
            let mut far = proven(&client, &mut port).await;
            far.send(&unasked).await;
            // Before the driver has had a turn.
            let all = async {
                let [one, other] = [10, 11].map(|number| {
                    let client = client.clone();
                    async move { client.exchange(number.to_string().as_bytes()).await }
                });
                match callers {
                    1 => vec![one.await],
                    _ => <[_; 2]>::from(tokio::join!(one, other)).into(),
                }
            };
            let (all, ()) = tokio::join!(all, async {
                let mut second = port.accept().await;
                for _ in 0..callers {
                    let body = second.request().await;
                    second.reply(&body).await;
                }
            });
            for (number, reply) in (10..).zip(all) {
                assert_eq!(reply.expect("sent again elsewhere"), number.to_string());
            }
            assert_eq!(far.arrived().await, [""; 0], "it was not sent here");
            assert!(far.ended().await);
            assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
        }
    }
}

/// The same of heartbeats costs nothing.
#[tokio::test(start_paused = true)]
async fn heartbeats_that_are_there_before_a_request_is_written_change_nothing() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    for (number, beats) in (10..).zip([HEARTBEAT.repeat(3), HEARTBEAT[..4].to_vec()]) {
        far.send(&beats).await;
        let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
            assert_eq!(far.request().await, b"1");
            if !beats.len().is_multiple_of(HEARTBEAT.len()) {
                far.send(&HEARTBEAT[4..]).await;
            }
            far.reply(number.to_string().as_bytes()).await;
        });
        assert_eq!(reply.unwrap(), number.to_string());
    }
    assert_eq!(port.tally.opened(), 1);
}

/// A connection that its server has closed is found dead before a request goes out on it, which is
/// then safe to send again.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_closed_before_a_request_is_written_costs_it_nothing() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    // It would still take a request in.
    far.0.shutdown().await.unwrap();
    let (reply, _second) = tokio::join!(client.exchange(b"10"), async {
        let mut second = port.accept().await;
        assert_eq!(second.request().await, b"10");
        second.reply(b"10").await;
        second
    });
    assert_eq!(reply.unwrap(), "10");
    assert_eq!(evicted(&client, Eviction::PeerClosed), 1);
}

/// A server may refuse a request before it has read all of it. But if more comes with that reply,
/// any of it may be what nobody asked for.
#[tokio::test(start_paused = true)]
async fn a_reply_to_what_was_not_written_yet_reaches_nobody_if_more_comes_with_it() {
    let behind = [
        [frame(b"98"), frame(b"97")].concat(),
        frame(b"98"),
        frame(b"98")[..7].to_vec(),
        b"?".to_vec(),
    ];
    for behind in behind {
        let (builder, mut port) = pipelined(8);
        let client = builder.build().unwrap();
        let mut far = proven(&client, &mut port).await;
        let long = asked(&client, vec![b'x'; 2 * CAPACITY]);
        settle().await;
        let all = all_asked(&client, 10, 2).await;
        far.send(&[frame(b"99"), behind].concat()).await;
        let error = error_of(long).await;
        assert_lost(
            &error,
            |loss| matches!(loss, Loss::NoReply),
            Execution::Possible,
        );
        // The others were never written, and are sent again.
        let mut second = port.accept().await;
        assert_eq!(second.arrived().await, ["10", "11"]);
        second.replies(&numbers(10..12)).await;
        assert_all_answered(all, 10).await;
        assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
    }
}

/// Its caller is told that the connection was of no use, for no one can say where the next reply
/// would begin.
#[tokio::test(start_paused = true)]
async fn what_is_no_frame_ends_all_that_is_in_flight() {
    for (bytes, number) in [
        (b"length:0000000000x22".to_vec(), 0),
        (b"HeartBeet".to_vec(), 0),
        (b"\0\0\0\0".to_vec(), 0),
        ([&frame(b"10"), &b"lengthX"[..]].concat(), 1),
    ] {
        let (builder, mut port) = pipelined(8);
        let client = builder.build().unwrap();
        let mut far = proven(&client, &mut port).await;
        let mut all = all_asked(&client, 10, 3).await;
        all.push(asked_so(&client, IDEMPOTENT, "13"));
        assert_eq!(far.arrived().await, numbers(10..14));
        far.send(&bytes).await;
        for (nth, asked) in all.into_iter().enumerate() {
            if nth < number {
                assert_eq!(reply_of(asked).await, (10 + nth).to_string());
                continue;
            }
            let error = error_of(asked).await;
            assert!(matches!(error, RequestError::NoFrame(_)), "{error:?}");
            assert_eq!(error.execution(), Execution::Possible);
        }
        assert!(far.ended().await);
        assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
        assert_goes_on(&client, &mut port).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_within_a_reply_is_told_to_each_and_the_harmless_go_again() {
    for resets in [false, true] {
        let reply = frame(b"10");
        for at in 0..reply.len() {
            let (builder, mut port) = pipelined(8);
            let client = builder.build().unwrap();
            let mut far = proven(&client, &mut port).await;
            let head = asked_so(&client, IDEMPOTENT, "10");
            settle().await;
            let harmful = asked(&client, "11");
            settle().await;
            let harmless = asked_so(&client, IDEMPOTENT, "12");
            assert_eq!(far.arrived().await, numbers(10..13));
            far.send(&reply[..at]).await;
            settle().await;
            match resets {
                true => far.0.reset(),
                false => drop(far),
            }
            let lost = |loss: &Loss| matches!(loss, Loss::Closed | Loss::Io(_));
            assert_lost(&error_of(harmful).await, lost, Execution::Possible);
            let mut second = port.accept().await;
            let again = second.arrived().await;
            match at {
                0 => assert_eq!(again, ["10", "12"]),
                _ => assert_eq!(again, ["12"], "a part of that reply has come"),
            }
            second.replies(&again).await;
            assert_eq!(reply_of(harmless).await, "12");
            match at {
                0 => assert_eq!(reply_of(head).await, "10"),
                _ => assert_lost(&error_of(head).await, lost, Execution::Possible),
            }
            assert_eq!(port.tally.opened(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_written_is_sent_again() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let far = proven(&client, &mut port).await;
    let begun = asked(&client, vec![b'x'; 2 * CAPACITY]);
    settle().await;
    let all = all_asked(&client, 10, 3).await;
    far.0.reset();
    let lost = |loss: &Loss| matches!(loss, Loss::Io(_));
    assert_lost(&error_of(begun).await, lost, Execution::Possible);
    let mut second = port.accept().await;
    let again = second.arrived().await;
    assert_eq!(again, numbers(10..13));
    second.replies(&again).await;
    assert_all_answered(all, 10).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_a_third_time_nor_beyond_the_budget() {
    let (builder, mut port) = pipelined(64);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let all: Vec<_> = (0..40)
        .map(|number| asked_so(&client, IDEMPOTENT, number.to_string()))
        .collect();
    assert_eq!(far.arrived().await.len(), 40);
    drop(far);
    let mut far = port.accept().await;
    let again = far.arrived().await;
    // Three that need no requests before them, and a fifth of forty-two.
    assert!((11..=12).contains(&again.len()), "{again:?}");
    far.replies(&again[..1]).await;
    settle().await;
    drop(far);
    let mut answered = 0;
    for asked in all {
        match asked.await.unwrap() {
            Ok(_) => answered += 1,
            Err(error) => assert_lost(
                &error,
                |loss| matches!(loss, Loss::Closed),
                Execution::Possible,
            ),
        }
    }
    assert_eq!(answered, 1);
    assert_eq!(port.tally.opened(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_beating_is_dead_and_everybody_is_told() {
    let (builder, mut port) = pipelined(8);
    let client = builder
        .heartbeat_interval(10 * SECOND)
        .deadline(1_000 * SECOND)
        .build()
        .unwrap();
    let mut far = proven(&client, &mut port).await;
    let began = Instant::now();
    let all = all_asked(&client, 10, 3).await;
    for _ in 0..5 {
        tokio::time::sleep(10 * SECOND).await;
        far.send(HEARTBEAT).await;
    }
    for asked in all {
        assert_lost(
            &error_of(asked).await,
            |loss| matches!(loss, Loss::HeartbeatMissed),
            Execution::Possible,
        );
    }
    let took = began.elapsed();
    assert!((72 * SECOND..=78 * SECOND).contains(&took), "{took:?}");
    // Ours came meanwhile, each within an interval of the last.
    let mut sent = Vec::new();
    while far.0.read_buf(&mut sent).await.unwrap() > 0 {}
    let beats = sent.len() - 3 * 22;
    assert!((6..=8).contains(&(beats / 9)) && beats % 9 == 0, "{beats}");
    assert!(sent.ends_with(&HEARTBEAT.repeat(beats / 9)));
    assert_eq!(evicted(&client, Eviction::HeartbeatMissed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_given_back_goes_on_beating() {
    let (builder, mut port) = pipelined(8);
    let client = builder.heartbeat_interval(10 * SECOND).build().unwrap();
    let mut far = proven(&client, &mut port).await;
    tokio::time::sleep(100 * SECOND).await;
    at_rest(&client, &port, 1);
    let mut sent = vec![0; 200];
    let read = far.0.read(&mut sent).await.unwrap();
    assert!((8..=12).contains(&(read / 9)), "{read}");
    assert_eq!(sent[..read], HEARTBEAT.repeat(read / 9));
}

/// Many exchanges and heartbeats in both directions, none within a frame.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_taken_in_slowly_has_no_heartbeat_within() {
    let (builder, mut port) = pipelined(8);
    let client = builder
        .heartbeat_interval(10 * SECOND)
        .deadline(1_000 * SECOND)
        .build()
        .unwrap();
    let mut far = proven(&client, &mut port).await;
    let large = vec![b' '; 5 * CAPACITY];
    let both = [asked(&client, large.clone()), asked(&client, large.clone())];
    let wire = [frame(&large), frame(&large)].concat();
    let mut arrived = Vec::new();
    while arrived.len() < wire.len() {
        tokio::time::sleep(15 * SECOND).await;
        let _ = cut(1, far.0.read_buf(&mut arrived)).await;
        arrived.reserve(CAPACITY);
        let text = String::from_utf8_lossy(&arrived).replace("HeartBeat", "");
        assert!(wire.starts_with(text.as_bytes()));
        if text.len() == wire.len() {
            break;
        }
    }
    far.replies(&["0".into(), "1".into()]).await;
    for (asked, reply) in both.into_iter().zip(["0", "1"]) {
        assert_eq!(reply_of(asked).await, reply);
    }
}

/// The head has been written as a whole, and nothing of the next.
#[tokio::test(start_paused = true)]
async fn a_second_reply_is_not_that_of_who_is_written_next() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let length = CAPACITY - frame(b"").len();
    let head = asked(&client, vec![b'x'; length]);
    settle().await;
    let all = all_asked(&client, 10, 2).await;
    far.replies(&["head".into(), "99".into()]).await;
    let error = error_of(head).await;
    assert_lost(
        &error,
        |loss| matches!(loss, Loss::NoReply),
        Execution::Possible,
    );
    let mut second = port.accept().await;
    assert_eq!(second.arrived().await, ["10", "11"]);
    second.replies(&numbers(10..12)).await;
    assert_all_answered(all, 10).await;
}

/// Whether the server reads the rest of it as a rest nobody knows.
#[tokio::test(start_paused = true)]
async fn a_connection_whose_request_was_answered_before_its_end_is_not_used_again() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let long = asked(&client, vec![b'x'; 2 * CAPACITY]);
    settle().await;
    far.reply(b"long").await;
    assert_eq!(reply_of(long).await, "long");
    let next = asked(&client, "next");
    let mut second = port.accept().await;
    assert_eq!(second.arrived().await, ["next"]);
    second.reply(b"next").await;
    assert_eq!(reply_of(next).await, "next");
    let mut rest = Vec::new();
    far.0.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), CAPACITY, "nothing more was written");
}
