//! What the pool is told while a pipeline holds its connection: it stops taking requests, ends what
//! is in flight, and gives it back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_retired_connection_ends_what_is_in_flight_and_gets_nothing_new() {
    let (builder, mut port) = pipelined(8);
    let client = builder.pool(|pool| pool.max_size(2)).build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let old = all_asked(&client, 10, 3).await;
    assert_eq!(far.arrived().await, numbers(10..13));
    client.pool().retire();
    let new = all_asked(&client, 20, 3).await;
    let mut second = port.accept().await;
    assert_eq!(second.arrived().await, numbers(20..23));
    assert_eq!(far.arrived().await, [""; 0]);
    second.replies(&numbers(20..23)).await;
    assert_all_answered(new, 20).await;
    far.replies(&numbers(10..13)).await;
    assert_all_answered(old, 10).await;
    assert!(far.ended().await);
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 1);
    assert_eq!(evicted(&client, Eviction::Retired), 1);
}

/// With one connection the next waits for the end of what is in flight, and a tick.
#[tokio::test(start_paused = true)]
async fn a_retired_connection_that_is_the_only_one_is_replaced_when_it_is_done() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let old = all_asked(&client, 10, 3).await;
    assert_eq!(far.arrived().await, numbers(10..13));
    client.pool().retire();
    let new = all_asked(&client, 20, 3).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((far.arrived().await.len(), port.tally.opened()), (0, 1));
    far.replies(&numbers(10..13)).await;
    assert_all_answered(old, 10).await;
    let began = Instant::now();
    let mut second = port.accept().await;
    assert!(began.elapsed() <= 100 * MS, "{:?}", began.elapsed());
    assert_eq!(second.arrived().await, numbers(20..23));
    second.replies(&numbers(20..23)).await;
    assert_all_answered(new, 20).await;
    assert!(far.ended().await);
}

#[tokio::test(start_paused = true)]
async fn a_retired_connection_without_exchanges_is_closed_within_a_tick() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    client.pool().retire();
    tokio::time::sleep(101 * MS).await;
    assert!(far.ended().await);
    at_rest(&client, &port, 0);
    assert_eq!(evicted(&client, Eviction::Retired), 1);
}

#[tokio::test(start_paused = true)]
async fn when_the_pool_is_closed_who_waits_is_told_at_once_and_what_is_in_flight_ends() {
    let (builder, mut port) = pipelined(2);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let mut all = all_asked(&client, 0, 4).await;
    assert_eq!(far.arrived().await, ["0", "1"]);
    let began = Instant::now();
    let closing = {
        let client = client.clone();
        tokio::spawn(async move { client.pool().close(10 * SECOND).await })
    };
    for waiting in all.split_off(2) {
        let error = error_of(waiting).await;
        assert!(
            matches!(error, RequestError::Acquire(AcquireError::Closed)),
            "{error:?}"
        );
        assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    }
    let error = error_of(asked(&client, "5")).await;
    assert!(
        matches!(error, RequestError::Acquire(AcquireError::Closed)),
        "{error:?}"
    );
    tokio::time::sleep(SECOND).await;
    assert_eq!(far.arrived().await, [""; 0]);
    far.replies(&numbers(0..2)).await;
    assert_all_answered(all, 0).await;
    closing.await.unwrap().expect("closed in time");
    assert!(far.ended().await);
    assert_eq!(port.tally.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_pool_is_drained_who_waits_is_served_and_nobody_else() {
    let (builder, mut port) = pipelined(2);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let all = all_asked(&client, 0, 6).await;
    let draining = {
        let client = client.clone();
        tokio::spawn(async move { client.pool().drain(10 * SECOND).await })
    };
    settle().await;
    let error = error_of(asked(&client, "7")).await;
    assert!(
        matches!(error, RequestError::Acquire(AcquireError::Draining)),
        "{error:?}"
    );
    for pair in 0..3 {
        tokio::time::sleep(QUIET).await;
        let arrived = far.arrived().await;
        assert_eq!(arrived, numbers(2 * pair..2 * pair + 2));
        far.replies(&arrived).await;
    }
    assert_all_answered(all, 0).await;
    draining.await.unwrap().expect("drained in time");
    assert!(far.ended().await);
    assert_eq!(port.tally.open(), 0);
}

/// No connection is dialled any more for those who came before.
#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_during_a_drain_ends_the_wait_of_those_in_line() {
    let (builder, mut port) = pipelined(2);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let mut all = all_asked(&client, 0, 4).await;
    assert_eq!(far.arrived().await, ["0", "1"]);
    let draining = {
        let client = client.clone();
        tokio::spawn(async move { client.pool().drain(10 * SECOND).await })
    };
    settle().await;
    drop(far);
    let waiting = all.split_off(2);
    for lost in all {
        assert_lost(
            &error_of(lost).await,
            |loss| matches!(loss, Loss::Closed),
            Execution::Possible,
        );
    }
    for told in waiting {
        let error = error_of(told).await;
        assert!(
            matches!(
                error,
                RequestError::Acquire(AcquireError::Draining | AcquireError::Closed)
            ),
            "{error:?}"
        );
    }
    draining.await.unwrap().expect("drained in time");
    assert_eq!(port.tally.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_the_pool_is_paused_requests_wait_and_then_they_are_served() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let before = all_asked(&client, 0, 2).await;
    assert_eq!(far.arrived().await, ["0", "1"]);
    client.pool().pause();
    let during = all_asked(&client, 2, 3).await;
    far.replies(&numbers(0..2)).await;
    assert_all_answered(before, 0).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(far.arrived().await, [""; 0]);
    let snapshot = client.snapshot();
    assert_eq!(
        (snapshot.pool.idle, snapshot.pool.active, snapshot.waiting),
        (1, 0, 3),
        "{snapshot}"
    );
    let error = error_of(asked_so(&client, within(200 * MS), "9")).await;
    assert!(error.to_string().contains("the pool is paused"), "{error}");
    client.pool().resume();
    assert_eq!(far.arrived().await, numbers(2..5));
    far.replies(&numbers(2..5)).await;
    assert_all_answered(during, 2).await;
    assert_eq!(port.tally.opened(), 1);
}

/// Sooner than the pipeline has given its connection back.
#[tokio::test(start_paused = true)]
async fn a_pause_that_is_soon_over_is_over_at_once() {
    for in_flight in 0..2 {
        let (builder, mut port) = pipelined(8);
        let client = builder.build().unwrap();
        let mut far = proven(&client, &mut port).await;
        let before = all_asked(&client, 0, in_flight).await;
        assert_eq!(far.arrived().await, numbers(0..in_flight));
        client.pool().pause();
        let during = all_asked(&client, 2, 3).await;
        tokio::time::sleep(10 * MS).await;
        assert_eq!(far.arrived().await, [""; 0]);
        client.pool().resume();
        assert_eq!(far.arrived().await, numbers(2..5), "{in_flight} in flight");
        far.replies(&[numbers(0..in_flight), numbers(2..5)].concat())
            .await;
        assert_all_answered(before, 0).await;
        assert_all_answered(during, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_shrinks_and_grows_has_as_many_pipelines_as_it_may() {
    let (builder, mut port) = pipelined(2);
    let client = builder.pool(|pool| pool.max_size(3)).build().unwrap();
    let mut fars = vec![proven(&client, &mut port).await];
    let all = all_asked(&client, 0, 6).await;
    for _ in 0..2 {
        fars.push(port.accept().await);
    }
    client.pool().resize(1).unwrap();
    tokio::time::sleep(SECOND).await;
    let more = all_asked(&client, 6, 4).await;
    for far in &mut fars {
        let arrived = far.arrived().await;
        assert_eq!(arrived.len(), 2);
        far.replies(&arrived).await;
    }
    assert_all_answered(all, 0).await;
    tokio::time::sleep(QUIET).await;
    let snapshot = client.pool().snapshot();
    assert_eq!((snapshot.active, port.tally.open()), (1, 1), "{snapshot}");
    // Those who came meanwhile are on the one that is left, or on a new one.
    for far in fars {
        tokio::spawn(far.echo());
    }
    while let Ok(stream) = port.accepted.try_recv() {
        tokio::spawn(Far(stream).echo());
    }
    assert_all_answered(more, 6).await;

    client.pool().resize(4).unwrap();
    tokio::spawn(async move {
        while let Some(stream) = port.accepted.recv().await {
            tokio::spawn(Far(stream).echo());
        }
    });
    let many = all_asked(&client, 20, 50).await;
    assert_all_answered(many, 20).await;
    assert!(client.pool().snapshot().max_size == 4);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_grows_takes_those_who_wait_to_new_connections_at_once() {
    let (builder, mut port) = pipelined(2);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let all = all_asked(&client, 0, 6).await;
    assert_eq!(far.arrived().await, ["0", "1"]);
    let began = Instant::now();
    client.pool().resize(3).unwrap();
    for expected in [["2", "3"], ["4", "5"]] {
        let mut far = port.accept().await;
        assert_eq!(far.arrived().await, expected);
        tokio::spawn(async move {
            far.replies(&expected.map(String::from)).await;
            far.echo().await;
        });
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    far.replies(&numbers(0..2)).await;
    assert_all_answered(all, 0).await;
}

/// However busy it is.
#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_when_its_lifetime_is_over() {
    let (builder, mut port) = pipelined(8);
    let client = builder
        .pool(|pool| pool.max_size(2).max_lifetime(10 * SECOND))
        .build()
        .unwrap();
    tokio::spawn(async move {
        while let Some(stream) = port.accepted.recv().await {
            tokio::spawn(Far(stream).echo());
        }
    });
    let began = Instant::now();
    let callers: Vec<_> = (0..4_u64)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                for number in 0..60_000_u64 {
                    let token = caller * 1_000_000 + number;
                    let began = Instant::now();
                    assert_eq!(client.request::<_, u64>(&token).await.unwrap(), token);
                    longest = longest.max(began.elapsed());
                    tokio::time::sleep(MS).await;
                }
                longest
            })
        })
        .collect();
    for caller in callers {
        let longest = caller.await.unwrap();
        assert!(longest <= 200 * MS, "{longest:?}");
    }
    assert!(began.elapsed() >= 59 * SECOND);
    let ended = evicted(&client, Eviction::Lifetime);
    assert!((4..=8).contains(&ended), "{ended}");
}
