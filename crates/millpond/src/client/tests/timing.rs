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
    assert!(error.to_string().starts_with("no reply within 200 ms"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn without_time_nothing_is_sent() {
    let (client, mut port) = client();
    let (reply, mut far) = tokio::join!(client.request::<_, u64>(&1), async {
        let mut far = port.accept().await;
        let body = far.request().await;
        far.reply(&body).await;
        far
    });
    assert_eq!(reply.unwrap(), 1);
    let began = Instant::now();
    let error = client.within(Duration::ZERO).exchange(b"2").await.unwrap_err();
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
