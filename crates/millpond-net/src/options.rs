//! How TCP sockets are set up before they connect, and once they are accepted. Decides nothing
//! about when or where to.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpSocket;

/// The kernel's probes of a connection on which nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct Keepalive {
    /// How long nothing was received before the first probe. Default 30 s: below the 60 s and more
    /// after which the common middleboxes forget a connection. Whole seconds count, from 1 to
    /// 32,767: the kernel knows no others.
    #[cfg_attr(feature = "serde", serde(with = "super::seconds"))]
    pub idle: Duration,
    /// The time between two probes. Default 10 s. Whole seconds count, from 1 to 32,767.
    #[cfg_attr(feature = "serde", serde(with = "super::seconds"))]
    pub interval: Duration,
    /// How many unanswered probes end the connection. Default 3: a lost packet or two end none.
    /// From 1 to 127.
    pub probes: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive {
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            probes: 3,
        }
    }
}

/// What the kernel takes for a time.
fn seconds(time: Duration) -> Duration {
    let whole = time
        .as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0));
    Duration::from_secs(whole.clamp(1, 32_767))
}

/// The same for the time that bytes may stay unacknowledged: zero would stand for the kernel's own.
#[cfg(target_os = "linux")]
fn milliseconds(time: Duration) -> Duration {
    let most = Duration::from_millis(u64::from(i32::MAX.unsigned_abs()));
    time.clamp(Duration::from_millis(1), most)
}

/// How a TCP socket is set up.
///
/// ```
/// use millpond_net::TcpOptions;
///
/// let options = TcpOptions {
///     bind: Some("10.0.0.7:0".parse().unwrap()),
///     ..TcpOptions::default()
/// };
/// assert!(options.nodelay);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct TcpOptions {
    /// Small writes leave at once instead of waiting for the acknowledgement of earlier ones
    /// (TCP_NODELAY). Default true: a request that is written in two parts would otherwise
    /// wait for the peer's delayed acknowledgement, some 40 ms.
    pub nodelay: bool,
    /// Default: 30 s, then every 10 s, 3 times. `None`: none; for serde `"never"`.
    #[cfg_attr(feature = "serde", serde(with = "super::settings::keepalive"))]
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged before the kernel ends the connection
    /// (TCP_USER_TIMEOUT, on Linux). Default 60 s instead of the kernel's quarter of an hour:
    /// as long as the default keepalive takes to find a dead peer; a shorter one would cut its
    /// probes short, for Linux lets it overrule their number. `None` (for serde `"never"`): the
    /// kernel's. A millisecond to 24 days count.
    #[cfg_attr(feature = "serde", serde(with = "super::seconds::or_never"))]
    pub user_timeout: Option<Duration>,
    /// The local address to connect from; with port 0 the kernel chooses the port as late as it
    /// connects (IP_BIND_ADDRESS_NO_PORT, on Linux), so that the same port can serve several
    /// destinations. Default: what routing chooses.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub bind: Option<SocketAddr>,
    /// The size of the kernel's send buffer, in bytes (SO_SNDBUF). Default: what the kernel's
    /// tuning makes of it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub send_buffer: Option<u32>,
    /// The size of the kernel's receive buffer, in bytes (SO_RCVBUF). Default: what the kernel's
    /// tuning makes of it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub receive_buffer: Option<u32>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions {
            nodelay: true,
            keepalive: Some(Keepalive::default()),
            user_timeout: Some(Duration::from_secs(60)),
            bind: None,
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

impl TcpOptions {
    /// A socket that is ready to connect to `destination`.
    pub(super) fn socket_to(&self, destination: SocketAddr) -> io::Result<TcpSocket> {
        if let Some(bind) = self
            .bind
            .filter(|bind| bind.is_ipv4() != destination.is_ipv4())
        {
            let why = format!(
                "it can't be reached from {}, which is of the other family",
                bind.ip()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let socket = match destination {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Before connecting, for the window's scale is agreed upon by the handshake.
        self.set_buffers(SockRef::from(&socket))?;
        self.set_up(SockRef::from(&socket))?;
        if let Some(address) = self.bind {
            choose_port_late(&socket, address)?;
            socket.bind(address)?;
        }
        Ok(socket)
    }

    /// The buffers, of a socket that will connect or listen; accepted sockets inherit them.
    pub(super) fn set_buffers(&self, socket: SockRef<'_>) -> io::Result<()> {
        if let Some(size) = self.send_buffer {
            socket.set_send_buffer_size(to_usize(size))?;
        }
        if let Some(size) = self.receive_buffer {
            socket.set_recv_buffer_size(to_usize(size))?;
        }
        Ok(())
    }

    /// Everything that holds for accepted sockets as well.
    pub(super) fn set_up(&self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(Keepalive {
            idle,
            interval,
            probes,
        }) = self.keepalive
        {
            let keepalive = TcpKeepalive::new()
                .with_time(seconds(idle))
                .with_interval(seconds(interval))
                .with_retries(probes.clamp(1, 127));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(target_os = "linux")]
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout.map(milliseconds))?;
        }
        Ok(())
    }
}

fn to_usize(size: u32) -> usize {
    usize::try_from(size).expect("a usize holds 32 bits")
}

/// Without it bind itself would choose a port that nobody else uses at all.
#[cfg(target_os = "linux")]
fn choose_port_late(socket: &TcpSocket, address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        nix::sys::socket::setsockopt(
            socket,
            nix::sys::socket::sockopt::IpBindAddressNoPort,
            &true,
        )?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn choose_port_late(_: &TcpSocket, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_would_refuse_is_set_to_the_nearest_that_it_takes() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let _entered = runtime.as_ref().expect("a runtime").enter();
        for (idle, probes, expected) in [
            (Duration::ZERO, 0, (1, 1)),
            (Duration::from_millis(1_500), 2, (2, 2)),
            (Duration::MAX, u32::MAX, (32_767, 127)),
        ] {
            let keepalive = Keepalive {
                idle,
                interval: idle,
                probes,
            };
            let options = TcpOptions {
                keepalive: Some(keepalive),
                user_timeout: Some(idle),
                ..TcpOptions::default()
            };
            let socket = options
                .socket_to(([127, 0, 0, 1], 80).into())
                .expect("a socket");
            let seen = SockRef::from(&socket);
            let seconds = seen.tcp_keepalive_time().unwrap().as_secs();
            assert_eq!((seconds, seen.tcp_keepalive_retries().unwrap()), expected);
        }
    }

    #[test]
    fn what_is_set_is_what_the_kernel_says() {
        let options = TcpOptions {
            send_buffer: Some(32_768),
            receive_buffer: Some(16_384),
            bind: Some(([127, 0, 0, 1], 0).into()),
            ..TcpOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let _entered = runtime.as_ref().expect("a runtime").enter();
        let socket = options
            .socket_to(([127, 0, 0, 1], 80).into())
            .expect("a socket");
        let seen = SockRef::from(&socket);
        assert!(seen.tcp_nodelay().unwrap());
        assert!(seen.keepalive().unwrap());
        assert_eq!(seen.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(
            seen.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(10)
        );
        assert_eq!(seen.tcp_keepalive_retries().unwrap(), 3);
        // Linux doubles what it is asked for.
        assert!(seen.send_buffer_size().unwrap() >= 32_768);
        assert!((16_384..=40_000).contains(&seen.recv_buffer_size().unwrap()));
        #[cfg(target_os = "linux")]
        assert_eq!(
            seen.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(60))
        );
        // Bound to the address, and to no port before it connects.
        let local = socket.local_addr().unwrap();
        assert_eq!(local.ip(), options.bind.unwrap().ip());
        #[cfg(target_os = "linux")]
        assert_eq!(local.port(), 0);
    }
}
