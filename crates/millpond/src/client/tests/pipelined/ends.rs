//! No connection to be had, the client gone, the runtime ended: nobody waits in vain, and nothing
//! is left.

use super::*;
use crate::pool::Backoff;

/// A client with a settings of an outage's, whose server has gone or never was.
fn outage(grace: Duration) -> (Client, Port) {
    let (builder, port) = pipelined(2);
    let builder = builder.pool(move |pool| {
        pool.max_size(3)
            .outage_grace(grace)
            .acquire_timeout(60 * SECOND)
    });
    (builder.build().unwrap(), port)
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_requests_fail_when_the_grace_is_over_and_tell_the_cause() {
    let (client, Port { accepted, .. }) = outage(2 * SECOND);
    drop(accepted);
    let began = Instant::now();
    let all = all_asked(&client, 0, 10).await;
    for asked in all {
        let error = error_of(asked).await;
        assert!(
            matches!(
                error,
                RequestError::Acquire(AcquireError::Unavailable { .. })
            ),
            "{error:?}"
        );
        let text = crate::Chain(&error).to_string();
        assert!(
            text.contains("unavailable") && text.contains("refused"),
            "{text}"
        );
        assert_eq!(error.execution(), Execution::Impossible);
    }
    let took = began.elapsed();
    assert!((1_900 * MS..=2_500 * MS).contains(&took), "{took:?}");
    let began = Instant::now();
    error_of(asked(&client, "11")).await;
    assert!(
        began.elapsed() <= 300 * MS,
        "and then at once: {:?}",
        began.elapsed()
    );
    assert_eq!(client.snapshot().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn with_a_live_connection_a_failed_dial_fails_nobody() {
    let (client, mut port) = outage(Duration::ZERO);
    let mut far = proven(&client, &mut port).await;
    drop(port);
    let all = all_asked(&client, 0, 10).await;
    tokio::time::sleep(3 * SECOND).await;
    assert!(client.pool().snapshot().failing);
    for pair in 0..5 {
        let arrived = far.arrived().await;
        assert_eq!(arrived, numbers(2 * pair..2 * pair + 2));
        far.replies(&arrived).await;
        tokio::time::sleep(SECOND).await;
    }
    assert_all_answered(all, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_is_found() {
    let (client, mut port) = outage(5 * SECOND);
    let far = proven(&client, &mut port).await;
    let harmless = asked_so(&client, IDEMPOTENT, "10");
    settle().await;
    drop(far);
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["10"]);
    far.reply(b"10").await;
    assert_eq!(reply_of(harmless).await, "10");
}

#[tokio::test(start_paused = true)]
async fn when_the_last_client_has_gone_nothing_is_left() {
    for idle in [false, true] {
        let (builder, mut port) = pipelined(2);
        let client = builder.pool(|pool| pool.max_size(2)).build().unwrap();
        let mut far = proven(&client, &mut port).await;
        let clone = client.clone();
        let all = match idle {
            true => Vec::new(),
            false => all_asked(&client, 0, 7).await,
        };
        if !idle {
            assert_eq!(port.tally.open(), 2);
        }
        drop(client);
        settle().await;
        assert!(port.tally.open() > 0, "there is a clone");
        for asked in &all {
            asked.abort();
        }
        settle().await;
        drop(clone);
        settle().await;
        assert_eq!(port.tally.open(), 0);
        far.arrived().await;
        assert!(far.ended().await);
        tokio::time::sleep(SECOND).await;
        let left = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        assert_eq!(left, 0);
    }
}

/// A request that is in flight keeps its client: its future borrows it. One that was dropped
/// doesn't keep the connection.
#[tokio::test(start_paused = true)]
async fn a_lease_under_way_ends_with_its_client() {
    let (builder, port) = pipelined(2);
    let client = builder.build().unwrap();
    client.pool().pause();
    let all = all_asked(&client, 0, 3).await;
    for asked in all {
        asked.abort();
    }
    drop(client);
    settle().await;
    assert_eq!(port.tally.open(), 0);
    tokio::time::sleep(5 * SECOND).await;
    let left = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(left, 0);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn is_of_the_runtime(error: &RequestError) -> bool {
    matches!(
        error,
        RequestError::Lost {
            cause: Loss::RuntimeEnded,
            ..
        } | RequestError::Acquire(AcquireError::RuntimeEnded)
    )
}

/// In flight, in line, and new: on another runtime than that which ends.
#[test]
fn when_its_runtime_ends_everybody_is_told() {
    let (theirs, ours) = (runtime(), runtime());
    let (client, mut port) = theirs.block_on(async {
        let (builder, port) = pipelined(1);
        (builder.build().unwrap(), port)
    });
    ours.block_on(async {
        let mut all = all_asked(&client, 0, 5).await;
        let mut far = port.accept().await;
        let number: usize = String::from_utf8(far.request().await)
            .unwrap()
            .parse()
            .unwrap();
        while client.snapshot().waiting < 4 {
            tokio::task::yield_now().await;
        }
        let in_flight = all.remove(number);
        theirs.shutdown_background();
        assert_lost(
            &error_of(in_flight).await,
            |loss| matches!(loss, Loss::RuntimeEnded),
            Execution::Possible,
        );
        for asked in all {
            let error = error_of(asked).await;
            assert!(is_of_the_runtime(&error), "{error:?}");
            assert_eq!(error.execution(), Execution::Impossible, "{error:?}");
        }
        let error = error_of(asked(&client, "9")).await;
        assert!(is_of_the_runtime(&error), "{error:?}");
        assert_eq!(error.execution(), Execution::Impossible, "{error:?}");
    });
}

/// A runtime without threads of its own that nobody drives: deadlines are kept all the same.
#[test]
fn where_nobody_drives_its_runtime_deadlines_are_kept() {
    let theirs = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (client, _port) = theirs.block_on(async {
        let (builder, mut port) = pipelined(2);
        let client = builder.build().unwrap();
        drop(proven(&client, &mut port).await);
        let live = asked(&client, "1");
        let mut far = port.accept().await;
        assert_eq!(far.request().await, b"1");
        far.reply(b"1").await;
        reply_of(live).await;
        (client, (port, far))
    });
    let ours = runtime();
    ours.block_on(async {
        for _ in 0..4 {
            let error = error_of(asked_so(&client, within(50 * MS), "2")).await;
            assert!(
                matches!(
                    error,
                    RequestError::TimedOut { .. }
                        | RequestError::Acquire(AcquireError::TimedOut(_))
                ),
                "{error:?}"
            );
        }
    });
}

/// The pool outlives its client, whose last requests were given up: what is still to come on that
/// connection reaches nobody.
#[tokio::test(start_paused = true)]
async fn a_pool_that_outlives_its_client_keeps_no_unfinished_connection() {
    let (builder, mut port) = pipelined(8);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let all = all_asked(&client, 0, 3).await;
    assert_eq!(far.arrived().await.len(), 3);
    let pool = client.pool().clone();
    for asked in all {
        asked.abort();
    }
    settle().await;
    drop(client);
    settle().await;
    let snapshot = pool.snapshot();
    assert_eq!(
        (snapshot.idle, snapshot.active, port.tally.open()),
        (0, 0, 0),
        "{snapshot}"
    );
}

/// The driver of a pipeline holds its lock when it hears the first reply: what that brings about
/// for others is done when the lock is free.
#[tokio::test(start_paused = true)]
async fn what_follows_from_having_served_is_left_to_who_drops_it() {
    let (builder, port) = builder(Pace::AtOnce);
    // Longer than this takes, however much of it the next dial waits.
    let day = 24 * 3_600 * SECOND;
    let backoff = Backoff {
        base: day,
        max: day,
        max_while_waiting: day,
        max_when_reached: day,
    };
    let builder = builder.pool(move |pool| pool.max_size(2).min_idle(2).backoff(backoff));
    let client = builder.build().unwrap();
    let lent = client.pool().acquire().await.unwrap();
    let dies = client.pool().acquire().await.unwrap();
    dies.discard_because(Eviction::PeerClosed);
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        port.tally.opened(),
        2,
        "one that died before it served: the next dial isn't due"
    );
    let served = lent.note_served();
    settle().await;
    assert_eq!(port.tally.opened(), 2, "nothing has been done yet");
    drop(served);
    settle().await;
    assert_eq!(
        port.tally.opened(),
        3,
        "the endpoint serves: the next is dialled at once"
    );
}
