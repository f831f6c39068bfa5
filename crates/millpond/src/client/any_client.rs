//! A client of whatever framing, for pages and tools that show and steer many of them.

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;

use super::{Client, ClientSnapshot, HeartbeatTotals, RequestError, RetryTotals};
use crate::{framing::Framing, pool::AnyPool};

/// What [`AnyClient::exchange`] returns.
pub type ExchangeFuture<'c> =
    Pin<Box<dyn Future<Output = Result<Bytes, RequestError>> + Send + 'c>>;

/// A client, whatever its framing: what can be shown of it and done with it.
///
/// Every [`Client`] is one. Its verbs, its name and its settings are those of its
/// [pool](AnyClient::pool). A server needs no such trait: [`Running`](crate::server::Running) has no
/// type parameters. The trait is sealed: nothing else can implement it, so that it can get more
/// methods.
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
pub trait AnyClient: Sealed + fmt::Debug + Send + Sync {
    /// The pool of its connections, with its verbs: [`Client::pool`].
    fn pool(&self) -> &dyn AnyPool;

    /// See [`Client::snapshot`].
    fn snapshot(&self) -> ClientSnapshot;

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

/// Seals [`AnyClient`]: no other crate can name this trait, nor implement that one.
///
/// ```compile_fail,E0277
/// use millpond::{
///     client::{AnyClient, ClientSnapshot, ExchangeFuture, HeartbeatTotals, RetryTotals},
///     pool::AnyPool,
/// };
///
/// #[derive(Debug)]
/// struct Mine;
///
/// impl AnyClient for Mine {
///     fn pool(&self) -> &dyn AnyPool { todo!() }
///     fn snapshot(&self) -> ClientSnapshot { todo!() }
///     fn retries(&self) -> RetryTotals { todo!() }
///     fn heartbeats(&self) -> HeartbeatTotals { todo!() }
///     fn exchange<'c>(&'c self, _: &'c [u8]) -> ExchangeFuture<'c> { todo!() }
/// }
/// ```
pub trait Sealed {}

impl<F: Framing> Sealed for Client<F> {}

impl<F: Framing> AnyClient for Client<F> {
    fn pool(&self) -> &dyn AnyPool {
        Client::pool(self)
    }

    fn snapshot(&self) -> ClientSnapshot {
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
