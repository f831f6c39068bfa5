//! Connections that lie idle are watched: one that dies is evicted and replaced without any caller,
//! one that merely says something goes back to its place in the order, and none that is dead is
//! ever lent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use crate::common::{
    Act, Dial, Endpoint, Hand, MS, SECOND, at_rest, close, consistent, pass, settle,
};
use millpond_pool::{Connector, Eviction, Order, Pool, Probe};

/// Two ticks: one for the watch to be set, one to act.
const TWO_TICKS: std::time::Duration = std::time::Duration::from_millis(200);

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_dies_is_evicted_and_replaced_without_callers() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().min_idle(3).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    pass(TWO_TICKS).await;
    endpoint.hang_up(2);
    settle().await; // Woken, upkeep comes at once: no time passes.
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.totals.evicted(Eviction::PeerClosed), 1);
    assert_eq!(snapshot.evictions[0].number, 2);
    assert!(
        !snapshot.failing,
        "it had lain idle for a tick: it proved the endpoint"
    );
    at_rest(&pool, 3);
    assert_eq!(endpoint.created(), 4);
    close(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_before_it_is_watched_goes_within_two_ticks() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().build().unwrap();
    drop(pool.acquire().await.unwrap());
    endpoint.hang_up(1);
    pass(TWO_TICKS).await;
    at_rest(&pool, 0);
    assert_eq!(pool.snapshot().totals.evicted(Eviction::PeerClosed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_one_is_never_lent_even_before_upkeep_comes() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().build().unwrap();
    drop(pool.acquire().await.unwrap());
    endpoint.hang_up(1);
    assert!(pool.try_acquire().is_err(), "nothing else is idle");
    let lent = pool.acquire().await.unwrap();
    assert_eq!(lent.nth, 2);
    let record = &pool.snapshot().evictions[0];
    assert_eq!(
        (record.reason, record.uses),
        (Eviction::PeerClosed, 1),
        "lent once, before it died"
    );
}

#[tokio::test(start_paused = true)]
async fn when_the_endpoint_restarts_the_whole_idle_pool_is_replaced_without_an_outage() {
    let endpoint = Endpoint::new();
    let builder = endpoint.pool().max_size(20).min_idle(20).max_connecting(20);
    let pool = builder.idle_timeout(None).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    pass(10 * SECOND / 10).await;
    (1..=20).for_each(|nth| endpoint.hang_up(nth));
    settle().await;
    assert!(
        !pool.snapshot().failing,
        "long-lived connections that die are no failed dials"
    );
    at_rest(&pool, 20);
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_while_a_grant_of_it_lies_unclaimed_is_noticed_after_the_grant_is_cancelled()
{
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    drop(pool.acquire().await.unwrap());
    pass(TWO_TICKS).await; // Watched.
    pool.pause();
    let waiter = Hand::begun(pool.acquire());
    pool.resume();
    assert!(waiter.woken());
    endpoint.hang_up(1);
    settle().await;
    drop(waiter);
    pass(TWO_TICKS).await;
    at_rest(&pool, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_after_a_probe_whose_answer_woke_the_watch_is_noticed() {
    let endpoint = Endpoint::new();
    endpoint.script().probe = Act::Take(10 * MS);
    let pool = endpoint
        .pool()
        .max_size(1)
        .probe(Probe::Always)
        .build()
        .unwrap();
    drop(pool.acquire().await.unwrap());
    pass(TWO_TICKS).await; // Watched.
    let waiter = Hand::begun(pool.acquire());
    endpoint.speak(1); // The probe's answer arrives: the watch is used up.
    settle().await;
    drop(waiter);
    pass(20 * MS).await;
    at_rest(&pool, 1);
    pass(TWO_TICKS).await;
    endpoint.hang_up(1);
    pass(TWO_TICKS).await;
    at_rest(&pool, 0);
}

#[tokio::test(start_paused = true)]
async fn a_look_returns_a_connection_to_its_place_in_the_order() {
    for order in [Order::Fifo, Order::Lifo] {
        let endpoint = Endpoint::new();
        let pool = endpoint.pool().order(order).build().unwrap();
        let mut lent = Vec::new();
        for _ in 0..5 {
            lent.push(pool.acquire().await.unwrap());
        }
        for one in lent.drain(..) {
            drop(one);
            pass(10 * MS).await;
        }
        pass(TWO_TICKS).await;
        for nth in [3, 1, 5, 2, 4, 3] {
            endpoint.speak(nth);
            settle().await;
        }
        [2, 4].into_iter().for_each(|nth| endpoint.speak(nth)); // Two in one round.
        settle().await;
        assert_eq!(endpoint.looks.load(SeqCst), 5 + 8);
        let mut served = Vec::new();
        for _ in 0..5 {
            lent.push(pool.try_acquire().unwrap());
            served.push(lent.last().unwrap().nth);
        }
        let expected = match order {
            Order::Fifo => [1, 2, 3, 4, 5],
            Order::Lifo => [5, 4, 3, 2, 1],
            other => unreachable!("{other:?}"),
        };
        assert_eq!(served, expected, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lent_connection_says_disturbs_nobody_and_it_is_watched_again_afterwards() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    drop(pool.acquire().await.unwrap());
    pass(TWO_TICKS).await;
    let lent = pool.acquire().await.unwrap();
    endpoint.speak(1);
    settle().await;
    assert_eq!(
        endpoint.looks.load(SeqCst),
        1,
        "nobody looks at what is lent"
    );
    drop(lent);
    pass(TWO_TICKS).await;
    assert_eq!(endpoint.looks.load(SeqCst), 2);
    endpoint.hang_up(1);
    settle().await;
    at_rest(&pool, 0);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_panics_costs_its_connection_and_upkeep_goes_on() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(2).build().unwrap();
    drop((pool.acquire().await.unwrap(), pool.acquire().await.unwrap()));
    endpoint.script().poll_idle_panics = true;
    pass(TWO_TICKS).await;
    endpoint.script().poll_idle_panics = false;
    at_rest(&pool, 0);
    assert_eq!(pool.snapshot().totals.evicted(Eviction::Panicked), 2);
    let lent = pool.acquire().await.unwrap();
    let timed_out = pool.acquire().timeout(10 * MS);
    drop(lent);
    drop(timed_out.await.unwrap());
    pass(TWO_TICKS).await;
    at_rest(&pool, 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_idle_connections_exactly_the_dead_ones_go() {
    let endpoint = Endpoint::new();
    let builder = endpoint
        .pool()
        .max_size(1000)
        .min_idle(1000)
        .max_connecting(100);
    let pool = builder.idle_timeout(None).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    tokio::time::sleep(TWO_TICKS).await;
    assert_eq!(
        endpoint.looks.load(SeqCst),
        1000,
        "each is looked at once, and not again while it is silent"
    );
    tokio::time::sleep(SECOND).await;
    assert_eq!(endpoint.looks.load(SeqCst), 1000);
    for nth in (1..=1000).step_by(3) {
        endpoint.hang_up(nth);
    }
    tokio::time::sleep(TWO_TICKS).await;
    assert_eq!(pool.snapshot().totals.evicted(Eviction::PeerClosed), 334);
    at_rest(&pool, 1000);
    close(&pool).await;
    assert_eq!((endpoint.created(), endpoint.destroyed()), (1334, 1334));
}

#[tokio::test(start_paused = true)]
async fn idle_ones_beyond_min_idle_go_at_their_timeout_and_no_others() {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .min_idle(2)
        .idle_timeout(10 * SECOND)
        .build()
        .unwrap();
    let mut lent = Vec::new();
    for _ in 0..5 {
        lent.push(pool.acquire().await.unwrap());
    }
    drop(lent);
    settle().await;
    let before = consistent(&pool).idle;
    assert!(before >= 5);
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(pool.snapshot().idle, before);
    tokio::time::sleep(2 * SECOND).await;
    at_rest(&pool, 2);
    tokio::time::sleep(60 * SECOND).await;
    at_rest(&pool, 2);
    let evicted = pool.snapshot().totals.evicted(Eviction::IdleTimeout);
    assert_eq!(evicted as usize, before - 2);
    assert_eq!(
        endpoint.created(),
        before,
        "what min_idle asks for isn't closed and dialled again"
    );
}

#[tokio::test(start_paused = true)]
async fn while_nothing_can_be_dialled_dead_idle_ones_go_all_the_same() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().min_idle(3).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    pass(TWO_TICKS).await;
    endpoint.script().dial = Dial::Fail("refused");
    endpoint.hang_up(1);
    endpoint.hang_up(3);
    pass(TWO_TICKS).await;
    let snapshot = consistent(&pool);
    assert_eq!(
        (snapshot.idle, endpoint.open(), snapshot.failing),
        (1, 1, true)
    );
    let lent = pool.acquire().await.unwrap();
    assert_eq!(lent.nth, 2, "the living one serves, at once");
}

/// Spends of its task's budget at each look, as a connection does that reads and sends something.
struct Spending {
    looked: Arc<AtomicUsize>,
    starved: Arc<AtomicUsize>,
}

impl Connector for Spending {
    type Connection = ();
    type Error = std::io::Error;

    async fn connect(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn poll_idle(&self, (): &mut (), cx: &mut Context<'_>) -> Poll<Eviction> {
        for _ in 0..3 {
            match tokio::task::coop::poll_proceed(cx) {
                Poll::Ready(unit) => unit.made_progress(),
                Poll::Pending => {
                    self.starved.fetch_add(1, SeqCst);
                    return Poll::Pending;
                }
            }
        }
        self.looked.fetch_add(1, SeqCst);
        Poll::Pending
    }
}

/// A budget's end looks like a socket that isn't ready: of 3,000 heartbeats 1,000 a second were
/// sent.
#[tokio::test(start_paused = true)]
async fn each_of_many_idle_connections_has_all_of_the_tasks_budget_at_its_look() {
    let [looked, starved] = [(), ()].map(|()| Arc::new(AtomicUsize::new(0)));
    let connector = Spending {
        looked: Arc::clone(&looked),
        starved: Arc::clone(&starved),
    };
    let pool = Pool::builder(connector)
        .max_size(1_000)
        .min_idle(1_000)
        .max_connecting(1_000)
        .build()
        .unwrap();
    pool.ready(SECOND).await.unwrap();
    pass(TWO_TICKS).await;
    assert_eq!((looked.load(SeqCst), starved.load(SeqCst)), (1_000, 0));
}
