//! What a pool asks of those who know the connections: how to open one, and how to judge it.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    ends::{Ends, Transmission},
    eviction::Eviction,
    settings::Probe,
};

/// How many sources of an error are looked at.
const MAX_SOURCES: usize = 16;

/// Opens connections and judges them. Everything that a pool can't know by itself, it asks here.
///
/// Only [`connect`](Connector::connect) has to be written; [`connect_with`](super::connect_with)
/// makes a connector of a closure. All other methods have a default that says "nothing to do".
///
/// | when | asked | runs |
/// |---|---|---|
/// | a connection is wanted | [`connect`](Connector::connect), then [`on_connect`](Connector::on_connect) | in a task of the pool |
/// | it is about to be lent | [`check`](Connector::check) | in the caller's poll |
/// | before that, if the setting `probe` says so | [`probe`](Connector::probe) | in a task of the pool |
/// | it comes back | [`is_clean`](Connector::is_clean), then [`on_release`](Connector::on_release) | where the borrower drops it |
/// | `on_release` asked for it | [`reset`](Connector::reset) | in a task of the pool |
/// | it has been idle for a tick, or its waker was called | [`poll_idle`](Connector::poll_idle) | in upkeep |
/// | what connections lead to has changed | [`endpoint_changed`](Connector::endpoint_changed), then [`is_current`](Connector::is_current) of each | in a task of the pool |
/// | the pool is built | [`run`](Connector::run), once | in a task of the pool, for as long as it is open |
/// | it leaves | [`close`](Connector::close) | where it was evicted, its future in a task of the pool |
///
/// None of them ever runs under the pool's lock. One that panics costs its connection
/// ([`Eviction::Panicked`]) and nothing else: the panic goes on to whoever called (the caller of
/// `acquire`, the one who drops), or ends in the pool's own task.
pub trait Connector: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;

    /// Why connecting, a hook, a probe or a reset failed.
    type Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static;

    /// Opens a connection, within the setting `connect_timeout`. When that has passed the future is
    /// dropped; what it was doing then, as it told [`dial_phase`](super::dial_phase), is said
    /// in the error.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Whether a failed dial was refused because nothing listens, and so cost the endpoint nothing:
    /// the next may follow soon
    /// ([`Backoff::max_while_waiting`](super::Backoff::max_while_waiting)). Everything else is
    /// spared for longer.
    ///
    /// `error` is what [`connect`](Connector::connect) or [`on_connect`](Connector::on_connect)
    /// returned. The default looks for [`ConnectionRefused`](io::ErrorKind::ConnectionRefused)
    /// in it and its sources, also where one of these is an `Arc<dyn Error + Send + Sync>` (redis'
    /// is), and takes a file that isn't there ([`NotFound`](io::ErrorKind::NotFound)) for a Unix
    /// socket's if the error itself says so.
    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        fn kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
            let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>();
            let io = match shared {
                Some(shared) => shared.downcast_ref::<io::Error>(),
                None => error.downcast_ref(),
            };
            io.map(io::Error::kind)
        }
        let sources =
            std::iter::successors(error.source(), |&source| source.source()).take(MAX_SOURCES);
        matches!(
            kind(error),
            Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        ) || sources
            .into_iter()
            .any(|source| kind(source) == Some(io::ErrorKind::ConnectionRefused))
    }

    /// Prepares a new connection: logs in, binds, selects. The same `connect_timeout` covers it,
    /// and a failure here is a failed dial.
    fn on_connect(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Judges a connection in the instant before it is lent, without waiting for anything: has the
    /// peer closed it, has something arrived that nobody asked for? The error is the reason for
    /// which it is evicted; the caller is given another one.
    ///
    /// When a borrower discards a connection, when it comes back in the middle of an exchange, or
    /// when [`on_release`](Connector::on_release) refuses it, this is asked as well, to find out
    /// whether its peer has ended it.
    fn check(&self, connection: &mut Self::Connection) -> Result<(), Eviction> {
        let _ = connection;
        Ok(())
    }

    /// Whether a connection that comes back is between exchanges. If not it is closed
    /// ([`Eviction::UnfinishedExchange`]), for the next borrower would be given the rest of
    /// somebody else's reply; after [`LastExchange::None`] and [`LastExchange::Completed`] the
    /// eviction's reason is [`Eviction::Broken`], unless [`check`](Connector::check) knows another.
    ///
    /// The default goes by what the guard saw, and trusts nobody: a connection that was accessed
    /// (through `&` or `&mut`) and then merely dropped is closed;
    /// [`Connection::release`](super::Connection::release) and
    /// [`Pool::with`](super::Pool::with) say that the exchange is complete. A connector whose
    /// connections know themselves where they stand answers by that. For a client that matches
    /// requests and replies by itself, as most database clients do, that is whether it still
    /// works:
    ///
    /// ```
    /// # use millpond_pool::{Connector, Eviction, LastExchange};
    /// # struct Client;
    /// # impl Client {
    /// #     async fn connect() -> Result<Client, std::io::Error> { Ok(Client) }
    /// #     fn is_closed(&self) -> bool { false }
    /// # }
    /// struct Database;
    ///
    /// impl Connector for Database {
    ///     type Connection = Client;
    ///     type Error = std::io::Error;
    ///
    ///     async fn connect(&self) -> Result<Client, std::io::Error> {
    ///         Client::connect().await
    ///     }
    ///
    ///     fn check(&self, client: &mut Client) -> Result<(), Eviction> {
    ///         if client.is_closed() { Err(Eviction::PeerClosed) } else { Ok(()) }
    ///     }
    ///
    ///     fn is_clean(&self, client: &Client, _: LastExchange) -> bool {
    ///         !client.is_closed()
    ///     }
    /// }
    /// ```
    ///
    /// It must answer without side effects. About a connection that isn't clean after
    /// [`LastExchange::Open`] it is asked once more, with [`LastExchange::Completed`]: whether
    /// only the borrower's word was missing is counted
    /// ([`PoolTotals::unreleased`](super::PoolTotals::unreleased)).
    fn is_clean(&self, connection: &Self::Connection, exchange: LastExchange) -> bool {
        let _ = connection;
        exchange != LastExchange::Open
    }

    /// Whether a connection that comes back, and that its peer has ended, has a request on it without
    /// its reply. Such an end may be the request's doing, and so one borrower's: if the connection
    /// had never served, callers aren't refused for it, as they are after failed dials. They wait for
    /// the next dial, which is paced as where nothing listens.
    ///
    /// The default is that it can't be told, and that the endpoint is to blame.
    fn was_asked(&self, connection: &Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// The borrower says, with [`Connection::release`](super::Connection::release), that its
    /// exchange is complete.
    fn exchange_completed(&self, connection: &mut Self::Connection) {
        let _ = connection;
    }

    /// Tidies up a clean connection that comes back, without waiting; or asks for a
    /// [`reset`](Connector::reset). An error evicts it, for the reason that
    /// [`check`](Connector::check) finds, else as [`Eviction::HookFailed`].
    fn on_release(&self, connection: &mut Self::Connection) -> Result<AfterRelease, Self::Error> {
        let _ = connection;
        Ok(AfterRelease::Ready)
    }

    /// Resets a connection that came back, while nobody has it, within the setting `check_timeout`.
    fn reset(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Asks the peer whether it is still there, within the setting `check_timeout`.
    fn probe(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// When a connection is probed before it is lent, where
    /// [`PoolBuilder::probe`](super::PoolBuilder::probe) doesn't say. Default: never. A connector whose
    /// [`check`](Connector::check) can't see that a connection is dead asks for probes here.
    ///
    /// Asked once, when the pool is built.
    fn default_probe(&self) -> Probe {
        Probe::Never
    }

    /// Looks at an idle connection, and arranges to be woken when it becomes readable or dies.
    ///
    /// `Pending` keeps it; `Ready` evicts it for that reason. Once the waker in `cx` has been
    /// called, upkeep asks again at once. A connector that returns `Pending` without keeping
    /// the waker isn't asked again until the connection has been lent.
    fn poll_idle(&self, connection: &mut Self::Connection, cx: &mut Context<'_>) -> Poll<Eviction> {
        let _ = (connection, cx);
        Poll::Pending
    }

    /// Closes a connection. Dropping it is what the default does; one that has a farewell to say
    /// returns [`Closing::after`], and is given the setting `close_timeout` for that. It holds
    /// its place in the pool meanwhile.
    fn close(&self, connection: Self::Connection) -> Closing {
        drop(connection);
        Closing::Done
    }

    /// Between which addresses a connection lies. Asked once, when its dial has succeeded.
    fn ends(&self, connection: &Self::Connection) -> Ends {
        let _ = connection;
        Ends::default()
    }

    /// What the connector does in the background for as long as the pool is open, beside what it
    /// is asked: a timer for the heartbeats of idle connections, statistics to be told now and
    /// then. The default ends at once.
    ///
    /// Called once, when the pool is built, in a task on the pool's runtime that the pool owns.
    /// When it returns it isn't called again. When it panics, that is told as an error event, and
    /// it is called again a second later; the pool goes on meanwhile.
    ///
    /// # Cancel safety
    ///
    /// It must be cancel safe: the pool drops it, at whichever `.await` it is, when the pool closes
    /// ([`Pool::close`](super::Pool::close), the end of a [`drain`](super::Pool::drain), the last
    /// handle dropped) or its runtime ends. It is stopped with the dials under way, before lent
    /// connections come back: what they still need then mustn't depend on it.
    fn run(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Waits until what connections should lead to may have changed: a name resolves to other
    /// addresses. The pool then asks [`is_current`](Connector::is_current) of each, and
    /// waits for the next change, by calling this again. Dropped when the pool closes.
    fn endpoint_changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Whether a connection still leads where one would be dialled now. One that doesn't is retired
    /// ([`Eviction::Retired`]): closed now if it is idle, else when it comes back.
    fn is_current(&self, ends: &Ends) -> bool {
        let _ = ends;
        true
    }

    /// What the system knows of how connections between these ends transmit, for
    /// [`Pool::detailed_snapshot`](super::Pool::detailed_snapshot); empty where it knows nothing.
    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>> {
        let _ = ends;
        Vec::new()
    }
}

/// What the guard of a connection saw of an exchange on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LastExchange {
    /// The connection was never accessed, neither mutably nor through a shared reference.
    None,
    /// The borrower said that it is complete.
    Completed,
    /// The connection was accessed, in either way, and the guard was then dropped without a word.
    Open,
}

/// What a connection needs after its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterRelease {
    /// Nothing: it can be lent at once.
    Ready,
    /// [`Connector::reset`] must run first.
    NeedsReset,
}

/// How a connection is being closed.
#[must_use]
#[non_exhaustive]
pub enum Closing {
    /// It is closed.
    Done,
    /// It will be closed when this future ends or is dropped.
    After(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Closing {
    /// Closing takes until `farewell` ends; it must own the connection.
    pub fn after(farewell: impl Future<Output = ()> + Send + 'static) -> Closing {
        Closing::After(Box::pin(farewell))
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Closing::Done => "Done",
            Closing::After(_) => "After(..)",
        })
    }
}
