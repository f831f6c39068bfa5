//! An acquire that owns a handle of its pool: it may outlive the borrow, is cancelled as the other,
//! and keeps the pool open while it waits.

use std::{sync::Arc, task::Poll};

use crate::common::{Dial, Endpoint, Hand, MS, SECOND, at_rest, close, consistent, pass, settle};
use millpond_pool::{AcquireError, AcquireOwned, Priority};

#[tokio::test(start_paused = true)]
async fn it_can_be_spawned_and_kept_in_a_struct() {
    struct Job {
        acquire: AcquireOwned<crate::common::Scripted>,
    }
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let job = Job {
        acquire: pool.acquire_owned(),
    };
    let task = tokio::spawn(async move { job.acquire.await.unwrap().nth });
    settle().await;
    assert_eq!(pool.snapshot().waiting, 1);
    drop(lent);
    assert_eq!(task.await.unwrap(), 1);
    close(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn it_says_where_it_was_called_and_takes_the_settings_of_an_acquire() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let (here, lent) = (line!(), pool.acquire_owned().await.unwrap());
    let snapshot = pool.snapshot();
    let acquired_at = snapshot.connections[0].acquired_at.unwrap();
    assert_eq!((acquired_at.file(), acquired_at.line()), (file!(), here));

    let mut low = Hand::begun(pool.acquire_owned().priority(Priority::LOWEST));
    let mut high = Hand::begun(pool.acquire_owned().priority(Priority::HIGHEST));
    let mut brief = Hand::begun(pool.acquire_owned().timeout(10 * MS));
    let until = tokio::time::Instant::now() + 10 * MS;
    let mut until = Hand::begun(pool.acquire_owned().deadline(until));
    pass(20 * MS).await;
    assert!(matches!(brief.end(), Err(AcquireError::TimedOut(_))));
    assert!(matches!(until.end(), Err(AcquireError::TimedOut(_))));
    drop(lent);
    drop(high.end().unwrap());
    drop(low.end().unwrap());
    close(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn it_may_wait_through_an_outage() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Fail("down");
    let pool = endpoint.pool().outage_grace(100 * MS).build().unwrap();
    let mut usual = Hand::begun(pool.acquire_owned());
    let mut patient = Hand::begun(
        pool.acquire_owned()
            .wait_through_outage()
            .timeout(60 * SECOND),
    );
    pass(SECOND).await;
    assert!(matches!(usual.end(), Err(AcquireError::Unavailable { .. })));
    assert!(patient.poll().is_pending());
    endpoint.script().dial = Dial::Succeed;
    pass(2 * SECOND).await;
    assert!(patient.end().is_ok());
    close(&pool).await;
}

/// At each point at which it may be dropped: before its first poll, in line, woken with a
/// connection granted, and with its connection.
#[tokio::test(start_paused = true)]
async fn dropped_at_any_point_it_loses_nothing() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();

    drop(pool.acquire_owned()); // Never polled.
    at_rest(&pool, 0);

    drop(Hand::begun(pool.acquire_owned())); // Its dial goes on, for the pool.
    settle().await;
    at_rest(&pool, 1);

    let lent = pool.acquire_owned().await.unwrap();
    drop(Hand::begun(pool.acquire_owned())); // In line.
    assert_eq!(consistent(&pool).waiting, 0);

    let granted = Hand::begun(pool.acquire_owned());
    let mut next = Hand::begun(pool.acquire_owned());
    drop(lent);
    assert!(granted.woken() && !next.woken());
    drop(granted); // Granted, and not picked up: the next in line gets it.
    assert!(next.woken());
    let lent = next.end().unwrap();
    assert_eq!(pool.snapshot().totals.cancelled, 3);

    drop(lent);
    at_rest(&pool, 1);
    close(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn while_it_waits_it_keeps_the_pool_open() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::AtTheGate;
    let pool = endpoint.pool().build().unwrap();
    let mut waiting = Hand::begun(pool.acquire_owned());
    drop(pool); // The last handle but the one in the future.
    settle().await;
    assert!(waiting.poll().is_pending());
    endpoint.gate.add_permits(1);
    settle().await;
    let lent = waiting.end().unwrap();
    assert_eq!(endpoint.open(), 1);
    drop(waiting); // Now the pool closes.
    assert_eq!(endpoint.open(), 1, "what is lent is still its borrower's");
    lent.release();
    assert_eq!(endpoint.open(), 0, "and closed when it comes back");
}

#[tokio::test(start_paused = true)]
async fn dropped_as_the_last_handle_it_closes_the_pool() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::AtTheGate;
    let pool = endpoint.pool().build().unwrap();
    let waiting = Hand::begun(pool.acquire_owned());
    settle().await;
    assert_eq!(endpoint.dialling(), 1);
    drop(pool);
    drop(waiting);
    settle().await;
    assert_eq!((endpoint.dialling(), Arc::strong_count(&endpoint)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_closed_tells_it_so() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Hang;
    let pool = endpoint.pool().build().unwrap();
    let mut waiting = Hand::begun(pool.acquire_owned());
    close(&pool).await;
    assert!(matches!(waiting.end(), Err(AcquireError::Closed)));
    let mut late = Hand::new(pool.acquire_owned());
    assert!(matches!(
        late.poll(),
        Poll::Ready(Err(AcquireError::Closed))
    ));
}

#[test]
fn it_can_block_a_thread() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().build().unwrap();
    drop(entered);
    let acquire = pool.acquire_owned();
    let thread = std::thread::spawn(move || acquire.blocking().unwrap().nth);
    assert_eq!(thread.join().unwrap(), 1);
}
