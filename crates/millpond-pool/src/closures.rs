//! Connectors made of closures: one that can only connect, and one whose connections manage their
//! own exchanges.

use std::{error::Error, fmt, future::Future};

use super::{
    connector::{Connector, LastExchange},
    eviction::Eviction,
};

/// A connector that can only connect: made by [`connect_with`].
#[derive(Clone, Debug)]
pub struct ConnectWith<F>(F);

/// Makes a connector of a function that connects.
///
/// It knows nothing of exchanges, and so goes by the default of [`Connector::is_clean`]: a
/// connection that was accessed, be it through a shared reference, goes back to the pool by
/// [`release`](super::Connection::release) or from [`with`](super::Pool::with), and is closed when
/// merely dropped. For connections that match requests and replies by themselves there is
/// [`connections_manage_exchanges`](ConnectWith::connections_manage_exchanges).
///
/// ```
/// use millpond_pool::{Pool, connect_with};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let numbers = connect_with(|| async { Ok::<_, std::io::Error>(42) });
/// let pool = Pool::builder(numbers).build()?;
/// let number = pool.acquire().await?;
/// assert_eq!(*number, 42);
/// number.release();
/// # Ok(())
/// # }
/// ```
pub fn connect_with<F, Fut, T, E>(connect: F) -> ConnectWith<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    ConnectWith(connect)
}

impl<F, Fut, T, E> ConnectWith<F>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    /// Says that these connections match requests and replies by themselves, whatever becomes of a
    /// caller: one that is merely dropped then goes back to the pool, as long as it `works`.
    ///
    /// This is true of most database clients (tokio-postgres), of multiplexed clients (HTTP/2,
    /// gRPC), and of everything else in which a reply that nobody waits for any more is read
    /// and thrown away by the connection. **It is not true of a socket, nor of a buffered or
    /// framed stream over one**: there a cancelled caller's reply goes to the next caller.
    ///
    /// `works` is asked before a connection is lent and when it comes back. One for which it is
    /// false is closed ([`Eviction::PeerClosed`]) and another one lent. It must not wait for
    /// anything; ask the client whether it has ended.
    ///
    /// What a caller leaves behind in a session, such as an open transaction, isn't undone by this:
    /// whoever begins a transaction and is cancelled must roll it back, or the connector must
    /// be one of your own that [resets](Connector::reset) what comes back.
    ///
    /// ```
    /// use millpond_pool::{Pool, connect_with};
    ///
    /// # struct Client;
    /// # impl Client {
    /// #     async fn connect() -> Result<Client, std::io::Error> { Ok(Client) }
    /// #     fn is_closed(&self) -> bool { false }
    /// #     async fn query(&self, _: &str) -> Result<u64, std::io::Error> { Ok(7) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clients = connect_with(Client::connect)
    ///     .connections_manage_exchanges(|client| !client.is_closed());
    /// let pool = Pool::builder(clients).build()?;
    ///
    /// let rows = pool.acquire().await?.query("SELECT count(*) FROM ponds").await?;
    /// assert_eq!(rows, 7);
    /// assert_eq!(pool.snapshot().idle, 1); // It was merely dropped, and is idle again.
    /// # Ok(())
    /// # }
    /// ```
    pub fn connections_manage_exchanges<W>(self, works: W) -> SelfManaged<F, W>
    where
        W: Fn(&T) -> bool + Send + Sync + 'static,
    {
        SelfManaged {
            connect: self.0,
            works,
        }
    }
}

impl<F, Fut, T, E> Connector for ConnectWith<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    type Connection = T;
    type Error = E;

    fn connect(&self) -> impl Future<Output = Result<T, E>> + Send {
        (self.0)()
    }
}

/// A connector whose connections manage their own exchanges: made by
/// [`ConnectWith::connections_manage_exchanges`].
#[derive(Clone)]
pub struct SelfManaged<F, W> {
    connect: F,
    works: W,
}

impl<F, Fut, T, E, W> Connector for SelfManaged<F, W>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    W: Fn(&T) -> bool + Send + Sync + 'static,
{
    type Connection = T;
    type Error = E;

    fn connect(&self) -> impl Future<Output = Result<T, E>> + Send {
        (self.connect)()
    }

    fn check(&self, connection: &mut T) -> Result<(), Eviction> {
        match (self.works)(connection) {
            true => Ok(()),
            false => Err(Eviction::PeerClosed),
        }
    }

    fn is_clean(&self, connection: &T, _: LastExchange) -> bool {
        (self.works)(connection)
    }
}

impl<F, W> fmt::Debug for SelfManaged<F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfManaged").finish_non_exhaustive()
    }
}
