//! A `deadpool::managed::Manager` as a connector, and what it makes, with deadpool's metrics.

use std::{
    error::Error,
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use ::deadpool::managed::{Manager, Metrics, RecycleError};

use crate::{AfterRelease, Connector, LastExchange, Probe};

/// A connection that has been idle for this long is recycled again before it is lent: a pool that
/// is busy pays one round trip for each use, as deadpool does.
const STALE: Duration = Duration::from_secs(1);

/// A connector that asks a manager written for deadpool: made by [`from_deadpool`].
pub struct FromDeadpool<M> {
    manager: Arc<M>,
    connections_manage_exchanges: bool,
}

/// Makes a connector of a manager that was written for deadpool 0.13. Needs the feature
/// `deadpool`.
///
/// | the manager's | is called | what differs from deadpool |
/// |---|---|---|
/// | `create` | for each dial, within [`connect_timeout`](crate::PoolBuilder::connect_timeout) (3 s) | in a task of the pool: a caller who gives up doesn't stop it. Its error, unchanged, is the source of the [`DialError`](crate::DialError) that callers get |
/// | `recycle` | **when a connection comes back**, in a task of the pool, within [`check_timeout`](crate::PoolBuilder::check_timeout) (1 s); and again before it is lent, if it has been idle for a second | deadpool calls it when the connection is next wanted, and has no limit unless one is set. One that fails is evicted as [`ResetFailed`](crate::Eviction::ResetFailed) or [`ProbeFailed`](crate::Eviction::ProbeFailed), and its error is in the debug event *check failed*; deadpool drops that error |
/// | `detach` | once for each connection, when it leaves the pool, however it does | deadpool doesn't call it for those that `resize` and `close` drop |
///
/// What a manager's `recycle` undoes of what a borrower left (a transaction, a watched key) is
/// undone as soon as the connection comes back, and not when somebody next asks for it. Between two
/// borrowers it is always called, whatever the settings are;
/// [`PoolBuilder::probe`](crate::PoolBuilder::probe) only sets when it is called **once more**,
/// before the connection is lent. With [`Probe::Always`](crate::Probe::Always) that is each time,
/// as in deadpool, for a second round trip.
///
/// Its `Metrics` are those of deadpool: `created` is when `create` returned, `recycled` when
/// `recycle` last succeeded, `recycle_count` how often it has. Since it may be called twice between
/// two uses, the count may be larger than in deadpool.
///
/// **A connection that was used and then merely dropped is closed**, unlike in deadpool: its
/// caller may have been cancelled before it had read its reply, and the next caller would be given
/// that. [`release`](crate::Connection::release) and [`Pool::with`](crate::Pool::with) give a
/// connection back. Where connections match replies to requests by themselves, say so once, with
/// [`connections_manage_exchanges`](FromDeadpool::connections_manage_exchanges).
///
/// What is lent is a [`Recyclable`], which dereferences to what the manager made, as deadpool's
/// `Object` does; a function that takes `&mut` to any type of connection is given `&mut **lent`.
/// What belongs to deadpool's builder isn't part of its manager: a `post_create` or
/// `pre_recycle` hook is to be called by a manager of your own, in `create` and `recycle`.
///
/// ```
/// # struct Client;
/// # impl Client { async fn ping(&mut self) -> Result<(), std::io::Error> { Ok(()) } }
/// # struct Manager;
/// # impl deadpool::managed::Manager for Manager {
/// #     type Type = Client;
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> Result<Client, std::io::Error> { Ok(Client) }
/// #     async fn recycle(
/// #         &self,
/// #         client: &mut Client,
/// #         _: &deadpool::managed::Metrics,
/// #     ) -> deadpool::managed::RecycleResult<std::io::Error> {
/// #         Ok(client.ping().await?)
/// #     }
/// # }
/// use millpond_pool::{Pool, from_deadpool};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let manager = Manager;
/// let pool = Pool::builder(from_deadpool(manager)).max_size(4).build()?;
///
/// let mut client = pool.acquire().await?;
/// client.ping().await?;
/// client.release(); // It is recycled, and then idle.
/// # Ok(())
/// # }
/// ```
pub fn from_deadpool<M>(manager: M) -> FromDeadpool<M>
where
    M: Manager + 'static,
    M::Error: Into<Box<dyn Error + Send + Sync>>,
{
    FromDeadpool {
        manager: Arc::new(manager),
        connections_manage_exchanges: false,
    }
}

impl<M> FromDeadpool<M> {
    /// Says that these connections match replies to requests by themselves, whatever becomes of a
    /// caller: one that is merely dropped then goes back to the pool, as after a
    /// [`release`](crate::Connection::release), if `recycle` succeeds.
    ///
    /// It is true of deadpool-redis (a multiplexed connection) and deadpool-postgres
    /// (tokio-postgres). **It is not true of a stream, nor of a client that writes and reads in the
    /// caller's own task**: there a cancelled caller's reply goes to the next caller, or to
    /// `recycle`, as it does in deadpool. For how to tell which one yours is see
    /// [`ConnectWith::connections_manage_exchanges`](crate::ConnectWith::connections_manage_exchanges).
    #[must_use]
    pub fn connections_manage_exchanges(mut self) -> Self {
        self.connections_manage_exchanges = true;
        self
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.manager
    }
}

impl<M> Connector for FromDeadpool<M>
where
    M: Manager + 'static,
    M::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Connection = Recyclable<M>;
    /// The manager's own error, boxed as it is.
    type Error = Box<dyn Error + Send + Sync>;

    async fn connect(&self) -> Result<Recyclable<M>, Self::Error> {
        let made = self.manager.create().await.map_err(Into::into)?;
        Ok(Recyclable {
            manager: Arc::clone(&self.manager),
            made: Some(made),
            metrics: Metrics::default(),
        })
    }

    fn is_clean(&self, _: &Recyclable<M>, exchange: LastExchange) -> bool {
        self.connections_manage_exchanges || exchange != LastExchange::Open
    }

    fn on_release(&self, _: &mut Recyclable<M>) -> Result<AfterRelease, Self::Error> {
        Ok(AfterRelease::NeedsReset)
    }

    async fn reset(&self, connection: &mut Recyclable<M>) -> Result<(), Self::Error> {
        connection.recycle().await
    }

    async fn probe(&self, connection: &mut Recyclable<M>) -> Result<(), Self::Error> {
        connection.recycle().await
    }

    /// When it has been idle for a second.
    fn default_probe(&self) -> Probe {
        Probe::WhenIdleFor(STALE)
    }
}

impl<M> Clone for FromDeadpool<M> {
    fn clone(&self) -> Self {
        FromDeadpool {
            manager: Arc::clone(&self.manager),
            connections_manage_exchanges: self.connections_manage_exchanges,
        }
    }
}

impl<M> fmt::Debug for FromDeadpool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromDeadpool")
            .field(
                "connections_manage_exchanges",
                &self.connections_manage_exchanges,
            )
            .finish_non_exhaustive()
    }
}

/// What a deadpool manager made, with the metrics that its `recycle` is given: deadpool's `Object`,
/// apart from the pool. It dereferences to the connection.
///
/// When it is dropped, or [taken](Recyclable::take), the manager's `detach` is called.
pub struct Recyclable<M: Manager> {
    manager: Arc<M>,
    /// There until it is taken.
    made: Option<M::Type>,
    metrics: Metrics,
}

impl<M: Manager> Recyclable<M> {
    /// The connection alone, after the manager's `detach`. For one that has left the pool:
    /// `Recyclable::take(lent.detach())`.
    #[must_use]
    pub fn take(mut this: Self) -> M::Type {
        let mut made = this.made.take().expect("taken once");
        this.manager.detach(&mut made);
        made
    }

    /// When it was made, and how often and when last it was recycled.
    pub fn metrics(this: &Self) -> &Metrics {
        &this.metrics
    }

    async fn recycle(&mut self) -> Result<(), Box<dyn Error + Send + Sync>>
    where
        M::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let made = self.made.as_mut().expect("there until it is taken");
        match self.manager.recycle(made, &self.metrics).await {
            Ok(()) => {}
            Err(RecycleError::Backend(error)) => return Err(error.into()),
            Err(RecycleError::Message(message)) => return Err(message.into()),
        }
        self.metrics.recycle_count += 1;
        #[cfg(not(target_arch = "wasm32"))]
        {
            self.metrics.recycled = Some(std::time::Instant::now());
        }
        Ok(())
    }
}

impl<M: Manager> Deref for Recyclable<M> {
    type Target = M::Type;

    fn deref(&self) -> &M::Type {
        self.made.as_ref().expect("there until it is taken")
    }
}

impl<M: Manager> DerefMut for Recyclable<M> {
    fn deref_mut(&mut self) -> &mut M::Type {
        self.made.as_mut().expect("there until it is taken")
    }
}

impl<M: Manager> Drop for Recyclable<M> {
    fn drop(&mut self) {
        if let Some(made) = &mut self.made {
            self.manager.detach(made);
        }
    }
}

impl<M: Manager> fmt::Debug for Recyclable<M>
where
    M::Type: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recyclable")
            .field("made", &self.made)
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}
