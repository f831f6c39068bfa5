//! A pool's connector for streams of every transport. It opens streams, checks idle ones without a
//! system call while nothing has arrived, and follows changes of their endpoint's name. It knows
//! nothing of what is exchanged on them.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use millpond_words::{Chain, Span};

#[cfg(feature = "kernel")]
use crate::{kernel, pool::Transmission};
use crate::{
    net::{
        ConnectError, ConnectFailure, DialPhase, Dialer, Endpoint, EndpointError, IdleState,
        Stream, Timings,
    },
    pool::{Address, AfterRelease, Closing, Connector, Ends, Eviction, dial_phase},
    upstreams::{Held, Loss, Upstreams},
};

pub use crate::upstreams::{Ejection, UpstreamSnapshot};

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
    dialers: Vec<Dialer>,
    /// What has become of several.
    upstreams: Option<Arc<Upstreams>>,
    hook: Option<(Hook, Duration)>,
    last_timings: Mutex<Option<PhaseTimings>>,
    /// What opens the streams, if the dialler doesn't.
    open: Option<Open>,
}

/// One of several endpoints that do the same: see [`StreamConnector::among`].
#[derive(Debug)]
pub struct Upstream {
    dialer: Dialer,
    max_size: u32,
}

impl Upstream {
    /// What this dialler dials.
    pub fn new(dialer: Dialer) -> Self {
        Upstream {
            dialer,
            max_size: u32::MAX,
        }
    }

    /// How many connections it may have at once, those being opened or probed included. Exact. One
    /// at least. Default: as many as the pool.
    ///
    /// A dial that finds all upstreams full waits for room, within the pool's `connect_timeout`: let
    /// the pool's `max_size` be no more than the sum of these.
    pub fn max_size(mut self, max_size: u32) -> Self {
        self.max_size = max_size.max(1);
        self
    }
}

impl From<Dialer> for Upstream {
    fn from(dialer: Dialer) -> Self {
        Upstream::new(dialer)
    }
}

impl From<Endpoint> for Upstream {
    fn from(endpoint: Endpoint) -> Self {
        Upstream::new(Dialer::new(endpoint))
    }
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

    fn dialled_by(dialers: Vec<Dialer>, upstreams: Option<Arc<Upstreams>>) -> Self {
        StreamConnector {
            dialers,
            upstreams,
            hook: None,
            last_timings: Mutex::new(None),
            open: None,
        }
    }

    /// Streams to several upstreams that do the same, behind one pool with one line of callers: no
    /// caller waits while one of them has room. The pool's `max_size` is for all of them together.
    ///
    /// ```
    /// use millpond::{
    ///     client::Client,
    ///     connectors::{StreamConnector, Upstream},
    ///     net::Dialer,
    /// };
    ///
    /// let upstreams = ["orders-1:7000", "orders-2:7000", "orders-3:7000"].map(str::parse);
    /// let mut among = Vec::new();
    /// for endpoint in upstreams {
    ///     among.push(Upstream::new(Dialer::new(endpoint?)).max_size(8));
    /// }
    /// let client = Client::over(StreamConnector::among(among)).pool(|pool| pool.max_size(24));
    /// # Ok::<_, millpond::net::EndpointError>(())
    /// ```
    ///
    /// # Which one is dialled
    ///
    /// The one with the fewest connections, open or being opened; of equals each in its turn. A dial
    /// that fails goes on to the next upstream at once, within the pool's `connect_timeout`, and
    /// fails when it has been to all that have room; its error is that of the last. An upstream
    /// that has failed is in doubt: for a [pause](Ejection::pause) it is passed over while others
    /// have room, and then dialled once at a time.
    ///
    /// # Which ones are ejected
    ///
    /// One that fails [three times](Ejection::after) in a row is dialled no more, and its
    /// connections are retired: closed now if they are idle, else when they come back. A failure is
    /// a dial that fails, its hook and its login included, or a connection that the upstream ends
    /// before it was ever lent. Dials that had begun before a failure was counted aren't counted
    /// again. What ends a connection that is lent, or has been, counts as nothing, for a single
    /// caller can bring that about. A connection that has served ends the row: by a reply, a clean
    /// release, or a tick spent idle.
    ///
    /// An ejected upstream is probed: dialled, and the stream closed again. It is probed after a
    /// pause, which is doubled with each failure; the first probe that succeeds brings it back. Then
    /// one failure more ejects it again, until a connection has served. Connections aren't moved to
    /// one that is back: it is given those that are opened from then on. At least
    /// [half](Ejection::floor) of the upstreams are never ejected. Probes are made by
    /// [`run`](Connector::run), so by the pool. A dial that has failed at all others tries ejected
    /// ones as well.
    ///
    /// # Panics
    ///
    /// If there is no upstream.
    pub fn among<U: Into<Upstream>>(upstreams: impl IntoIterator<Item = U>) -> Self {
        let upstreams: Vec<Upstream> = upstreams.into_iter().map(Into::into).collect();
        assert!(!upstreams.is_empty(), "there must be an upstream");
        let limited: Vec<_> = upstreams
            .iter()
            .map(|upstream| {
                (
                    Arc::clone(upstream.dialer.endpoint_text()),
                    upstream.max_size,
                )
            })
            .collect();
        let dialers = upstreams.into_iter().map(|upstream| upstream.dialer);
        StreamConnector::dialled_by(dialers.collect(), Some(Upstreams::new(&limited)))
    }

    /// When upstreams are ejected, and when they are probed. For those of
    /// [`among`](StreamConnector::among) only.
    pub fn ejection(self, ejection: Ejection) -> Self {
        if let Some(upstreams) = &self.upstreams {
            upstreams.set_ejection(ejection);
        }
        self
    }

    /// The upstreams at this instant, in the order in which they were given. Empty for a connector
    /// that wasn't made by [`among`](StreamConnector::among).
    pub fn upstreams(&self) -> Vec<UpstreamSnapshot> {
        let upstreams = self.upstreams.as_ref();
        upstreams.map_or_else(Vec::new, |upstreams| upstreams.snapshots())
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

    /// A stream has been checked in the instant before it is lent, or as it comes back.
    #[inline]
    pub(crate) fn note_check(&self, stream: &Stream, passed: bool) {
        if self.upstreams.is_some()
            && let Some(held) = stream.companion::<Held>()
        {
            match passed {
                true => held.lent(),
                false => held.died(),
            }
        }
    }

    /// An idle stream has been looked at.
    #[inline]
    pub(crate) fn note_idle(&self, stream: &Stream, is_quiet: bool) {
        if self.upstreams.is_some()
            && let Some(held) = stream.companion::<Held>()
        {
            match is_quiet {
                true => held.served(),
                false => held.died(),
            }
        }
    }

    /// How long the phases of the last successful dial took, a client's login not counted.
    pub fn last_timings(&self) -> Option<PhaseTimings> {
        *self.last_timings.lock()
    }

    /// Opens a stream and prepares it.
    async fn open(&self, dialer: &Dialer) -> Result<Stream, ConnectError> {
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

    /// Goes from upstream to upstream until one can be dialled.
    async fn connect_among(&self, upstreams: &Arc<Upstreams>) -> Result<Stream, ConnectError> {
        let mut tried = Vec::new();
        let mut last = None;
        dial_phase("waiting for room at an upstream");
        while let Some(dial) = upstreams.next(&tried).await {
            let dialer = &self.dialers[dial.at()];
            match self.open(dialer).await {
                Ok(stream) => {
                    let ends = ends(dialer, &stream);
                    return Ok(dial.opened(stream, ends));
                }
                Err(error) => {
                    tracing::debug!(target: "millpond::net", error = %Chain(&error), "dial of an upstream failed");
                    tried.push(dial.at());
                    last = Some(error);
                }
            }
        }
        Err(last.expect("the first is waited for"))
    }

    /// Probes an upstream whenever it is ejected. Never ends.
    async fn probe_upstream(&self, upstreams: &Arc<Upstreams>, at: usize) {
        loop {
            let probe = upstreams.next_probe(at).await;
            let dialer = &self.dialers[at];
            match self.open(dialer).await {
                Ok(stream) => {
                    let ends = ends(dialer, &stream);
                    probe.opened(stream, ends).close();
                }
                Err(error) => {
                    tracing::debug!(target: "millpond::net", error = %Chain(&error), "probe of an upstream failed");
                }
            }
        }
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

/// Between which addresses a stream lies that this dialler has opened.
fn ends(dialer: &Dialer, stream: &Stream) -> Ends {
    match (stream.local_addr(), stream.peer_addr()) {
        (Some(local), Some(peer)) => Ends::between(local, peer),
        _ => Ends::to(Arc::clone(dialer.endpoint_text())),
    }
}

/// A stream has been of use.
#[inline]
pub(crate) fn served(stream: &Stream) {
    if let Some(held) = stream.companion::<Held>() {
        held.served();
    }
}

/// All of these, of which none ends.
async fn all<F: Future<Output = ()>>(futures: impl IntoIterator<Item = F>) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|cx| {
        for future in &mut futures {
            let _ = future.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}

/// The first of these that ends; the others are dropped.
async fn any<'f>(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + Send + 'f>>>) {
    poll_fn(|cx| {
        let polled = futures.iter_mut().any(|it| it.as_mut().poll(cx).is_ready());
        match polled {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

impl Connector for StreamConnector {
    type Connection = Stream;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Stream, ConnectError> {
        match &self.upstreams {
            None => self.open(self.dialer()).await,
            Some(upstreams) => self.connect_among(upstreams).await,
        }
    }

    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        error.downcast_ref().is_some_and(ConnectError::is_refused)
    }

    fn check(&self, stream: &mut Stream) -> Result<(), Eviction> {
        let reason = reason(stream.check_idle());
        self.note_check(stream, reason.is_none());
        reason.map_or(Ok(()), Err)
    }

    fn on_release(&self, stream: &mut Stream) -> Result<AfterRelease, ConnectError> {
        served(stream);
        Ok(AfterRelease::Ready)
    }

    fn poll_idle(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Eviction> {
        let seen = loop {
            match stream.poll_idle(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(seen) => {
                    if let Some(reason) = reason(seen) {
                        break Poll::Ready(reason);
                    }
                }
            }
        };
        self.note_idle(stream, seen.is_pending());
        seen
    }

    fn close(&self, stream: Stream) -> Closing {
        stream.close();
        Closing::Done
    }

    fn ends(&self, stream: &Stream) -> Ends {
        ends(self.dialer_of(stream), stream)
    }

    /// Probes ejected upstreams.
    async fn run(&self) {
        if let Some(upstreams) = &self.upstreams {
            let each = 0..self.dialers.len();
            all(each.map(|at| self.probe_upstream(upstreams, at))).await;
        }
    }

    async fn endpoint_changed(&self) {
        let Some(upstreams) = &self.upstreams else {
            return self.dialer().moved().await;
        };
        let mut changes: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> =
            vec![Box::pin(upstreams.ejected())];
        for dialer in &self.dialers {
            changes.push(Box::pin(dialer.moved()));
        }
        any(changes).await;
    }

    fn is_current(&self, ends: &Ends) -> bool {
        let dialer = match &self.upstreams {
            None => self.dialer(),
            Some(upstreams) => match upstreams.of(ends) {
                Some(at) if upstreams.is_ejected(at) => return false,
                Some(at) => &self.dialers[at],
                None => return true,
            },
        };
        match &ends.peer {
            Some(Address::Ip(address)) => dialer.is_current(address),
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
/// other addresses of the name first, and of several upstreams its own has failed.
pub(crate) struct Unprepared<'c> {
    dialer: &'c Dialer,
    address: Option<SocketAddr>,
    loss: Option<Loss>,
}

impl<'c> Unprepared<'c> {
    pub(crate) fn new(dialer: &'c Dialer, stream: &Stream) -> Self {
        Unprepared {
            dialer,
            address: stream.peer_addr(),
            loss: stream.companion().map(Held::loss),
        }
    }

    pub(crate) fn succeeded(mut self) {
        self.address = None;
        self.loss = None;
    }
}

impl Drop for Unprepared<'_> {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.dialer.doubt(address);
        }
        if let Some(loss) = &self.loss {
            loss.count();
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
        let mut shown = f.debug_tuple("StreamConnector");
        for dialer in &self.dialers {
            shown.field(dialer.endpoint_text());
        }
        shown.finish()
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
