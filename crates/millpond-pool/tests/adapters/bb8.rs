//! `from_bb8`.

use std::{panic::AssertUnwindSafe, time::Duration};

use millpond_pool::{Eviction, FromBb8, Pool, Probe, from_bb8};
use tokio::time::Instant;

use crate::{
    common::{Hand, MS, SECOND, settle},
    scripted::{Act, Line, Refused, Script, assert_has_source, evicted},
};

struct Manager(Script);

impl bb8::ManageConnection for Manager {
    type Connection = Line;
    type Error = Refused;

    async fn connect(&self) -> Result<Line, Refused> {
        self.0.make("connect").await
    }

    async fn is_valid(&self, line: &mut Line) -> Result<(), Refused> {
        self.0.note(format!("is_valid {}", line.nth));
        self.0.test(line).await
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        assert!(line.used < 1_000, "as the test wants it");
        line.broken
    }
}

fn manager() -> (Script, FromBb8<Manager>) {
    let script = Script::default();
    (script.clone(), from_bb8(Manager(script)))
}

/// A pool of one connection.
fn pool() -> (Script, Pool<FromBb8<Manager>>) {
    let (script, manager) = manager();
    let pool = Pool::builder(manager).max_size(1).build();
    (script, pool.expect("a runtime"))
}

fn self_managed() -> (Script, Pool<FromBb8<Manager>>) {
    let (script, manager) = manager();
    let pool = Pool::builder(manager.connections_manage_exchanges()).max_size(1);
    (script, pool.build().expect("a runtime"))
}

#[tokio::test(start_paused = true)]
async fn one_that_is_released_is_lent_again_once_is_valid_has_passed() {
    let (script, pool) = pool();
    for nth in 0..3 {
        let mut lent = pool.acquire().await.expect("a connection");
        let expected = if nth == 0 { "connect" } else { "is_valid 1" };
        assert_eq!(script.asked(), [expected]);
        lent.used += 1;
        assert_eq!(lent.used, nth + 1);
        lent.release();
    }
    assert_eq!(pool.snapshot().totals.dials, 1);
}

#[tokio::test(start_paused = true)]
async fn when_is_valid_is_called_can_be_set() {
    let (script, connector) = manager();
    assert_eq!(pool().1.settings().probe, Some(Probe::Always));
    let pool = Pool::builder(connector).max_size(1).probe(Probe::Never);
    let pool = pool.build().expect("a runtime");
    for _ in 0..3 {
        pool.acquire().await.expect("a connection").release();
    }
    assert_eq!(script.asked(), ["connect"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_merely_dropped_after_use_is_closed() {
    let (script, pool) = pool();
    for _ in 0..3 {
        let mut lent = pool.acquire().await.expect("a connection");
        lent.used += 1;
        assert_eq!(lent.used, 1, "nobody has used it before");
        drop(lent);
    }
    assert_eq!(script.asked(), ["connect"; 3]);
    assert_eq!(pool.snapshot().totals.unreleased, 3);
    assert_eq!(evicted(&pool, Eviction::UnfinishedExchange), (3, 3));

    // Unused, it goes back.
    drop(pool.acquire().await.expect("a connection"));
    assert_eq!(pool.snapshot().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn one_of_a_manager_that_minds_its_exchanges_is_kept_when_dropped_unless_it_is_broken() {
    let (script, pool) = self_managed();
    for _ in 0..3 {
        let mut lent = pool.acquire().await.expect("a connection");
        lent.used += 1;
        drop(lent);
    }
    assert_eq!(script.asked(), ["connect", "is_valid 1", "is_valid 1"]);
    assert_eq!(evicted(&pool, Eviction::UnfinishedExchange), (0, 0));

    let mut lent = pool.acquire().await.expect("a connection");
    lent.broken = true;
    drop(lent);
    assert_eq!(evicted(&pool, Eviction::Broken), (1, 1));
    assert_eq!(pool.snapshot().totals.unreleased, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_broken_is_evicted_however_it_comes_back() {
    let (_, pool) = pool();
    let mut lent = pool.acquire().await.expect("a connection");
    lent.broken = true;
    lent.release();
    assert_eq!(evicted(&pool, Eviction::Broken), (1, 1));
    let mut lent = pool.acquire().await.expect("a connection");
    lent.broken = true;
    drop(lent);
    assert_eq!(evicted(&pool, Eviction::Broken), (2, 2));
    let mut lent = pool.acquire().await.expect("a connection");
    lent.broken = true;
    lent.discard();
    assert_eq!(evicted(&pool, Eviction::Broken), (3, 3));
    assert_eq!(
        pool.snapshot().totals.unreleased,
        0,
        "the borrower is blameless"
    );
    let other = pool.acquire().await.expect("a connection");
    assert_eq!(other.nth, 4);
}

#[tokio::test(start_paused = true)]
async fn one_that_breaks_in_its_test_is_not_lent() {
    /// Breaks while it is tested, and says that it is valid.
    struct Fragile(Script);
    impl bb8::ManageConnection for Fragile {
        type Connection = Line;
        type Error = Refused;
        async fn connect(&self) -> Result<Line, Refused> {
            self.0.make("connect").await
        }
        async fn is_valid(&self, line: &mut Line) -> Result<(), Refused> {
            line.broken = true;
            Ok(())
        }
        fn has_broken(&self, line: &mut Line) -> bool {
            line.broken
        }
    }
    let connector = from_bb8(Fragile(Script::default()));
    let pool = Pool::builder(connector).max_size(1).build().unwrap();
    pool.acquire().await.expect("a connection").release();
    let other = pool.acquire().await.expect("a connection");
    assert_eq!(other.nth, 2);
    assert_eq!(evicted(&pool, Eviction::Broken), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_connect_is_told_with_the_managers_error_as_its_source() {
    let (script, manager) = manager();
    script.making(Act::Fail);
    let pool = Pool::builder(manager).outage_grace(Duration::ZERO);
    let failed = pool.build().unwrap().acquire().await;
    assert_has_source(&failed.expect_err("nothing can be dialled"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_no_longer_valid_is_evicted_and_another_one_lent() {
    let (script, pool) = pool();
    pool.acquire().await.expect("a connection").release();
    script.testing(Act::Fail);
    let other = pool.acquire().await.expect("another one");
    assert_eq!(other.nth, 2);
    assert_eq!(evicted(&pool, Eviction::ProbeFailed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_is_valid_that_hangs_costs_check_timeout_and_its_connection() {
    let (script, pool) = pool();
    pool.acquire().await.expect("a connection").release();
    script.testing(Act::Hang);
    let begun = Instant::now();
    let other = pool.acquire().await.expect("another one");
    assert_eq!(other.nth, 2);
    let waited = begun.elapsed();
    assert!(waited >= SECOND && waited < SECOND + 200 * MS, "{waited:?}");
    assert_eq!(evicted(&pool, Eviction::ProbeFailed), (1, 1));
}

/// bb8 puts it back in the middle of the test.
#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_during_is_valid_leaves_nobody_a_connection_in_its_test() {
    let (script, pool) = pool();
    pool.acquire().await.expect("a connection").release();
    script.testing(Act::Hang);
    let impatient = Hand::begun(pool.acquire());
    settle().await;
    assert_eq!(script.asked(), ["connect", "is_valid 1"]);
    drop(impatient);
    let lent = pool.acquire().await.expect("another one");
    assert!(!lent.in_test);
    assert_eq!(lent.nth, 2);
}

#[tokio::test(start_paused = true)]
async fn a_has_broken_that_panics_costs_its_connection() {
    let (_, pool) = pool();
    let mut lent = pool.acquire().await.expect("a connection");
    lent.used = 1_000;
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(move || lent.release()));
    panicked.expect_err("the manager panics");
    assert_eq!(evicted(&pool, Eviction::Panicked), (1, 1));
    let other = pool.acquire().await.expect("another one");
    assert_eq!(other.nth, 2);
}

#[tokio::test(start_paused = true)]
async fn the_manager_can_be_reached() {
    let (script, pool) = pool();
    pool.connector().manager().0.note("by hand");
    assert_eq!(script.asked(), ["by hand"]);
}
