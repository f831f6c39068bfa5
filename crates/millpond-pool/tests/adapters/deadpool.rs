//! `from_deadpool`.

use std::time::Duration;

use deadpool::managed::{Metrics, RecycleError, RecycleResult};
use millpond_pool::{Eviction, FromDeadpool, Pool, Probe, Recyclable, from_deadpool};
use tokio::time::Instant;

use crate::{
    common::{Hand, MS, SECOND, pass, settle},
    scripted::{Act, Line, Refused, Script, assert_has_source, evicted},
};

struct Manager {
    script: Script,
    /// By the real clock, which deadpool's metrics are by.
    began: std::time::Instant,
}

impl deadpool::managed::Manager for Manager {
    type Type = Line;
    type Error = Refused;

    async fn create(&self) -> Result<Line, Refused> {
        self.script.make("create").await
    }

    async fn recycle(&self, line: &mut Line, metrics: &Metrics) -> RecycleResult<Refused> {
        let recycled = metrics.recycled.is_some();
        // A time by the paused clock, which the tests put forward, would be later than now.
        let now = std::time::Instant::now();
        let last = metrics.recycled.unwrap_or(metrics.created);
        let times = [self.began, metrics.created, last, now];
        assert!(times.is_sorted(), "{times:?}");
        let (nth, count) = (line.nth, metrics.recycle_count);
        self.script
            .note(format!("recycle {nth} {count} {recycled}"));
        if line.broken {
            return Err(RecycleError::message("it is broken"));
        }
        Ok(self.script.test(line).await?)
    }

    fn detach(&self, line: &mut Line) {
        self.script.note(format!("detach {}", line.nth));
    }
}

fn manager() -> (Script, FromDeadpool<Manager>) {
    let script = Script::default();
    let manager = Manager {
        script: script.clone(),
        began: std::time::Instant::now(),
    };
    (script, from_deadpool(manager))
}

/// A pool of one connection.
fn pool() -> (Script, Pool<FromDeadpool<Manager>>) {
    let (script, manager) = manager();
    let pool = Pool::builder(manager).max_size(1).build();
    (script, pool.expect("a runtime"))
}

fn self_managed() -> (Script, Pool<FromDeadpool<Manager>>) {
    let (script, manager) = manager();
    let pool = Pool::builder(manager.connections_manage_exchanges()).max_size(1);
    (script, pool.build().expect("a runtime"))
}

#[tokio::test(start_paused = true)]
async fn one_that_is_released_is_recycled_with_its_metrics_and_lent_again() {
    let (script, pool) = pool();
    for nth in 0..3 {
        let mut lent = pool.acquire().await.expect("a connection");
        lent.used += 1;
        assert_eq!(lent.used, nth + 1);
        assert_eq!(Recyclable::metrics(&lent).recycle_count, nth as usize);
        lent.release();
        settle().await;
    }
    let asked = [
        "create",
        "recycle 1 0 false",
        "recycle 1 1 true",
        "recycle 1 2 true",
    ];
    assert_eq!(script.asked(), asked);
    assert_eq!(pool.snapshot().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_it_before_it_is_recycled() {
    let (script, pool) = pool();
    let lent = pool.acquire().await.expect("a connection");
    script.testing(Act::Hang);
    let mut waiting = Hand::begun(pool.acquire());
    lent.release();
    settle().await;
    assert!(waiting.poll().is_pending());
    assert_eq!(pool.snapshot().checking, 1);
    pass(1_200 * MS).await;
    let lent = waiting.end().expect("another one");
    assert!(!lent.in_test);
    assert_eq!(lent.nth, 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_been_idle_for_a_second_is_recycled_again_before_it_is_lent() {
    let (script, pool) = pool();
    pool.acquire().await.expect("a connection").release();
    pass(900 * MS).await;
    script.asked();
    let lent = pool.acquire().await.expect("a connection");
    assert_eq!(script.asked(), [""; 0]);
    lent.release();
    pass(1_200 * MS).await;
    script.asked();
    let lent = pool.acquire().await.expect("a connection");
    assert_eq!(script.asked(), ["recycle 1 2 true"]);
    assert_eq!(lent.nth, 1);

    // One that has died meanwhile isn't lent.
    lent.release();
    pass(1_200 * MS).await;
    script.testing(Act::Fail);
    let other = pool.acquire().await.expect("another one");
    assert_eq!(other.nth, 2);
    assert_eq!(evicted(&pool, Eviction::ProbeFailed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn between_two_borrowers_it_is_recycled_whatever_is_set() {
    for (probe, recycled) in [(Probe::Never, 1), (Probe::Always, 2)] {
        let (script, manager) = manager();
        let pool = Pool::builder(manager.connections_manage_exchanges());
        let pool = pool.max_size(1).probe(probe).build().unwrap();
        for _ in 0..3 {
            let mut lent = pool.acquire().await.expect("a connection");
            lent.used += 1;
            script.asked();
            drop(lent);
            settle().await;
            let _unused = pool.acquire().await.expect("a connection");
            assert_eq!(script.asked().len(), recycled, "{probe:?}");
        }
        assert_eq!(pool.snapshot().totals.dials, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_merely_dropped_after_use_is_closed() {
    let (script, pool) = pool();
    for nth in 1..=3 {
        let mut lent = pool.acquire().await.expect("a connection");
        lent.used += 1;
        assert_eq!(lent.used, 1, "nobody has used it before");
        drop(lent);
        assert_eq!(
            script.asked(),
            [String::from("create"), format!("detach {nth}")]
        );
    }
    assert_eq!(pool.snapshot().totals.unreleased, 3);
    assert_eq!(evicted(&pool, Eviction::UnfinishedExchange), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn one_of_a_manager_that_minds_its_exchanges_is_recycled_and_kept_when_dropped() {
    let (script, pool) = self_managed();
    let mut lent = pool.acquire().await.expect("a connection");
    lent.used += 1;
    drop(lent);
    settle().await;
    assert_eq!(script.asked(), ["create", "recycle 1 0 false"]);
    let mut lent = pool.acquire().await.expect("a connection");
    assert_eq!((lent.nth, lent.used), (1, 1));

    lent.broken = true;
    drop(lent);
    settle().await;
    assert_eq!(script.asked(), ["recycle 1 1 true", "detach 1"]);
    assert_eq!(evicted(&pool, Eviction::ResetFailed), (1, 1));
    assert_eq!(pool.snapshot().totals.unreleased, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_recycled_is_evicted_and_another_one_lent() {
    let (script, pool) = pool();
    let lent = pool.acquire().await.expect("a connection");
    script.testing(Act::Fail);
    lent.release();
    let other = pool.acquire().await.expect("another one");
    assert_eq!(other.nth, 2);
    assert_eq!(evicted(&pool, Eviction::ResetFailed), (1, 1));
    let asked = ["create", "recycle 1 0 false", "detach 1", "create"];
    assert_eq!(script.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_recycle_that_hangs_costs_check_timeout_and_its_connection() {
    let (script, pool) = pool();
    let lent = pool.acquire().await.expect("a connection");
    script.testing(Act::Hang);
    let begun = Instant::now();
    lent.release();
    let other = pool.acquire().await.expect("another one");
    assert_eq!(other.nth, 2);
    let waited = begun.elapsed();
    assert!(waited >= SECOND && waited < SECOND + 200 * MS, "{waited:?}");
    assert_eq!(evicted(&pool, Eviction::ResetFailed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_create_is_told_with_the_managers_error_as_its_source() {
    let (script, manager) = manager();
    script.making(Act::Fail);
    let pool = Pool::builder(manager).outage_grace(Duration::ZERO);
    let failed = pool.build().unwrap().acquire().await;
    assert_has_source(&failed.expect_err("nothing can be dialled"));
}

#[tokio::test(start_paused = true)]
async fn the_manager_detaches_each_connection_once_however_it_leaves() {
    type Leave = fn(&Pool<FromDeadpool<Manager>>, millpond_pool::Connection<FromDeadpool<Manager>>);
    let ways: [(&str, Leave); 7] = [
        ("discarded", |_, lent| lent.discard()),
        ("detached and taken", |_, lent| {
            let line = Recyclable::take(lent.detach());
            assert_eq!(line.nth, 1);
        }),
        ("detached and dropped", |_, lent| drop(lent.detach())),
        ("retired", |pool, lent| {
            pool.retire();
            lent.release();
        }),
        ("closed while it is lent", |pool, lent| {
            drop(pool.close(SECOND));
            lent.release();
        }),
        ("closed while it is idle", |pool, lent| {
            drop(lent);
            drop(pool.close(SECOND));
        }),
        ("idle for too long", |_, lent| drop(lent)),
    ];
    for (way, leave) in ways {
        let (script, manager) = manager();
        let pool = Pool::builder(manager).max_size(1).idle_timeout(5 * SECOND);
        let pool = pool.build().unwrap();
        let lent = pool.acquire().await.expect("a connection");
        leave(&pool, lent);
        pass(6 * SECOND).await;
        let mut asked = script.asked();
        asked.retain(|asked| asked.starts_with("detach"));
        assert_eq!(asked, ["detach 1"], "{way}");
        drop(pool);
        settle().await;
        assert_eq!(script.asked(), [""; 0], "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_manager_can_be_reached() {
    let (script, pool) = pool();
    pool.connector().manager().script.note("by hand");
    assert_eq!(script.asked(), ["by hand"]);
    assert_eq!(
        pool.settings().probe,
        Some(Probe::WhenIdleFor(Duration::from_secs(1)))
    );
}
