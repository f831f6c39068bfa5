//! A client of whatever framing, for pages and tools that show and steer many of them.

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;

use super::{Client, HeartbeatTotals, RequestError, RetryTotals};
use crate::{
    framing::Framing,
    pool::{AnyPool, PoolSnapshot},
};

/// What [`AnyClient::exchange`] returns.
pub type ExchangeFuture<'c> =
    Pin<Box<dyn Future<Output = Result<Bytes, RequestError>> + Send + 'c>>;

/// A client, whatever its framing: what can be shown of it and done with it.
///
/// Every [`Client`] is one. Its verbs, its name and its settings are those of its
/// [pool](AnyClient::pool). A server needs no such trait: [`Running`](crate::server::Running) has no
/// type parameters.
///
/// ```
/// use millpond::{client::{AnyClient, Client}, framing::LengthJson};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let orders = Client::to("localhost:7001")?.pool(|pool| pool.name("orders")).build()?;
/// let images = Client::to("localhost:7002")?
///     .framing(LengthJson::with_max_body(16 << 20))
///     .pool(|pool| pool.name("images"))
///     .build()?;
///
/// let clients: Vec<Box<dyn AnyClient>> = vec![Box::new(orders), Box::new(images)];
/// for client in &clients {
///     println!("{}, {} retries", client.snapshot(), client.retries().granted);
///     client.pool().retire();
/// }
/// # Ok(())
/// # }
/// ```
pub trait AnyClient: fmt::Debug + Send + Sync {
    /// The pool of its connections, with its verbs: [`Client::pool`].
    fn pool(&self) -> &dyn AnyPool;

    /// See [`Client::snapshot`].
    fn snapshot(&self) -> PoolSnapshot;

    /// See [`Client::retries`].
    fn retries(&self) -> RetryTotals;

    /// See [`Sessions::heartbeats`](super::Sessions::heartbeats).
    fn heartbeats(&self) -> HeartbeatTotals;

    /// See [`Client::exchange`].
    ///
    /// # Errors
    ///
    /// As [`Client::exchange`].
    fn exchange<'c>(&'c self, body: &'c [u8]) -> ExchangeFuture<'c>;
}

impl<F: Framing> AnyClient for Client<F> {
    fn pool(&self) -> &dyn AnyPool {
        Client::pool(self)
    }

    fn snapshot(&self) -> PoolSnapshot {
        Client::snapshot(self)
    }

    fn retries(&self) -> RetryTotals {
        Client::retries(self)
    }

    fn heartbeats(&self) -> HeartbeatTotals {
        Client::pool(self).connector().heartbeats()
    }

    #[track_caller]
    fn exchange<'c>(&'c self, body: &'c [u8]) -> ExchangeFuture<'c> {
        Box::pin(Client::exchange(self, body))
    }
}
