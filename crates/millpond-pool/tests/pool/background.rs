//! What a connector does in the background ([`Connector::run`]): begun once, when the pool is built,
//! and stopped by whatever ends the pool.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use crate::common::{MS, SECOND, paused_runtime, settle};
use millpond_pool::{Connector, Pool};

/// What has become of a [`Background`]'s runs.
#[derive(Debug, Default)]
struct Runs {
    begun: AtomicUsize,
    dropped: AtomicUsize,
    /// The next runs panic.
    panics: AtomicUsize,
    ends_at_once: AtomicBool,
    changes: tokio::sync::Notify,
    changes_seen: AtomicUsize,
}

impl Runs {
    fn counts(&self) -> (usize, usize) {
        (self.begun.load(SeqCst), self.dropped.load(SeqCst))
    }
}

#[derive(Clone, Debug, Default)]
struct Background(Arc<Runs>);

struct Run<'r>(&'r Runs);

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

impl Connector for Background {
    type Connection = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        Ok(())
    }

    async fn run(&self) {
        self.0.begun.fetch_add(1, SeqCst);
        let _run = Run(&self.0);
        let panics = self.0.panics.load(SeqCst);
        if panics > 0 {
            self.0.panics.store(panics - 1, SeqCst);
            panic!("as scripted");
        }
        if !self.0.ends_at_once.load(SeqCst) {
            pending().await
        }
    }

    async fn endpoint_changed(&self) {
        self.0.changes.notified().await;
        self.0.changes_seen.fetch_add(1, SeqCst);
    }
}

fn pool() -> (Arc<Runs>, Pool<Background>) {
    let connector = Background::default();
    let runs = Arc::clone(&connector.0);
    (runs, Pool::builder(connector).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn it_runs_from_when_the_pool_is_built_until_it_is_closed() {
    let (runs, pool) = pool();
    settle().await;
    assert_eq!(runs.counts(), (1, 0));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(runs.counts(), (1, 0));
    pool.close(SECOND).await.unwrap();
    settle().await;
    assert_eq!(runs.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn it_runs_on_while_the_pool_drains_and_stops_when_it_is_empty() {
    let (runs, pool) = pool();
    let lent = pool.acquire().await.unwrap();
    let draining = pool.drain(60 * SECOND);
    settle().await;
    assert_eq!(runs.counts(), (1, 0), "something is still lent");
    lent.release();
    draining.await.unwrap();
    settle().await;
    assert_eq!(runs.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn it_stops_when_the_last_handle_is_dropped() {
    let (runs, pool) = pool();
    let other = pool.clone();
    settle().await;
    drop(pool);
    settle().await;
    assert_eq!(runs.counts(), (1, 0), "there is another handle");
    drop(other);
    settle().await;
    assert_eq!(runs.counts(), (1, 1));
}

#[test]
fn it_is_dropped_with_its_runtime() {
    let runtime = paused_runtime();
    let (runs, _pool) = runtime.block_on(async {
        let built = pool();
        settle().await;
        built
    });
    assert_eq!(runs.counts(), (1, 0));
    drop(runtime);
    assert_eq!(runs.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn once_ended_it_is_not_begun_again() {
    let connector = Background::default();
    connector.0.ends_at_once.store(true, SeqCst);
    let runs = Arc::clone(&connector.0);
    let pool = Pool::builder(connector).build().unwrap();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(runs.counts(), (1, 1));
    pool.acquire().await.unwrap().release(); // The pool doesn't care.
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_it_is_begun_again_a_second_later() {
    let connector = Background::default();
    connector.0.panics.store(2, SeqCst);
    let runs = Arc::clone(&connector.0);
    let pool = Pool::builder(connector).build().unwrap();
    settle().await;
    assert_eq!(runs.counts(), (1, 1), "it has panicked");
    tokio::time::sleep(SECOND - 10 * MS).await;
    assert_eq!(runs.counts(), (1, 1));
    tokio::time::sleep(20 * MS).await;
    assert_eq!(runs.counts(), (2, 2), "and has panicked again");
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(runs.counts(), (3, 2), "and then runs");
    pool.acquire().await.unwrap().release();
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_endpoint_do_not_disturb_it() {
    let (runs, _pool) = pool();
    settle().await;
    for _ in 0..5 {
        runs.changes.notify_one();
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(runs.changes_seen.load(SeqCst), 5);
    assert_eq!(runs.counts(), (1, 0));
}
