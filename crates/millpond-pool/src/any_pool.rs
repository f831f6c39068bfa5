//! A pool of whatever connections, for pages and tools that show and steer many of them.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use millpond_words::InvalidSetting;

use super::{
    connector::Connector, error::StillLent, pool::Pool, settings::PoolSettings,
    snapshot::PoolSnapshot,
};

/// What [`AnyPool::close`] and [`AnyPool::drain`] return.
pub type EmptiedFuture<'p> = Pin<Box<dyn Future<Output = Result<(), StillLent>> + Send + 'p>>;

/// A pool, whatever it pools: what can be shown of it and done with it without borrowing from it.
///
/// Every [`Pool`] is one. It is a handle as the pool in it is: while there is one the pool stays
/// open.
///
/// ```
/// use millpond_pool::{AnyPool, Pool, connect_with};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let numbers = Pool::builder(connect_with(|| async { Ok::<_, std::io::Error>(1) }));
/// let words = Pool::builder(connect_with(|| async { Ok::<_, std::io::Error>("one") }));
///
/// let pools: Vec<Box<dyn AnyPool>> = vec![
///     Box::new(numbers.name("numbers").build()?),
///     Box::new(words.name("words").build()?),
/// ];
/// for pool in &pools {
///     println!("{}", pool.snapshot()); // numbers: 0 idle, 0 active, …
///     pool.retire();
/// }
/// # Ok(())
/// # }
/// ```
pub trait AnyPool: fmt::Debug + Send + Sync {
    /// See [`PoolBuilder::name`](crate::PoolBuilder::name).
    fn name(&self) -> &str;

    /// See [`Pool::settings`].
    fn settings(&self) -> PoolSettings;

    /// See [`Pool::snapshot`].
    fn snapshot(&self) -> PoolSnapshot;

    /// See [`Pool::detailed_snapshot`].
    fn detailed_snapshot(&self) -> PoolSnapshot;

    /// See [`Pool::is_closed`].
    fn is_closed(&self) -> bool;

    /// See [`Pool::close`]. The pool is closed by this call, whether or not the future is awaited.
    #[must_use = "the pool is closed, and what it leaves behind is told by the future"]
    fn close(&self, within: Duration) -> EmptiedFuture<'_>;

    /// See [`Pool::drain`]. The draining begins with this call; only the future closes the pool
    /// after `within`.
    #[must_use = "the pool drains, and only the future closes it at the end"]
    fn drain(&self, within: Duration) -> EmptiedFuture<'_>;

    /// See [`Pool::retire`].
    fn retire(&self);

    /// See [`Pool::pause`].
    fn pause(&self);

    /// See [`Pool::resume`].
    fn resume(&self);

    /// See [`Pool::resize`].
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] when `max_size` isn't 1 to 16,777,216; nothing has changed then.
    fn resize(&self, max_size: u32) -> Result<(), InvalidSetting>;
}

impl<C: Connector> AnyPool for Pool<C> {
    fn name(&self) -> &str {
        Pool::name(self)
    }

    fn settings(&self) -> PoolSettings {
        Pool::settings(self)
    }

    fn snapshot(&self) -> PoolSnapshot {
        Pool::snapshot(self)
    }

    fn detailed_snapshot(&self) -> PoolSnapshot {
        Pool::detailed_snapshot(self)
    }

    fn is_closed(&self) -> bool {
        Pool::is_closed(self)
    }

    fn close(&self, within: Duration) -> EmptiedFuture<'_> {
        Box::pin(Pool::close(self, within))
    }

    fn drain(&self, within: Duration) -> EmptiedFuture<'_> {
        Box::pin(Pool::drain(self, within))
    }

    fn retire(&self) {
        Pool::retire(self);
    }

    fn pause(&self) {
        Pool::pause(self);
    }

    fn resume(&self) {
        Pool::resume(self);
    }

    fn resize(&self, max_size: u32) -> Result<(), InvalidSetting> {
        Pool::resize(self, max_size)
    }
}
