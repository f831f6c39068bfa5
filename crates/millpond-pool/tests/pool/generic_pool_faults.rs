//! Faults that Node's generic-pool is known for, each as a test that passes here; and its options,
//! each by the setting or hook that replaces it (`fifo`, `testOnBorrow`, `testOnReturn`,
//! `priorityRange`, `use`, `clear`, `maxWaitingClients`).

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use crate::common::{
    Act, Dial, Endpoint, Hand, MS, REFUSED, SECOND, Scripted, at_rest, close, counts_agree, settle,
};
use millpond_pool::{AcquireError, Eviction, Order, Pool, Priority, Probe, WithError};
use tokio::time::Instant;

/// The next caller is served soon: nothing that came before has cost a place.
async fn serves(pool: &Pool<Scripted>) {
    let lent = pool.acquire().timeout(5 * SECOND).await;
    drop(lent.expect("the next caller is served"));
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_create_that_fails_at_once_neither_spins_nor_starves_timers() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Fail(REFUSED);
    let builder = endpoint.pool().acquire_timeout(60 * SECOND);
    let pool = builder.outage_grace(60 * SECOND).build().unwrap();
    let mut callers: Vec<_> = (0..20).map(|_| Hand::begun(pool.acquire())).collect();
    let started = Instant::now();
    let mut ticks = 0;
    while started.elapsed() < 10 * SECOND {
        tokio::time::sleep(10 * MS).await;
        ticks += 1;
    }
    assert_eq!(ticks, 1000, "timers fire meanwhile");
    let dials = endpoint.dials().len();
    assert!((40..=250).contains(&dials), "{dials} dials in 10 s");
    assert!(callers.iter_mut().all(|caller| caller.poll().is_pending()));
}

#[tokio::test(start_paused = true)]
async fn min_idle_is_refilled_after_failures() {
    let endpoint = Endpoint::new();
    endpoint.script().dials.extend([
        Dial::Fail("refused"),
        Dial::Panic,
        Dial::Hang,
        Dial::Fail("refused"),
    ]);
    let pool = endpoint.pool().min_idle(3).build().unwrap();
    let not_ready = pool.ready(SECOND).await.unwrap_err();
    assert!(not_ready.last_failure.is_some());
    pool.ready(10 * SECOND).await.unwrap();
    tokio::time::sleep(SECOND).await;
    at_rest(&pool, 3);
    assert_eq!(endpoint.dials().len(), 7);
    drop(pool.acquire().await.unwrap());
    pool.acquire().await.unwrap().discard();
    settle().await;
    assert!(pool.snapshot().idle >= 3);
}

#[tokio::test(start_paused = true)]
async fn retire_leaves_nothing_of_the_old_behind() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(4).min_idle(2).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    let lent = pool.acquire().await.unwrap();
    endpoint.script().dial = Dial::AtTheGate;
    settle().await;
    let old = endpoint.created();
    pool.retire();
    settle().await;
    endpoint.gate.add_permits(100);
    settle().await;
    drop(lent);
    settle().await;
    for one in pool.snapshot().connections {
        assert!(one.number as usize > old, "{one:?} is from before");
    }
    assert!(pool.snapshot().idle >= 2, "replaced as min_idle asks");
    let oldest = pool.acquire().await.unwrap();
    assert!(oldest.nth > old);
    drop(oldest);
    close(&pool).await;
    assert_eq!(endpoint.created(), endpoint.destroyed());
}

#[tokio::test(start_paused = true)]
async fn a_dial_under_way_when_the_pool_is_retired_is_not_lent() {
    let endpoint = Endpoint::new();
    endpoint.script().dials.push_back(Dial::AtTheGate);
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let mut caller = Hand::begun(pool.acquire());
    settle().await;
    pool.retire();
    endpoint.gate.add_permits(1);
    settle().await;
    assert_eq!(caller.end().unwrap().nth, 2);
    assert_eq!(pool.snapshot().totals.evicted(Eviction::Retired), 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_hangs_or_panics_loses_no_place() {
    for (act, reason) in [
        (Act::Fail, Eviction::ProbeFailed),
        (Act::Hang, Eviction::ProbeFailed),
        (Act::Panic, Eviction::Panicked),
    ] {
        let endpoint = Endpoint::new();
        let pool = endpoint
            .pool()
            .max_size(1)
            .probe(Probe::Always)
            .build()
            .unwrap();
        for _ in 0..3 {
            drop(pool.acquire().await.unwrap());
            endpoint.script().probe = act;
            let started = Instant::now();
            let lent = pool.acquire().await.unwrap();
            assert!(started.elapsed() <= SECOND + MS, "bounded by check_timeout");
            drop(lent);
            endpoint.script().probe = Act::Pass;
        }
        assert_eq!(pool.snapshot().totals.evicted(reason), 3, "{act:?}");
        serves(&pool).await;
        at_rest(&pool, 1);
        close(&pool).await;
        assert_eq!(endpoint.created(), endpoint.destroyed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_fails_hangs_or_panics_loses_no_place() {
    for (act, reason) in [
        (Act::Fail, Eviction::ResetFailed),
        (Act::Hang, Eviction::ResetFailed),
        (Act::Panic, Eviction::Panicked),
    ] {
        let endpoint = Endpoint::new();
        endpoint.script().needs_reset = true;
        let pool = endpoint.pool().max_size(1).build().unwrap();
        endpoint.script().reset = act;
        drop(pool.acquire().await.unwrap());
        tokio::time::sleep(SECOND + MS).await;
        settle().await;
        assert_eq!(pool.snapshot().totals.evicted(reason), 1, "{act:?}");
        endpoint.script().reset = Act::Pass;
        serves(&pool).await;
        at_rest(&pool, 1);
    }
}

/// What each hook is told to do, the reason that follows, and whether the one who drops the guard
/// sees a panic.
#[tokio::test(start_paused = true)]
async fn a_hook_that_refuses_or_panics_at_release_loses_no_place() {
    type Break = fn(&mut crate::common::Script);
    let breaks: [(Break, Eviction, bool); 4] = [
        (
            |script| script.on_release = Act::Fail,
            Eviction::HookFailed,
            false,
        ),
        (
            |script| script.on_release = Act::Panic,
            Eviction::Panicked,
            true,
        ),
        (
            |script| script.is_clean_panics = true,
            Eviction::Panicked,
            true,
        ),
        (
            |script| script.completed_panics = true,
            Eviction::Panicked,
            true,
        ),
    ];
    for (break_it, reason, panics) in breaks {
        let endpoint = Endpoint::new();
        let pool = endpoint.pool().max_size(1).build().unwrap();
        let lent = pool.acquire().await.unwrap();
        let waiter = Hand::begun(pool.acquire());
        break_it(&mut endpoint.script());
        let released = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lent.release()));
        assert_eq!(released.is_err(), panics, "{reason}");
        let dial = endpoint.script().dial;
        *endpoint.script() = crate::common::Script {
            dial,
            ..Default::default()
        };
        settle().await;
        assert!(
            waiter.woken(),
            "the waiter is given a new one after {reason}"
        );
        drop(waiter);
        assert_eq!(pool.snapshot().totals.evicted(reason), 1);
        serves(&pool).await;
        at_rest(&pool, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_on_connect_that_fails_hangs_or_panics_is_a_failed_dial() {
    for act in [Act::Fail, Act::Hang, Act::Panic] {
        let endpoint = Endpoint::new();
        endpoint.script().on_connect = act;
        let builder = endpoint.pool().max_size(1).connect_timeout(SECOND);
        let pool = builder.outage_grace(Duration::ZERO).build().unwrap();
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
        assert_eq!(endpoint.open(), 0, "what was half made is closed");
        endpoint.script().on_connect = Act::Pass;
        tokio::time::sleep(SECOND).await;
        serves(&pool).await;
        at_rest(&pool, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_hangs_fails_or_panics_blocks_nobody_and_is_bounded() {
    for act in [Act::Hang, Act::Fail, Act::Panic, Act::Take(500 * MS)] {
        let endpoint = Endpoint::new();
        endpoint.script().close = act;
        let pool = endpoint.pool().max_size(2).build().unwrap();
        pool.acquire().await.unwrap().discard();
        let started = Instant::now();
        let others = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        // The second needs the place of the one that is saying farewell.
        assert!(
            started.elapsed() <= SECOND + MS,
            "{act:?}: {:?}",
            started.elapsed()
        );
        drop(others);
        let started = Instant::now();
        pool.close(10 * SECOND).await.unwrap();
        assert!(
            started.elapsed() <= SECOND + MS,
            "close_timeout bounds a close"
        );
        assert_eq!(endpoint.created(), endpoint.destroyed(), "dropped by force");
        at_rest(&pool, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_slower_than_its_callers_deadline_is_not_lost() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Take(200 * MS);
    let pool = endpoint.pool().build().unwrap();
    let error = pool.acquire().timeout(50 * MS).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut(_)));
    let started = Instant::now();
    assert_eq!(pool.acquire().await.unwrap().nth, 1);
    assert!(started.elapsed() <= 151 * MS);
    assert_eq!(endpoint.dials().len(), 1, "one dial served both");
}

#[tokio::test(start_paused = true)]
async fn after_a_busy_time_as_many_are_destroyed_as_were_created() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Take(3 * MS);
    let builder = endpoint
        .pool()
        .max_size(5)
        .min_idle(1)
        .max_lifetime(200 * MS);
    let pool = builder.idle_timeout(100 * MS).build().unwrap();
    let callers: Vec<_> = (0..40u64)
        .map(|caller| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(caller);
                for _ in 0..50 {
                    let patience = random.u64(1..60);
                    let Ok(mut lent) = pool
                        .acquire()
                        .timeout(Duration::from_millis(patience))
                        .await
                    else {
                        continue;
                    };
                    tokio::time::sleep(Duration::from_millis(random.u64(0..4))).await;
                    match random.u8(0..10) {
                        0 => lent.dirty = true,
                        1 => lent.discard(),
                        2 => drop(lent.detach()),
                        _ => drop(lent),
                    }
                }
            })
        })
        .collect();
    for (round, caller) in callers.into_iter().enumerate() {
        caller.await.unwrap();
        counts_agree(&pool);
        match round {
            10 => pool.retire(),
            20 => pool.resize(2).unwrap(),
            30 => pool.resize(6).unwrap(),
            _ => {}
        }
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(pool.snapshot().waiting, 0);
    assert!(endpoint.created() > 100);
    close(&pool).await;
    assert_eq!(endpoint.created(), endpoint.destroyed());
    let totals = pool.snapshot().totals;
    assert_eq!(totals.lent, totals.released + totals.detached, "{totals:?}");
    assert_eq!(
        Eviction::ALL
            .iter()
            .map(|&reason| totals.evicted(reason))
            .sum::<u64>(),
        totals.closed,
        "each for one reason"
    );
}

#[tokio::test(start_paused = true)]
async fn four_failed_creates_and_then_a_success_leave_nothing_pending() {
    for (grace, served) in [(10 * SECOND, true), (Duration::ZERO, false)] {
        let endpoint = Endpoint::new();
        endpoint.script().dials.extend([Dial::Fail("refused"); 4]);
        let pool = endpoint.pool().outage_grace(grace).build().unwrap();
        let mut callers: Vec<_> = (0..4).map(|_| Hand::begun(pool.acquire())).collect();
        tokio::time::sleep(3 * SECOND).await;
        for caller in &mut callers {
            let answer = caller.end();
            assert_eq!(answer.is_ok(), served, "grace {grace:?}: {answer:?}");
        }
        drop(callers);
        let mut attempts = 0;
        while pool.acquire().await.is_err() {
            tokio::time::sleep(200 * MS).await;
            attempts += 1;
            assert!(attempts <= 4);
        }
        settle().await;
        at_rest(&pool, endpoint.open());
        assert!(!pool.snapshot().failing);
    }
}

#[tokio::test(start_paused = true)]
async fn max_waiting_0_lets_wait_exactly_those_for_whom_a_dial_is_under_way_or_possible() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::AtTheGate;
    let pool = endpoint.pool().max_size(2).max_waiting(0).build().unwrap();
    let mut waiting = [Hand::begun(pool.acquire()), Hand::begun(pool.acquire())];
    let refused = pool.acquire().await.unwrap_err();
    assert!(matches!(
        refused,
        AcquireError::Full {
            waiting: 2,
            max_waiting: 0,
            ..
        }
    ));
    endpoint.gate.add_permits(2);
    settle().await;
    let lent = waiting.each_mut().map(|caller| caller.end().unwrap());
    assert!(matches!(
        pool.acquire().await,
        Err(AcquireError::Full { waiting: 0, .. })
    ));
    drop(lent);
    drop(pool.acquire().await.unwrap());
    assert_eq!(pool.snapshot().totals.turned_away_full, 2);
}

#[tokio::test(start_paused = true)]
async fn fifo_and_lifo_lend_in_their_order() {
    for (order, expected) in [(Order::Fifo, [1, 2, 3]), (Order::Lifo, [3, 2, 1])] {
        let endpoint = Endpoint::new();
        let pool = endpoint.pool().order(order).build().unwrap();
        let mut lent = Vec::new();
        for _ in 0..3 {
            lent.push(pool.acquire().await.unwrap());
        }
        lent.drain(..).for_each(drop);
        let again = [0; 3].map(|_| pool.try_acquire().unwrap());
        assert_eq!(again.map(|one| one.nth), expected, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn priorities_overtake_and_equals_are_served_in_order_of_arrival() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let levels = [4, 7, 0, 4, 3, 0];
    let mut waiters: Vec<_> = levels
        .map(|level| Hand::begun(pool.acquire().priority(Priority::new(level).unwrap())))
        .into_iter()
        .collect();
    drop(lent);
    for next in [2, 5, 4, 0, 3, 1] {
        assert!(waiters[next].woken(), "level {} is next", levels[next]);
        drop(waiters[next].end().unwrap());
    }
    assert_eq!(
        (Priority::new(8), Priority::default()),
        (None, Priority::NORMAL)
    );
}

#[tokio::test(start_paused = true)]
async fn test_on_borrow_is_a_probe_before_each_lending_but_the_first() {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(1)
        .probe(Probe::Always)
        .build()
        .unwrap();
    for round in 0..5 {
        drop(pool.acquire().await.unwrap());
        assert_eq!(
            endpoint.probes.load(SeqCst),
            round,
            "straight after its dial it isn't probed"
        );
    }
    // Handed from a borrower straight to a waiter, it is probed between them as well.
    let lent = pool.acquire().await.unwrap();
    let before = endpoint.probes.load(SeqCst);
    let mut waiter = Hand::begun(pool.acquire());
    drop(lent);
    assert!(waiter.poll().is_pending());
    settle().await;
    drop(waiter.end().unwrap());
    assert_eq!(endpoint.probes.load(SeqCst), before + 1);
}

#[tokio::test(start_paused = true)]
async fn test_on_return_is_is_clean_and_on_release() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let mut lent = pool.acquire().await.unwrap();
    lent.dirty = true;
    drop(lent);
    at_rest(&pool, 0);
    let totals = pool.snapshot().totals;
    assert_eq!(totals.evicted(Eviction::UnfinishedExchange), 1);
    assert_eq!(
        totals.unreleased, 0,
        "it knew itself that it was unfinished"
    );
    let mut lent = pool.acquire().await.unwrap();
    lent.dirty = true;
    lent.release(); // The borrower says that the exchange is complete.
    at_rest(&pool, 1);
    endpoint.script().needs_reset = true;
    drop(pool.acquire().await.unwrap());
    assert_eq!(pool.snapshot().checking, 1);
    settle().await;
    at_rest(&pool, 1);
    assert_eq!(endpoint.resets.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn use_is_with_released_on_success_discarded_on_error_and_when_dropped_unfinished() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let nth = pool
        .with(async |lent| Ok::<_, crate::common::Said>(lent.nth))
        .await
        .unwrap();
    at_rest(&pool, nth);
    let failed = pool
        .with(async |_| Err::<(), _>(crate::common::Said("no such table")))
        .await;
    assert!(matches!(&failed, Err(WithError::Exchange(_))));
    assert_eq!(failed.unwrap_err().to_string(), "no such table");
    at_rest(&pool, 0);
    let mut unfinished = Hand::new(pool.with(async |_| {
        std::future::pending::<()>().await;
        Ok::<_, crate::common::Said>(())
    }));
    assert!(unfinished.poll().is_pending());
    settle().await;
    assert!(unfinished.poll().is_pending());
    drop(unfinished);
    at_rest(&pool, 0);
    let totals = pool.snapshot().totals;
    assert_eq!(
        (
            totals.evicted(Eviction::Discarded),
            totals.evicted(Eviction::UnfinishedExchange)
        ),
        (1, 1)
    );
    drop(pool.close(SECOND));
    let closed = pool.with(async |_| Ok::<_, crate::common::Said>(())).await;
    assert!(matches!(
        closed,
        Err(WithError::Acquire(AcquireError::Closed))
    ));
}
