//! Listens on an endpoint and accepts streams, of any transport. Sets sockets up, survives what a
//! full machine does to `accept`, and leaves everything else (limits, deadlines, what is said) to
//! the server.

use std::{future::pending, io, time::Duration};

use millpond_words::{Chain, Span, Storm, Sum};
use nix::errno::Errno;
use parking_lot::Mutex;
#[cfg(target_os = "linux")]
use socket2::SockFilter;
use socket2::{SockRef, Socket};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
    sync::mpsc,
    time::{Instant, sleep},
};

#[cfg(feature = "tls")]
use super::tls::ServerTls;
use super::{
    Accepted, Endpoint, Host, HostPort, ListenError, ListenFailure, ListenOptions, Stream,
    TcpOptions,
    accepted::Raw,
    unix_listener::{self, SocketFile},
};

/// The backlog: how many connections wait to be accepted. The kernel takes the lesser of this and
/// `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// The first and the longest pause when this process or the machine has no descriptor or no memory
/// left.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A packet filter for the listening socket (BPF): it drops SYNs. Accepted sockets inherit it, and
/// receive no SYN.
#[cfg(target_os = "linux")]
const WITHOUT_SYN: [SockFilter; 4] = [
    // Load the flags of the TCP header.
    SockFilter::new(0x30, 0, 0, 13),
    // With SYN continue at the next instruction, else at the one after it.
    SockFilter::new(0x45, 0, 1, 0x02),
    // Drop the packet.
    SockFilter::new(0x06, 0, 0, 0),
    // Keep the packet.
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// Accepts streams on one endpoint. Dropping it closes it, and removes a Unix socket's file unless
/// another listener has replaced that.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    /// How accepted TCP sockets are set up, where they don't inherit it.
    #[cfg(not(target_os = "linux"))]
    tcp: Option<TcpOptions>,
    /// Pauses in a row. Each is twice as long as the one before.
    pauses: u32,
    /// Counts the series of pauses, for the log.
    paused: Storm,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(feature = "tls")]
    Tls(TcpListener, ServerTls),
    Unix(UnixListener, SocketFile),
    /// `try_accept` locks it; `accept` has the listener to itself.
    Streams(Endpoint, Mutex<mpsc::Receiver<Stream>>),
}

impl Listener {
    /// Listens on `endpoint`. A name's addresses are tried in turn; the first that can be bound is
    /// used.
    ///
    /// A Unix socket's file that a killed server has left behind is replaced.
    ///
    /// # Errors
    ///
    /// The address is taken, isn't this machine's or not allowed; the path is in use or can't be
    /// written; the endpoint speaks TLS and `options` have none.
    pub async fn bind(
        endpoint: &Endpoint,
        options: ListenOptions,
    ) -> Result<Listener, ListenError> {
        let bound = match endpoint {
            Endpoint::Tcp(at) => bind_tcp(at, &options.tcp).await.map(Kind::Tcp),
            #[cfg(feature = "tls")]
            Endpoint::Tls(at) => match options.tls {
                Some(tls) => bind_tcp(at, &options.tcp)
                    .await
                    .map(|listener| Kind::Tls(listener, tls)),
                None => Err(ListenFailure::NoTlsSettings),
            },
            Endpoint::Unix(path) => {
                let bound = unix_listener::bind(path, options.unix_mode, BACKLOG).await;
                bound.map(|(listener, file)| Kind::Unix(listener, file))
            }
        };
        let kind = bound.map_err(|cause| ListenError {
            endpoint: endpoint.to_string().into(),
            cause,
        })?;
        Ok(Listener::of(kind, Some(options.tcp)))
    }

    /// Accepts the streams that come out of `streams`: for a server that speaks over whatever
    /// carries bytes, by [`Stream::foreign`]. `name` is what the server and its log call it. When
    /// no more can come it goes on waiting.
    ///
    /// ```
    /// use millpond_net::{Listener, Stream};
    /// use tokio::sync::mpsc;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, streams) = mpsc::channel(16);
    /// let mut listener = Listener::from_streams("unix:///in-memory".parse()?, streams);
    /// let (near, far) = tokio::io::duplex(1024);
    /// sender.send(Stream::foreign(near)).await?;
    /// let stream = listener.accept().await?.into_stream().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_streams(name: Endpoint, streams: mpsc::Receiver<Stream>) -> Listener {
        Listener::of(Kind::Streams(name, Mutex::new(streams)), None)
    }

    fn of(kind: Kind, tcp: Option<TcpOptions>) -> Listener {
        #[cfg(target_os = "linux")]
        let _ = tcp;
        Listener {
            kind,
            #[cfg(not(target_os = "linux"))]
            tcp,
            pauses: 0,
            paused: Storm::default(),
        }
    }

    /// Where it listens: a name is replaced by its address, and port 0 by the port that the system
    /// chose. Clients may have to dial something else: the name in the certificate, or an address
    /// instead of `0.0.0.0`.
    ///
    /// # Errors
    ///
    /// What the system says if it can't tell.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        Ok(match &self.kind {
            Kind::Tcp(listener) => Endpoint::from(listener.local_addr()?),
            #[cfg(feature = "tls")]
            Kind::Tls(listener, _) => {
                let address = listener.local_addr()?;
                Endpoint::Tls(HostPort {
                    host: Host::Address(address.ip()),
                    port: address.port(),
                })
            }
            Kind::Unix(_, file) => Endpoint::Unix(file.path.clone()),
            Kind::Streams(name, _) => name.clone(),
        })
    }

    /// Accepts the next connection. It goes on after temporary failures: a client that has gone
    /// again is skipped; when descriptors or memory are used up it logs a warning, pauses (10 ms,
    /// doubling to 500 ms), and tries again.
    ///
    /// # Errors
    ///
    /// The listener is broken for good.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost.
    pub async fn accept(&mut self) -> io::Result<Accepted> {
        loop {
            let accepted = match &mut self.kind {
                Kind::Tcp(listener) => listener.accept().await.map(|(stream, _)| Raw::Tcp(stream)),
                #[cfg(feature = "tls")]
                Kind::Tls(listener, tls) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| Raw::Tls(stream, tls.clone()))
                }
                Kind::Unix(listener, _) => {
                    listener.accept().await.map(|(stream, _)| Raw::Unix(stream))
                }
                Kind::Streams(_, streams) => match streams.get_mut().recv().await {
                    Some(stream) => Ok(Raw::Open(stream)),
                    None => pending().await,
                },
            };
            match accepted {
                Ok(raw) => {
                    self.pauses = 0;
                    return Ok(self.accepted(raw));
                }
                Err(error) if has_gone(&error) => {}
                Err(error) if only_time_mends(&error) => self.pause(&error).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Drops the SYNs of new connections from now on. Call it before the last `try_accept`: when a
    /// listener is dropped, the kernel resets the connections in its backlog, so the backlog must
    /// be emptied and stay empty. A client whose SYN was dropped sends it again after a second, and
    /// is refused then. Linux only, and TCP only; otherwise it does nothing.
    #[cfg(target_os = "linux")]
    pub fn drop_new_connections(&self) {
        let listener = match &self.kind {
            Kind::Tcp(listener) => listener,
            #[cfg(feature = "tls")]
            Kind::Tls(listener, _) => listener,
            Kind::Unix(..) | Kind::Streams(..) => return,
        };
        let _ = SockRef::from(listener).attach_filter(&WITHOUT_SYN);
    }

    /// Accepts a connection that waits in the backlog, without waiting itself. It asks the kernel,
    /// once: the reactor may not know of the connection yet.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the backlog is empty, else the system's error. Some errors concern one
    /// connection, and remove it from the backlog; others remove none, and come again. They can't
    /// be told apart: call again, but a limited number of times.
    pub fn try_accept(&self) -> io::Result<Accepted> {
        let accepted = match &self.kind {
            Kind::Tcp(listener) => accept_tcp(listener).map(Raw::Tcp),
            #[cfg(feature = "tls")]
            Kind::Tls(listener, tls) => {
                accept_tcp(listener).map(|stream| Raw::Tls(stream, tls.clone()))
            }
            Kind::Unix(listener, _) => accept_from(SockRef::from(listener))
                .and_then(|socket| UnixStream::from_std(socket.into()))
                .map(Raw::Unix),
            Kind::Streams(_, streams) => {
                let none = |_| io::ErrorKind::WouldBlock.into();
                streams.lock().try_recv().map(Raw::Open).map_err(none)
            }
        };
        accepted.map(|raw| self.accepted(raw))
    }

    fn accepted(&self, raw: Raw) -> Accepted {
        // On Linux accepted sockets inherit these options.
        #[cfg(not(target_os = "linux"))]
        if let (Some(options), Some(socket)) = (&self.tcp, raw.tcp()) {
            // It may be closed already; the next read says so.
            let _ = options.set_up(SockRef::from(socket));
        }
        Accepted { raw }
    }

    async fn pause(&mut self, error: &io::Error) {
        let pause = FIRST_PAUSE * 2u32.saturating_pow(self.pauses.min(16));
        if self.pauses == 0 {
            let now = Instant::now();
            if let Some(Sum { events, within }) = self.paused.sum_up(now) {
                tracing::warn!(target: "millpond::net", others = events, within = %Span(within), "accepting has paused several times");
            }
            if self.paused.happened(now) {
                tracing::warn!(target: "millpond::net", error = %Chain(error), "accepting pauses: connections wait in the backlog");
            }
        }
        self.pauses += 1;
        sleep(pause.min(LONGEST_PAUSE)).await;
    }
}

/// Takes a TCP socket that listens already, as from systemd. No options are set on the sockets that
/// it accepts.
impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Listener::of(Kind::Tcp(listener), None)
    }
}

fn accept_from(listener: SockRef<'_>) -> io::Result<Socket> {
    let (socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn accept_tcp(listener: &TcpListener) -> io::Result<TcpStream> {
    TcpStream::from_std(accept_from(SockRef::from(listener))?.into())
}

async fn bind_tcp(at: &HostPort, options: &TcpOptions) -> Result<TcpListener, ListenFailure> {
    let addresses: Vec<_> = match &at.host {
        Host::Address(address) => vec![(*address, at.port).into()],
        Host::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), at.port)).await;
            found.map_err(ListenFailure::Resolve)?.collect()
        }
    };
    let mut failure = ListenFailure::NoAddress;
    for address in addresses {
        let listen = || {
            let socket = match address {
                std::net::SocketAddr::V4(_) => TcpSocket::new_v4()?,
                std::net::SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // Without it, connections in TIME_WAIT would keep the port from a server that restarts.
            socket.set_reuseaddr(true)?;
            options.set_buffers(SockRef::from(&socket))?;
            options.set_up(SockRef::from(&socket))?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        match listen() {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = ListenFailure::Socket(error),
        }
    }
    Err(failure)
}

/// The client gave up before it was accepted, a firewall forbids it, or the network says something
/// about it (accept(2): treat like EAGAIN).
fn has_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    #[cfg(target_os = "linux")]
    if errno == Some(Errno::ENONET) {
        return true;
    }
    matches!(
        errno,
        Some(
            Errno::ECONNABORTED
                | Errno::ECONNRESET
                | Errno::EINTR
                | Errno::EPERM
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::ENETDOWN
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
        )
    )
}

/// No descriptor or no memory is left.
fn only_time_mends(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    #[tokio::test]
    async fn who_has_just_connected_is_accepted_before_the_reactor_knows() {
        let path = std::env::temp_dir().join(format!("millpond-backlog-{}", std::process::id()));
        let tcp = Endpoint::Tcp(HostPort {
            host: Host::Address(std::net::Ipv4Addr::LOCALHOST.into()),
            port: 0,
        });
        for endpoint in [tcp, Endpoint::Unix(path)] {
            let bound = Listener::bind(&endpoint, ListenOptions::default()).await;
            let mut listener = bound.expect("a listener");
            // From here on nothing is awaited, so the reactor has no turn.
            let is_known = |listener: &mut Listener| {
                pin!(listener.accept()).poll(&mut Context::from_waker(Waker::noop()))
            };
            assert!(is_known(&mut listener).is_pending(), "nobody is there");
            let _client = match listener.endpoint().expect("an endpoint") {
                Endpoint::Unix(path) => {
                    Socket::from(std::os::unix::net::UnixStream::connect(path).expect("it listens"))
                }
                at => {
                    let at = at.to_string();
                    let address = at.trim_start_matches("tcp://");
                    Socket::from(std::net::TcpStream::connect(address).expect("it listens"))
                }
            };
            assert!(
                is_known(&mut listener).is_pending(),
                "the reactor hasn't heard"
            );
            assert!(listener.try_accept().is_ok());
            let next = listener.try_accept().map_err(|error| error.kind());
            assert_eq!(next.unwrap_err(), io::ErrorKind::WouldBlock);
        }
    }

    #[tokio::test]
    async fn streams_that_are_brought_are_accepted_in_their_order() {
        let (sender, streams) = mpsc::channel(2);
        let name: Endpoint = "unix:///in-memory".parse().expect("an endpoint");
        let mut listener = Listener::from_streams(name.clone(), streams);
        assert_eq!(listener.endpoint().expect("its name"), name);
        let empty = listener.try_accept().map_err(|error| error.kind());
        assert_eq!(empty.unwrap_err(), io::ErrorKind::WouldBlock);
        for _ in 0..2 {
            let (near, _) = tokio::io::duplex(1);
            sender
                .send(Stream::foreign(near))
                .await
                .expect("a listener");
        }
        listener.accept().await.expect("the first").refuse();
        assert!(listener.try_accept().is_ok());
        drop(sender);
        let mut waiting = pin!(listener.accept());
        let polled = waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "no more can come");
    }

    /// Nobody ever connects to it, and each attempt to accept fails with `EOPNOTSUPP`: its socket
    /// is one of UDP.
    #[cfg(target_os = "linux")]
    fn that_only_fails() -> Listener {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_nonblocking(true).expect("a socket that can");
        let socket = std::net::TcpListener::from(std::os::fd::OwnedFd::from(socket));
        TcpListener::from_std(socket).expect("a runtime").into()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_error_that_takes_nobody_out_of_the_backlog_is_answered_each_time() {
        let listener = that_only_fails();
        for _ in 0..3 {
            let error = listener.try_accept().expect_err("it can't accept");
            assert!(has_gone(&error), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn whoever_has_connected_is_accepted_when_nobody_connects_any_more() {
        use std::{
            io::{Read, Write},
            net::TcpStream,
        };

        let any = "127.0.0.1:0".parse().expect("an endpoint");
        let bound = Listener::bind(&any, ListenOptions::default()).await;
        let listener = bound.expect("a listener");
        let Ok(Endpoint::Tcp(at)) = listener.endpoint() else {
            panic!("it has a port");
        };
        let address = ([127, 0, 0, 1], at.port).into();
        let mut early = TcpStream::connect(address).expect("it listens");
        listener.drop_new_connections();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        let late = late.map_err(|error| error.kind());
        assert_eq!(
            late.unwrap_err(),
            io::ErrorKind::TimedOut,
            "it isn't answered"
        );
        let accepted = listener.try_accept().expect("the early one");
        assert!(listener.try_accept().is_err(), "and no other");
        drop(listener);
        // What is accepted isn't reset, and carries bytes.
        early.write_all(b"1").expect("it is open");
        let mut stream = accepted.into_stream().await.expect("no TLS");
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte)
            .await
            .expect("a byte");
        drop(stream);
        assert_eq!((byte, early.read(&mut [0]).expect("an end")), (*b"1", 0));
    }
}
