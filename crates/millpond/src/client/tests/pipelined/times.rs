//! Deadlines: a caller whose deadline passes is told at that moment. If its reply was the next, the
//! connection ends.

use super::*;

#[track_caller]
fn assert_timed_out(error: &RequestError, after: Duration) {
    assert!(
        matches!(error, RequestError::TimedOut { within, execution: Execution::Possible } if *within == after),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_head_past_its_deadline_ends_the_connection() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let began = Instant::now();
    let head = asked_so(&client, within(3_456 * MS), "10");
    settle().await;
    let behind = asked(&client, "11");
    settle().await;
    let harmless = asked_so(&client, IDEMPOTENT, "12");
    assert_eq!(far.arrived().await, numbers(10..13));
    assert_timed_out(&error_of(head).await, 3_456 * MS);
    assert_eq!(began.elapsed(), 3_456 * MS);
    let error = error_of(behind).await;
    assert_eq!(began.elapsed(), 3_456 * MS);
    assert_lost(
        &error,
        |loss| matches!(loss, Loss::HeadTimedOut),
        Execution::Possible,
    );
    assert_eq!(
        Chain(&error).to_string(),
        "the connection was lost before the reply came; it may have been executed: an exchange before it on the same connection had no \
         reply within its deadline"
    );
    let mut second = port.accept().await;
    assert_eq!(second.arrived().await, ["12"]);
    second.reply(b"12").await;
    assert_eq!(reply_of(harmless).await, "12");
    assert!(far.ended().await);
    assert_eq!(evicted(&client, Eviction::UnfinishedExchange), 1);
}

#[tokio::test(start_paused = true)]
async fn another_past_its_deadline_is_told_and_its_reply_is_dropped() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let began = Instant::now();
    let head = asked(&client, "10");
    settle().await;
    let hasty = asked_so(&client, within(1_234 * MS), "11");
    settle().await;
    let last = asked(&client, "12");
    assert_eq!(far.arrived().await, numbers(10..13));
    assert_timed_out(&error_of(hasty).await, 1_234 * MS);
    assert_eq!(began.elapsed(), 1_234 * MS);
    tokio::time::sleep(SECOND).await;
    assert_eq!(in_flight(&client), [3]);
    far.replies(&numbers(10..13)).await;
    assert_eq!(reply_of(head).await, "10");
    assert_eq!(reply_of(last).await, "12");
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 1);
}

/// Its reply has as long from when it is next as a request of the client's has.
#[tokio::test(start_paused = true)]
async fn the_late_reply_of_one_who_was_told_is_not_waited_for_without_end() {
    let (builder, mut port) = pipelined(8);
    let client = builder.deadline(5 * SECOND).build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let head = asked_so(&client, within(100 * SECOND), "10");
    settle().await;
    let hasty = asked_so(&client, within(SECOND), "11");
    settle().await;
    let last = asked_so(&client, within(100 * SECOND), "12");
    assert_eq!(far.arrived().await, numbers(10..13));
    assert_timed_out(&error_of(hasty).await, SECOND);
    tokio::time::sleep(9 * SECOND).await;
    far.reply(b"10").await;
    assert_eq!(reply_of(head).await, "10");
    let began = Instant::now();
    let error = error_of(last).await;
    assert_lost(
        &error,
        |loss| matches!(loss, Loss::HeadTimedOut),
        Execution::Possible,
    );
    let took = began.elapsed();
    assert!((5 * SECOND..=5_200 * MS).contains(&took), "{took:?}");
}

/// Nor is that of one who has gone.
#[tokio::test(start_paused = true)]
async fn nor_is_that_of_one_who_has_gone() {
    let (builder, mut port) = pipelined(8);
    let client = builder.deadline(5 * SECOND).build().unwrap();
    let mut far = proven(&client, &mut port).await;
    for patience in [5 * SECOND, Duration::MAX] {
        let gone = asked_so(&client, within(patience), "10");
        assert_eq!(far.arrived().await, ["10"]);
        gone.abort();
        settle().await;
        let began = Instant::now();
        let last = asked_so(&client, within(100 * SECOND), "11");
        let error = error_of(last).await;
        assert_lost(
            &error,
            |loss| matches!(loss, Loss::HeadTimedOut),
            Execution::Possible,
        );
        let took = began.elapsed();
        assert!(took <= 5_200 * MS, "{took:?}");
        far = proven_again(&client, &mut port).await;
    }
}

async fn proven_again(client: &Client, port: &mut Port) -> Far {
    let next = asked(client, "0");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["0"]);
    far.reply(b"0").await;
    assert_eq!(reply_of(next).await, "0");
    far
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_line_past_its_deadline_is_told_why_and_never_written() {
    let (builder, mut port) = pipelined(2);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let all = all_asked(&client, 0, 2).await;
    let began = Instant::now();
    let waits = asked_so(&client, within(777 * MS), "2");
    settle().await;
    let behind = asked(&client, "3");
    let error = error_of(waits).await;
    assert_eq!(began.elapsed(), 777 * MS);
    assert_eq!(error.execution(), Execution::Impossible);
    let RequestError::Acquire(AcquireError::TimedOut(circumstances)) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (
            circumstances.waited,
            circumstances.waiting,
            circumstances.active
        ),
        (777 * MS, 1, 1)
    );
    let text = error.to_string();
    assert!(
        text.starts_with("acquire timed out after 777 ms: 1 of 1 active")
            && text.contains("1 waiting"),
        "{text}"
    );
    assert_eq!(far.arrived().await, ["0", "1"]);
    far.replies(&numbers(0..2)).await;
    assert_eq!(far.arrived().await, ["3"]);
    far.reply(b"3").await;
    assert_all_answered(all, 0).await;
    assert_eq!(reply_of(behind).await, "3");
}

/// A reply and a deadline at the same moment: one of the two, never both, and nobody else's.
#[tokio::test(start_paused = true)]
async fn who_is_served_at_its_deadline_gets_one_end() {
    for early in [true, false] {
        let (builder, mut port) = pipelined(1);
        let client = builder.build().unwrap();
        let first = asked(&client, "first");
        let mut far = port.accept().await;
        assert_eq!(far.arrived().await, ["first"]);
        let waits = asked_so(&client, within(500 * MS), "waits");
        settle().await;
        let pause = if early { 500 * MS } else { 501 * MS };
        tokio::time::sleep(pause).await;
        far.reply(b"first").await;
        assert_eq!(reply_of(first).await, "first");
        let error = error_of(waits).await;
        assert!(
            matches!(error, RequestError::Acquire(AcquireError::TimedOut(_))),
            "{error:?}"
        );
        assert_eq!(far.arrived().await, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_shorter_than_a_tick_are_kept() {
    let (builder, mut port) = pipelined(64);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    tokio::time::sleep(30 * MS).await;
    let head = asked(&client, "10");
    settle().await;
    let began = Instant::now();
    let mut all = Vec::new();
    for short in [7_u32, 3, 12, 5] {
        all.push((asked_so(&client, within(short * MS), "11"), short * MS));
        settle().await;
    }
    for (asked, short) in all {
        let ended = tokio::spawn(async move { (error_of(asked).await, Instant::now()) });
        let (error, at) = ended.await.unwrap();
        assert_timed_out(&error, short);
        assert!(at - began >= short && at - began <= 13 * MS);
    }
    assert_eq!(began.elapsed(), 12 * MS);
    assert_eq!(far.arrived().await.len(), 5);
    far.replies(&numbers(10..15)).await;
    assert_eq!(reply_of(head).await, "10");
    let began = Instant::now();
    let alone = asked_so(&client, within(4 * MS), "15");
    assert_timed_out(&error_of(alone).await, 4 * MS);
    assert_eq!(began.elapsed(), 4 * MS);
    assert_eq!(far.arrived().await, ["15"]);
    assert!(far.ended().await);
}

#[tokio::test(start_paused = true)]
async fn without_time_nothing_is_sent() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let error = error_of(asked_so(&client, within(Duration::ZERO), "9")).await;
    assert_eq!(error.execution(), Execution::Impossible, "{error}");
    let next = asked(&client, "10");
    assert_eq!(far.arrived().await, ["10"]);
    far.reply(b"10").await;
    assert_eq!(reply_of(next).await, "10");
    assert_eq!(port.tally.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_expressed_is_none() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let patient = asked_so(&client, within(Duration::MAX), "10");
    assert_eq!(far.arrived().await, ["10"]);
    tokio::time::sleep(1_000 * SECOND).await;
    far.reply(b"10").await;
    assert_eq!(reply_of(patient).await, "10");
}

/// However long its caller leaves it alone.
#[tokio::test(start_paused = true)]
async fn who_sleeps_in_line_beyond_its_deadline_is_never_written() {
    let (builder, mut port) = pipelined(1);
    let client = builder.build().unwrap();
    let first = asked(&client, "first");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["first"]);
    let requests = client.within(100 * MS);
    let mut sleeps = std::pin::pin!(requests.exchange(b"sleeps"));
    assert!(std::future::poll_fn(|cx| Poll::Ready(sleeps.as_mut().poll(cx).is_pending())).await);
    let behind = asked(&client, "behind");
    tokio::time::sleep(300 * MS).await;
    far.reply(b"first").await;
    assert_eq!(reply_of(first).await, "first");
    assert_eq!(far.arrived().await, ["behind"]);
    far.reply(b"behind").await;
    assert_eq!(reply_of(behind).await, "behind");
    let error = sleeps.await.unwrap_err();
    assert!(
        matches!(error, RequestError::Acquire(AcquireError::TimedOut(_))),
        "{error:?}"
    );
}

/// Whoever has waited in line as well.
#[tokio::test(start_paused = true)]
async fn a_head_that_came_from_the_line_ends_the_connection_at_its_deadline() {
    let (builder, mut port) = pipelined(2);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let began = Instant::now();
    let both = all_asked(&client, 0, 2).await;
    let head = asked_so(&client, within(77 * MS), "2");
    settle().await;
    let behind = asked(&client, "3");
    tokio::time::sleep(50 * MS).await;
    far.replies(&numbers(0..2)).await;
    assert_all_answered(both, 0).await;
    assert_timed_out(&error_of(head).await, 77 * MS);
    let error = error_of(behind).await;
    assert_lost(
        &error,
        |loss| matches!(loss, Loss::HeadTimedOut),
        Execution::Possible,
    );
    assert_eq!(began.elapsed(), 77 * MS);
}

/// The runtime was busy, say.
#[tokio::test(start_paused = true)]
async fn a_request_whose_pause_ended_after_its_deadline_is_not_sent() {
    const NOT_TAKEN: &[u8] = br#"{"error":{"code":-32003,"message":"this server drains"}}"#;
    let (builder, mut port) = pipelined(2);
    let client = builder.pool(|pool| pool.max_size(2)).build().unwrap();
    let mut first = proven(&client, &mut port).await;
    let held = all_asked(&client, 7, 2).await;
    assert_eq!(first.arrived().await, numbers(7..9));
    let late = {
        let client = client.clone();
        let late = async move { client.within(12 * MS).request::<_, u64>(&9).await };
        tokio::spawn(late)
    };
    let mut second = port.accept().await;
    assert_eq!(second.arrived().await, ["9"]);
    // It is to be sent again after 10 ms, and would find a place on the first connection.
    second.reply(NOT_TAKEN).await;
    settle().await;
    first.replies(&numbers(7..9)).await;
    assert_all_answered(held, 7).await;
    tokio::time::advance(50 * MS).await;
    assert_eq!(first.arrived().await, [""; 0]);
    let error = late.await.unwrap().unwrap_err();
    assert_eq!(error.execution(), Execution::Impossible, "{error:?}");
    let next = asked(&client, "10");
    assert_eq!(first.arrived().await, ["10"]);
    first.reply(b"10").await;
    assert_eq!(reply_of(next).await, "10");
}
