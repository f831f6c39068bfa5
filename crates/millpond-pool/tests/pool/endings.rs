//! Where a pool lives, and how it ends: in a static across several runtimes, on threads that must
//! not block or that run no tasks, beside a runtime that stands still, without one, without its
//! timer; and what `close`, `drain`, `pause` and settings out of range answer. Each call ends with
//! an answer or a typed error, never in a hang: where real threads wait, a watch of ten seconds
//! ends the test.

use std::{
    future::Future,
    sync::{Arc, OnceLock, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use crate::common::{Dial, Endpoint, Hand, MS, SECOND, Scripted, at_rest, close, pass, settle};
use millpond_pool::{AcquireError, Backoff, BuildError, Eviction, Pool, PoolStatus, Probe};
use tokio::runtime::{Builder as Rt, Runtime};

fn current_thread() -> Runtime {
    Rt::new_current_thread().enable_time().build().unwrap()
}

fn one_worker() -> Runtime {
    Rt::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap()
}

/// Runs this on a thread of its own; it must end within ten seconds.
#[track_caller]
fn ends<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    ended.recv_timeout(10 * SECOND).expect("hangs, or panicked")
}

/// An executor that is not tokio's.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_pool_in_a_static_outlives_its_first_runtime_with_a_typed_error() {
    static POOL: OnceLock<Pool<Scripted>> = OnceLock::new();
    let pool = || POOL.get_or_init(|| Endpoint::new().pool().build().unwrap());
    current_thread().block_on(async {
        drop(pool().acquire().await.unwrap());
    });
    for _ in 0..2 {
        ends(move || {
            current_thread().block_on(async {
                let error = pool().acquire().await.unwrap_err();
                assert!(matches!(error, AcquireError::RuntimeEnded));
                assert!(
                    error
                        .to_string()
                        .contains("build the pool on one that outlives its use")
                );
                assert!(pool().ready(SECOND).await.is_err() || pool().settings().min_idle == 0);
                pool().close(SECOND).await.unwrap();
            });
        });
    }
    assert_eq!(pool().snapshot().status, PoolStatus::RuntimeEnded);
}

#[test]
fn a_blocking_acquire_on_a_runtimes_own_thread_is_refused_only_if_it_had_to_wait() {
    for runtime in [current_thread(), one_worker()] {
        let endpoint = Endpoint::new();
        endpoint.script().dials.push_back(Dial::Succeed);
        let pool = endpoint
            .pool()
            .max_size(1)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        let in_task = pool.clone();
        let task = async move {
            assert!(matches!(
                in_task.blocking_acquire(),
                Err(AcquireError::WouldBlockRuntime)
            ));
            drop(in_task.acquire().await.unwrap()); // The dial went on.
            let lent = in_task.blocking_acquire().expect("idle: it needn't wait");
            assert!(matches!(
                in_task.blocking_acquire(),
                Err(AcquireError::WouldBlockRuntime)
            ));
            drop(lent);
            assert_eq!(in_task.snapshot().waiting, 0);
        };
        let on_main = pool.clone();
        ends(move || {
            runtime.block_on(async { tokio::spawn(task).await.unwrap() });
            runtime.block_on(async move {
                let _lent = on_main.acquire().await.unwrap();
                let error = on_main.blocking_acquire().unwrap_err();
                assert!(matches!(error, AcquireError::WouldBlockRuntime), "{error}");
            });
        });
        assert_eq!(endpoint.dials().len(), 1);
    }
}

#[test]
fn a_blocking_acquire_does_not_use_up_the_budget_of_its_task() {
    ends(|| {
        current_thread().block_on(async {
            let endpoint = Endpoint::new();
            let pool = endpoint.pool().max_size(1).build().unwrap();
            let _lent = pool.acquire().await.unwrap();
            for _ in 0..10 {
                assert!(pool.blocking_acquire().is_err());
            }
            assert!(tokio::task::coop::has_budget_remaining());
        });
    });
}

#[test]
fn a_blocking_acquire_works_and_times_out_on_threads_that_run_no_tasks() {
    let runtime = one_worker();
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(1)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    let blocking = |pool: Pool<Scripted>| {
        move || {
            let lent = pool.blocking_acquire().unwrap();
            let error = pool.acquire().timeout(20 * MS).blocking().unwrap_err();
            assert!(matches!(error, AcquireError::TimedOut(_)), "{error}");
            let waiter = thread::spawn({
                let pool = pool.clone();
                move || drop(pool.blocking_acquire().unwrap())
            });
            while pool.snapshot().waiting == 0 {
                thread::yield_now();
            }
            drop(lent);
            waiter.join().unwrap();
        }
    };
    ends(blocking(pool.clone()));
    let job = runtime.spawn_blocking(blocking(pool.clone()));
    ends(move || {
        runtime.block_on(job).unwrap();
        // A worker's thread, too, where it has been given up to blocking.
        let in_place = runtime.spawn(async move {
            tokio::task::block_in_place(|| drop(pool.blocking_acquire().unwrap()));
        });
        runtime.block_on(in_place).unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_dropped_while_connections_are_lent_closes_each_when_it_comes_back() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(3).build().unwrap();
    let lent = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    drop(pool.acquire().await.unwrap());
    drop(pool.clone());
    assert_eq!(endpoint.open(), 3, "a handle is left");
    drop(pool);
    assert_eq!(endpoint.open(), 2);
    drop(lent);
    assert_eq!(endpoint.open(), 0);
    settle().await;
    assert_eq!(
        Arc::strong_count(&endpoint),
        1,
        "nothing of the pool is left"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_dropped_during_a_dial_stops_it() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Hang;
    let pool = endpoint
        .pool()
        .min_idle(2)
        .connect_timeout(60 * SECOND)
        .build()
        .unwrap();
    settle().await;
    assert_eq!(endpoint.dialling(), 2);
    drop(pool);
    settle().await;
    assert_eq!((endpoint.dialling(), Arc::strong_count(&endpoint)), (0, 1));
}

#[test]
fn without_a_runtime_or_its_timer_build_says_so() {
    let endpoint = Endpoint::new();
    assert_eq!(endpoint.pool().build().unwrap_err(), BuildError::NoRuntime);
    let timeless = Rt::new_current_thread().build().unwrap();
    let error = timeless.block_on(async { endpoint.pool().build().unwrap_err() });
    assert_eq!(error, BuildError::NoTimer);
    assert!(error.to_string().contains("enable_time()"));
    let named = endpoint.pool().runtime(timeless.handle().clone()).build();
    assert_eq!(named.unwrap_err(), BuildError::NoTimer);
}

#[test]
fn a_pool_built_on_a_runtime_that_has_ended_says_so_at_the_first_call() {
    let runtime = current_thread();
    let handle = runtime.handle().clone();
    drop(runtime);
    let pool = Endpoint::new()
        .pool()
        .min_idle(2)
        .runtime(handle)
        .build()
        .unwrap();
    ends(move || {
        assert!(matches!(
            pool.blocking_acquire(),
            Err(AcquireError::RuntimeEnded)
        ))
    });
}

#[tokio::test]
async fn each_invalid_setting_is_named_with_its_range() {
    type Set = fn(millpond_pool::PoolBuilder<Scripted>) -> millpond_pool::PoolBuilder<Scripted>;
    let wrong: [(Set, &str); 16] = [
        (
            |b| b.max_size(0),
            "max_size is 0, and must be 1 to 16777216",
        ),
        (
            |b| b.max_size(1 << 25),
            "max_size is 33554432, and must be 1 to 16777216",
        ),
        (
            |b| b.min_idle(11),
            "min_idle is 11, and must be 0 to 10 (its max_size)",
        ),
        (
            |b| b.max_waiting(u32::MAX),
            "max_waiting is 4294967295, and must be 0 to 16777216",
        ),
        (
            |b| b.max_connecting(0),
            "max_connecting is 0, and must be 1 to 16777216",
        ),
        (
            |b| b.acquire_timeout(Duration::ZERO),
            "acquire_timeout is 0ns, and must be more than 0, and at most 100 years",
        ),
        (
            |b| b.connect_timeout(Duration::ZERO),
            "connect_timeout is 0ns",
        ),
        (|b| b.check_timeout(Duration::ZERO), "check_timeout is 0ns"),
        (
            |b| b.close_timeout(Duration::MAX),
            "close_timeout is 18446744073709551615.999999999s",
        ),
        (|b| b.idle_timeout(Duration::ZERO), "idle_timeout is 0ns"),
        (
            |b| b.max_lifetime(Duration::MAX),
            "max_lifetime is 18446744073709551615.999999999s",
        ),
        (
            |b| b.leak_threshold(Duration::ZERO),
            "leak_threshold is 0ns",
        ),
        (
            |b| b.outage_grace(Duration::MAX),
            "outage_grace is 18446744073709551615.999999999s, and must be 0 to 100 years",
        ),
        (
            |b| {
                b.backoff(Backoff {
                    base: 6 * SECOND,
                    ..Backoff::default()
                })
            },
            "backoff.base is 6s, and must be at most backoff.max, which is 5s",
        ),
        (
            |b| {
                b.backoff(Backoff {
                    max_while_waiting: Duration::ZERO,
                    ..Backoff::default()
                })
            },
            "backoff.max_while_waiting is 0ns",
        ),
        (
            |b| b.probe(Probe::WhenIdleFor(Duration::ZERO)),
            "probe (when idle for) is 0ns",
        ),
    ];
    for (set, text) in wrong {
        let error = set(Endpoint::new().pool()).build().unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

/// The pool's runtime has no threads of its own, and nobody blocks on it: nothing of the pool
/// moves.
#[test]
fn beside_a_runtime_that_stands_still_callers_time_out_instead_of_hanging() {
    let standing = current_thread();
    let endpoint = Endpoint::new();
    let builder = endpoint.pool().runtime(standing.handle().clone());
    let pool = builder.acquire_timeout(50 * MS).build().unwrap();
    let elsewhere = pool.clone();
    let error =
        ends(move || current_thread().block_on(async { elsewhere.acquire().await.unwrap_err() }));
    assert!(matches!(error, AcquireError::TimedOut(_)), "{error}");
    assert!(error.to_string().contains("1 connecting"), "{error}");
    let elsewhere = pool.clone();
    let error = ends(move || elsewhere.blocking_acquire().unwrap_err());
    assert!(matches!(error, AcquireError::TimedOut(_)), "{error}");
    // It goes on: what stood still serves.
    standing.block_on(async { drop(pool.acquire().await.unwrap()) });
    let elsewhere = pool.clone();
    ends(move || {
        current_thread().block_on(async move { drop(elsewhere.acquire().await.unwrap()) })
    });
}

/// The caller's own runtime may lack the timer that would end its wait: no reason to panic in
/// somebody's `poll`.
#[test]
fn a_caller_on_a_runtime_without_a_timer_is_served_all_the_same() {
    let runtime = current_thread();
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(1)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    let caller = pool.clone();
    let served = thread::spawn(move || {
        let timeless = Rt::new_current_thread().build().unwrap();
        timeless.block_on(async { drop(caller.acquire().await.unwrap()) });
    });
    ends(move || {
        runtime.block_on(async {
            while !served.is_finished() {
                tokio::time::sleep(MS).await;
            }
        });
        served.join().expect("served, without a panic");
    });
}

#[test]
fn an_executor_that_is_not_tokios_is_served_and_times_out() {
    let runtime = one_worker();
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(1)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    ends(move || {
        block_on(async {
            let lent = pool.acquire().await.unwrap();
            let error = pool.acquire().timeout(20 * MS).await.unwrap_err();
            assert!(matches!(error, AcquireError::TimedOut(_)), "{error}");
            let still = pool.close(20 * MS).await.unwrap_err();
            assert_eq!(still.lent, 1);
            drop(lent);
            pool.close(SECOND).await.unwrap();
        });
        drop(runtime);
    });
}

#[test]
fn close_after_the_runtime_has_ended_says_at_once_what_is_lent_where_no_timer_is_left() {
    let runtime = current_thread();
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    let lent = runtime.block_on(pool.acquire()).unwrap();
    drop(runtime);
    ends(move || {
        assert_eq!(block_on(pool.close(60 * SECOND)).unwrap_err().lent, 1);
        drop(lent);
        block_on(pool.close(60 * SECOND)).unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn after_close_every_call_is_answered_at_once() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().min_idle(2).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    close(&pool).await;
    assert!(matches!(pool.acquire().await, Err(AcquireError::Closed)));
    assert!(matches!(pool.try_acquire(), Err(AcquireError::Closed)));
    assert!(matches!(pool.blocking_acquire(), Err(AcquireError::Closed)));
    assert!(pool.ready(SECOND).await.unwrap_err().closed);
    pool.retire();
    pool.pause();
    pool.resume();
    pool.resize(20).unwrap();
    pool.drain(SECOND).await.unwrap();
    close(&pool).await;
    assert_eq!(pool.snapshot().status, PoolStatus::Closed);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(endpoint.dials().len(), 2, "no dial starts after close");
}

#[tokio::test(start_paused = true)]
async fn a_close_past_its_deadline_says_what_is_still_lent_and_closes_it_later() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let line = line!() - 1;
    tokio::time::sleep(2 * SECOND).await;
    let still = pool.close(500 * MS).await.unwrap_err();
    let text = still.to_string();
    assert!(
        text.starts_with("1 still lent after 500 ms, the longest for 2.5 s, acquired at "),
        "{text}"
    );
    assert!(text.contains(&format!("endings.rs:{line}:")), "{text}");
    drop(lent);
    at_rest(&pool, 0);
    assert_eq!(pool.snapshot().totals.evicted(Eviction::Closed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_serves_who_waits_refuses_who_comes_and_then_closes() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(2).build().unwrap();
    let lent = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let mut waiters: Vec<_> = (0..3).map(|_| Hand::begun(pool.acquire())).collect();
    let drained = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain(10 * SECOND).await }
    });
    settle().await;
    assert!(matches!(pool.acquire().await, Err(AcquireError::Draining)));
    assert_eq!(pool.snapshot().status, PoolStatus::Draining);
    drop(lent);
    let served = [waiters[0].end().unwrap(), waiters[1].end().unwrap()];
    assert!(!drained.is_finished());
    drop(served);
    drop(waiters[2].end().unwrap());
    settle().await;
    drained.await.unwrap().unwrap();
    at_rest(&pool, 0);
    assert!(pool.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_past_its_deadline_closes_and_refuses_who_still_waits() {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(1)
        .acquire_timeout(None)
        .build()
        .unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut waiter = Hand::begun(pool.acquire());
    let still = pool.drain(SECOND).await.unwrap_err();
    assert_eq!((still.lent, still.waited), (1, SECOND));
    assert!(matches!(waiter.end(), Err(AcquireError::Closed)));
    drop(lent);
    at_rest(&pool, 0);
}

#[tokio::test(start_paused = true)]
async fn while_paused_callers_wait_within_their_deadlines_and_nothing_is_dialled() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(2).min_idle(1).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    let lent = pool.acquire().await.unwrap();
    settle().await;
    let dials = endpoint.dials().len();
    pool.pause();
    assert!(matches!(pool.try_acquire(), Err(AcquireError::NoneIdle)));
    let error = pool.acquire().timeout(50 * MS).await.unwrap_err();
    assert!(error.to_string().contains("the pool is paused"), "{error}");
    lent.discard();
    let mut waiter = Hand::begun(pool.acquire());
    pass(300 * MS).await;
    assert!(!waiter.woken());
    assert_eq!(endpoint.dials().len(), dials);
    pool.resume();
    settle().await;
    drop(waiter.end().unwrap());
    close(&pool).await;
}
