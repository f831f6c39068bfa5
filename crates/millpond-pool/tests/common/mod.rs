//! What the tests of the pool share: a connector without sockets whose every answer is scripted and
//! counted ([`Endpoint`]), a future polled by hand ([`Hand`]), and [`settle`], which lets
//! everything run that can run without time passing. Nothing here sleeps.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, pending},
    io,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use millpond_pool::{
    AfterRelease, Closing, Connector, Ends, Eviction, LastExchange, Pool, PoolBuilder, PoolSnapshot,
};
use tokio::{runtime::Runtime, sync::Semaphore, time::Instant};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A runtime for tests that set something up before it: one thread, and a clock that stands until
/// all wait.
pub(crate) fn paused_runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// How a dial goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dial {
    Succeed,
    Fail(&'static str),
    Take(Duration),
    TakeAndFail(Duration, &'static str),
    /// Waits for a permit of [`Endpoint::gate`].
    AtTheGate,
    Hang,
    Panic,
}

/// How a check, a hook, a probe, a reset or a farewell goes. What can't take time panics when told
/// to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Pass,
    Fail,
    Take(Duration),
    Hang,
    Panic,
}

impl Act {
    async fn play(self) -> Result<(), Said> {
        match self {
            Act::Pass => Ok(()),
            Act::Fail => Err(Said("refused by the script")),
            Act::Take(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Act::Hang => pending().await,
            Act::Panic => panic!("as scripted"),
        }
    }
}

/// What [`Scripted`] does; changed at any time.
#[derive(Debug)]
pub(crate) struct Script {
    /// The next dials; when they are used up, `dial`.
    pub(crate) dials: VecDeque<Dial>,
    pub(crate) dial: Dial,
    /// The next checks; when they are used up, a check says what the connection died of.
    pub(crate) checks: VecDeque<Result<(), Eviction>>,
    /// Every connection that is opened from now on has died already, for this reason.
    pub(crate) stillborn: Option<Eviction>,
    pub(crate) check_panics: bool,
    pub(crate) is_clean_panics: bool,
    pub(crate) completed_panics: bool,
    pub(crate) poll_idle_panics: bool,
    pub(crate) on_connect: Act,
    pub(crate) on_release: Act,
    pub(crate) needs_reset: bool,
    pub(crate) reset: Act,
    pub(crate) probe: Act,
    pub(crate) close: Act,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            dials: VecDeque::new(),
            dial: Dial::Succeed,
            checks: VecDeque::new(),
            stillborn: None,
            check_panics: false,
            is_clean_panics: false,
            completed_panics: false,
            poll_idle_panics: false,
            on_connect: Act::Pass,
            on_release: Act::Pass,
            needs_reset: false,
            reset: Act::Pass,
            probe: Act::Pass,
            close: Act::Pass,
        }
    }
}

/// The other side: its script, and what it has seen.
#[derive(Debug)]
pub(crate) struct Endpoint {
    script: Mutex<Script>,
    pub(crate) gate: Semaphore,
    dials: Mutex<Vec<Instant>>,
    dialling: AtomicUsize,
    most_dialling: AtomicUsize,
    created: AtomicUsize,
    destroyed: AtomicUsize,
    pub(crate) probes: AtomicUsize,
    pub(crate) resets: AtomicUsize,
    pub(crate) looks: AtomicUsize,
    pub(crate) farewells: AtomicUsize,
    lines: Mutex<Vec<Arc<Line>>>,
}

impl Endpoint {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Endpoint {
            script: Mutex::default(),
            gate: Semaphore::new(0),
            dials: Mutex::default(),
            dialling: AtomicUsize::new(0),
            most_dialling: AtomicUsize::new(0),
            created: AtomicUsize::new(0),
            destroyed: AtomicUsize::new(0),
            probes: AtomicUsize::new(0),
            resets: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            farewells: AtomicUsize::new(0),
            lines: Mutex::default(),
        })
    }

    pub(crate) fn pool(self: &Arc<Self>) -> PoolBuilder<Scripted> {
        Pool::builder(Scripted(Arc::clone(self)))
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        locked(&self.script)
    }

    /// When each dial began.
    pub(crate) fn dials(&self) -> Vec<Instant> {
        locked(&self.dials).clone()
    }

    pub(crate) fn dialling(&self) -> usize {
        self.dialling.load(SeqCst)
    }

    /// The most dials that were under way at once.
    pub(crate) fn most_dialling(&self) -> usize {
        self.most_dialling.load(SeqCst)
    }

    pub(crate) fn created(&self) -> usize {
        self.created.load(SeqCst)
    }

    pub(crate) fn destroyed(&self) -> usize {
        self.destroyed.load(SeqCst)
    }

    /// Open connections, as the endpoint sees them.
    pub(crate) fn open(&self) -> usize {
        self.created() - self.destroyed()
    }

    /// Hangs up the n-th connection that was opened (from 1), and wakes whoever watches it.
    pub(crate) fn hang_up(&self, nth: usize) {
        let line = Arc::clone(&locked(&self.lines)[nth - 1]);
        line.end(Eviction::PeerClosed);
    }

    /// Hangs up every connection that was ever opened.
    pub(crate) fn hang_up_all(&self) {
        (1..=self.created()).for_each(|nth| self.hang_up(nth));
    }

    /// Wakes whoever watches the n-th connection, without a reason: a heartbeat, a session ticket.
    pub(crate) fn speak(&self, nth: usize) {
        let line = Arc::clone(&locked(&self.lines)[nth - 1]);
        line.wake();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wire between the endpoint and one connection.
#[derive(Debug, Default)]
struct Line {
    ended: Mutex<Option<Eviction>>,
    watcher: Mutex<Option<Waker>>,
}

impl Line {
    fn end(&self, reason: Eviction) {
        *locked(&self.ended) = Some(reason);
        self.wake();
    }

    fn wake(&self) {
        let watcher = locked(&self.watcher).take();
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }
}

/// A connection that knows whether an exchange is unfinished on it.
#[derive(Debug)]
pub(crate) struct Conn {
    /// The n-th that was opened, from 1.
    pub(crate) nth: usize,
    pub(crate) dirty: bool,
    line: Arc<Line>,
    endpoint: Arc<Endpoint>,
}

impl Conn {
    /// The endpoint has hung up.
    pub(crate) fn hung_up(&self) -> bool {
        locked(&self.line.ended).is_some()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.endpoint.destroyed.fetch_add(1, SeqCst);
    }
}

/// What the script makes a connector say.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) &'static str);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// As [`Said`] it is what a system says of a port where nothing listens.
pub(crate) const REFUSED: &str = "connection refused";

impl std::error::Error for Said {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        static NOBODY_LISTENS: LazyLock<io::Error> =
            LazyLock::new(|| io::ErrorKind::ConnectionRefused.into());
        (self.0 == REFUSED).then(|| &*NOBODY_LISTENS as _)
    }
}

/// The connector to an [`Endpoint`].
#[derive(Clone, Debug)]
pub(crate) struct Scripted(pub(crate) Arc<Endpoint>);

struct Dialling<'e>(&'e Endpoint);

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.dialling.fetch_sub(1, SeqCst);
    }
}

impl Connector for Scripted {
    type Connection = Conn;
    type Error = Said;

    async fn connect(&self) -> Result<Conn, Said> {
        let endpoint = &self.0;
        locked(&endpoint.dials).push(Instant::now());
        let at_once = endpoint.dialling.fetch_add(1, SeqCst) + 1;
        endpoint.most_dialling.fetch_max(at_once, SeqCst);
        let _dialling = Dialling(endpoint);
        let dial = {
            let mut script = endpoint.script();
            let usual = script.dial;
            script.dials.pop_front().unwrap_or(usual)
        };
        match dial {
            Dial::Succeed => {}
            Dial::Fail(why) => return Err(Said(why)),
            Dial::Take(time) => tokio::time::sleep(time).await,
            Dial::TakeAndFail(time, why) => {
                tokio::time::sleep(time).await;
                return Err(Said(why));
            }
            Dial::AtTheGate => endpoint
                .gate
                .acquire()
                .await
                .expect("never closed")
                .forget(),
            Dial::Hang => pending().await,
            Dial::Panic => panic!("as scripted"),
        }
        let line = Arc::new(Line::default());
        *locked(&line.ended) = endpoint.script().stillborn;
        locked(&endpoint.lines).push(Arc::clone(&line));
        Ok(Conn {
            nth: endpoint.created.fetch_add(1, SeqCst) + 1,
            dirty: false,
            line,
            endpoint: Arc::clone(endpoint),
        })
    }

    async fn on_connect(&self, _: &mut Conn) -> Result<(), Said> {
        let act = self.0.script().on_connect;
        act.play().await
    }

    fn check(&self, connection: &mut Conn) -> Result<(), Eviction> {
        let mut script = self.0.script();
        let panics = script.check_panics;
        let scripted = script.checks.pop_front();
        drop(script);
        assert!(!panics, "as scripted");
        let died = *locked(&connection.line.ended);
        scripted.unwrap_or_else(|| died.map_or(Ok(()), Err))
    }

    fn is_clean(&self, connection: &Conn, _: LastExchange) -> bool {
        let panics = self.0.script().is_clean_panics;
        assert!(!panics, "as scripted");
        !connection.dirty
    }

    fn exchange_completed(&self, connection: &mut Conn) {
        let panics = self.0.script().completed_panics;
        assert!(!panics, "as scripted");
        connection.dirty = false;
    }

    fn on_release(&self, _: &mut Conn) -> Result<AfterRelease, Said> {
        let (act, needs_reset) = {
            let script = self.0.script();
            (script.on_release, script.needs_reset)
        };
        match act {
            Act::Pass if needs_reset => Ok(AfterRelease::NeedsReset),
            Act::Pass => Ok(AfterRelease::Ready),
            Act::Fail => Err(Said("refused by the script")),
            other => panic!("as scripted: {other:?}"),
        }
    }

    async fn reset(&self, _: &mut Conn) -> Result<(), Said> {
        self.0.resets.fetch_add(1, SeqCst);
        let act = self.0.script().reset;
        act.play().await
    }

    async fn probe(&self, _: &mut Conn) -> Result<(), Said> {
        self.0.probes.fetch_add(1, SeqCst);
        let act = self.0.script().probe;
        act.play().await
    }

    fn poll_idle(&self, connection: &mut Conn, cx: &mut Context<'_>) -> Poll<Eviction> {
        self.0.looks.fetch_add(1, SeqCst);
        let panics = self.0.script().poll_idle_panics;
        assert!(!panics, "as scripted");
        *locked(&connection.line.watcher) = Some(cx.waker().clone());
        match *locked(&connection.line.ended) {
            Some(reason) => Poll::Ready(reason),
            None => Poll::Pending,
        }
    }

    fn close(&self, connection: Conn) -> Closing {
        self.0.farewells.fetch_add(1, SeqCst);
        let act = self.0.script().close;
        match act {
            Act::Pass => Closing::Done,
            Act::Panic => panic!("as scripted"),
            act => Closing::after(async move {
                let _held_until_the_end = connection;
                let _ = act.play().await;
            }),
        }
    }

    fn ends(&self, connection: &Conn) -> Ends {
        Ends::to(Arc::<str>::from(format!("endpoint/{}", connection.nth)))
    }
}

/// Lets every task run that can, without time passing.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Lets this much of the paused clock pass, in steps of a millisecond, and everything run that this
/// brings about.
pub(crate) async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::time::advance(MS).await;
        settle().await;
    }
}

/// A future polled by hand.
pub(crate) struct Hand<F> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken {
    since_last_poll: AtomicBool,
    times: AtomicU64,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.since_last_poll.store(true, SeqCst);
        self.times.fetch_add(1, SeqCst);
    }
}

impl<F: Future> Hand<F> {
    pub(crate) fn new(future: F) -> Self {
        Hand {
            future: Box::pin(future),
            woken: Arc::default(),
        }
    }

    /// As [`Hand::new`], and polled once, which must not end it.
    pub(crate) fn begun(future: F) -> Self {
        let mut hand = Hand::new(future);
        assert!(hand.poll().is_pending(), "expected to wait");
        hand
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.woken.since_last_poll.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polled, it must end.
    pub(crate) fn end(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("expected to end"),
        }
    }

    pub(crate) fn woken(&self) -> bool {
        self.woken.since_last_poll.load(SeqCst)
    }

    pub(crate) fn times_woken(&self) -> u64 {
        self.woken.times.load(SeqCst)
    }
}

/// The oracle C of every test: the pool's counts agree with each other and with its limit.
#[track_caller]
pub(crate) fn consistent(pool: &Pool<Scripted>) -> PoolSnapshot {
    let snapshot = counts_agree(pool);
    assert!(
        snapshot.connections.len() <= snapshot.max_size as usize,
        "{snapshot}"
    );
    snapshot
}

/// As [`consistent`], but for the limit: just shrunk, a pool may be above it.
#[track_caller]
pub(crate) fn counts_agree(pool: &Pool<Scripted>) -> PoolSnapshot {
    let snapshot = pool.snapshot();
    let seen = snapshot.idle + snapshot.active + snapshot.checking + snapshot.closing;
    assert_eq!(
        snapshot.connections.len(),
        seen + snapshot.connecting,
        "{snapshot}"
    );
    let totals = &snapshot.totals;
    assert_eq!(
        totals.dials,
        totals.opened + totals.dials_failed + totals.dials_abandoned + snapshot.connecting as u64,
        "{totals:?}"
    );
    assert_eq!(
        totals.opened,
        totals.closed + totals.detached + seen as u64,
        "{totals:?}"
    );
    snapshot
}

/// Nothing is under way, and `idle` connections are idle; the endpoint agrees.
#[track_caller]
pub(crate) fn at_rest(pool: &Pool<Scripted>, idle: usize) {
    let snapshot = consistent(pool);
    let under_way = [
        snapshot.connecting,
        snapshot.checking,
        snapshot.active,
        snapshot.closing,
    ];
    assert_eq!(under_way, [0; 4], "{snapshot}");
    assert_eq!((snapshot.idle, snapshot.waiting), (idle, 0), "{snapshot}");
    assert_eq!(pool.connector().0.open(), idle, "{snapshot}");
}

/// Closes the pool: afterwards every connection that was ever opened is closed.
#[track_caller]
pub(crate) fn close(pool: &Pool<Scripted>) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let closed = pool.close(3 * SECOND).await;
        closed.unwrap_or_else(|still| panic!("{place}: {still}"));
        at_rest(pool, 0);
    }
}
