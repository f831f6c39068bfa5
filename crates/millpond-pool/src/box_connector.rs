//! A connector whose type is forgotten, so that a pool can be named without naming closures.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    connector::{AfterRelease, Closing, Connector, LastExchange},
    ends::{Ends, Transmission},
    eviction::Eviction,
    settings::Probe,
};

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<'f, R> = Pin<Box<dyn Future<Output = R> + Send + 'f>>;

/// Any connector of connections of type `T`, in a box: `Pool<BoxConnector<T>>` is a type that can
/// be written down, where a connector made of a closure can't be named.
///
/// ```
/// use millpond_pool::{BoxConnector, BuildError, Connection, Pool, connect_with};
///
/// struct Client; // of some database
/// # impl Client {
/// #     async fn connect(_: &str) -> Result<Client, std::io::Error> { Ok(Client) }
/// # }
///
/// struct App {
///     database: Pool<BoxConnector<Client>>,
/// }
///
/// impl App {
///     fn new(address: String) -> Result<App, BuildError> {
///         let connector = connect_with(move || {
///             let address = address.clone();
///             async move { Client::connect(&address).await }
///         });
///         let database = Pool::builder(BoxConnector::new(connector)).build()?;
///         Ok(App { database })
///     }
/// }
///
/// fn ping(client: Connection<BoxConnector<Client>>) {
///     client.release();
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::new(String::from("db:5432"))?;
/// # ping(app.database.acquire().await?);
/// # Ok(())
/// # }
/// ```
///
/// It costs one virtual call for each question that the pool asks the connector. A dial allocates
/// twice, for `connect` and for `on_connect`; a probe, a reset and a wait for a change of the endpoint
/// allocate once each, and a pool once for `run`. Acquire and release still allocate nothing.
///
/// Errors of the connector arrive as they are: what [`DialError`](crate::DialError) has as its
/// source is the connector's own error.
pub struct BoxConnector<T>(Box<dyn Erased<T>>);

impl<T: Send + 'static> BoxConnector<T> {
    /// Puts a connector into its box.
    pub fn new(connector: impl Connector<Connection = T>) -> Self {
        BoxConnector(Box::new(connector))
    }
}

/// A [`Connector`] with its futures boxed: what can be called without knowing its type.
trait Erased<T>: Send + Sync {
    fn connect(&self) -> BoxFuture<'_, Result<T, BoxError>>;
    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool;
    fn on_connect<'f>(&'f self, connection: &'f mut T) -> BoxFuture<'f, Result<(), BoxError>>;
    fn check(&self, connection: &mut T) -> Result<(), Eviction>;
    fn is_clean(&self, connection: &T, exchange: LastExchange) -> bool;
    fn was_asked(&self, connection: &T) -> bool;
    fn exchange_completed(&self, connection: &mut T);
    fn on_release(&self, connection: &mut T) -> Result<AfterRelease, BoxError>;
    fn reset<'f>(&'f self, connection: &'f mut T) -> BoxFuture<'f, Result<(), BoxError>>;
    fn probe<'f>(&'f self, connection: &'f mut T) -> BoxFuture<'f, Result<(), BoxError>>;
    fn default_probe(&self) -> Probe;
    fn poll_idle(&self, connection: &mut T, cx: &mut Context<'_>) -> Poll<Eviction>;
    fn close(&self, connection: T) -> Closing;
    fn ends(&self, connection: &T) -> Ends;
    fn run(&self) -> BoxFuture<'_, ()>;
    fn endpoint_changed(&self) -> BoxFuture<'_, ()>;
    fn is_current(&self, ends: &Ends) -> bool;
    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>>;
}

impl<C: Connector> Erased<C::Connection> for C {
    fn connect(&self) -> BoxFuture<'_, Result<C::Connection, BoxError>> {
        Box::pin(async { Connector::connect(self).await.map_err(Into::into) })
    }

    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        Connector::refused(self, error)
    }

    fn on_connect<'f>(
        &'f self,
        connection: &'f mut C::Connection,
    ) -> BoxFuture<'f, Result<(), BoxError>> {
        Box::pin(async {
            Connector::on_connect(self, connection)
                .await
                .map_err(Into::into)
        })
    }

    fn check(&self, connection: &mut C::Connection) -> Result<(), Eviction> {
        Connector::check(self, connection)
    }

    fn is_clean(&self, connection: &C::Connection, exchange: LastExchange) -> bool {
        Connector::is_clean(self, connection, exchange)
    }

    fn was_asked(&self, connection: &C::Connection) -> bool {
        Connector::was_asked(self, connection)
    }

    fn exchange_completed(&self, connection: &mut C::Connection) {
        Connector::exchange_completed(self, connection);
    }

    fn on_release(&self, connection: &mut C::Connection) -> Result<AfterRelease, BoxError> {
        Connector::on_release(self, connection).map_err(Into::into)
    }

    fn reset<'f>(
        &'f self,
        connection: &'f mut C::Connection,
    ) -> BoxFuture<'f, Result<(), BoxError>> {
        Box::pin(async { Connector::reset(self, connection).await.map_err(Into::into) })
    }

    fn probe<'f>(
        &'f self,
        connection: &'f mut C::Connection,
    ) -> BoxFuture<'f, Result<(), BoxError>> {
        Box::pin(async { Connector::probe(self, connection).await.map_err(Into::into) })
    }

    fn default_probe(&self) -> Probe {
        Connector::default_probe(self)
    }

    fn poll_idle(&self, connection: &mut C::Connection, cx: &mut Context<'_>) -> Poll<Eviction> {
        Connector::poll_idle(self, connection, cx)
    }

    fn close(&self, connection: C::Connection) -> Closing {
        Connector::close(self, connection)
    }

    fn ends(&self, connection: &C::Connection) -> Ends {
        Connector::ends(self, connection)
    }

    fn run(&self) -> BoxFuture<'_, ()> {
        Box::pin(Connector::run(self))
    }

    fn endpoint_changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(Connector::endpoint_changed(self))
    }

    fn is_current(&self, ends: &Ends) -> bool {
        Connector::is_current(self, ends)
    }

    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>> {
        Connector::transmissions(self, ends)
    }
}

/// Every method of the one in the box, none of the trait's defaults.
impl<T: Send + 'static> Connector for BoxConnector<T> {
    type Connection = T;
    type Error = BoxError;

    async fn connect(&self) -> Result<T, BoxError> {
        self.0.connect().await
    }

    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        self.0.refused(error)
    }

    async fn on_connect(&self, connection: &mut T) -> Result<(), BoxError> {
        self.0.on_connect(connection).await
    }

    fn check(&self, connection: &mut T) -> Result<(), Eviction> {
        self.0.check(connection)
    }

    fn is_clean(&self, connection: &T, exchange: LastExchange) -> bool {
        self.0.is_clean(connection, exchange)
    }

    fn was_asked(&self, connection: &T) -> bool {
        self.0.was_asked(connection)
    }

    fn exchange_completed(&self, connection: &mut T) {
        self.0.exchange_completed(connection);
    }

    fn on_release(&self, connection: &mut T) -> Result<AfterRelease, BoxError> {
        self.0.on_release(connection)
    }

    async fn reset(&self, connection: &mut T) -> Result<(), BoxError> {
        self.0.reset(connection).await
    }

    async fn probe(&self, connection: &mut T) -> Result<(), BoxError> {
        self.0.probe(connection).await
    }

    fn default_probe(&self) -> Probe {
        self.0.default_probe()
    }

    fn poll_idle(&self, connection: &mut T, cx: &mut Context<'_>) -> Poll<Eviction> {
        self.0.poll_idle(connection, cx)
    }

    fn close(&self, connection: T) -> Closing {
        self.0.close(connection)
    }

    fn ends(&self, connection: &T) -> Ends {
        self.0.ends(connection)
    }

    async fn run(&self) {
        self.0.run().await;
    }

    async fn endpoint_changed(&self) {
        self.0.endpoint_changed().await;
    }

    fn is_current(&self, ends: &Ends) -> bool {
        self.0.is_current(ends)
    }

    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>> {
        self.0.transmissions(ends)
    }
}

impl<T> fmt::Debug for BoxConnector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxConnector")
    }
}
