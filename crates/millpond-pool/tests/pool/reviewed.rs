//! What a reading of the whole code found wrong: each of these failed before it was mended.

use std::{
    cell::Cell,
    error::Error,
    fmt,
    future::pending,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use crate::common::{Dial, Endpoint, Hand, MS, SECOND, pass, paused_runtime, settle};
use millpond_pool::{AcquireError, Connector, Ends, Eviction, Pool, PoolStatus, connect_with};
use tokio::time::Instant;

#[tokio::test]
async fn a_connector_that_knows_nothing_of_exchanges_never_lends_an_open_one() {
    let made = Cell::new(0);
    let made = std::sync::Mutex::new(made);
    let connector = connect_with(move || {
        let made = made.lock().unwrap();
        made.set(made.get() + 1);
        let number = made.get();
        async move { Ok::<_, std::io::Error>((number, Vec::<u8>::new())) }
    });
    let pool = Pool::builder(connector).max_size(1).build().unwrap();

    let mut cancelled = pool.acquire().await.unwrap();
    cancelled.1.push(1); // A request, and its reply still to come.
    drop(cancelled);
    let next = pool.acquire().await.unwrap();
    assert_eq!(next.0, 2, "another connection");
    assert_eq!(
        pool.snapshot().totals.evicted(Eviction::UnfinishedExchange),
        1
    );

    next.release(); // Looked at, and nothing more.
    let mut complete = pool.acquire().await.unwrap();
    assert_eq!(complete.0, 2);
    complete.1.push(1);
    complete.release();
    pool.with(async |connection| {
        connection.1.push(2);
        Ok::<_, std::io::Error>(())
    })
    .await
    .unwrap();
    assert_eq!(
        pool.acquire().await.unwrap().0,
        2,
        "both times it came back clean"
    );
}

/// Time that passes without anybody running: the pool's clock is as old as that.
#[test]
fn who_comes_after_a_long_standstill_waits_all_the_same() {
    let runtime = paused_runtime();
    runtime.block_on(async {
        let endpoint = Endpoint::new();
        let pool = endpoint
            .pool()
            .max_size(1)
            .acquire_timeout(SECOND)
            .build()
            .unwrap();
        // Longer than the timeout, before upkeep has run once.
        tokio::time::advance(2 * SECOND).await;
        let lent = pool.acquire().await.expect("a dial that is made at once");
        let waiter = Hand::begun(pool.acquire());
        // And again with somebody in line: this thread does something else.
        tokio::time::advance(2 * SECOND).await;
        let begun = Instant::now();
        let error = pool.acquire().await.unwrap_err();
        let waited = begun.elapsed();
        assert!(matches!(error, AcquireError::TimedOut(_)), "{error}");
        assert!(waited >= SECOND, "it waited for {waited:?}");
        assert!(waited <= SECOND + 50 * MS, "it waited for {waited:?}");
        drop((waiter, lent));
    });
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_future_leaves_the_idle_connection_to_others() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).max_waiting(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let forgotten = Hand::begun(pool.acquire());
    drop(lent);
    pass(300 * MS).await; // Its grant is revoked, and it is parked.
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.idle, snapshot.waiting), (1, 1));
    drop(pool.acquire().await.expect("idle, and nobody in line"));
    drop(forgotten);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_connection_is_unfit_is_served_by_a_drain_too() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut waiter = Hand::begun(pool.acquire());
    let draining = pool.drain(10 * SECOND);
    endpoint
        .script()
        .checks
        .push_back(Err(Eviction::PeerClosed));
    drop(lent);
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Draining), "{error}");
    assert!(
        waiter.poll().is_pending(),
        "its connection was unfit: a dial is under way"
    );
    settle().await;
    drop(waiter.end().expect("served"));
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_its_last_waiter_gives_up() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Fail("refused");
    let pool = endpoint.pool().outage_grace(60 * SECOND).build().unwrap();
    let waiter = Hand::begun(pool.acquire());
    settle().await; // Its first dial has failed, and the next is not due yet.
    let begun = Instant::now();
    let draining = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain(30 * SECOND).await }
    });
    settle().await;
    drop(waiter);
    draining.await.unwrap().unwrap();
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_whom_it_could_not_serve() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Hang;
    let pool = endpoint.pool().build().unwrap();
    let mut waiter = Hand::begun(pool.acquire());
    let left = pool.drain(SECOND).await.unwrap_err();
    assert_eq!((left.lent, left.waiting), (0, 1));
    assert_eq!(left.to_string(), "0 still lent, 1 still waiting after 1 s");
    assert!(matches!(waiter.end(), Err(AcquireError::Closed)));
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_told_at_the_first_look() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let mut late = Hand::new(pool.acquire().timeout(Duration::ZERO));
    match late.poll() {
        Poll::Ready(Err(AcquireError::TimedOut(_))) => {}
        other => panic!("{:?}", other.map(|answer| answer.map(drop))),
    }
    let error = pool
        .acquire()
        .timeout(Duration::ZERO)
        .blocking()
        .unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut(_)), "{error}");
    drop(lent);
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_harms_only_itself() {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(1)
        .acquire_timeout(SECOND)
        .build()
        .unwrap();
    let lent = pool.acquire().await.unwrap();
    let waker = Waker::from(Arc::new(Panics));
    let mut waiter = Box::pin(pool.acquire());
    let polled = waiter.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let other = Hand::begun(pool.acquire());
    pass(2 * SECOND).await; // Both are told by upkeep.
    assert!(other.woken());
    assert_eq!(pool.snapshot().status, PoolStatus::Open);
    drop(lent);
    drop(pool.acquire().await.expect("the pool goes on"));
    drop(waiter);
}

/// Says at each look that it has something more to say.
struct Restless(Arc<AtomicBool>);

impl Connector for Restless {
    type Connection = ();
    type Error = std::io::Error;

    async fn connect(&self) -> Result<(), std::io::Error> {
        Ok(())
    }
    fn poll_idle(&self, _: &mut (), cx: &mut Context<'_>) -> Poll<Eviction> {
        if self.0.load(Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[tokio::test]
async fn a_connection_that_always_has_something_to_say_lets_others_run() {
    let restless = Arc::new(AtomicBool::new(true));
    let pool = Pool::builder(Restless(Arc::clone(&restless)))
        .min_idle(1)
        .build()
        .unwrap();
    pool.ready(SECOND).await.unwrap();
    // Longer than a tick, after which it is looked at for the first time. Without a yield this
    // never returns.
    tokio::time::timeout(20 * SECOND, tokio::time::sleep(300 * MS))
        .await
        .unwrap();
    restless.store(false, Ordering::Relaxed);
    drop(pool.acquire().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_pool_shrunk_below_min_idle_is_ready_with_what_it_may_have() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(5).min_idle(5).build().unwrap();
    pool.ready(SECOND).await.unwrap();
    pool.resize(1).unwrap();
    pool.ready(SECOND).await.unwrap();
    settle().await;
    assert_eq!(pool.snapshot().idle, 1);
}

/// An error that asks the pool something whenever it is asked itself.
#[derive(Debug)]
struct Curious;

static CURIOUS: OnceLock<Pool<FailsCuriously>> = OnceLock::new();

impl Curious {
    fn ask() {
        if let Some(pool) = CURIOUS.get() {
            let _ = pool.settings();
        }
    }
}

impl fmt::Display for Curious {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Curious::ask();
        f.write_str("curious")
    }
}

impl Error for Curious {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Curious::ask();
        None
    }
}

struct FailsCuriously;

impl Connector for FailsCuriously {
    type Connection = ();
    type Error = Curious;

    async fn connect(&self) -> Result<(), Curious> {
        Err(Curious)
    }
}

#[test]
fn an_errors_code_may_use_the_pool() {
    let (tell, told) = mpsc::channel();
    // In a thread of its own, for a deadlock would never end.
    thread::spawn(move || {
        let runtime = paused_runtime();
        let error = runtime.block_on(async {
            let pool = Pool::builder(FailsCuriously).build().unwrap();
            let pool = CURIOUS.get_or_init(|| pool);
            let error = millpond_words::Chain(&pool.acquire().await.unwrap_err()).to_string();
            let _ = pool.snapshot().to_string();
            error
        });
        tell.send(error).unwrap();
    });
    let error = told.recv_timeout(20 * SECOND).expect("no deadlock");
    assert!(error.contains("curious"), "{error}");
}

/// How [`Following`] says that its endpoint changes.
#[derive(Clone, Copy)]
enum Changes {
    Never,
    /// Up to a thousand times: a pool that spins must fail its test, not hang it.
    Always,
    /// Once a second; the first time it panics.
    EachSecond,
}

/// A connector that counts how often the pool follows its endpoint, and by which no connection is
/// ever current.
struct Following {
    changes: Changes,
    rounds: Arc<AtomicUsize>,
}

impl Following {
    fn new(changes: Changes) -> (Self, Arc<AtomicUsize>) {
        let rounds = Arc::default();
        let following = Following {
            changes,
            rounds: Arc::clone(&rounds),
        };
        (following, rounds)
    }
}

impl Connector for Following {
    type Connection = ();
    type Error = std::io::Error;

    async fn connect(&self) -> Result<(), std::io::Error> {
        Ok(())
    }

    async fn endpoint_changed(&self) {
        match self.changes {
            Changes::Never => pending().await,
            Changes::Always if self.rounds.load(Ordering::Relaxed) >= 1_000 => pending().await,
            Changes::Always => {}
            Changes::EachSecond => tokio::time::sleep(SECOND).await,
        }
        let before = self.rounds.fetch_add(1, Ordering::Relaxed);
        assert!(
            before > 0 || !matches!(self.changes, Changes::EachSecond),
            "as scripted"
        );
    }

    fn is_current(&self, _: &Ends) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_ever_changing_is_followed_once_a_tick() {
    let (following, rounds) = Following::new(Changes::Always);
    let pool = Pool::builder(following).min_idle(1).build().unwrap();
    pass(SECOND).await;
    let rounds = rounds.load(Ordering::Relaxed);
    assert!((5..=11).contains(&rounds), "{rounds}");
    let dials = pool.snapshot().totals.dials;
    assert!(dials <= 12, "{dials}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_never_current_are_not_replaced_without_a_change() {
    let (following, _) = Following::new(Changes::Never);
    let pool = Pool::builder(following).min_idle(2).build().unwrap();
    pass(5 * SECOND).await;
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.idle, snapshot.totals.dials), (2, 2), "{snapshot}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_followed_on_after_a_panic() {
    let (following, rounds) = Following::new(Changes::EachSecond);
    let pool = Pool::builder(following).build().unwrap();
    drop(pool.acquire().await.unwrap());
    pass(SECOND + 500 * MS).await;
    assert_eq!(rounds.load(Ordering::Relaxed), 1);
    pass(5 * SECOND).await;
    assert!(rounds.load(Ordering::Relaxed) > 2);
    let retired = pool.snapshot().totals.evicted(Eviction::Retired);
    assert_eq!(retired, 1);
}

#[test]
fn nothing_is_left_of_a_pool_whatever_ends_first() {
    let start = || paused_runtime();
    let endpoint = Endpoint::new();
    let build = async || {
        let pool = endpoint.pool().min_idle(2).build().unwrap();
        pool.ready(SECOND).await.unwrap();
        pool
    };
    let left = || Arc::strong_count(&endpoint) - 1;
    let runtime = start();
    runtime.block_on(async {
        let pool = build().await;
        drop(pool);
        pass(SECOND).await;
        assert_eq!(left(), 0, "the pool ended first");

        let pool = build().await;
        let lent = pool.acquire().await.unwrap();
        drop(pool);
        pass(SECOND).await;
        drop(lent);
        pass(SECOND).await;
        assert_eq!(left(), 0, "its last connection ended last");
    });
    let pool = runtime.block_on(build());
    drop(runtime);
    drop(pool);
    assert_eq!(left(), 0, "the runtime ended first");
}
