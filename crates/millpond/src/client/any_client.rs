//! A client of whatever framing, for pages and tools that show and steer many of them.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

use super::{Client, HeartbeatTotals, RequestError, RetryTotals};
use crate::{
    framing::Framing,
    pool::{PoolSettings, PoolSnapshot, StillLent},
};

/// What [`AnyClient::exchange`] returns.
pub type ExchangeFuture<'c> =
    Pin<Box<dyn Future<Output = Result<Bytes, RequestError>> + Send + 'c>>;

/// What [`AnyClient::close`] and [`AnyClient::drain`] return.
pub type ClosingFuture<'c> = Pin<Box<dyn Future<Output = Result<(), StillLent>> + Send + 'c>>;

/// A client, whatever its framing: what can be shown of it and done with it.
///
/// Every [`Client`] is one. The verbs are those of its [pool](Client::pool). A server needs no such
/// trait: [`Running`](crate::server::Running) has no type parameters.
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
///     client.retire();
/// }
/// # Ok(())
/// # }
/// ```
pub trait AnyClient: fmt::Debug + Send + Sync {
    /// The pool's name: [`PoolBuilder::name`](crate::pool::PoolBuilder::name).
    fn name(&self) -> String;

    /// The pool's settings: [`Pool::settings`](crate::pool::Pool::settings).
    fn pool_settings(&self) -> PoolSettings;

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

    /// See [`Pool::is_closed`](crate::pool::Pool::is_closed).
    fn is_closed(&self) -> bool;

    /// See [`Pool::close`](crate::pool::Pool::close). The pool is closed by this call, whether or
    /// not the future is awaited.
    #[must_use = "the pool is closed, and what it leaves behind is told by the future"]
    fn close(&self, within: Duration) -> ClosingFuture<'_>;

    /// See [`Pool::drain`](crate::pool::Pool::drain). The draining begins with this call; only the
    /// future closes the pool after `within`.
    #[must_use = "the pool drains, and only the future closes it at the end"]
    fn drain(&self, within: Duration) -> ClosingFuture<'_>;

    /// See [`Pool::retire`](crate::pool::Pool::retire).
    fn retire(&self);

    /// See [`Pool::pause`](crate::pool::Pool::pause).
    fn pause(&self);

    /// See [`Pool::resume`](crate::pool::Pool::resume).
    fn resume(&self);
}

impl<F: Framing> AnyClient for Client<F> {
    fn name(&self) -> String {
        self.pool().settings().name
    }

    fn pool_settings(&self) -> PoolSettings {
        self.pool().settings()
    }

    fn snapshot(&self) -> PoolSnapshot {
        Client::snapshot(self)
    }

    fn retries(&self) -> RetryTotals {
        Client::retries(self)
    }

    fn heartbeats(&self) -> HeartbeatTotals {
        self.pool().connector().heartbeats()
    }

    #[track_caller]
    fn exchange<'c>(&'c self, body: &'c [u8]) -> ExchangeFuture<'c> {
        Box::pin(Client::exchange(self, body))
    }

    fn is_closed(&self) -> bool {
        self.pool().is_closed()
    }

    fn close(&self, within: Duration) -> ClosingFuture<'_> {
        Box::pin(self.pool().close(within))
    }

    fn drain(&self, within: Duration) -> ClosingFuture<'_> {
        Box::pin(self.pool().drain(within))
    }

    fn retire(&self) {
        self.pool().retire();
    }

    fn pause(&self) {
        self.pool().pause();
    }

    fn resume(&self) {
        self.pool().resume();
    }
}
