//! The handle of a pool, and its verbs.

use std::{fmt, future::Future, ops::ControlFlow, panic::Location, sync::Arc, time::Duration};

use millpond_words::InvalidSetting;

use super::{
    acquire::{Acquire, AcquireOwned},
    asker::Asker,
    connection::Connection,
    connector::Connector,
    error::{AcquireError, NotReady, StillLent},
    explain::{last_failure, longest_lent},
    handle::Handle,
    leases::LeaseHandle,
    pooled::Borrower,
    runtime::Runtime,
    settings::{PoolSettings, max_size_is_allowed},
    shared::SharedPool,
    snapshot::PoolSnapshot,
    state::{AcquireOutcome, Effects, Lease, Lifecycle, StageName},
};

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

impl<C: Connector> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Pool {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<C: Connector> Pool<C> {
    pub(crate) fn new(shared: Arc<SharedPool<C>>) -> Self {
        Pool {
            handle: Arc::new(Handle { shared }),
        }
    }

    /// Doesn't keep the pool open.
    #[doc(hidden)]
    pub fn leases(&self) -> LeaseHandle<C> {
        LeaseHandle::new(self.shared())
    }

    /// Where the pool's tasks run.
    #[doc(hidden)]
    #[inline]
    pub fn runtime(&self) -> &Runtime {
        &self.shared().runtime
    }

    /// The setting, which never changes.
    #[doc(hidden)]
    #[inline]
    pub fn acquire_timeout(&self) -> Option<Duration> {
        self.shared().acquire_timeout
    }

    pub(crate) fn shared(&self) -> &Arc<SharedPool<C>> {
        &self.handle.shared
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

    /// As [`acquire`](Pool::acquire), by a future that owns a handle of the pool instead of
    /// borrowing it: for [`tokio::spawn`] and for structs.
    ///
    /// It allocates nothing either. While it waits it keeps the pool open, as every handle does.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`]: each names the cause.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: see [`AcquireOwned`].
    #[track_caller]
    pub fn acquire_owned(&self) -> AcquireOwned<C> {
        AcquireOwned::new(Arc::clone(&self.handle), Location::caller())
    }

    /// As [`acquire`](Pool::acquire), for somebody's code in another place.
    #[doc(hidden)]
    pub fn acquire_from(&self, acquired_at: &'static Location<'static>) -> Acquire<'_, C> {
        Acquire::new(self.shared(), acquired_at)
    }

    /// Acquires a connection if one is idle and needs no probe; never waits, and starts no dial.
    ///
    /// # Errors
    ///
    /// [`AcquireError::NoneIdle`], also while others wait or the pool is paused; or that the pool
    /// is closed, draining or without its runtime.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Connection<C>, AcquireError> {
        let shared = self.shared();
        let borrower = Borrower {
            acquired_at: Location::caller(),
            asker: Asker::here(),
        };
        loop {
            let mut fx = Effects::none();
            let attempt = shared.lock().acquire(borrower, Lease::Exclusive, &mut fx);
            shared.carry_out(&mut fx);
            match attempt {
                AcquireOutcome::Lent(key, connection) => {
                    let lent = Connection::new(shared, key, connection);
                    if let Some(fit) = lent.pass_check() {
                        return Ok(fit);
                    }
                }
                AcquireOutcome::MustWait => return Err(AcquireError::NoneIdle),
                AcquireOutcome::Refused(refusal) => {
                    return Err(shared.explain(refusal, Duration::ZERO, None));
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
        let watched = self.shared().watch(within, |state, now, waited| {
            let (live, min_idle) = (state.slots().live(), state.min_idle());
            let closed = state.lifecycle() != Lifecycle::Open;
            if live >= min_idle && !closed {
                return ControlFlow::Break(Ok(()));
            }
            let not_ready = NotReady {
                waited,
                live,
                min_idle,
                last_failure: last_failure(state, now),
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
        self.shared().close_now(Lifecycle::Closed);
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
        let shared = self.shared();
        let now = shared.clock.now();
        shared.verb(|state, fx| state.drain(now, fx));
        async move {
            let drained = self.empty(within).await;
            shared.close_now(Lifecycle::Closed);
            drained
        }
    }

    /// Waits until there are no connections and no waiters.
    async fn empty(&self, within: Duration) -> Result<(), StillLent> {
        let watched = self.shared().watch(within, |state, now, waited| {
            let slots = state.slots();
            let waiting = state.waiters().waiting();
            if slots.occupied() == 0 && waiting == 0 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(StillLent {
                waited,
                lent: slots.count(StageName::Active) + slots.count(StageName::Granted),
                waiting,
                longest: longest_lent(state, now),
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
        self.shared().verb(|state, fx| state.retire(fx));
    }

    /// From now on callers wait, within their deadlines, and nothing is dialled; what is lent goes
    /// on. For a failover that should look like a delay.
    pub fn pause(&self) {
        self.shared().verb(|state, _| state.pause());
    }

    /// Ends a [`pause`](Pool::pause): those who wait are served.
    pub fn resume(&self) {
        let now = self.shared().clock.now();
        self.shared().verb(|state, fx| state.resume(now, fx));
    }

    /// Changes `max_size`. Shrinking closes idle connections at once, the oldest first, and lent
    /// ones beyond the new size when they come back. What `min_idle` asks for beyond the new
    /// size isn't dialled.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] when it isn't 1 to 16,777,216; nothing has changed then.
    pub fn resize(&self, max_size: u32) -> Result<(), InvalidSetting> {
        max_size_is_allowed(max_size)?;
        self.shared().verb(|state, fx| state.resize(max_size, fx));
        Ok(())
    }

    /// The pool at this instant.
    pub fn snapshot(&self) -> PoolSnapshot {
        PoolSnapshot::take(self.shared())
    }

    /// The pool at this instant, with what the system knows of each connection's
    /// [`Transmission`](super::Transmission), if the connector can tell. That takes some
    /// microseconds per connection, in the caller's thread and outside the pool's lock.
    pub fn detailed_snapshot(&self) -> PoolSnapshot {
        let mut snapshot = self.snapshot();
        let ends: Vec<_> = snapshot
            .connections
            .iter()
            .map(|one| one.ends.clone())
            .collect();
        let known = self.shared().connector.transmissions(&ends);
        for (connection, transmission) in snapshot.connections.iter_mut().zip(known) {
            connection.transmission = transmission;
        }
        snapshot
    }

    /// The pool's name: see [`PoolBuilder::name`](super::PoolBuilder::name).
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// The settings, as last resized.
    pub fn settings(&self) -> PoolSettings {
        self.shared().lock().settings().clone()
    }

    /// The connector.
    pub fn connector(&self) -> &C {
        &self.shared().connector
    }

    /// Whether the pool has been closed, or has lost its runtime.
    pub fn is_closed(&self) -> bool {
        matches!(
            self.shared().lock().lifecycle(),
            Lifecycle::Closed | Lifecycle::RuntimeEnded
        )
    }
}

impl<C: Connector> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.snapshot())
    }
}
