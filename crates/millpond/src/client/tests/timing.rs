//! Deadlines: what they cover, what is said when they pass, and what comes too late.

use tokio::time::Instant;

use super::*;
use crate::client::{Execution, RequestError};

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_too_late_reaches_nobody() {
    let (client, mut port) = client();
    for request in 0..3_u64 {
        let late = client.within(50 * MS);
        let (reply, mut far) = tokio::join!(late.request::<_, u64>(&request), async {
            let mut far = port.accept().await;
            far.request().await;
            far
        });
        let error = reply.unwrap_err();
        assert!(
            matches!(&error, RequestError::TimedOut { within, execution: Execution::Possible } if *within == 50 * MS),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            "no reply within 50 ms; it may have been executed"
        );
        // The client has closed it: whether that is noticed or not, nobody reads this.
        let _ = far.0.write_all(&frame(b"77")).await;
        let next = request + 10;
        let (reply, ()) = tokio::join!(client.request::<_, u64>(&next), async {
            let mut far = port.accept().await;
            let body = far.request().await;
            far.reply(&body).await;
        });
        assert_eq!(reply.unwrap(), next);
        settle().await;
    }
    assert_eq!(evicted(&client, Eviction::UnfinishedExchange), 3);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_exact_and_covers_waiting_for_a_connection() {
    let (client, mut port) = client();
    let began = Instant::now();
    let holder = client.pool().acquire().await.unwrap();
    let _far = port.accept().await;
    let (waited, ()) = tokio::join!(client.within(300 * MS).exchange(b"1"), async {
        tokio::time::sleep(100 * MS).await;
        drop(holder);
    });
    let error = waited.unwrap_err();
    assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
    assert_eq!(began.elapsed(), 300 * MS, "the time spent waiting counts");
}

#[tokio::test(start_paused = true)]
async fn it_says_what_the_time_was_spent_on() {
    let (client, mut port) = client();
    let holder = client.pool().acquire().await.unwrap();
    let _far = port.accept().await;
    let error = client.within(200 * MS).exchange(b"1").await.unwrap_err();
    assert!(matches!(error, RequestError::Acquire(_)), "{error:?}");
    assert_eq!(error.execution(), Execution::Impossible);
    let text = error.to_string();
    assert!(
        text.contains("acquire timed out") && text.contains("1 of 1 active"),
        "{text}"
    );
    drop(holder);
    let error = client.within(200 * MS).exchange(b"1").await.unwrap_err();
    assert!(
        error.to_string().starts_with("no reply within 200 ms"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_time_nothing_is_sent() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    let began = Instant::now();
    let error = client
        .within(Duration::ZERO)
        .exchange(b"2")
        .await
        .unwrap_err();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(error.execution(), Execution::Impossible, "{error}");
    at_rest(&client, &port, 1);
    let (reply, ()) = tokio::join!(client.request::<_, u64>(&3), async {
        assert_eq!(far.request().await, b"3", "nothing came of the other");
        far.reply(b"3").await;
    });
    assert_eq!(reply.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_expressed_is_none() {
    let (client, mut port) = client();
    let (reply, ()) = tokio::join!(client.within(Duration::MAX).exchange(b"1"), async {
        let mut far = port.accept().await;
        far.request().await;
        tokio::time::sleep(300 * SECOND).await;
        far.reply(b"1").await;
    });
    assert_eq!(reply.unwrap(), &b"1"[..]);
}

/// Neither early nor late.
#[track_caller]
fn took(began: Instant, time: Duration) {
    assert_eq!(began.elapsed(), time);
}

#[tokio::test(start_paused = true)]
async fn a_long_deadline_is_never_early_and_hardly_late() {
    for held in [Duration::ZERO, 10 * MS, 700 * MS] {
        let (client, mut port) = client();
        let holder = client.pool().acquire().await.unwrap();
        let _far = port.accept().await;
        // Upkeep has fallen asleep.
        tokio::time::sleep(SECOND).await;
        let began = Instant::now();
        let (reply, ()) = tokio::join!(client.within(2 * SECOND).exchange(b"1"), async {
            tokio::time::sleep(held).await;
            drop(holder);
        });
        let error = reply.unwrap_err();
        assert!(
            matches!(&error, RequestError::TimedOut { within, .. } if *within == 2 * SECOND),
            "{error:?}"
        );
        took(began, 2 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_deadline_covers_waiting_in_a_line() {
    for held in [10 * MS, 700 * MS] {
        let (client, mut port) = client();
        let holder = client.pool().acquire().await.unwrap();
        let _far = port.accept().await;
        let began = Instant::now();
        // Behind somebody who waits already nobody looks at the clock to get in line.
        let (_, reply, ()) = tokio::join!(
            async { client.pool().acquire().await.map(drop).unwrap() },
            client.within(2 * SECOND).exchange(b"1"),
            async {
                tokio::time::sleep(held).await;
                drop(holder);
            }
        );
        assert!(
            matches!(reply, Err(RequestError::TimedOut { .. })),
            "{reply:?}"
        );
        took(began, 2 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_a_line_for_a_long_deadline_is_told_how_long() {
    let (client, mut port) = client();
    let _holder = client.pool().acquire().await.unwrap();
    let _far = port.accept().await;
    let (_, reply) = tokio::join!(
        client.within(3 * SECOND).exchange(b"1"),
        client.within(2 * SECOND).exchange(b"2")
    );
    let error = reply.unwrap_err().to_string();
    assert!(
        error.starts_with("acquire timed out after 2 s: 1 of 1 active"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_deadline_covers_both_attempts() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    let began = Instant::now();
    let again = client.within(3 * SECOND).idempotent();
    let (reply, _second) = tokio::join!(again.exchange(b"2"), async {
        far.request().await;
        tokio::time::sleep(2 * SECOND).await;
        drop(far);
        let mut second = port.accept().await;
        assert_eq!(second.request().await, b"2");
        second
    });
    assert!(
        matches!(reply, Err(RequestError::TimedOut { .. })),
        "{reply:?}"
    );
    took(began, 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_long_deadline_is_kept_though_the_pool_is_closed_meanwhile() {
    let (client, mut port) = client();
    for (after, within) in [(10 * MS, 2 * SECOND), (SECOND, 2 * SECOND)] {
        let began = Instant::now();
        let (reply, _far) = tokio::join!(client.within(within).exchange(b"1"), async {
            let far = port.accept().await;
            tokio::time::sleep(after).await;
            client.pool().retire();
            far
        });
        assert!(
            matches!(reply, Err(RequestError::TimedOut { .. })),
            "{reply:?}"
        );
        took(began, within);
    }
    let began = Instant::now();
    let (reply, _far) = tokio::join!(client.within(2 * SECOND).exchange(b"1"), async {
        let far = port.accept().await;
        tokio::time::sleep(10 * MS).await;
        let still_lent = client.pool().close(Duration::ZERO).await.unwrap_err();
        assert_eq!(still_lent.lent, 1);
        far
    });
    assert!(
        matches!(reply, Err(RequestError::TimedOut { .. })),
        "{reply:?}"
    );
    took(began, 2 * SECOND);
}

#[test]
fn a_long_deadline_is_kept_where_the_pools_runtime_stands_still() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let builder = builder.enable_all().start_paused(true);
        builder.build().expect("a runtime")
    };
    let (first, second) = (runtime(), runtime());
    let (client, _far) = first.block_on(async {
        let (client, mut port) = client();
        let far = warm(&client, &mut port).await;
        (client, far)
    });
    second.block_on(async {
        let began = Instant::now();
        let late = timeout(FOREVER, client.within(2 * SECOND).exchange(b"2")).await;
        let late = late.expect("it keeps its own time");
        assert!(
            matches!(late, Err(RequestError::TimedOut { .. })),
            "{late:?}"
        );
        took(began, 2 * SECOND);
    });
}
