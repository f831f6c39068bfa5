//! From an endpoint to a stream: looks the name up, connects to its addresses in turn, shakes hands. Knows when a name has moved, and
//! says what each phase took. Opens one stream per call; how many there should be, and when to try again, others decide.

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

use parking_lot::Mutex;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    ConnectError, ConnectFailure, Endpoint, Host, HostPort, Phase, Resolve, Stream, SystemResolver,
    TcpOptions,
    error::ConnectedToItself,
    explanations::Explanations,
    names::{Change, Names},
    race::{in_turn, race},
};
#[cfg(feature = "tls")]
use super::{tls::ClientTls, tls_endpoint::TlsSide};

/// How long each phase of a dial may take. A pool's `connect_timeout` bounds all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseLimits {
    /// Looking the name up. Default 2 s; a known answer serves if it fails.
    pub resolve: Duration,
    /// Connecting, whatever the number of addresses. Default 3 s: two lost SYNs.
    pub connect: Duration,
    /// The TLS handshake. Default 3 s.
    pub tls: Duration,
}

impl Default for PhaseLimits {
    fn default() -> Self {
        PhaseLimits {
            resolve: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            tls: Duration::from_secs(3),
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
pub struct Dialled {
    /// The stream.
    pub stream: Stream,
    /// What each phase took.
    pub timings: Timings,
}

/// Dials one endpoint.
///
/// ```
/// use millpond::transport::Dialer;
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
    resolver: Box<dyn Resolve>,
    refresh: Duration,
    #[cfg(feature = "tls")]
    tls: TlsSide,
    names: Mutex<Names>,
    /// One lookup at a time: who waited for it uses its answer.
    looking_up: tokio::sync::Mutex<()>,
    /// An address has gone.
    moved: Notify,
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
            resolver: Box::new(SystemResolver),
            refresh: Duration::from_secs(30),
            #[cfg(feature = "tls")]
            tls: TlsSide::default(),
            names: Mutex::default(),
            looking_up: tokio::sync::Mutex::default(),
            moved: Notify::new(),
            explanations: Explanations::default(),
        }
    }

    /// How TCP sockets are set up.
    pub fn tcp_options(mut self, options: TcpOptions) -> Self {
        self.tcp = options;
        self
    }

    /// How long each phase may take.
    pub fn limits(mut self, limits: PhaseLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Who looks names up. Default: the system.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Box::new(resolver);
        self
    }

    /// How old the addresses of a name may become before it is looked up again. Default 30 s: the system doesn't tell how long an answer
    /// holds, and moved services are commonly announced with as much. After a failed dial a second is enough.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh;
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
    /// Dropped, it closes what it has opened. That counts as a failure of the addresses that it was trying: the next dial tries
    /// others first.
    pub async fn dial(&self) -> Result<Dialled, ConnectError> {
        self.dial_telling(|_| {}).await
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
    pub async fn dial_telling(&self, tell: impl Fn(Phase) + Send + Sync) -> Result<Dialled, ConnectError> {
        let began = Instant::now();
        let mut timings = Timings::default();
        let dialled = match &self.endpoint {
            Endpoint::Tcp(to) => self.dial_tcp(to, &tell, &mut timings).await,
            #[cfg(feature = "tls")]
            Endpoint::Tls(to) => self.dial_tls(to, &tell, &mut timings).await,
            Endpoint::Unix(path) => self.dial_unix(path, &tell, &mut timings).await,
        };
        dialled
            .map(|stream| Dialled { stream, timings })
            .map_err(|cause| self.error(began.elapsed(), cause))
    }

    pub(crate) fn error(&self, elapsed: Duration, cause: ConnectFailure) -> ConnectError {
        ConnectError {
            endpoint: Arc::clone(&self.text),
            elapsed,
            cause,
        }
    }

    /// Whether a connection to this address leads where one would be dialled now: its name hasn't lost the address.
    pub fn is_current(&self, address: &SocketAddr) -> bool {
        match self.name() {
            Some(_) => self.names.lock().is_current(address),
            None => true,
        }
    }

    /// Waits until the name has lost an address, looking it up again as often as [`refresh`](Dialer::refresh) says. An endpoint without a
    /// name never changes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a change that nobody waited for is told to the next who does.
    pub async fn moved(&self) {
        let Some(to) = self.name() else {
            return std::future::pending().await;
        };
        loop {
            // Before the first dial there is nothing that could move.
            let due = self.names.lock().due_at(self.refresh);
            let look_at = due.unwrap_or_else(|| Instant::now() + self.refresh);
            if timeout_at(look_at, self.moved.notified()).await.is_ok() {
                return;
            }
            if due.is_some() {
                // A failure is told by the dial that needs the answer.
                let _ = self.look_up(to).await;
            }
        }
    }

    fn name(&self) -> Option<&HostPort> {
        match &self.endpoint {
            Endpoint::Tcp(to) => Some(to),
            #[cfg(feature = "tls")]
            Endpoint::Tls(to) => Some(to),
            Endpoint::Unix(_) => None,
        }
        .filter(|to| matches!(to.host, Host::Name(_)))
    }

    async fn dial_tcp(
        &self,
        to: &HostPort,
        tell: &(impl Fn(Phase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<Stream, ConnectFailure> {
        let unproven = self.connect(to, tell, timings).await?;
        Ok(unproven.reached().into())
    }

    #[cfg(feature = "tls")]
    async fn dial_tls(
        &self,
        to: &HostPort,
        tell: &(impl Fn(Phase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<Stream, ConnectFailure> {
        let (tls, name) = self.tls.settings_for(&to.host)?;
        let mut unproven = self.connect(to, tell, timings).await?;
        tell(Phase::Tls);
        let (address, began) = (unproven.address, Instant::now());
        let stream = unproven.stream.take().expect("connected");
        let encrypted = timeout(self.limits.tls, tls.connect(name, stream)).await;
        timings.tls = Some(began.elapsed());
        match encrypted {
            Ok(Ok(stream)) => {
                unproven.prove();
                Ok(tokio_rustls::TlsStream::Client(stream).into())
            }
            Ok(Err(error)) => {
                let error = Box::new(error);
                Err(ConnectFailure::Tls { address, error })
            }
            Err(_) => Err(ConnectFailure::TimedOut {
                phase: Phase::Tls,
                limit: self.limits.tls,
                attempts: Vec::new(),
            }),
        }
    }

    /// A listener whose backlog is full says so at once, instead of keeping the caller waiting as TCP does: try again, at growing
    /// intervals.
    async fn dial_unix(
        &self,
        path: &Path,
        tell: &(impl Fn(Phase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<Stream, ConnectFailure> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(50);
        tell(Phase::Connect);
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            timings.sockets += 1;
            let connected = UnixStream::connect(path).await;
            timings.connect = began.elapsed();
            match connected {
                Ok(stream) => return Ok(stream.into()),
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && timings.connect + pause < self.limits.connect =>
                {
                    sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    let attempts = self.explanations.of_unix(error);
                    return Err(ConnectFailure::Unreachable {
                        attempts,
                        stale: None,
                    });
                }
            }
        }
    }

    /// A TCP stream to one of the host's addresses.
    async fn connect(
        &self,
        to: &HostPort,
        tell: &(impl Fn(Phase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<Unproven<'_>, ConnectFailure> {
        if to.port == 0 {
            return Err(ConnectFailure::PortZero);
        }
        let (addresses, stale) = self.addresses(to, tell, timings).await?;
        tell(Phase::Connect);
        let began = Instant::now();
        let mut unproven = Unproven::new(self, addresses);
        let mut failures = Vec::new();
        let attempt = |address| {
            unproven.tried.fetch_add(1, Ordering::Relaxed);
            connect_to(address, &self.tcp)
        };
        let connecting = race(&unproven.addresses, attempt, given_up, &mut failures);
        let won = timeout(self.limits.connect, connecting).await;
        timings.connect = began.elapsed();
        timings.sockets = unproven.tried.load(Ordering::Relaxed);
        let cause = match won {
            Ok(Some((address, stream))) => {
                unproven.address = address;
                unproven.stream = Some(stream);
                return Ok(unproven);
            }
            Ok(None) => ConnectFailure::Unreachable {
                attempts: self.explanations.of_tcp(failures, self.tcp.bind).await,
                stale,
            },
            Err(_) => ConnectFailure::TimedOut {
                phase: Phase::Connect,
                limit: self.limits.connect,
                attempts: self.explanations.of_tcp(failures, self.tcp.bind).await,
            },
        };
        Err(cause)
    }

    /// The addresses to try, best first; and why the latest lookup failed, if these are of an earlier one.
    async fn addresses(
        &self,
        to: &HostPort,
        tell: &(impl Fn(Phase) + Send + Sync),
        timings: &mut Timings,
    ) -> Result<(Vec<SocketAddr>, Option<io::Error>), ConnectFailure> {
        if let Host::Address(address) = to.host {
            return Ok((vec![SocketAddr::new(address, to.port)], None));
        }
        let mut stale = None;
        if self.names.lock().is_due(Instant::now(), self.refresh) {
            tell(Phase::Resolve);
            let began = Instant::now();
            let looked_up = self.look_up(to).await;
            timings.resolve = Some(began.elapsed());
            match looked_up {
                Err(failure) if self.names.lock().addresses().is_empty() => return Err(failure),
                Err(ConnectFailure::Resolve(error)) => stale = Some(error),
                Err(_) => stale = Some(io::ErrorKind::TimedOut.into()),
                Ok(()) => {}
            }
        }
        let (names, now) = (self.names.lock(), Instant::now());
        let addresses = in_turn(&names.addresses(), |address| names.failed_lately(address, now));
        if addresses.is_empty() {
            return Err(ConnectFailure::NoAddress);
        }
        Ok((addresses, stale))
    }

    /// Looks the name up, unless somebody else does so just now: then their answer serves.
    async fn look_up(&self, to: &HostPort) -> Result<(), ConnectFailure> {
        let Host::Name(name) = &to.host else {
            return Ok(());
        };
        let asked = Instant::now();
        let _alone = self.looking_up.lock().await;
        if self.names.lock().was_looked_up_since(asked) {
            return Ok(());
        }
        let answer = timeout(self.limits.resolve, self.resolver.resolve(name, to.port)).await;
        let now = Instant::now();
        match answer {
            Ok(Ok(addresses)) => {
                if self.names.lock().answered(&addresses, now) == Change::SomeWent {
                    self.moved.notify_one();
                }
                Ok(())
            }
            Ok(Err(error)) => {
                self.names.lock().unanswered(now);
                Err(ConnectFailure::Resolve(error))
            }
            Err(_) => {
                self.names.lock().unanswered(now);
                Err(ConnectFailure::TimedOut {
                    phase: Phase::Resolve,
                    limit: self.limits.resolve,
                    attempts: Vec::new(),
                })
            }
        }
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
    let why = format!("no answer within {after:?}, and others were left to try");
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// Addresses being tried, or one that was reached but not proven yet. Dropped before that, whether the dial failed, timed out
/// or was cancelled, it leaves them in doubt.
struct Unproven<'d> {
    dialer: &'d Dialer,
    addresses: Vec<SocketAddr>,
    tried: AtomicU32,
    /// The one that was reached.
    address: SocketAddr,
    stream: Option<TcpStream>,
    proven: bool,
}

impl<'d> Unproven<'d> {
    fn new(dialer: &'d Dialer, addresses: Vec<SocketAddr>) -> Self {
        Unproven {
            dialer,
            address: addresses[0],
            addresses,
            tried: AtomicU32::new(0),
            stream: None,
            proven: false,
        }
    }

    fn reached(mut self) -> TcpStream {
        self.prove();
        self.stream.take().expect("connected")
    }

    fn prove(&mut self) {
        self.proven = true;
        self.dialer.names.lock().reached(self.address);
    }
}

impl Drop for Unproven<'_> {
    fn drop(&mut self) {
        if !self.proven {
            let tried = usize::try_from(self.tried.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            let mut names = self.dialer.names.lock();
            names.failed(self.addresses.iter().copied().take(tried), Instant::now());
            names.doubt();
        }
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dialer").field(&self.text).finish()
    }
}
