//! How long a place is waited for: until the deadline, and no longer than the pool's
//! `acquire_timeout`, in both modes.

use tokio::time::Instant;

use super::*;
use crate::{
    client::{Pipelining, RequestError},
    pool::AcquireError,
};

const LIMIT: Duration = Duration::from_millis(200);

/// With one connection, on which one exchange at a time is under way, and this `acquire_timeout`.
fn crowded(pipelined: bool, limit: Duration) -> (Client, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    let builder = builder.pool(move |pool| pool.acquire_timeout(limit));
    let client = match pipelined {
        true => builder.pipelined(Pipelining::default().depth(1)).build(),
        false => builder.build(),
    };
    (client.unwrap(), port)
}

fn asked(
    client: &Client,
    within: Duration,
    body: &'static [u8],
) -> tokio::task::JoinHandle<Result<Vec<u8>, RequestError>> {
    let client = client.clone();
    tokio::spawn(async move {
        let reply = client.within(within).exchange(body).await;
        reply.map(|reply| reply.to_vec())
    })
}

#[track_caller]
fn assert_timed_out(error: RequestError) {
    assert!(
        matches!(error, RequestError::Acquire(AcquireError::TimedOut(_))),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_smaller_of_deadline_and_acquire_timeout_bounds_the_wait() {
    for pipelined in [false, true] {
        for (deadline, limit, expected) in [
            (30 * SECOND, LIMIT, LIMIT),
            (30 * SECOND, 3 * SECOND, 3 * SECOND),
            (500 * MS, LIMIT, LIMIT),
            (100 * MS, LIMIT, 100 * MS),
            (2 * SECOND, 4 * SECOND, 2 * SECOND),
        ] {
            let (client, mut port) = crowded(pipelined, limit);
            let first = asked(&client, 60 * SECOND, b"1");
            let mut far = port.accept().await;
            far.request().await;
            let began = Instant::now();
            let error = asked(&client, deadline, b"2").await.unwrap().unwrap_err();
            let took = began.elapsed();
            assert_timed_out(error);
            assert!(
                took >= expected && took <= expected + 25 * MS,
                "{pipelined}, {deadline:?}, {limit:?}: {took:?}"
            );
            far.reply(b"1").await;
            assert_eq!(first.await.unwrap().unwrap(), b"1", "it had its place");
        }
    }
}

/// Who has got a place has the rest of the deadline, however much of it was spent waiting.
#[tokio::test(start_paused = true)]
async fn who_has_a_place_in_time_has_the_rest_of_the_deadline() {
    for pipelined in [false, true] {
        for deadline in [900 * MS, 2 * SECOND] {
            let (client, mut port) = crowded(pipelined, LIMIT);
            let first = asked(&client, 60 * SECOND, b"1");
            let mut far = port.accept().await;
            far.request().await;
            let second = [0, 1].map(|_| (Instant::now(), asked(&client, deadline, b"2")));
            let [(began, answered), (_, late)] = second;
            tokio::time::sleep(150 * MS).await;
            far.reply(b"1").await;
            assert_eq!(first.await.unwrap().unwrap(), b"1");
            assert_eq!(far.request().await, b"2");
            tokio::time::sleep(600 * MS).await;
            assert_timed_out(late.await.unwrap().unwrap_err());
            far.reply(b"2").await;
            assert_eq!(
                answered.await.unwrap().unwrap(),
                b"2",
                "{pipelined}, {deadline:?}"
            );
            // And no more than that.
            let last = asked(&client, deadline, b"3");
            assert_eq!(far.request().await, b"3");
            let error = last.await.unwrap().unwrap_err();
            assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
            assert!(began.elapsed() < 4 * SECOND);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_no_acquire_timeout_the_deadline_alone_counts() {
    for pipelined in [false, true] {
        let (builder, mut port) = builder(Pace::AtOnce);
        let mut builder = builder.pool(|pool| pool.acquire_timeout(None));
        if pipelined {
            builder = builder.pipelined(Pipelining::default().depth(1));
        }
        let client = builder.build().unwrap();
        let _first = asked(&client, 60 * SECOND, b"1");
        let mut far = port.accept().await;
        far.request().await;
        let began = Instant::now();
        assert_timed_out(
            asked(&client, 20 * SECOND, b"2")
                .await
                .unwrap()
                .unwrap_err(),
        );
        assert!(began.elapsed() >= 20 * SECOND);
    }
}
