//! A pool's connector for streams of every transport. It opens streams, checks idle ones without a
//! system call while nothing has arrived, and follows changes of their endpoint's name. It knows
//! nothing of what is exchanged on them.

use std::{
    error::Error,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use millpond_words::Span;

#[cfg(feature = "kernel")]
use crate::{kernel, pool::Transmission};
use crate::{
    net::{
        ConnectError, ConnectFailure, DialPhase, Dialer, Endpoint, EndpointError, IdleState,
        Stream, Timings,
    },
    pool::{Address, Closing, Connector, Ends, Eviction, dial_phase},
};

/// The future of a hook that prepares a stream: see [`StreamConnector::prepare`].
pub type PrepareFuture<'s> =
    Pin<Box<dyn Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 's>>;

/// Opens a stream without the dialler.
type Open = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Opened> + Send>> + Send + Sync>;

type Opened = Result<Stream, Box<dyn Error + Send + Sync>>;

type Hook = Box<dyn for<'s> Fn(&'s mut Stream) -> PrepareFuture<'s> + Send + Sync>;

/// Pools raw streams to one endpoint: TCP, TLS or Unix.
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
    dialer: Dialer,
    hook: Option<(Hook, Duration)>,
    peer: Arc<str>,
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
        StreamConnector {
            peer: Arc::clone(dialer.endpoint_text()),
            dialer,
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

    /// What opens the streams. That of a connector made by [`opened_by`](StreamConnector::opened_by)
    /// opens none: it holds their name.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// How long the phases of the last successful dial took, a client's login not counted.
    pub fn last_timings(&self) -> Option<PhaseTimings> {
        *self.last_timings.lock()
    }

    async fn dial(&self) -> Result<(Stream, Timings), ConnectError> {
        let dialing = self
            .dialer
            .dial_reporting(|phase| dial_phase(phase.doing()));
        let dialled = dialing.await?;
        Ok((dialled.stream, dialled.timings))
    }

    async fn run_open(&self, open: &Open) -> Result<(Stream, Timings), ConnectError> {
        dial_phase(DialPhase::Connect.doing());
        let began = Instant::now();
        let opened = open().await;
        let mut timings = Timings::default();
        timings.connect = began.elapsed();
        match opened {
            Ok(stream) => Ok((stream, timings)),
            Err(error) => Err(self
                .dialer
                .error(timings.connect, ConnectFailure::Open(error))),
        }
    }

    async fn run_hook(&self, stream: &mut Stream) -> Result<Option<Duration>, ConnectError> {
        let Some((hook, limit)) = &self.hook else {
            return Ok(None);
        };
        dial_phase(DialPhase::Hook.doing());
        let unprepared = Unprepared::new(&self.dialer, stream);
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
        Err(self.dialer.error(began.elapsed(), cause))
    }
}

impl Connector for StreamConnector {
    type Connection = Stream;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Stream, ConnectError> {
        let (mut stream, dial) = match &self.open {
            None => self.dial().await?,
            Some(open) => self.run_open(open).await?,
        };
        let hook = self.run_hook(&mut stream).await?;
        let timings = PhaseTimings { dial, hook };
        let shown = |time| tracing::field::display(Span(time));
        tracing::debug!(
            target: "millpond::net",
            endpoint = %self.dialer.endpoint_text(),
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

    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        error.downcast_ref().is_some_and(ConnectError::is_refused)
    }

    fn check(&self, stream: &mut Stream) -> Result<(), Eviction> {
        reason(stream.check_idle()).map_or(Ok(()), Err)
    }

    fn poll_idle(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Eviction> {
        loop {
            if let Some(reason) = reason(ready!(stream.poll_idle(cx))) {
                return Poll::Ready(reason);
            }
        }
    }

    fn close(&self, stream: Stream) -> Closing {
        stream.close();
        Closing::Done
    }

    fn ends(&self, stream: &Stream) -> Ends {
        match (stream.local_addr(), stream.peer_addr()) {
            (Some(local), Some(peer)) => Ends::between(local, peer),
            _ => Ends::to(Arc::clone(&self.peer)),
        }
    }

    async fn endpoint_changed(&self) {
        self.dialer.moved().await;
    }

    fn is_current(&self, ends: &Ends) -> bool {
        match &ends.peer {
            Some(Address::Ip(address)) => self.dialer.is_current(address),
            _ => true,
        }
    }

    #[cfg(feature = "kernel")]
    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>> {
        let addresses: Vec<_> = ends.iter().map(both_addresses).collect();
        let pairs: Vec<_> = addresses.iter().copied().flatten().collect();
        if pairs.is_empty() {
            return Vec::new();
        }
        // If the kernel can't be asked, there is nothing to show.
        let mut known = kernel::tcp_info(&pairs).unwrap_or_default().into_iter();
        let of = |pair: Option<_>| pair.and_then(|_| known.next().flatten()).map(shown);
        addresses.into_iter().map(of).collect()
    }
}

/// A stream that is being prepared. If it is dropped before that has succeeded, the dialler tries
/// other addresses of the name first.
pub(crate) struct Unprepared<'c> {
    dialer: &'c Dialer,
    address: Option<SocketAddr>,
}

impl<'c> Unprepared<'c> {
    pub(crate) fn new(dialer: &'c Dialer, stream: &Stream) -> Self {
        Unprepared {
            dialer,
            address: stream.peer_addr(),
        }
    }

    pub(crate) fn succeeded(mut self) {
        self.address = None;
    }
}

impl Drop for Unprepared<'_> {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.dialer.doubt(address);
        }
    }
}

#[cfg(feature = "kernel")]
fn both_addresses(ends: &Ends) -> Option<(SocketAddr, SocketAddr)> {
    match (&ends.local, &ends.peer) {
        (Some(Address::Ip(local)), Some(Address::Ip(peer))) => Some((*local, *peer)),
        _ => None,
    }
}

#[cfg(feature = "kernel")]
fn shown(known: kernel::TcpInfo) -> Transmission {
    let mut transmission = Transmission::default();
    transmission.rtt = known.rtt;
    transmission.rtt_variance = known.rtt_variance;
    transmission.retransmits = known.retransmits;
    transmission.unacknowledged = known.unacknowledged;
    transmission
}

/// Why an idle stream in this state is evicted.
fn reason(seen: IdleState) -> Option<Eviction> {
    match seen {
        IdleState::Quiet => None,
        IdleState::Bytes => Some(Eviction::UnsolicitedBytes),
        IdleState::Closed => Some(Eviction::PeerClosed),
        // Broken; and what a later version tells of a stream that isn't quiet.
        _ => Some(Eviction::PeerReset),
    }
}

impl From<Endpoint> for StreamConnector {
    fn from(endpoint: Endpoint) -> Self {
        StreamConnector::new(Dialer::new(endpoint))
    }
}

impl fmt::Debug for StreamConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamConnector").field(&self.peer).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        client::Client,
        net::Listener,
        server::{Server, raw},
    };

    fn name() -> Endpoint {
        "unix:///in-memory".parse().expect("an endpoint")
    }

    #[tokio::test]
    async fn a_client_and_a_server_speak_over_streams_that_are_no_sockets() {
        let (sender, streams) = mpsc::channel(1);
        let echo = raw(async |body: bytes::Bytes| Ok(body));
        let server = Server::builder(echo).serve(Listener::from_streams(name(), streams));
        let server = server.expect("a server");
        let connector = StreamConnector::opened_by(name(), move || {
            let sender = sender.clone();
            async move {
                let (near, far) = tokio::io::duplex(256);
                sender.send(Stream::foreign(far)).await?;
                Ok(Stream::foreign(near))
            }
        });
        let client = Client::over(connector).build().expect("a client");
        for body in [vec![b'1'; 4], vec![b'2'; 10_000]] {
            let reply = client.exchange(&body).await.expect("a reply");
            assert_eq!(reply, body);
        }
        assert_eq!(client.pool().snapshot().totals.opened, 1);
        client
            .pool()
            .close(Duration::from_secs(10))
            .await
            .expect("closed");
        let ended = server.drain(Duration::from_secs(10)).await;
        assert_eq!((ended.forced, ended.unanswered), (0, 0));
    }

    #[tokio::test]
    async fn an_opening_that_fails_is_told_with_its_cause() {
        let kinds = [io::ErrorKind::ConnectionRefused, io::ErrorKind::Other];
        for kind in kinds {
            let opening = move || std::future::ready(Err(io::Error::from(kind).into()));
            let connector = StreamConnector::opened_by(name(), opening);
            let error = connector.connect().await.expect_err("it fails");
            let said = millpond_words::Chain(&error).to_string();
            assert!(said.contains("opening the stream failed: "), "{said}");
            assert_eq!(
                connector.refused(&error),
                kind == io::ErrorKind::ConnectionRefused
            );
        }
    }
}
