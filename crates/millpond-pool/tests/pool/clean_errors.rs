//! `Pool::with_clean_errors`: which ends of an exchange give its connection back, and which close
//! it.

use std::sync::Arc;

use crate::common::{Endpoint, Hand, Said, Scripted, at_rest, settle};
use millpond_pool::{AcquireError, Eviction, Pool, WithError};

const NOT_FOUND: Said = Said("row not found");
const LOST: Said = Said("connection lost");

fn is_not_found(error: &Said) -> bool {
    error.0 == NOT_FOUND.0
}

fn pool() -> (Arc<Endpoint>, Pool<Scripted>) {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().expect("a runtime");
    (endpoint, pool)
}

/// The reasons for which connections were evicted, the latest last.
fn evictions(pool: &Pool<Scripted>) -> Vec<Eviction> {
    pool.snapshot()
        .evictions
        .iter()
        .map(|one| one.reason)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn success_and_clean_errors_release_the_connection_for_the_next() {
    let (_endpoint, pool) = pool();
    for round in 1..=3 {
        let found = pool.with_clean_errors(is_not_found, async |lent| {
            lent.dirty = true;
            Ok(lent.nth)
        });
        assert_eq!(found.await.expect("it succeeds"), 1, "round {round}");
        at_rest(&pool, 1);
        let missing = pool.with_clean_errors(is_not_found, async |lent| {
            lent.dirty = true; // Until somebody says that the exchange is complete.
            Err::<(), _>(NOT_FOUND)
        });
        let error = missing.await.expect_err("it isn't there");
        assert!(
            matches!(error, WithError::Exchange(Said("row not found"))),
            "{error:?}"
        );
        at_rest(&pool, 1);
    }
    let totals = pool.snapshot().totals;
    assert_eq!((totals.lent, totals.dials, totals.closed), (6, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unclean_error_closes_the_connection() {
    let (_endpoint, pool) = pool();
    let failed = pool.with_clean_errors(is_not_found, async |_| Err::<(), _>(LOST));
    let error = failed.await.expect_err("it fails");
    assert!(
        matches!(error, WithError::Exchange(Said("connection lost"))),
        "{error:?}"
    );
    at_rest(&pool, 0);
    assert_eq!(evictions(&pool), [Eviction::Discarded]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_either_closure_closes_the_connection() {
    let (_endpoint, pool) = pool();
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            pool.with_clean_errors(is_not_found, async |_| -> Result<(), Said> {
                panic!("as the test wants it")
            })
            .await
        }
    });
    assert!(task.await.expect_err("it panics").is_panic());
    at_rest(&pool, 0);
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            pool.with_clean_errors(
                |_| panic!("as the test wants it"),
                async |_| Err::<(), _>(NOT_FOUND),
            )
            .await
        }
    });
    assert!(task.await.expect_err("it panics").is_panic());
    at_rest(&pool, 0);
    assert_eq!(evictions(&pool), [Eviction::Panicked, Eviction::Panicked]);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_dropped_unfinished_closes_the_connection() {
    let (_endpoint, pool) = pool();
    let mut unfinished = Hand::new(pool.with_clean_errors(is_not_found, async |_| {
        std::future::pending::<()>().await;
        Ok(())
    }));
    assert!(unfinished.poll().is_pending());
    settle().await; // Its dial.
    assert!(unfinished.poll().is_pending());
    drop(unfinished);
    at_rest(&pool, 0);
    assert_eq!(evictions(&pool), [Eviction::UnfinishedExchange]);
    assert_eq!(
        pool.snapshot().totals.unreleased,
        0,
        "it wasn't merely dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_nobody_is_asked() {
    let (_endpoint, pool) = pool();
    drop(pool.close(crate::common::SECOND));
    let closed = pool.with_clean_errors(
        |_: &Said| unreachable!("there is no error of an exchange"),
        async |_| Ok(()),
    );
    let error = closed.await.expect_err("the pool is closed");
    assert!(
        matches!(error, WithError::Acquire(AcquireError::Closed)),
        "{error:?}"
    );
}
