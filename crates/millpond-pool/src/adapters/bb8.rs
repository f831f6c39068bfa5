//! A `bb8::ManageConnection` as a connector.

use std::{error::Error, fmt};

use ::bb8::ManageConnection;

use crate::{AfterRelease, Connector, Eviction, LastExchange, Probe};

/// A connector that asks a manager written for bb8: made by [`from_bb8`].
#[derive(Clone)]
pub struct FromBb8<M> {
    manager: M,
    connections_manage_exchanges: bool,
}

/// Makes a connector of a manager that was written for bb8 0.9. Needs the feature `bb8`.
///
/// | the manager's | is called | what differs from bb8 |
/// |---|---|---|
/// | `connect` | for each dial, within [`connect_timeout`](crate::PoolBuilder::connect_timeout) | a caller who gives up doesn't wait for it. Its error, unchanged, is the source of the [`DialError`](crate::DialError) that callers get |
/// | `is_valid` | before a connection is lent, in a task of the pool, within [`check_timeout`](crate::PoolBuilder::check_timeout) (1 s) | not straight after the dial. The limit is for `is_valid` alone; in bb8 all that `get` does shares `connection_timeout` (30 s). One that fails is evicted as [`ProbeFailed`](Eviction::ProbeFailed), and its error is in the debug event *check failed* |
/// | `has_broken` | when a connection comes back, **and** before it is lent | bb8 asks only when it comes back. One that is broken is evicted as [`Broken`](Eviction::Broken). It may be asked twice in a row |
///
/// `is_valid` is called each time, as in bb8 unless `test_on_check_out(false)` is set. That is a
/// round trip for each acquire, and for many managers the only thing that finds a dead connection:
/// bb8-redis' `has_broken` is always false. [`PoolBuilder::probe`](crate::PoolBuilder::probe) sets
/// something else: [`Probe::Never`] is `test_on_check_out(false)`, and [`Probe::WhenIdleFor`] is
/// enough where `has_broken` knows a dead connection. [`try_acquire`](crate::Pool::try_acquire)
/// lends nothing that needs a probe first, and so never lends anything under [`Probe::Always`].
///
/// **A connection that was used and then merely dropped is closed**, unlike in bb8: its caller
/// may have been cancelled before it had read its reply, and the next caller would be given that.
/// [`release`](crate::Connection::release) and [`Pool::with`](crate::Pool::with) give a connection
/// back. Where connections match replies to requests by themselves, say so once, with
/// [`connections_manage_exchanges`](FromBb8::connections_manage_exchanges).
///
/// What belongs to bb8's builder isn't part of its manager: a `CustomizeConnection` is to be called
/// by a manager of your own, at the end of its `connect`.
///
/// ```
/// # #[derive(Default)]
/// # struct Client;
/// # impl Client { async fn ping(&mut self) -> Result<(), std::io::Error> { Ok(()) } }
/// # struct Manager;
/// # impl bb8::ManageConnection for Manager {
/// #     type Connection = Client;
/// #     type Error = std::io::Error;
/// #     async fn connect(&self) -> Result<Client, std::io::Error> { Ok(Client) }
/// #     async fn is_valid(&self, client: &mut Client) -> Result<(), std::io::Error> { client.ping().await }
/// #     fn has_broken(&self, _: &mut Client) -> bool { false }
/// # }
/// use millpond_pool::{Pool, from_bb8};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let manager = Manager;
/// let pool = Pool::builder(from_bb8(manager)).max_size(4).build()?;
///
/// let mut client = pool.acquire().await?;
/// client.ping().await?;
/// client.release();
/// assert_eq!(pool.snapshot().idle, 1);
/// # Ok(())
/// # }
/// ```
pub fn from_bb8<M>(manager: M) -> FromBb8<M>
where
    M: ManageConnection,
    M::Error: Into<Box<dyn Error + Send + Sync>>,
{
    FromBb8 {
        manager,
        connections_manage_exchanges: false,
    }
}

impl<M> FromBb8<M> {
    /// Says that these connections match replies to requests by themselves, whatever becomes of a
    /// caller: one that is merely dropped then goes back to the pool, unless `has_broken` is true.
    ///
    /// It is true of bb8-redis (a multiplexed connection) and bb8-postgres (tokio-postgres). **It
    /// is not true of a stream, nor of a client that writes and reads in the caller's own task**:
    /// there a cancelled caller's reply goes to the next caller, as it does in bb8. For how to tell
    /// which one yours is, and for what a caller leaves behind in a session, see
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

impl<M> Connector for FromBb8<M>
where
    M: ManageConnection,
    M::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Connection = M::Connection;
    /// The manager's own error, boxed as it is.
    type Error = Box<dyn Error + Send + Sync>;

    async fn connect(&self) -> Result<M::Connection, Self::Error> {
        self.manager.connect().await.map_err(Into::into)
    }

    fn check(&self, connection: &mut M::Connection) -> Result<(), Eviction> {
        match self.manager.has_broken(connection) {
            false => Ok(()),
            true => Err(Eviction::Broken),
        }
    }

    fn is_clean(&self, _: &M::Connection, exchange: LastExchange) -> bool {
        self.connections_manage_exchanges || exchange != LastExchange::Open
    }

    // Not in `is_clean`: `has_broken` asks for `&mut`.
    fn on_release(&self, connection: &mut M::Connection) -> Result<AfterRelease, Self::Error> {
        match self.manager.has_broken(connection) {
            false => Ok(AfterRelease::Ready),
            true => Err(HasBroken.into()),
        }
    }

    async fn probe(&self, connection: &mut M::Connection) -> Result<(), Self::Error> {
        self.manager.is_valid(connection).await.map_err(Into::into)
    }

    /// Always, as in bb8.
    fn default_probe(&self) -> Probe {
        Probe::Always
    }
}

impl<M> fmt::Debug for FromBb8<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromBb8")
            .field(
                "connections_manage_exchanges",
                &self.connections_manage_exchanges,
            )
            .finish_non_exhaustive()
    }
}

/// What `has_broken` says of a connection that comes back.
#[derive(Debug, thiserror::Error)]
#[error("the manager's has_broken is true")]
struct HasBroken;
