//! What opens streams, by dialling or otherwise, and prepares them.

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use millpond_words::Span;

use super::unprepared::Unprepared;
use crate::{
    net::{
        ConnectError, ConnectFailure, DialPhase, Dialer, Endpoint, EndpointError, Stream, Timings,
    },
    pool::dial_phase,
    upstreams::{Held, Upstreams},
};

/// The future of a hook that prepares a stream: see [`StreamConnector::prepare`].
pub type PrepareFuture<'s> =
    Pin<Box<dyn Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 's>>;

/// Opens a stream without the dialler.
type Open = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Opened> + Send>> + Send + Sync>;

type Opened = Result<Stream, Box<dyn Error + Send + Sync>>;

type Hook = Box<dyn for<'s> Fn(&'s mut Stream) -> PrepareFuture<'s> + Send + Sync>;

/// Pools raw streams to one endpoint, or to [several](StreamConnector::among): TCP, TLS or Unix.
///
/// ```no_run
/// use millpond::{connectors::StreamConnector, pool::Pool};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(StreamConnector::to("tcp://localhost:6379")?).build()?;
///
/// let mut redis = pool.acquire().await?;
/// redis.write_all(b"PING\r\n").await?;
/// let mut pong = [0; 7];
/// redis.read_exact(&mut pong).await?;
/// redis.release(); // The whole reply has been read. A stream that is merely dropped here would be closed.
/// # Ok(())
/// # }
/// ```
///
/// # What it knows of a raw stream
///
/// It doesn't know where an exchange ends. A stream that was accessed, even through a shared
/// reference (`tcp()` and its `try_write`), goes back to the pool only by
/// [`release`](crate::pool::Connection::release) or from [`with`](crate::pool::Pool::with); one
/// that is merely dropped is closed.
///
/// On an idle stream nothing may arrive. One that has received bytes, or that the peer has closed
/// or reset, is evicted within a tick, and isn't lent once the reactor has seen it. TLS session
/// tickets and key updates don't count as bytes.
///
/// The endpoint's name is looked up again as [`Dialer::refresh`] says. Streams to an address that
/// two answers in a row lack are retired.
pub struct StreamConnector {
    /// One at least, and one for each upstream.
    pub(super) dialers: Vec<Dialer>,
    /// What has become of several.
    pub(super) upstreams: Option<Arc<Upstreams>>,
    hook: Option<(Hook, Duration)>,
    last_timings: Mutex<Option<PhaseTimings>>,
    /// What opens the streams, if the dialler doesn't.
    open: Option<Open>,
}

/// How long the phases of the last successful dial took. A client's
/// [login](crate::client::ClientBuilder::login) comes after it and isn't counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhaseTimings {
    /// Up to an open stream.
    pub dial: Timings,
    /// The hook, if there is one.
    pub hook: Option<Duration>,
}

impl StreamConnector {
    /// Streams to the endpoint of this text, with the default options: `host:port`, `tcp://…`,
    /// `tls://…`, `unix:///…`.
    ///
    /// # Errors
    ///
    /// The text is no endpoint.
    pub fn to(endpoint: &str) -> Result<Self, EndpointError> {
        Ok(StreamConnector::new(Dialer::new(endpoint.parse()?)))
    }

    /// Streams that this dialler opens.
    pub fn new(dialer: Dialer) -> Self {
        StreamConnector::dialled_by(vec![dialer], None)
    }

    pub(super) fn dialled_by(dialers: Vec<Dialer>, upstreams: Option<Arc<Upstreams>>) -> Self {
        StreamConnector {
            dialers,
            upstreams,
            hook: None,
            last_timings: Mutex::new(None),
            open: None,
        }
    }

    /// Streams that `open` opens instead of dialling: over whatever carries bytes, by
    /// [`Stream::foreign`].
    ///
    /// `name` says in errors, logs and snapshots where the streams lead to: through a tunnel, the
    /// endpoint at its far end. It is only shown. Nothing looks it up or connects to it, and `tls://`
    /// adds no TLS.
    ///
    /// The pool's `connect_timeout` bounds `open`. An [`io::Error`](std::io::Error) of the kind
    /// `ConnectionRefused` or `NotFound` means that nothing listens there.
    ///
    /// ```
    /// use millpond::{connectors::StreamConnector, net::Stream};
    ///
    /// let connector = StreamConnector::opened_by("tcp://orders.internal:7000".parse()?, || async {
    ///     // A tunnel would be opened here.
    ///     let (near, far) = tokio::io::duplex(64 * 1024);
    ///     tokio::spawn(async move { tokio::io::copy(&mut &b"hello"[..], &mut { far }).await });
    ///     Ok(Stream::foreign(near))
    /// });
    /// # Ok::<_, millpond::net::EndpointError>(())
    /// ```
    pub fn opened_by<O>(name: Endpoint, open: impl Fn() -> O + Send + Sync + 'static) -> Self
    where
        O: Future<Output = Result<Stream, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        StreamConnector {
            open: Some(Box::new(move || Box::pin(open()))),
            ..StreamConnector::new(Dialer::new(name))
        }
    }

    /// Streams without sockets.
    #[cfg(test)]
    pub(crate) fn in_memory(inlet: crate::memory::Inlet) -> Self {
        let name = "127.0.0.1:1".parse().expect("an endpoint");
        StreamConnector::opened_by(name, move || {
            std::future::ready(inlet.open().map_err(Box::from))
        })
    }

    /// Prepares each new stream before it is first lent: logs in, selects a database. The hook has
    /// `limit`, and is a part of the dial, which the pool's `connect_timeout` bounds.
    ///
    /// ```
    /// # use millpond::connectors::StreamConnector;
    /// use std::time::Duration;
    /// use tokio::io::AsyncWriteExt;
    ///
    /// let connector = StreamConnector::to("localhost:6379")?.prepare(Duration::from_secs(1), |stream| {
    ///     Box::pin(async move {
    ///         stream.write_all(b"SELECT 3\r\n").await?;
    ///         Ok(())
    ///     })
    /// });
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn prepare(
        mut self,
        limit: Duration,
        hook: impl for<'s> Fn(&'s mut Stream) -> PrepareFuture<'s> + Send + Sync + 'static,
    ) -> Self {
        self.hook = Some((Box::new(hook), limit));
        self
    }
    /// What opens the streams, for the first of several upstreams. That of a connector made by
    /// [`opened_by`](StreamConnector::opened_by) opens none: it holds their name.
    pub fn dialer(&self) -> &Dialer {
        &self.dialers[0]
    }

    /// What has opened this stream.
    pub(crate) fn dialer_of(&self, stream: &Stream) -> &Dialer {
        let held: Option<&Held> = stream.companion();
        &self.dialers[held.map_or(0, Held::at)]
    }
    /// How long the phases of the last successful dial took, a client's login not counted.
    pub fn last_timings(&self) -> Option<PhaseTimings> {
        *self.last_timings.lock()
    }
    /// Opens a stream and prepares it.
    pub(super) async fn open(&self, dialer: &Dialer) -> Result<Stream, ConnectError> {
        let (mut stream, dial) = match &self.open {
            None => {
                let dialled = dialer.dial_reporting(|phase| dial_phase(phase.doing()));
                let dialled = dialled.await?;
                (dialled.stream, dialled.timings)
            }
            Some(open) => run_open(dialer, open).await?,
        };
        let hook = self.run_hook(dialer, &mut stream).await?;
        let timings = PhaseTimings { dial, hook };
        let shown = |time| tracing::field::display(Span(time));
        tracing::debug!(
            target: "millpond::net",
            endpoint = %dialer.endpoint_text(),
            resolve = timings.dial.resolve.map(shown),
            connect = shown(timings.dial.connect),
            tls = timings.dial.tls.map(shown),
            hook = timings.hook.map(shown),
            sockets = timings.dial.sockets,
            "dialled"
        );
        *self.last_timings.lock() = Some(timings);
        Ok(stream)
    }
    async fn run_hook(
        &self,
        dialer: &Dialer,
        stream: &mut Stream,
    ) -> Result<Option<Duration>, ConnectError> {
        let Some((hook, limit)) = &self.hook else {
            return Ok(None);
        };
        dial_phase(DialPhase::Hook.doing());
        let unprepared = Unprepared::new(dialer, stream);
        let began = Instant::now();
        let cause = match timeout(*limit, hook(stream)).await {
            Ok(Ok(())) => {
                unprepared.succeeded();
                return Ok(Some(began.elapsed()));
            }
            Ok(Err(error)) => ConnectFailure::Hook(error),
            Err(_) => ConnectFailure::TimedOut {
                phase: DialPhase::Hook,
                limit: *limit,
            },
        };
        Err(dialer.error(began.elapsed(), cause))
    }
}

async fn run_open(dialer: &Dialer, open: &Open) -> Result<(Stream, Timings), ConnectError> {
    dial_phase(DialPhase::Connect.doing());
    let began = Instant::now();
    let opened = open().await;
    let mut timings = Timings::default();
    timings.connect = began.elapsed();
    match opened {
        Ok(stream) => Ok((stream, timings)),
        Err(error) => Err(dialer.error(timings.connect, ConnectFailure::Open(error))),
    }
}
impl From<Endpoint> for StreamConnector {
    fn from(endpoint: Endpoint) -> Self {
        StreamConnector::new(Dialer::new(endpoint))
    }
}

impl fmt::Debug for StreamConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_tuple("StreamConnector");
        for dialer in &self.dialers {
            shown.field(dialer.endpoint_text());
        }
        shown.finish()
    }
}
