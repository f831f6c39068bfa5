//! In steady state an acquire and its release allocate nothing: neither when something is idle, nor
//! when callers wait, are handed a connection, and cancel. One test, alone in its process, for the
//! count is of the whole process.
//!
//! Measured on a runtime of one thread, where the count is exact. The code is the same on several;
//! only tokio's own scheduler may allocate there when its queues grow.

mod common;

use std::{
    alloc::System,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use common::{Endpoint, SECOND, Scripted, settle};
use millpond_pool::{Pool, Priority};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 1000;

fn uncontended(pool: &Pool<Scripted>) {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(lent) = pin!(pool.acquire()).poll(&mut cx) else {
        panic!("one is idle")
    };
    drop(lent.unwrap());
    drop(pool.try_acquire().unwrap());
}

/// An owned acquire finds one idle; then it waits in line, once gives up, and once is handed one.
fn owned(pool: &Pool<Scripted>) {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(lent) = pin!(pool.acquire_owned()).poll(&mut cx) else {
        panic!("one is idle")
    };
    let mut second = pin!(pool.acquire_owned());
    {
        let mut first = pin!(pool.acquire_owned());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
    }
    drop(lent.unwrap());
    let Poll::Ready(lent) = second.as_mut().poll(&mut cx) else {
        panic!("handed over")
    };
    lent.unwrap().release();
}

/// Two wait for the one connection: the first is handed it, and cancels; the second picks it up. A
/// third gives up in line.
fn contended(pool: &Pool<Scripted>) {
    let mut cx = Context::from_waker(Waker::noop());
    let lent = pool.try_acquire().unwrap();
    let mut second = pin!(pool.acquire());
    {
        let mut first = pin!(pool.acquire().priority(Priority::HIGHEST));
        let mut third = pin!(pool.acquire().timeout(SECOND));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert!(third.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending(), "polled in vain");
        drop(lent);
    }
    let Poll::Ready(lent) = second.as_mut().poll(&mut cx) else {
        panic!("handed over")
    };
    lent.unwrap().release();
}

#[tokio::test(start_paused = true)]
async fn an_acquire_and_its_release_allocate_nothing_in_steady_state() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    drop(pool.acquire().await.unwrap());
    for (what, round) in [
        ("uncontended", uncontended as fn(&Pool<Scripted>)),
        ("contended", contended),
        ("owned", owned),
    ] {
        let mut allocations = 0;
        for number in 0..2 * ROUNDS {
            settle().await; // A fresh budget; and upkeep, rung by those who wait, has its turn.
            let region = Region::new(ALLOCATOR);
            round(&pool);
            let change = region.change();
            if number >= ROUNDS {
                allocations += change.allocations + change.reallocations;
            }
        }
        assert_eq!(allocations, 0, "{what}: {ROUNDS} rounds");
    }
    // Between tasks, upkeep's part included.
    let rounds = async |count: usize| {
        for _ in 0..count {
            let lent = pool.acquire().await.unwrap();
            let mut waiter = pin!(pool.acquire());
            assert!(poll_once(waiter.as_mut()).await.is_pending());
            tokio::task::yield_now().await;
            drop(lent);
            drop(waiter.await.unwrap());
        }
    };
    rounds(ROUNDS).await;
    let region = Region::new(ALLOCATOR);
    rounds(ROUNDS).await;
    let change = region.change();
    assert_eq!(
        change.allocations + change.reallocations,
        0,
        "in tasks: {change:?}"
    );
}

/// Polls once, with the waker of the task.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
