//! The faults a pool meets, one by one: callers that don't poll, cancel, panic or forget; runtimes
//! that end; verbs that race callers; a whole pool at its lifetime's end. Time is tokio's paused
//! clock, so every deadline is exact.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Barrier},
    time::Duration,
};

use crate::common::{
    Dial, Endpoint, Hand, MS, SECOND, Scripted, at_rest, close, consistent, pass, settle,
};
use millpond_pool::{Acquire, AcquireError, Eviction, Pool};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_polls_for_serves_the_next_within_5_ms() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut trapped = Hand::begun(pool.acquire());
    let patient = tokio::spawn({
        let pool = pool.clone();
        async move {
            let _ = pool.acquire().await.unwrap();
            Instant::now()
        }
    });
    settle().await;
    drop(lent);
    let released = Instant::now();
    let served = patient.await.unwrap();
    assert!(trapped.woken());
    assert!(
        served - released <= 6 * MS,
        "served after {:?}",
        served - released
    );
    assert_eq!(pool.snapshot().totals.revoked, 1);
    drop(trapped.end().unwrap());
    at_rest(&pool, 1);
}

/// Callers that are polled once, and then no more. Each has a whole turn: what is left of a task's
/// budget can be too little to get in line.
async fn asleep(pool: &Pool<Scripted>, callers: usize) -> Vec<Hand<Acquire<'_, Scripted>>> {
    let mut asleep = Vec::with_capacity(callers);
    for _ in 0..callers {
        tokio::task::yield_now().await;
        asleep.push(Hand::begun(pool.acquire()));
    }
    asleep
}

/// Each is polled once more, and served.
async fn woken_up(asleep: Vec<Hand<Acquire<'_, Scripted>>>) {
    for mut sleeper in asleep {
        tokio::task::yield_now().await;
        drop(sleeper.end().unwrap());
    }
}

/// One caller is polled, behind as many as this that aren't: how long does it wait for the only
/// connection once that is free?
async fn wait_behind(sleepers: usize) -> Duration {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(1)
        .max_waiting(20_000)
        .build()
        .unwrap();
    let lent = pool.acquire().await.unwrap();
    let asleep = asleep(&pool, sleepers).await;
    assert_eq!(pool.snapshot().waiting, sleepers);
    let awake = tokio::spawn({
        let pool = pool.clone();
        async move {
            let lent = pool.acquire().await.unwrap();
            let served = Instant::now();
            drop(lent);
            served
        }
    });
    settle().await;
    let released = Instant::now();
    drop(lent);
    let waited = awake.await.unwrap() - released;
    // Those who come later don't wait at all.
    for _ in 0..100 {
        let asked = Instant::now();
        let lent = pool.acquire().await.unwrap();
        assert_eq!(asked.elapsed(), Duration::ZERO);
        tokio::time::sleep(MS).await;
        drop(lent);
    }
    assert_eq!(pool.snapshot().totals.revoked, 1);
    woken_up(asleep).await;
    at_rest(&pool, 1);
    waited
}

#[tokio::test(start_paused = true)]
async fn callers_that_nobody_polls_hold_others_up_by_no_more_than_one_of_them_would() {
    let behind_one = wait_behind(1).await;
    for sleepers in [10, 100, 1_000, 10_000] {
        let waited = wait_behind(sleepers).await;
        println!("behind {sleepers} that sleep: {waited:?}, behind one: {behind_one:?}");
        assert!(waited <= 2 * behind_one, "{sleepers}: {waited:?}");
    }
}

/// Many connections, many who sleep among many who don't: all who are polled are served within one
/// such wait, and in the order of their coming where that can be told.
#[tokio::test(start_paused = true)]
async fn those_who_are_polled_among_those_who_are_not_are_all_served() {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(4)
        .max_waiting(20_000)
        .build()
        .unwrap();
    let mut lent = Vec::new();
    for _ in 0..4 {
        lent.push(pool.acquire().await.unwrap());
    }
    let (mut sleepers, mut awake) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        sleepers.extend(asleep(&pool, 3).await);
        let pool = pool.clone();
        awake.push(tokio::spawn(async move {
            let lent = pool.acquire().await.unwrap();
            let served = Instant::now();
            tokio::task::yield_now().await;
            drop(lent);
            served
        }));
        settle().await;
    }
    let released = Instant::now();
    drop(lent);
    for caller in awake {
        let waited = caller.await.unwrap() - released;
        assert!(waited <= 11 * MS, "served after {waited:?}");
    }
    woken_up(sleepers).await;
    at_rest(&pool, 4);
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_keeps_nobody_from_being_called() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("as scripted");
        }
    }
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let _asleep = Hand::begun(pool.acquire());
    let waker = std::task::Waker::from(Arc::new(Panics));
    let mut cx = std::task::Context::from_waker(&waker);
    let mut panics = Box::pin(pool.acquire());
    assert!(panics.as_mut().poll(&mut cx).is_pending());
    let mut last = Hand::begun(pool.acquire());
    drop(lent);
    pass(6 * MS).await;
    assert!(last.woken());
    drop(last.end().unwrap());
    assert!(!pool.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_serves_those_behind_one_who_sleeps() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut asleep = Hand::begun(pool.acquire());
    let awake = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(|lent| lent.nth) }
    });
    settle().await;
    let mut drained = Hand::begun(pool.drain(SECOND));
    settle().await;
    drop(lent);
    assert_eq!(
        awake.await.unwrap().unwrap(),
        1,
        "by the connection that there is"
    );
    assert!(asleep.poll().is_ready());
    drop(asleep);
    settle().await;
    drained.end().unwrap();
    at_rest(&pool, 0);
}

#[tokio::test(start_paused = true)]
async fn a_parked_caller_keeps_its_seniority() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut oldest = Hand::begun(pool.acquire());
    let mut middle = Hand::begun(pool.acquire());
    let mut youngest = Hand::begun(pool.acquire());
    drop(lent);
    pass(6 * MS).await;
    let lent = middle
        .end()
        .expect("the next in line has the revoked grant");
    assert!(oldest.poll().is_pending());
    drop(lent);
    let lent = oldest.end().expect("ahead of those who came later");
    assert!(youngest.poll().is_pending());
    drop(lent);
    drop(youngest.end().unwrap());
    at_rest(&pool, 1);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_nobody_polls_collects_one_grant_and_no_second() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let trapped = Hand::begun(pool.acquire());
    drop(lent);
    for _ in 0..20 {
        let started = Instant::now();
        let lent = pool.acquire().await.unwrap();
        assert!(started.elapsed() <= 6 * MS);
        pass(3 * MS).await;
        drop(lent);
    }
    assert_eq!(
        (trapped.times_woken(), pool.snapshot().totals.revoked),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_parked_caller_times_out_at_its_own_deadline() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut trapped = Hand::begun(pool.acquire().timeout(50 * MS));
    drop(lent);
    pass(10 * MS).await;
    let _lent = pool.acquire().await.unwrap();
    pass(41 * MS).await;
    assert!(matches!(trapped.end(), Err(AcquireError::TimedOut(_))));
    assert_eq!(pool.snapshot().waiting, 0);
}

/// A grant given by `resume` is as old as the resume, not as old as the last tick.
#[tokio::test(start_paused = true)]
async fn a_grant_lives_for_5_ms_whichever_call_gave_it() {
    for unpause in ["resume", "drain"] {
        let endpoint = Endpoint::new();
        let pool = endpoint.pool().max_size(1).build().unwrap();
        drop(pool.acquire().await.unwrap());
        pool.pause();
        pass(10 * MS).await; // The coarse clock is behind from here on.
        let mut first = Hand::begun(pool.acquire());
        let second = Hand::begun(pool.acquire());
        pass(60 * MS).await;
        let drained = match unpause {
            "resume" => {
                pool.resume();
                None
            }
            _ => Some(pool.drain(SECOND)),
        };
        settle().await; // Upkeep runs, no time passes.
        assert!(
            first.woken() && !second.woken(),
            "{unpause} gave a grant that was old already"
        );
        drop(first.end().unwrap());
        drop(drained);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_outlives_the_caller_it_was_started_for() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::AtTheGate;
    let pool = endpoint.pool().build().unwrap();
    let first = Hand::begun(pool.acquire());
    settle().await;
    drop(first);
    let mut second = Hand::begun(pool.acquire());
    endpoint.gate.add_permits(1);
    settle().await;
    assert_eq!(second.end().unwrap().nth, 1, "it serves the next");
    assert_eq!(endpoint.dials().len(), 1);

    let lent = pool.acquire().await.unwrap();
    drop(Hand::begun(pool.acquire()));
    endpoint.gate.add_permits(1);
    settle().await;
    drop(lent);
    at_rest(&pool, 2);
}

#[tokio::test(start_paused = true)]
async fn a_borrower_that_panics_loses_its_connection_and_poisons_nothing() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let borrower = tokio::spawn({
        let pool = pool.clone();
        async move {
            let _lent = pool.acquire().await.unwrap();
            panic!("as scripted");
        }
    });
    assert!(borrower.await.unwrap_err().is_panic());
    let with = tokio::spawn({
        let pool = pool.clone();
        async move {
            pool.with(async |_| -> Result<(), AcquireError> { panic!("as scripted") })
                .await
        }
    });
    assert!(with.await.unwrap_err().is_panic());
    assert_eq!(pool.snapshot().totals.evicted(Eviction::Panicked), 2);
    drop(pool.acquire().await.unwrap());
    at_rest(&pool, 1);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_guard_is_shown_as_a_leak_and_close_stays_bounded() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().leak_threshold(SECOND).build().unwrap();
    mem::forget(pool.acquire().await.unwrap());
    let line = line!() - 1;
    pass(1100 * MS).await;
    let snapshot = pool.snapshot();
    let leaked = &snapshot.connections[0];
    let place = leaked.acquired_at.unwrap();
    assert!(leaked.leaked && place.file().ends_with("faults.rs") && place.line() == line);
    let started = Instant::now();
    let still = pool.close(2 * SECOND).await.unwrap_err();
    assert!(started.elapsed() <= 2 * SECOND + MS);
    assert_eq!(still.lent, 1);
    assert!(still.to_string().contains(&format!("{place}")), "{still}");
}

#[test]
fn a_guard_dropped_after_its_runtime_has_ended_is_closed_and_spawns_nothing() {
    for polled in [true, false] {
        let endpoint = Endpoint::new();
        endpoint.script().close = crate::common::Act::Take(SECOND);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let pool = {
            let _inside = runtime.enter();
            endpoint.pool().max_size(2).build().unwrap()
        };
        let lent = polled.then(|| runtime.block_on(async { pool.acquire().await.unwrap() }));
        drop(runtime);
        assert!(
            pool.is_closed(),
            "told, even where upkeep was never polled (polled: {polled})"
        );
        drop(lent);
        at_rest(&pool, 0);
        assert_eq!(
            endpoint.farewells.load(std::sync::atomic::Ordering::SeqCst),
            0
        );
        assert!(matches!(
            pool.try_acquire(),
            Err(AcquireError::RuntimeEnded)
        ));
        assert!(matches!(
            pool.blocking_acquire(),
            Err(AcquireError::RuntimeEnded)
        ));
    }
}

#[test]
fn a_runtime_that_ends_tells_the_waiters_and_stops_the_dials() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Hang;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let pool = endpoint
        .pool()
        .runtime(runtime.handle().clone())
        .max_size(2)
        .build()
        .unwrap();
    let mut waiters: Vec<_> = (0..3).map(|_| Hand::begun(pool.acquire())).collect();
    drop(runtime);
    for waiter in &mut waiters {
        assert!(waiter.woken());
        assert!(matches!(waiter.end(), Err(AcquireError::RuntimeEnded)));
    }
    assert_eq!(endpoint.dialling(), 0);
    at_rest(&pool, 0);
}

#[tokio::test(start_paused = true)]
async fn close_tells_every_waiter_in_the_same_call() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut granted = Hand::begun(pool.acquire());
    let mut waiting = Hand::begun(pool.acquire());
    drop(lent);
    drop(pool.close(SECOND));
    for waiter in [&mut granted, &mut waiting] {
        assert!(waiter.woken());
        assert!(matches!(waiter.end(), Err(AcquireError::Closed)));
    }
    at_rest(&pool, 0);
}

#[test]
fn close_races_acquire_on_real_threads_and_nobody_is_left_behind() {
    const CALLERS: usize = 4;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    for round in 0..300 {
        let endpoint = Endpoint::new();
        let pool = endpoint
            .pool()
            .max_size(2)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        let start = Arc::new(Barrier::new(CALLERS + 1));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (pool, start) = (pool.clone(), Arc::clone(&start));
                runtime.spawn_blocking(move || {
                    start.wait();
                    loop {
                        match pool.blocking_acquire() {
                            Ok(lent) => drop(lent),
                            Err(AcquireError::Closed) => return,
                            Err(other) => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        start.wait();
        for _ in 0..(round % 7) * 200 {
            std::hint::spin_loop();
        }
        runtime.block_on(async {
            pool.close(5 * SECOND).await.unwrap();
            for caller in callers {
                tokio::time::timeout(5 * SECOND, caller)
                    .await
                    .expect("ends")
                    .unwrap();
            }
        });
        at_rest(&pool, 0);
        assert_eq!(endpoint.created(), endpoint.destroyed());
    }
}

/// A waker that runs foreign code, as wakers may: it closes the pool between the decision to dial
/// and the dial.
#[tokio::test(start_paused = true)]
async fn a_dial_decided_on_before_a_close_is_stopped_all_the_same() {
    struct Closes(Pool<Scripted>);
    impl std::task::Wake for Closes {
        fn wake(self: Arc<Self>) {
            drop(self.0.close(Duration::ZERO));
        }
    }
    let endpoint = Endpoint::new();
    endpoint
        .script()
        .dials
        .extend([Dial::Fail("refused"), Dial::Succeed]);
    endpoint.script().dial = Dial::Hang;
    let pool = endpoint
        .pool()
        .connect_timeout(60 * SECOND)
        .max_size(3)
        .build()
        .unwrap();
    let lent = pool.acquire().await.unwrap(); // Not proven yet: one dial at a time.
    let waker = std::task::Waker::from(Arc::new(Closes(pool.clone())));
    let mut first = Box::pin(pool.acquire());
    assert!(
        first
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
            .is_pending()
    );
    let mut second = Hand::begun(pool.acquire());
    let third = Hand::begun(pool.acquire());
    settle().await;
    assert_eq!(endpoint.dialling(), 1);
    drop(lent); // Serves the first, whose waker closes, and starts a second dial.
    drop(third);
    settle().await;
    assert!(matches!(second.end(), Err(AcquireError::Closed)));
    drop(first);
    settle().await;
    assert_eq!(endpoint.dialling(), 0, "a dial of a closed pool goes on");
    at_rest(&pool, 0);
}

#[tokio::test(start_paused = true)]
async fn resizing_down_and_up_while_lent_out_loses_nothing_and_keeps_the_limit() {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(8)
        .max_connecting(8)
        .build()
        .unwrap();
    let mut lent = Vec::new();
    for _ in 0..8 {
        lent.push(pool.acquire().await.unwrap());
    }
    drop(lent.drain(6..));
    pool.resize(3).unwrap();
    settle().await;
    let snapshot = pool.snapshot();
    assert_eq!(
        (snapshot.idle, snapshot.active),
        (0, 6),
        "idle ones go at once"
    );
    let mut waiters: Vec<_> = (0..4).map(|_| Hand::begun(pool.acquire())).collect();
    while lent.len() > 3 {
        drop(lent.pop());
        settle().await;
        assert!(
            waiters.iter().all(|waiter| !waiter.woken()),
            "beyond the limit: closed at release"
        );
    }
    assert_eq!((endpoint.open(), endpoint.dials().len()), (3, 8));
    drop(lent.pop());
    let mut served = vec![waiters.remove(0).end().unwrap()];
    pool.resize(5).unwrap();
    settle().await;
    for mut waiter in waiters.drain(..2) {
        served.push(waiter.end().expect("there is room again"));
    }
    consistent(&pool);
    assert_eq!(endpoint.open(), 5);
    drop((served, lent));
    drop(waiters.remove(0).end().unwrap());
    settle().await;
    at_rest(&pool, 5);
    assert_eq!(pool.snapshot().totals.evicted(Eviction::Shrunk), 5);
    assert_eq!(pool.resize(0).unwrap_err().setting, "max_size");
    close(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn connections_opened_together_are_not_replaced_together() {
    const CONNECTIONS: u32 = 50;
    let endpoint = Endpoint::new();
    let builder = endpoint
        .pool()
        .max_size(CONNECTIONS + 5)
        .min_idle(CONNECTIONS)
        .max_connecting(100);
    let pool = builder
        .max_lifetime(100 * SECOND)
        .idle_timeout(None)
        .build()
        .unwrap();
    pool.ready(SECOND).await.unwrap();
    let opened = Instant::now();
    tokio::time::sleep(115 * SECOND).await;
    let dials = endpoint.dials();
    let mut replaced: Vec<_> = dials[CONNECTIONS as usize..]
        .iter()
        .map(|&at| at - opened)
        .collect();
    replaced.truncate(CONNECTIONS as usize);
    assert_eq!(
        replaced.len(),
        CONNECTIONS as usize,
        "each is replaced by 110 % of its lifetime"
    );
    assert!(replaced[0] >= 90 * SECOND, "not before 90 %");
    for window in replaced.windows(20) {
        assert!(
            window[19] - window[0] > SECOND,
            "20 of 50 replaced within a second"
        );
    }
    let spread = *replaced.last().unwrap() - replaced[0];
    assert!(spread > 10 * SECOND, "spread over {spread:?}");
    assert!(endpoint.most_dialling() <= 100);
    assert_eq!(pool.snapshot().idle, CONNECTIONS as usize);
    close(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_check_goes_to_the_caller_and_costs_one_connection() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    drop(pool.acquire().await.unwrap());
    endpoint.script().check_panics = true;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        Hand::new(pool.acquire()).poll().is_ready()
    }));
    assert!(panicked.is_err());
    endpoint.script().check_panics = false;
    assert_eq!(pool.snapshot().totals.evicted(Eviction::Panicked), 1);
    let mut next = Hand::new(pool.acquire());
    while next.poll().is_pending() {
        settle().await;
    }
    drop(next);
    at_rest(&pool, 1);
}

#[tokio::test(start_paused = true)]
async fn a_tight_loop_of_acquires_lets_other_tasks_run() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().build().unwrap();
    drop(pool.acquire().await.unwrap());
    let other = tokio::spawn(async {});
    let mut rounds = 0;
    while !other.is_finished() {
        drop(pool.acquire().await.unwrap());
        rounds += 1;
        assert!(rounds < 1000, "starved");
    }
}
