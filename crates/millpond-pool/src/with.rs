//! One exchange on a lent connection, as a closure: what becomes of the connection follows from how
//! the closure ends.

use std::future::Future;

use super::{
    acquire::Acquire, connection::Connection, connector::Connector, error::AcquireError,
    eviction::Eviction, pool::Pool,
};

impl<C: Connector> Pool<C> {
    /// Runs one exchange on a connection: it is released when `exchange` succeeds, and discarded
    /// when it fails, panics, or is dropped before it has ended.
    ///
    /// Every error closes the connection, "row not found" included, since the pool can't know which
    /// of them leave a reply unread; [`with_clean_errors`](Pool::with_clean_errors) is told.
    ///
    /// ```
    /// # use millpond_pool::{Pool, connect_with};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(connect_with(|| async { Ok::<_, std::io::Error>(vec![1u8]) })).build()?;
    /// let length = pool
    ///     .with(async |connection| {
    ///         connection.push(2);
    ///         Ok::<_, std::io::Error>(connection.len())
    ///     })
    ///     .await?;
    /// assert_eq!(length, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WithError::Acquire`] when there was no connection, [`WithError::Exchange`] with the
    /// closure's own error.
    ///
    /// # Cancel safety
    ///
    /// Dropped while the exchange runs, its connection is closed
    /// ([`Eviction::UnfinishedExchange`]).
    #[track_caller]
    pub fn with<'p, R, E, F>(
        &'p self,
        exchange: F,
    ) -> impl Future<Output = Result<R, WithError<E>>> + use<'p, R, E, F, C>
    where
        F: AsyncFnOnce(&mut C::Connection) -> Result<R, E>,
    {
        run(self.acquire(), |_: &E| false, exchange)
    }

    /// As [`with`](Pool::with), for exchanges some of whose errors leave the connection clean: it
    /// is released when `exchange` succeeds, and also when it fails with an error for which
    /// `is_clean` is true.
    ///
    /// An error is clean when **the whole reply has been read**, and the connection is as it was
    /// before: the server's answer is itself the error ("row not found", "duplicate key", an
    /// error reply), or nothing was sent at all (the request didn't pass validation). Errors of
    /// reading and writing are never clean, nor are timeouts and replies that couldn't be
    /// parsed: something of the reply may still be on its way. When in doubt it isn't clean;
    /// that costs a dial, and the other mistake gives somebody a wrong reply.
    ///
    /// ```
    /// # use millpond_pool::{Eviction, Pool, WithError, connect_with};
    /// # struct Client;
    /// # impl Client {
    /// #     async fn get(&mut self, _: &str) -> Result<u64, QueryError> { Err(QueryError::RowNotFound) }
    /// # }
    /// #[derive(Debug, thiserror::Error)]
    /// enum QueryError {
    ///     #[error("row not found")]
    ///     RowNotFound,
    ///     #[error("connection lost")]
    ///     Lost,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(connect_with(|| async { Ok::<_, std::io::Error>(Client) })).build()?;
    /// let found = pool
    ///     .with_clean_errors(
    ///         |error: &QueryError| matches!(error, QueryError::RowNotFound),
    ///         async |client| client.get("walden").await,
    ///     )
    ///     .await;
    /// assert!(matches!(found, Err(WithError::Exchange(QueryError::RowNotFound))));
    /// assert_eq!(pool.snapshot().idle, 1); // The connection was released.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WithError::Acquire`] when there was no connection, [`WithError::Exchange`] with the
    /// closure's own error, clean or not.
    ///
    /// # Panics
    ///
    /// When either closure does; the connection is closed then ([`Eviction::Panicked`]).
    ///
    /// # Cancel safety
    ///
    /// Dropped while the exchange runs, its connection is closed
    /// ([`Eviction::UnfinishedExchange`]).
    #[track_caller]
    pub fn with_clean_errors<'p, R, E, J, F>(
        &'p self,
        is_clean: J,
        exchange: F,
    ) -> impl Future<Output = Result<R, WithError<E>>> + use<'p, R, E, J, F, C>
    where
        J: FnOnce(&E) -> bool,
        F: AsyncFnOnce(&mut C::Connection) -> Result<R, E>,
    {
        run(self.acquire(), is_clean, exchange)
    }
}

async fn run<C, R, E>(
    acquire: Acquire<'_, C>,
    is_clean: impl FnOnce(&E) -> bool,
    exchange: impl AsyncFnOnce(&mut C::Connection) -> Result<R, E>,
) -> Result<R, WithError<E>>
where
    C: Connector,
{
    let mut unfinished = Unfinished(Some(acquire.await?));
    let connection = unfinished.0.as_mut().expect("taken only when finished");
    let outcome = exchange(connection).await;
    // Somebody else's code: a panic in there closes the connection, as one in the exchange does.
    let clean = outcome.as_ref().err().is_none_or(is_clean);
    let connection = unfinished.0.take().expect("taken once");
    match clean {
        true => connection.release(),
        false => connection.discard(),
    }
    outcome.map_err(WithError::Exchange)
}

/// A connection in the middle of an exchange: dropped as such, it is closed.
struct Unfinished<C: Connector>(Option<Connection<C>>);

impl<C: Connector> Drop for Unfinished<C> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            let panicking = std::thread::panicking();
            connection.discard_because(if panicking {
                Eviction::Panicked
            } else {
                Eviction::UnfinishedExchange
            });
        }
    }
}

/// Why [`Pool::with`](super::Pool::with) failed: before or in its closure.
///
/// It says what the error in it says, and has that one's sources. What holds an error without being
/// one, as `Box<dyn Error>` and `anyhow::Error`, has no sources to pass on: see
/// [`flatten`](WithError::flatten).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WithError<E> {
    /// There was no connection.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The closure failed; its connection has been discarded.
    #[error(transparent)]
    Exchange(E),
}

impl<E: From<AcquireError>> WithError<E> {
    /// The closure's error, or that there was no connection as an error of the same type.
    ///
    /// ```
    /// # use millpond_pool::{AcquireError, WithError};
    /// # type BoxedError = Box<dyn std::error::Error + Send + Sync>;
    /// let failed: Result<(), WithError<BoxedError>> = Err(WithError::Acquire(AcquireError::Closed));
    /// let failed: Result<(), BoxedError> = failed.map_err(WithError::flatten);
    /// assert_eq!(failed.unwrap_err().to_string(), "the pool is closed");
    /// ```
    pub fn flatten(self) -> E {
        match self {
            WithError::Acquire(error) => error.into(),
            WithError::Exchange(error) => error,
        }
    }
}
