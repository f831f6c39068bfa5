//! Each reply is its request's, however the bytes come.

use super::*;

#[tokio::test(start_paused = true)]
async fn two_replies_may_be_split_anywhere_among_heartbeats() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let beat = HEARTBEAT;
    let mut number = 1_000;
    for (before, between, behind) in [
        (vec![], vec![], vec![]),
        (beat.to_vec(), vec![], beat.to_vec()),
        (vec![], beat.to_vec(), vec![]),
        (beat.repeat(2), beat.repeat(2), beat.repeat(2)),
    ] {
        let length = before.len() + between.len() + behind.len() + 2 * frame(b"1000").len();
        for at in 0..=length {
            number += 2;
            let both = all_asked(&client, number, 2).await;
            assert_eq!(far.arrived().await, numbers(number..number + 2));
            let [one, other] =
                [number, number + 1].map(|number| frame(number.to_string().as_bytes()));
            let wire = [&before, &one, &between, &other, &behind]
                .map(Vec::as_slice)
                .concat();
            assert_eq!(wire.len(), length);
            far.send(&wire[..at]).await;
            settle().await;
            far.send(&wire[at..]).await;
            assert_all_answered(both, number).await;
        }
    }
    assert_eq!(port.tally.opened(), 1, "all on one connection");
}

#[tokio::test(start_paused = true)]
async fn many_replies_may_come_in_one_read_or_in_one_byte_each() {
    let (builder, mut port) = pipelined(200);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    for round in 1..4 {
        let first = round * 1_000;
        let all = all_asked(&client, first, 150).await;
        let arrived = far.arrived().await;
        assert_eq!(arrived, numbers(first..first + 150));
        match round {
            1 => far.replies(&arrived).await,
            _ => {
                for body in &arrived {
                    for byte in [HEARTBEAT, &frame(body.as_bytes())].concat() {
                        far.send(&[byte]).await;
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        assert_all_answered(all, first).await;
    }
    assert_eq!(port.tally.opened(), 1);
}

/// Every read, write and flush waits once, and carries one byte.
#[tokio::test(start_paused = true)]
async fn a_stream_of_single_bytes_carries_many_exchanges() {
    let (builder, mut port) = builder(Pace::ByByte);
    let client = builder.pipelined(Pipelining::default()).build().unwrap();
    tokio::spawn(async move {
        while let Some(stream) = port.accepted.recv().await {
            tokio::spawn(Far(stream).echo());
        }
    });
    for round in 1..5 {
        let all = all_asked(&client, round * 1_000, 20).await;
        assert_all_answered(all, round * 1_000).await;
    }
    assert_eq!(client.pool().snapshot().totals.opened, 1);
}

/// Both ways far more than a stream holds, and small ones between them.
#[tokio::test(start_paused = true)]
async fn long_and_short_frames_keep_their_order() {
    let (builder, mut port) = pipelined(64);
    let client = builder.build().unwrap();
    let far = proven(&client, &mut port).await;
    tokio::spawn(far.echo());
    let bodies: Vec<Vec<u8>> = (0..40_usize)
        .map(|number| {
            let length = [0, 1, 5_000, 16_364, 16_384, 40_000, 70_000, 300_000][number % 8];
            format!("{number}:{}", "x".repeat(length)).into_bytes()
        })
        .collect();
    let all: Vec<_> = bodies
        .iter()
        .map(|body| asked(&client, body.clone()))
        .collect();
    for (asked, body) in all.into_iter().zip(bodies) {
        assert!(reply_of(asked).await.into_bytes() == body, "another's");
    }
    assert_eq!(port.tally.opened(), 1);
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 1);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_within_a_body_is_data() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let bodies = ["HeartBeat", "", "HeartBeatlength:0000000000001"];
    let all: Vec<_> = bodies.iter().map(|body| asked(&client, *body)).collect();
    assert_eq!(far.arrived().await, bodies);
    far.replies(&bodies.map(String::from)).await;
    for (asked, body) in all.into_iter().zip(bodies) {
        assert_eq!(reply_of(asked).await, body);
    }
}

/// A reply is picked up late or never: nobody else is held up.
#[tokio::test(start_paused = true)]
async fn a_caller_who_is_not_polled_holds_nobody_up() {
    let (builder, mut port) = pipelined(2);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    // Two are in flight, two wait; of each pair one is polled once and then no more.
    let mut sleeping = std::pin::pin!(client.exchange(b"10"));
    assert!(std::future::poll_fn(|cx| Poll::Ready(sleeping.as_mut().poll(cx).is_pending())).await);
    let awake = asked(&client, "11");
    settle().await;
    let mut queued = std::pin::pin!(client.exchange(b"12"));
    assert!(std::future::poll_fn(|cx| Poll::Ready(queued.as_mut().poll(cx).is_pending())).await);
    let behind = asked(&client, "13");
    for expected in [["10", "11"], ["12", "13"]] {
        let arrived = far.arrived().await;
        assert_eq!(arrived, expected);
        far.replies(&arrived).await;
    }
    assert_eq!(reply_of(awake).await, "11");
    assert_eq!(reply_of(behind).await, "13");
    for number in 20..25 {
        let next = asked(&client, number.to_string());
        let arrived = far.arrived().await;
        assert_eq!(arrived, [number.to_string()]);
        far.replies(&arrived).await;
        assert_eq!(reply_of(next).await, number.to_string());
    }
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 1);
    assert_eq!(sleeping.await.unwrap(), &b"10"[..]);
    assert_eq!(queued.await.unwrap(), &b"12"[..]);
}
