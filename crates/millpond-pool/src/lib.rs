//! Who holds which connection, and who waits. Knows nothing of sockets: what is pooled, a
//! [`Connector`] opens and judges.
//!
//! Reading order: [`Connector`] (what a pool asks of you), [`Builder`] (settings), [`Pool`]
//! (acquire, and the verbs), [`Connection`] (what you are lent), [`AcquireError`]; then, for how it
//! works, `state.rs` (the pure machine), `lender.rs` (which carries out what the machine decides),
//! `acquire.rs`, `dial.rs`, `upkeep.rs`.
//!
//! # Words
//!
//! A connection is **connecting**, **idle**, **checking** (being probed, reset or looked at),
//! **active** (lent) or **closing**. A caller that must wait is a **waiter**. A **dial** opens a
//! connection; it is made for the pool, never for one caller, so a caller that gives up
//! cancels nothing. **Evicted** is a connection that the pool closes, always for a reason
//! ([`Eviction`]).
//!
//! # The verbs
//!
//! | verb | idle ones | lent ones | waiters | new callers |
//! |---|---|---|---|---|
//! | [`close`](Pool::close) | closed now | closed at release; the call returns at its deadline and says how many are still lent | `Closed` | `Closed` |
//! | [`drain`](Pool::drain) | serve the waiters, then closed | finish | served | `Draining` |
//! | [`retire`](Pool::retire) | closed now, replaced as `min_idle` asks | closed at release | served by new ones | served |
//! | [`pause`](Pool::pause), [`resume`](Pool::resume) | kept | finish | wait | wait, within their deadline |
//! | [`resize`](Pool::resize) | shrunk from the oldest | beyond the limit: closed at release | served within the new limit | served |
//!
//! # Events
//!
//! Through `tracing`, target `millpond::pool`, each with the field `pool`, the pool's name. Nothing
//! is emitted when a connection is lent or released. An outage is told of when the first dial
//! fails, again by a failure 10 s later and then each time that it has lasted three times as
//! long, and when a connection has served again: so an endpoint that is down for a day is a dozen
//! lines.
//!
//! | level | message | fields |
//! |---|---|---|
//! | warn | dials fail | `cause` |
//! | warn | dials still fail | `since` (for how long), `failures` (in a row), `cause` of the last |
//! | info | dials succeed again, and what they open serves | `lasted`, `failures` |
//! | debug | dial failed | `cause` |
//! | info | connections lead where none would be dialled now | `retired` |
//! | error | a waker panicked | |
//! | error | the connector panicked in endpoint_changed or is_current | |
//! | warn | used connections are dropped without a word, and closed for it; once per pool | `acquired_at`, `unreleased`, `released` |
//! | warn | a connection has been lent for longer than the leak threshold | `connection`, `acquired_at`, `lent_for` |
//! | error | the connector panicked in close | `connection` |
//! | debug | evicted | `connection`, `reason` |
//! | debug | check failed | `error`, `reason` |
//! | debug | the release hook refused a connection | `error` |
//! | debug | closed by force: the farewell took longer than close_timeout | |
//!
//! # Metrics
//!
//! With the feature `metrics`, through the facade of that name; recording allocates nothing. Each
//! has the label `pool`, the pool's name.
//!
//! | name | kind, unit | meaning, and further labels |
//! |---|---|---|
//! | `millpond_pool_connections` | gauge | by `state`: `connecting`, `idle`, `checking`, `active`, `closing`; set by upkeep, every 100 ms |
//! | `millpond_pool_waiting` | gauge, callers | set by upkeep |
//! | `millpond_pool_max_size` | gauge, connections | the setting, as last resized; set by upkeep |
//! | `millpond_pool_`*name*`_total` | counter | each of [`Totals`] by its field's name (`dials_failed`, `timed_out`, `turned_away_full`, `waited`, `lent`, …); set by upkeep |
//! | `millpond_pool_wait_seconds` | histogram, seconds | how long each caller waited that had to wait and was served |
//! | `millpond_pool_hold_seconds` | histogram, seconds | how long each connection was lent that came back clean |
//! | `millpond_pool_dial_seconds` | histogram, seconds | by `outcome`: `ok`, `failed` |
//! | `millpond_pool_evicted_total` | counter | by `reason`: [`Eviction::name`] |
#![doc = include_str!("bb8_deadpool.md")]
#![doc = include_str!("generic_pool.md")]

mod acquire;
#[cfg(any(feature = "bb8", feature = "deadpool"))]
mod adapters;
mod asker;
mod boxed;
mod builder;
mod closures;
mod config;

mod connection;
mod connector;
mod dial;
mod ends;
mod error;
mod eviction;
mod explain;
mod leases;
mod lender;
#[cfg(feature = "metrics")]
mod metrics;
mod runtime;
mod snapshot;
mod state;
mod sync;
mod upkeep;
mod with;

#[cfg(all(test, millpond_loom))]
mod interleavings;

use std::{fmt, future::Future, ops::ControlFlow, panic::Location, sync::Arc, time::Duration};

#[cfg(feature = "bb8")]
pub use self::adapters::{FromBb8, from_bb8};
#[cfg(feature = "deadpool")]
pub use self::adapters::{FromDeadpool, Recyclable, from_deadpool};
pub use self::{
    acquire::Acquire,
    builder::Builder,
    closures::{ConnectWith, SelfManaged, connect_with},
    config::{Backoff, Config, Order, Priority, Probe},
    connection::Connection,
    connector::{AfterRelease, Closing, Connector, LastExchange},
    dial::dial_phase,
    ends::{Address, Ends, Transmission},
    error::{
        AcquireError, BuildError, Circumstances, DialError, InvalidSetting, NotReady, StillLent,
        WithError,
    },
    eviction::{Eviction, Totals},
    snapshot::{
        Check, ConnectionSnapshot, ConnectionState, EvictionSnapshot, Failure, Snapshot, Status,
    },
};
/// What millpond's own clients share with the pool. Not for others: it changes without notice.
#[doc(hidden)]
pub mod unstable {
    pub use crate::{
        connection::{Served, Slot},
        leases::{Leases, Wants},
        runtime::Runtime,
        state::{Recall, Refusal},
        sync::{AtomicU8, Mutex, MutexGuard},
    };
}
use connection::Slot;
use lender::Lender;
use state::{Attempt, Effects, Lease, Phase, StageName};

/// A pool of connections. Clones are handles of the same pool; when the last one is dropped the
/// pool closes.
///
/// ```
/// use millpond_pool::{Pool, connect_with};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = connect_with(|| async { Ok::<_, std::io::Error>(String::from("a connection")) });
/// let pool = Pool::builder(connector).max_size(4).build()?;
///
/// let connection = pool.acquire().await?;
/// assert_eq!(*connection, "a connection");
/// connection.release(); // Its exchange is complete: it is idle again, and the next caller gets it.
/// assert_eq!(pool.snapshot().idle, 1);
/// # Ok(())
/// # }
/// ```
///
/// # When things end
///
/// | what ended | what follows |
/// |---|---|
/// | the last handle, while connections are lent | the pool closes; each lent connection is closed when it comes back |
/// | the runtime that the pool was built on | callers and waiters get [`AcquireError::RuntimeEnded`]; what comes back is dropped |
/// | a borrower's task, by a panic | its connection is closed, and its place is free |
///
/// # Where a pool's runtime stands still
///
/// A runtime of the flavor `current_thread` runs only while somebody blocks on it. A caller on
/// another tokio runtime than such a pool's still meets its deadline, by a timer of its own
/// runtime; one on no tokio runtime, on one without a timer, or in
/// [`Handle::block_on`](tokio::runtime::Handle::block_on) of the pool's own doesn't, for there
/// nobody keeps time: build the pool on a runtime that is driven.
pub struct Pool<C: Connector> {
    handle: Arc<Handle<C>>,
}

/// Closes the pool when the last handle is dropped.
struct Handle<C: Connector> {
    lender: Arc<Lender<C>>,
}

impl<C: Connector> Drop for Handle<C> {
    fn drop(&mut self) {
        self.lender.close_now(Phase::Closed);
        self.lender.bell.ring();
    }
}

impl<C: Connector> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Pool {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<C: Connector> Pool<C> {
    /// Begins to build a pool whose connections this connector opens and judges.
    pub fn builder(connector: C) -> Builder<C> {
        Builder::new(connector)
    }

    pub(crate) fn new(lender: Arc<Lender<C>>) -> Self {
        Pool {
            handle: Arc::new(Handle { lender }),
        }
    }

    /// Doesn't keep the pool open.
    #[doc(hidden)]
    pub fn leases(&self) -> unstable::Leases<C> {
        unstable::Leases::new(self.lender())
    }

    /// Where the pool's tasks run.
    #[doc(hidden)]
    #[inline]
    pub fn runtime(&self) -> &unstable::Runtime {
        &self.lender().runtime
    }

    /// The setting, which never changes.
    #[doc(hidden)]
    #[inline]
    pub fn acquire_timeout(&self) -> Option<Duration> {
        self.lender().acquire_timeout
    }

    pub(crate) fn lender(&self) -> &Arc<Lender<C>> {
        &self.handle.lender
    }

    /// Acquires a connection: an idle one at once, else the next that comes free or is dialled.
    ///
    /// The returned future can be told a [`priority`](Acquire::priority) or a deadline of its own
    /// ([`timeout`](Acquire::timeout), [`deadline`](Acquire::deadline)), be awaited, or [block
    /// a thread](Acquire::blocking).
    ///
    /// An acquire that finds an idle connection makes no system call and allocates nothing; one
    /// that waits allocates nothing either.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`]: each names the cause.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: see [`Acquire`].
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_, C> {
        self.acquire_from(Location::caller())
    }

    /// As [`acquire`](Pool::acquire), for somebody's code in another place.
    #[doc(hidden)]
    pub fn acquire_from(&self, place: &'static Location<'static>) -> Acquire<'_, C> {
        Acquire::new(self.lender(), place)
    }

    /// Acquires a connection if one is idle and needs no probe; never waits, and starts no dial.
    ///
    /// # Errors
    ///
    /// [`AcquireError::NoneIdle`], also while others wait or the pool is paused; or that the pool
    /// is closed, draining or without its runtime.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Connection<C>, AcquireError> {
        let lender = self.lender();
        let borrower = lender::Borrower {
            place: Location::caller(),
            asker: asker::Asker::here(),
        };
        loop {
            let mut fx = Effects::none();
            let attempt = lender.lock().acquire(borrower, Lease::Exclusive, &mut fx);
            lender.carry_out(&mut fx);
            match attempt {
                Attempt::Lent(place, connection) => {
                    let lent = Connection::new(lender, place, connection);
                    if let Some(fit) = lent.pass_check() {
                        return Ok(fit);
                    }
                }
                Attempt::MustWait => return Err(AcquireError::NoneIdle),
                Attempt::Refused(refusal) => {
                    return Err(lender.explain(refusal, Duration::ZERO, None));
                }
            }
        }
    }

    /// Acquires a connection by blocking this thread: short for
    /// [`acquire().blocking()`](Acquire::blocking).
    ///
    /// # Errors
    ///
    /// See [`Acquire::blocking`].
    #[track_caller]
    pub fn blocking_acquire(&self) -> Result<Connection<C>, AcquireError> {
        self.acquire().blocking()
    }

    /// Waits until there are as many connections as `min_idle` asks for, and at most this long.
    ///
    /// # Errors
    ///
    /// [`NotReady`] says how many there are, and why there aren't more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only watches.
    pub async fn ready(&self, within: Duration) -> Result<(), NotReady> {
        let watched = self.lender().watch(within, |state, now, waited| {
            let (live, min_idle) = (state.slots().live(), state.min_idle());
            let closed = state.phase() != Phase::Open;
            if live >= min_idle && !closed {
                return ControlFlow::Break(Ok(()));
            }
            let not_ready = NotReady {
                waited,
                live,
                min_idle,
                last_failure: explain::last_failure(state, now),
                closed,
            };
            match closed {
                true => ControlFlow::Break(Err(not_ready)),
                false => ControlFlow::Continue(not_ready),
            }
        });
        watched.await.unwrap_or_else(Err)
    }

    /// Closes the pool now, and waits until every connection is closed, at most this long.
    /// Farewells that take longer are not waited for; `close_timeout` ends them.
    ///
    /// Idle connections are closed at once, dials and checks are stopped, waiters are told; all
    /// that happens in this call, whether or not its future is awaited.
    ///
    /// # Errors
    ///
    /// [`StillLent`] says what hadn't come back. It will be closed when it does.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the future only watches.
    pub fn close(
        &self,
        within: Duration,
    ) -> impl Future<Output = Result<(), StillLent>> + Send + use<'_, C> {
        self.lender().close_now(Phase::Closed);
        self.empty(within)
    }

    /// Takes no new callers, serves those who wait (a pause is lifted), and closes connections as
    /// they become idle. After `within` it closes the pool as [`close`](Pool::close) does.
    ///
    /// # Errors
    ///
    /// [`StillLent`] says what hadn't come back. It will be closed when it does.
    ///
    /// # Cancel safety
    ///
    /// The draining goes on when the future is dropped; but nothing then closes the pool after
    /// `within`.
    pub fn drain(
        &self,
        within: Duration,
    ) -> impl Future<Output = Result<(), StillLent>> + Send + use<'_, C> {
        let lender = self.lender();
        let now = lender.clock.now();
        lender.verb(|state, fx| state.drain(now, fx));
        async move {
            let drained = self.empty(within).await;
            lender.close_now(Phase::Closed);
            drained
        }
    }

    /// Waits until there are no connections and no waiters.
    async fn empty(&self, within: Duration) -> Result<(), StillLent> {
        let watched = self.lender().watch(within, |state, now, waited| {
            let slots = state.slots();
            let waiting = state.waiters().waiting();
            if slots.occupied() == 0 && waiting == 0 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(StillLent {
                waited,
                lent: slots.count(StageName::Active) + slots.count(StageName::Granted),
                waiting,
                longest: explain::longest_lent(state, now),
            })
        });
        match watched.await {
            Err(left) if left.lent + left.waiting > 0 => Err(left),
            _ => Ok(()), // What is left is closing, and bounded by close_timeout.
        }
    }

    /// Replaces every connection there is: idle ones are closed now, lent ones when they come back.
    /// For a change behind the endpoint: new credentials, a moved server.
    pub fn retire(&self) {
        self.lender().verb(|state, fx| state.retire(fx));
    }

    /// From now on callers wait, within their deadlines, and nothing is dialled; what is lent goes
    /// on. For a failover that should look like a delay.
    pub fn pause(&self) {
        self.lender().verb(|state, _| state.pause());
    }

    /// Ends a [`pause`](Pool::pause): those who wait are served.
    pub fn resume(&self) {
        let now = self.lender().clock.now();
        self.lender().verb(|state, fx| state.resume(now, fx));
    }

    /// Changes `max_size`. Shrinking closes idle connections at once, the oldest first, and lent
    /// ones beyond the new size when they come back. What `min_idle` asks for beyond the new
    /// size isn't dialled.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] when it isn't 1 to 16,777,216; nothing has changed then.
    pub fn resize(&self, max_size: u32) -> Result<(), InvalidSetting> {
        config::max_size_is_allowed(max_size)?;
        self.lender().verb(|state, fx| state.resize(max_size, fx));
        Ok(())
    }

    /// The pool at this instant.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(self.lender())
    }

    /// The pool at this instant, with what the system knows of each connection's [`Transmission`],
    /// if the connector can tell. That takes some microseconds per connection, in the caller's
    /// thread and outside the pool's lock.
    pub fn detailed_snapshot(&self) -> Snapshot {
        let mut snapshot = self.snapshot();
        let ends: Vec<_> = snapshot
            .connections
            .iter()
            .map(|one| one.ends.clone())
            .collect();
        let known = self.lender().connector.transmissions(&ends);
        for (connection, transmission) in snapshot.connections.iter_mut().zip(known) {
            connection.transmission = transmission;
        }
        snapshot
    }

    /// The settings, as last resized.
    pub fn config(&self) -> Config {
        self.lender().lock().config().clone()
    }

    /// The connector.
    pub fn connector(&self) -> &C {
        &self.lender().connector
    }

    /// Whether the pool has been closed, or has lost its runtime.
    pub fn is_closed(&self) -> bool {
        matches!(
            self.lender().lock().phase(),
            Phase::Closed | Phase::RuntimeEnded
        )
    }
}

impl<C: Connector> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.snapshot())
    }
}
