//! The dialler: looks up the endpoint's name, connects to its addresses in turn, makes the TLS
//! handshake. It notices when a name has moved, and measures each phase. It opens one stream per
//! call; how many there should be, and when to retry, is decided elsewhere.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering},
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
    ConnectError, ConnectFailure, DialPhase, DialerSettings, Endpoint, Host, HostName, HostPort,
    PhaseLimits, Resolve, Stream, TcpOptions,
    attempted::Attempted,
    error::ConnectedToItself,
    lookups::{Addresses, Lookups, NoAddresses},
    race::{Won, race},
    settings::clamped_refresh,
};
#[cfg(feature = "tls")]
use super::{tls::ClientTls, tls_endpoint::TlsSide};
use millpond_words::Span;

/// How long a dial took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// The lookup of the name; `None` if there was none.
    pub resolve: Option<Duration>,
    /// Connecting.
    pub connect: Duration,
    /// The TLS handshake, where there was one.
    pub tls: Option<Duration>,
    /// How many sockets were opened: one for each attempt.
    pub sockets: u32,
}

/// A stream that was dialed, and what that took.
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
        let settings = DialerSettings::default();
        Dialer {
            text: endpoint.to_string().into(),
            endpoint,
            tcp: settings.tcp,
            limits: settings.limits,
            lookups: Lookups::new(settings.refresh),
            #[cfg(feature = "tls")]
            tls: TlsSide::default(),
            explanations: Explanations::default(),
        }
    }

    /// Sets all settings that are values, in place of those that were set before.
    pub fn settings(self, settings: DialerSettings) -> Self {
        let DialerSettings {
            tcp,
            limits,
            refresh,
        } = settings;
        self.tcp_options(tcp).limits(limits).refresh(refresh)
    }

    /// How TCP sockets are set up.
    pub fn tcp_options(mut self, options: TcpOptions) -> Self {
        self.tcp = options;
        self
    }

    /// How long each phase may take. At most a year counts; with zero a phase fails unless it ends
    /// at once.
    pub fn limits(mut self, limits: PhaseLimits) -> Self {
        self.limits = limits.shortened();
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
        self.lookups.refresh_every(clamped_refresh(refresh));
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

    /// As [`dial`](Dialer::dial), and calls `tell` with each phase as it begins.
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

    /// Makes an error of this endpoint: for code that prepares a dialed stream further, and fails.
    pub fn error(&self, elapsed: Duration, cause: ConnectFailure) -> ConnectError {
        ConnectError {
            endpoint: Arc::clone(&self.text),
            elapsed,
            cause,
        }
    }

    /// Whether the endpoint's name still has this address. Always true for an endpoint without a
    /// name.
    pub fn is_current(&self, address: &SocketAddr) -> bool {
        self.name().is_none() || self.lookups.is_current(address)
    }

    /// Waits until the name has lost an address. From the first dial on it looks the name up again
    /// as often as [`refresh`](Dialer::refresh) says. For an endpoint without a name it waits for
    /// ever. Of several waiters one is woken.
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

    /// Marks an address that was reached but didn't work: for 30 s the name's other addresses are
    /// tried first.
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

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dialer").field(&self.text).finish()
    }
}
