//! A pool's connector for streams of every transport: opens them, judges them without a system call
//! while nothing has arrived, follows their name. Knows nothing of what is exchanged on them.

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

use crate::{
    kernel,
    net::{
        ConnectError, ConnectFailure, Dialer, Endpoint, EndpointError, Phase, Sight, Stream,
        Timings,
    },
    pool::{Address, Closing, Connector, Ends, Eviction, Transmission, dial_phase},
};

/// A stream being prepared, by a hook.
pub type Preparation<'s> =
    Pin<Box<dyn Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 's>>;

type Hook = Box<dyn for<'s> Fn(&'s mut Stream) -> Preparation<'s> + Send + Sync>;

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
/// Not where an exchange ends: a stream that was accessed, be it through a shared reference
/// (`tcp()` and its `try_write`), goes back only by [`release`](crate::pool::Connection::release)
/// or from [`with`](crate::pool::Pool::with), and is closed when merely dropped. In between nothing
/// must arrive on it: a stream on which something has, or that the peer has closed or reset, is
/// evicted within a tick of its arrival, and never lent once the reactor has seen it. TLS session
/// tickets and key updates are nothing in this sense.
///
/// The endpoint's name is looked up again as [`Dialer::refresh`] says; streams to an address that
/// the name has lost (by two answers in a row) are retired.
pub struct StreamConnector {
    dialer: Dialer,
    hook: Option<(Hook, Duration)>,
    peer: Arc<str>,
    last_timings: Mutex<Option<PhaseTimings>>,
    /// Where its streams come from instead of sockets.
    #[cfg(test)]
    inlet: Option<crate::net::memory::Inlet>,
}

/// What the last successful dial took.
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
            #[cfg(test)]
            inlet: None,
        }
    }

    /// Streams without sockets.
    #[cfg(test)]
    pub(crate) fn in_memory(inlet: crate::net::memory::Inlet) -> Self {
        let nowhere = "127.0.0.1:1".parse().expect("an endpoint");
        StreamConnector {
            inlet: Some(inlet),
            ..StreamConnector::new(Dialer::new(nowhere))
        }
    }

    /// Prepares each new stream (logs in, selects) before it is first lent, within `limit`; the
    /// pool's `connect_timeout` covers it as well.
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
        hook: impl for<'s> Fn(&'s mut Stream) -> Preparation<'s> + Send + Sync + 'static,
    ) -> Self {
        self.hook = Some((Box::new(hook), limit));
        self
    }

    /// What opens the streams.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// What the last dial that succeeded took.
    pub fn last_timings(&self) -> Option<PhaseTimings> {
        *self.last_timings.lock()
    }

    async fn run_hook(&self, stream: &mut Stream) -> Result<Option<Duration>, ConnectError> {
        let Some((hook, limit)) = &self.hook else {
            return Ok(None);
        };
        dial_phase(Phase::Hook.doing());
        let unprepared = Unprepared::new(&self.dialer, stream);
        let began = Instant::now();
        let cause = match timeout(*limit, hook(stream)).await {
            Ok(Ok(())) => {
                unprepared.succeeded();
                return Ok(Some(began.elapsed()));
            }
            Ok(Err(error)) => ConnectFailure::Hook(error),
            Err(_) => ConnectFailure::TimedOut {
                phase: Phase::Hook,
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
        #[cfg(test)]
        if let Some(inlet) = &self.inlet {
            let refused = |error| {
                self.dialer
                    .error(Duration::ZERO, ConnectFailure::Hook(Box::new(error)))
            };
            return inlet.open().map_err(refused);
        }
        let dialled = self
            .dialer
            .dial_telling(|phase| dial_phase(phase.doing()))
            .await?;
        let mut stream = dialled.stream;
        let hook = self.run_hook(&mut stream).await?;
        let timings = PhaseTimings {
            dial: dialled.timings,
            hook,
        };
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
        reason(stream.look()).map_or(Ok(()), Err)
    }

    fn poll_idle(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Eviction> {
        loop {
            if let Some(reason) = reason(ready!(stream.poll_look(cx))) {
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

    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>> {
        let addresses: Vec<_> = ends.iter().map(both_addresses).collect();
        let pairs: Vec<_> = addresses.iter().copied().flatten().collect();
        if pairs.is_empty() {
            return Vec::new();
        }
        // Where the system doesn't say there is nothing to show.
        let mut known = kernel::transmissions(&pairs)
            .unwrap_or_default()
            .into_iter();
        let of = |pair: Option<_>| pair.and_then(|_| known.next().flatten()).map(shown);
        addresses.into_iter().map(of).collect()
    }
}

/// A stream that is being prepared. Dropped before that has succeeded, it leaves its address in
/// doubt: another one of the name may do better.
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

fn both_addresses(ends: &Ends) -> Option<(SocketAddr, SocketAddr)> {
    match (&ends.local, &ends.peer) {
        (Some(Address::Ip(local)), Some(Address::Ip(peer))) => Some((*local, *peer)),
        _ => None,
    }
}

fn shown(known: kernel::Transmission) -> Transmission {
    Transmission {
        rtt: known.rtt,
        rtt_variance: known.rtt_variance,
        retransmits: known.retransmits,
        unacknowledged: known.unacknowledged,
    }
}

/// Why a stream that shows this can't stay.
fn reason(seen: Sight) -> Option<Eviction> {
    match seen {
        Sight::Quiet => None,
        Sight::Bytes => Some(Eviction::UnsolicitedBytes),
        Sight::Closed => Some(Eviction::PeerClosed),
        Sight::Broken => Some(Eviction::PeerReset),
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
