//! From an endpoint to a stream: looks the name up, connects to its addresses in turn, shakes
//! hands. Knows when a name has moved, and says what each phase took. Opens one stream per call;
//! how many there should be, and when to try again, others decide.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, sleep},
};

#[cfg(feature = "kernel")]
use super::explanations::Explanations;
#[cfg(not(feature = "kernel"))]
use super::unexplained::Explanations;
use super::{
    ConnectError, ConnectFailure, DialPhase, Endpoint, Host, HostName, HostPort, Resolve, Stream,
    TcpOptions,
    error::ConnectedToItself,
    lookups::{Addresses, Lookups, NoAddresses},
    race::{Won, race},
};
#[cfg(feature = "tls")]
use super::{tls::ClientTls, tls_endpoint::TlsSide};
use millpond_words::Span;

const DEFAULT_REFRESH: Duration = Duration::from_secs(30);
const SHORTEST_REFRESH: Duration = Duration::from_millis(100);
const LONGEST_REFRESH: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A longer limit is none, and a moment that far away can still be expressed.
const LONGEST_LIMIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long each phase of a dial may take. A pool's `connect_timeout`, 3 s by default, bounds all
/// of them together; these are shorter, so that the phase that fails is told with what it had found
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseLimits {
    /// Looking the name up. Default 1 s; where addresses are known from an earlier lookup, half a
    /// second is waited at most.
    pub resolve: Duration,
    /// Connecting, whatever the number of addresses. Default 2.25 s: a SYN that is lost is sent
    /// again after one.
    pub connect: Duration,
    /// The TLS handshake. Default 2 s.
    pub tls: Duration,
}

impl Default for PhaseLimits {
    fn default() -> Self {
        PhaseLimits {
            resolve: Duration::from_secs(1),
            connect: Duration::from_millis(2_250),
            tls: Duration::from_secs(2),
        }
    }
}

/// What a dial took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Looking the name up; `None` where that wasn't needed.
    pub resolve: Option<Duration>,
    /// Connecting.
    pub connect: Duration,
    /// The TLS handshake, where there was one.
    pub tls: Option<Duration>,
    /// How many sockets it has opened for that: one per address that was tried.
    pub sockets: u32,
}

/// A dial that succeeded.
#[derive(Debug)]
#[non_exhaustive]
pub struct DialedStream {
    /// The stream.
    pub stream: Stream,
    /// What each phase took.
    pub timings: Timings,
}

/// Dials one endpoint.
///
/// ```
/// use millpond_net::Dialer;
/// use tokio::io::AsyncWriteExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let endpoint = format!("tcp://{}", listener.local_addr()?);
/// let dialer = Dialer::new(endpoint.parse()?);
/// let mut dialled = dialer.dial().await?;
/// dialled.stream.write_all(b"hello").await?;
/// println!("connected in {:?}", dialled.timings.connect);
/// # Ok(())
/// # }
/// ```
pub struct Dialer {
    endpoint: Endpoint,
    text: Arc<str>,
    tcp: TcpOptions,
    limits: PhaseLimits,
    lookups: Lookups,
    #[cfg(feature = "tls")]
    tls: TlsSide,
    explanations: Explanations,
}

impl Dialer {
    /// Dials `endpoint`, with the default options.
    pub fn new(endpoint: Endpoint) -> Self {
        Dialer {
            text: endpoint.to_string().into(),
            endpoint,
            tcp: TcpOptions::default(),
            limits: PhaseLimits::default(),
            lookups: Lookups::new(DEFAULT_REFRESH),
            #[cfg(feature = "tls")]
            tls: TlsSide::default(),
            explanations: Explanations::default(),
        }
    }

    /// How TCP sockets are set up.
    pub fn tcp_options(mut self, options: TcpOptions) -> Self {
        self.tcp = options;
        self
    }

    /// How long each phase may take. At most a year counts; with zero a phase fails unless it ends
    /// at once.
    pub fn limits(mut self, limits: PhaseLimits) -> Self {
        self.limits = PhaseLimits {
            resolve: limits.resolve.min(LONGEST_LIMIT),
            connect: limits.connect.min(LONGEST_LIMIT),
            tls: limits.tls.min(LONGEST_LIMIT),
        };
        self
    }

    /// Who looks names up. Default: the system.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.lookups.resolver = Box::new(resolver);
        self
    }

    /// How old the addresses of a name may become before it is looked up again. Default 30 s: the
    /// system doesn't tell how long an answer holds, and moved services are commonly announced
    /// with as much. After a failed dial a second is enough. At least 100 ms and at most a year
    /// count.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.lookups
            .refresh_every(refresh.clamp(SHORTEST_REFRESH, LONGEST_REFRESH));
        self
    }

    /// How TLS endpoints are authenticated. Default: by the system's certificate authorities.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = TlsSide::given(tls);
        self
    }

    /// What it dials.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What it dials, as text.
    pub fn endpoint_text(&self) -> &Arc<str> {
        &self.text
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// What was tried at which address, why it failed, and what to do about it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it closes what it has opened. That counts as a failure of the addresses that it was
    /// trying: the next dial tries others first.
    pub async fn dial(&self) -> Result<DialedStream, ConnectError> {
        self.dial_reporting(|_| {}).await
    }

    /// As [`dial`](Dialer::dial), and tells each phase as it begins.
    ///
    /// # Errors
    ///
    /// As [`dial`](Dialer::dial).
    ///
    /// # Cancel safety
    ///
    /// As [`dial`](Dialer::dial).
    pub async fn dial_reporting(
        &self,
        tell: impl Fn(DialPhase) + Send + Sync,
    ) -> Result<DialedStream, ConnectError> {
        let began = Instant::now();
        let mut timings = Timings::default();
        let dialled = match &self.endpoint {
            Endpoint::Tcp(to) => self.dial_tcp(to, &tell, &mut timings).await,
            #[cfg(feature = "tls")]
            Endpoint::Tls(to) => self.dial_tls(to, &tell, &mut timings).await,
            Endpoint::Unix(path) => self.dial_unix(path, &tell, &mut timings).await,
        };
        dialled
            .map(|stream| DialedStream { stream, timings })
            .map_err(|cause| self.error(began.elapsed(), cause))
    }

    /// An error that says what was attempted: for who prepares a dialled stream further, and fails.
    pub fn error(&self, elapsed: Duration, cause: ConnectFailure) -> ConnectError {
        ConnectError {
            endpoint: Arc::clone(&self.text),
            elapsed,
            cause,
        }
    }

    /// Whether a connection to this address leads where one would be dialled now: its name hasn't
    /// lost the address.
    pub fn is_current(&self, address: &SocketAddr) -> bool {
        self.name().is_none() || self.lookups.is_current(address)
    }

    /// Waits until the name has lost an address, looking it up again as often as
    /// [`refresh`](Dialer::refresh) says, from the first dial on. An endpoint without a name
    /// never changes. Of several that wait one is told.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a change that nobody waited for is told to the next who does.
    pub async fn moved(&self) {
        match self.name() {
            Some((name, port)) => self.lookups.moved(name, port, self.limits.resolve).await,
            None => std::future::pending().await,
        }
    }

    /// What this address leads to was reached, and of no use: for a while the name's other
    /// addresses are tried first.
    pub fn doubt(&self, address: SocketAddr) {
        self.lookups.doubt([address]);
    }

    fn name(&self) -> Option<(&HostName, u16)> {
        let to = match &self.endpoint {
            Endpoint::Tcp(to) => to,
            #[cfg(feature = "tls")]
            Endpoint::Tls(to) => to,
            Endpoint::Unix(_) => return None,
        };
        match &to.host {
            Host::Name(name) => Some((name, to.port)),
            Host::Address(_) => None,
        }
    }

    async fn dial_tcp(
        &self,
        to: &HostPort,
        tell: &(impl Fn(DialPhase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<Stream, ConnectFailure> {
        let (mut attempt, stream) = self.connect(to, tell, timings).await?;
        attempt.succeed();
        Ok(stream.into())
    }

    #[cfg(feature = "tls")]
    async fn dial_tls(
        &self,
        to: &HostPort,
        tell: &(impl Fn(DialPhase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<Stream, ConnectFailure> {
        let (tls, name) = self.tls.settings_for(&to.host).await?;
        let (mut attempt, stream) = self.connect(to, tell, timings).await?;
        tell(DialPhase::Tls);
        let began = Instant::now();
        let encrypted = tokio::time::timeout(self.limits.tls, tls.connect(name, stream)).await;
        timings.tls = Some(began.elapsed());
        match encrypted {
            Ok(Ok(stream)) => {
                attempt.succeed();
                Ok(tokio_rustls::TlsStream::Client(stream).into())
            }
            Ok(Err(error)) => Err(ConnectFailure::Tls {
                address: attempt.reached(),
                error: Box::new(error),
            }),
            Err(_) => Err(ConnectFailure::TimedOut {
                phase: DialPhase::Tls,
                limit: self.limits.tls,
            }),
        }
    }

    /// A listener whose backlog is full says so at once, instead of keeping the caller waiting as
    /// TCP does: try again, at growing intervals.
    async fn dial_unix(
        &self,
        path: &Path,
        tell: &(impl Fn(DialPhase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<Stream, ConnectFailure> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(50);
        tell(DialPhase::Connect);
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            timings.sockets += 1;
            let connected = UnixStream::connect(path).await;
            timings.connect = began.elapsed();
            let error = match connected {
                Ok(stream) => return Ok(stream.into()),
                Err(error) => error,
            };
            let is_full = error.kind() == io::ErrorKind::WouldBlock;
            if !is_full || timings.connect + pause > self.limits.connect {
                return Err(ConnectFailure::Unreachable {
                    attempts: self.explanations.of_unix(error, path).await,
                    stale: None,
                });
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A TCP stream to one of the host's addresses.
    async fn connect(
        &self,
        to: &HostPort,
        tell: &(impl Fn(DialPhase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<(Attempted<'_>, TcpStream), ConnectFailure> {
        if to.port == 0 {
            return Err(ConnectFailure::PortZero);
        }
        let Addresses { in_turn, stale } = self.addresses(to, tell, timings).await?;
        tell(DialPhase::Connect);
        let began = Instant::now();
        let mut attempted = Attempted::new(&self.lookups, in_turn);
        let connecting = race(
            &attempted.addresses,
            |address| {
                attempted.tried.fetch_add(1, Ordering::Relaxed);
                connect_to(address, &self.tcp)
            },
            given_up,
            self.limits.connect,
        );
        let won = connecting.await;
        timings.connect = began.elapsed();
        timings.sockets = attempted.tried.load(Ordering::Relaxed);
        match won {
            Ok(Won {
                address,
                won,
                failures,
            }) => {
                self.lookups
                    .failed(failures.into_iter().map(|(address, _)| address));
                attempted.reached = Some(address);
                Ok((attempted, won))
            }
            Err(failures) => Err(ConnectFailure::Unreachable {
                attempts: self.explanations.of_tcp(failures, self.tcp.bind).await,
                stale,
            }),
        }
    }

    async fn addresses(
        &self,
        to: &HostPort,
        tell: &(impl Fn(DialPhase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<Addresses, ConnectFailure> {
        let name = match &to.host {
            Host::Name(name) => name,
            Host::Address(address) => {
                return Ok(Addresses {
                    in_turn: vec![SocketAddr::new(*address, to.port)],
                    stale: None,
                });
            }
        };
        tell(DialPhase::Resolve);
        let began = Instant::now();
        let addresses = self
            .lookups
            .addresses(name, to.port, self.limits.resolve)
            .await;
        timings.resolve = Some(began.elapsed());
        Err(match addresses {
            Ok(addresses) => return Ok(addresses),
            Err(NoAddresses::Failed(error)) => {
                ConnectFailure::Resolve(self.explanations.of_lookup(error).await)
            }
            Err(NoAddresses::None) => ConnectFailure::NoAddress,
            Err(NoAddresses::TimedOut) => ConnectFailure::TimedOut {
                phase: DialPhase::Resolve,
                limit: self.limits.resolve,
            },
        })
    }
}

async fn connect_to(address: SocketAddr, options: &TcpOptions) -> io::Result<TcpStream> {
    let stream = options.socket_to(address)?.connect(address).await?;
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(ConnectedToItself.into());
    }
    Ok(stream)
}

fn given_up(after: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within {}", Span(after)),
    )
}

/// Addresses that are being tried, or one that was reached and has still to prove itself. Dropped
/// before that, whether the dial failed, timed out or was cancelled, it leaves them in doubt.
struct Attempted<'d> {
    lookups: &'d Lookups,
    addresses: Vec<SocketAddr>,
    /// How many of them.
    tried: AtomicU32,
    reached: Option<SocketAddr>,
    succeeded: bool,
}

impl<'d> Attempted<'d> {
    fn new(lookups: &'d Lookups, addresses: Vec<SocketAddr>) -> Self {
        Attempted {
            lookups,
            addresses,
            tried: AtomicU32::new(0),
            reached: None,
            succeeded: false,
        }
    }

    /// The address that was reached.
    #[cfg(feature = "tls")]
    fn reached(&self) -> SocketAddr {
        self.reached.expect("asked for after connecting")
    }

    fn succeed(&mut self) {
        self.succeeded = true;
        if let Some(address) = self.reached {
            self.lookups.reached(address);
        }
    }
}

impl Drop for Attempted<'_> {
    fn drop(&mut self) {
        if !self.succeeded {
            let tried = usize::try_from(self.tried.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            self.lookups
                .doubt(self.addresses.iter().copied().take(tried));
        }
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dialer").field(&self.text).finish()
    }
}
