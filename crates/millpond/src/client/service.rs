//! The client as a [`tower_service::Service`], so that tower's layers (timeouts, limits, tracing)
//! can be put around it.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tower_service::Service;

use super::{error::RequestError, handle::Client};
use crate::framing::Framing;

/// The future of a call: boxed, because it owns a client.
pub type Call<R> = Pin<Box<dyn Future<Output = Result<R, RequestError>> + Send>>;

/// Bodies as they are: each call is an [`exchange`](Client::exchange).
///
/// ```
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use millpond::client::Client;
/// use tower::{Service, ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # use millpond::{net::{ListenOptions, Listener}, server::{Server, raw}};
/// # let listener = Listener::bind(&"127.0.0.1:0".parse()?, ListenOptions::default()).await?;
/// # let server = Server::builder(raw(async |body: Bytes| Ok(body))).serve(listener)?;
/// # let endpoint = server.endpoint().to_string();
/// let client = Client::to(&endpoint)?.build()?;
/// let mut service = ServiceBuilder::new()
///     .concurrency_limit(8)
///     .timeout(Duration::from_secs(2))
///     .service(client);
///
/// let reply = service.ready().await?.call(Bytes::from("1")).await?;
/// assert_eq!(reply, "1");
/// # Ok(())
/// # }
/// ```
///
/// # Readiness
///
/// It is always ready: whoever calls waits in the pool's queue, which is bounded, kept in order,
/// and keeps the deadlines. Where it is full, the call fails as [`RequestError::Acquire`]. A layer
/// that sheds load by readiness sees no reason to; put a concurrency limit below it.
///
/// # Clones
///
/// They share the pool, so a clone for each task is cheap.
///
/// # Cancel safety
///
/// As [`exchange`](Client::exchange): a call that is dropped, by a timeout layer for instance,
/// costs at most its connection, and no other call gets its reply. The client's own deadline
/// ([`within`](Client::within)) tells more: whether the request may have been executed.
impl<F: Framing> Service<Bytes> for Client<F> {
    type Response = Bytes;
    type Error = RequestError;
    type Future = Call<Bytes>;

    /// Always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, body: Bytes) -> Call<Bytes> {
        let client = self.clone();
        Box::pin(async move { client.exchange(&body).await })
    }
}

impl Client {
    /// The client as a [`tower_service::Service`] for requests of one type: values as JSON, each
    /// call a [`request`](Client::request).
    ///
    /// ```
    /// # use millpond::client::Client;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use millpond::{net::{ListenOptions, Listener}, server::{Server, json}};
    /// # let listener = Listener::bind(&"127.0.0.1:0".parse()?, ListenOptions::default()).await?;
    /// # let double = json(async |number: i64| number.checked_mul(2).ok_or("too large"));
    /// # let server = Server::builder(double).serve(listener)?;
    /// # let endpoint = server.endpoint().to_string();
    /// use tower::{Service, ServiceExt};
    ///
    /// let client = Client::to(&endpoint)?.build()?;
    /// let mut double = client.json_service::<i64, i64>();
    /// assert_eq!(double.ready().await?.call(21).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn json_service<T, R>(&self) -> JsonService<T, R>
    where
        T: Serialize + Send + Sync + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        JsonService {
            client: self.clone(),
            types: PhantomData,
        }
    }
}

/// A [`Client`] as a service for requests of one type: [`Client::json_service`]. Readiness, clones
/// and cancel safety are as those of the client's own `Service`.
pub struct JsonService<T, R> {
    client: Client,
    types: PhantomData<fn(T) -> R>,
}

impl<T, R> Clone for JsonService<T, R> {
    fn clone(&self) -> Self {
        JsonService {
            client: self.client.clone(),
            types: PhantomData,
        }
    }
}

impl<T, R> fmt::Debug for JsonService<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonService").finish_non_exhaustive()
    }
}

impl<T, R> Service<T> for JsonService<T, R>
where
    T: Serialize + Send + Sync + 'static,
    R: DeserializeOwned + Send + 'static,
{
    type Response = R;
    type Error = RequestError;
    type Future = Call<R>;

    /// Always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, value: T) -> Call<R> {
        let client = self.client.clone();
        Box::pin(async move { client.request(&value).await })
    }
}
