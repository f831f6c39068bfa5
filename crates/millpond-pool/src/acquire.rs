//! The futures of an acquire: one borrows its pool, the other owns a handle.

use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    acquisition::{Acquisition, Limit},
    connection::Connection,
    connector::Connector,
    error::AcquireError,
    handle::Handle,
    settings::Priority,
    shared::SharedPool,
    state::{Lease, OutagePolicy},
};

/// An acquire under way: made by [`Pool::acquire`](super::Pool::acquire), and awaited.
///
/// Nothing happens before it is first polled; its time runs from then on.
///
/// # Cancel safety
///
/// Dropping it at any point loses nothing: its place in line is given up, a connection that it had
/// been granted goes to the next in line, and a dial that was started for it goes on and serves
/// somebody else.
///
/// A caller that stops polling it without dropping it, as a branch of a `select!` in a loop or of a
/// `buffered` stream may, holds others up by 10 ms at most, however many such callers there are. A
/// grant that isn't picked up in that time is taken back, and all who wait are woken: the first
/// that is polled has the connection, and those that come after it are in line again in the order
/// in which they first came. So does this caller once it is polled again. Nobody is woken a second
/// time until 5 ms after the last of them has come; a grant that is taken back meanwhile goes to
/// the next in line.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'p, C: Connector> {
    shared: &'p Arc<SharedPool<C>>,
    acquisition: Acquisition,
}

impl<'p, C: Connector> Acquire<'p, C> {
    pub(crate) fn new(
        shared: &'p Arc<SharedPool<C>>,
        acquired_at: &'static Location<'static>,
    ) -> Self {
        Acquire {
            shared,
            acquisition: Acquisition::new(acquired_at),
        }
    }

    /// Waits for at most this long instead of the pool's `acquire_timeout`, counted from the first
    /// poll.
    ///
    /// Zero gives up at once when nothing is idle, though not before a dial has been started that
    /// the next caller may use.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.acquisition.limit = Limit::Timeout(timeout);
        self
    }

    /// Waits until this instant at most, instead of for the pool's `acquire_timeout`.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.acquisition.limit = Limit::Until(deadline);
        self
    }

    /// Is served before all who are less urgent, and after all who are more so.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.acquisition.priority = priority;
        self
    }

    /// Waits through an outage, until this acquire's own deadline, instead of being told
    /// [`Unavailable`](AcquireError::Unavailable) once the pool's
    /// [`outage_grace`](super::PoolBuilder::outage_grace) is over.
    ///
    /// For work that nobody waits for, and that would only be tried again: a queue's consumer, a
    /// nightly job. Give it a deadline that fits ([`timeout`](Acquire::timeout)). When that
    /// passes it is told [`TimedOut`](AcquireError::TimedOut), with the last failed dial.
    /// It counts against [`max_waiting`](super::PoolBuilder::max_waiting), and the endpoint isn't
    /// dialled more often for it than the [backoff](super::PoolBuilder::backoff) allows while
    /// callers wait.
    pub fn wait_through_outage(mut self) -> Self {
        self.acquisition.outage_policy = OutagePolicy::Wait;
        self
    }

    /// The connection will be held on purpose for a long time, and used for many exchanges (a
    /// pipeline): its lending is never reported as a leak.
    pub fn shared(mut self) -> Self {
        self.acquisition.lease = Lease::Shared;
        self
    }

    /// Acquires from a thread that runs no asynchronous tasks, blocking it until there is an
    /// answer.
    ///
    /// # Errors
    ///
    /// As when awaited; and [`AcquireError::WouldBlockRuntime`] where it would have to wait on a
    /// thread that is running asynchronous tasks, for on a runtime of one thread that wait
    /// could never end. `spawn_blocking` and `block_in_place` are fine. A
    /// task in [`unconstrained`](tokio::task::unconstrained) can't be told from blocking code:
    /// there it waits.
    pub fn blocking(mut self) -> Result<Connection<C>, AcquireError> {
        self.acquisition.block(self.shared)
    }
}

impl<C: Connector> Future for Acquire<'_, C> {
    type Output = Result<Connection<C>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.acquisition.poll(this.shared, cx)
    }
}

impl<C: Connector> Drop for Acquire<'_, C> {
    fn drop(&mut self) {
        self.acquisition.give_up(self.shared);
    }
}

impl<C: Connector> fmt::Debug for Acquire<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("acquired_at", &self.acquisition.acquired_at)
            .field("priority", &self.acquisition.priority)
            .finish_non_exhaustive()
    }
}

/// An acquire that owns a handle of its pool, and so is `'static`: for
/// [`tokio::spawn`] and for structs. Made by
/// [`Pool::acquire_owned`](super::Pool::acquire_owned).
///
/// In all else it is [`Acquire`]: it does nothing before it is first polled, waits in the same
/// line, and allocates nothing.
///
/// ```
/// use millpond_pool::{Pool, connect_with};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(connect_with(|| async { Ok::<_, std::io::Error>(1) })).build()?;
/// let acquire = pool.acquire_owned();
/// let task = tokio::spawn(async move { acquire.await.map(|connection| *connection) });
/// assert_eq!(task.await??, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Which keeps the pool open
///
/// It is a handle as any other, until it is dropped: a pool whose last handle is a waiting
/// `AcquireOwned` stays open, dials, and serves it. When it is dropped and was the last handle, the
/// pool closes. The connection that it returned is lent as any other then: it is closed when it
/// comes back.
///
/// # Cancel safety
///
/// Cancel safe as [`Acquire`] is: its place in line is given up, what it had been granted goes to
/// the next in line, and a dial that was started for it goes on for the pool.
#[must_use = "futures do nothing unless polled"]
pub struct AcquireOwned<C: Connector> {
    handle: Arc<Handle<C>>,
    acquisition: Acquisition,
}

impl<C: Connector> AcquireOwned<C> {
    pub(crate) fn new(handle: Arc<Handle<C>>, acquired_at: &'static Location<'static>) -> Self {
        AcquireOwned {
            handle,
            acquisition: Acquisition::new(acquired_at),
        }
    }

    /// See [`Acquire::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.acquisition.limit = Limit::Timeout(timeout);
        self
    }

    /// See [`Acquire::deadline`].
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.acquisition.limit = Limit::Until(deadline);
        self
    }

    /// See [`Acquire::priority`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.acquisition.priority = priority;
        self
    }

    /// See [`Acquire::wait_through_outage`].
    pub fn wait_through_outage(mut self) -> Self {
        self.acquisition.outage_policy = OutagePolicy::Wait;
        self
    }

    /// See [`Acquire::shared`].
    pub fn shared(mut self) -> Self {
        self.acquisition.lease = Lease::Shared;
        self
    }

    /// See [`Acquire::blocking`].
    ///
    /// # Errors
    ///
    /// See [`Acquire::blocking`].
    pub fn blocking(mut self) -> Result<Connection<C>, AcquireError> {
        self.acquisition.block(&self.handle.shared)
    }
}

impl<C: Connector> Future for AcquireOwned<C> {
    type Output = Result<Connection<C>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.acquisition.poll(&this.handle.shared, cx)
    }
}

impl<C: Connector> Drop for AcquireOwned<C> {
    fn drop(&mut self) {
        self.acquisition.give_up(&self.handle.shared);
    }
}

impl<C: Connector> fmt::Debug for AcquireOwned<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireOwned")
            .field("acquired_at", &self.acquisition.acquired_at)
            .field("priority", &self.acquisition.priority)
            .finish_non_exhaustive()
    }
}
