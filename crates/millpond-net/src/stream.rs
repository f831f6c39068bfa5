//! One type for the streams of all transports: reading, writing, and checking an idle one. Knows
//! nothing of what is sent on it.

use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    os::fd::AsFd,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::foreign::Foreign;

/// A connected TCP, TLS or Unix socket, or [whatever else](Stream::foreign) carries bytes.
///
/// Reads and writes are unbuffered (but for what TLS must hold): each is a system call, so write a
/// request in one piece.
pub struct Stream {
    kind: Kind,
    /// Dropped behind the socket. Boxed twice: every stream has this field, and few have any.
    companion: Option<Box<Companion>>,
}

type Companion = Box<dyn Any + Send + Sync>;

enum Kind {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
    Unix(UnixStream),
    /// Methods with `&self` lock it; those with `&mut self` need no lock.
    Foreign(Box<Mutex<Foreign>>),
}

/// The state of an idle stream, on which nothing should arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdleState {
    /// Nothing has arrived.
    Quiet,
    /// Bytes have arrived, and some of them were read: the stream can't be used any more.
    Bytes,
    /// The peer has closed its side.
    Closed,
    /// The connection is broken: reset, given up by the kernel, or a TLS error.
    Broken,
}

/// What a future has to say without being waited for.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    // Unconstrained: a used-up budget would say that it isn't ready.
    let future = pin!(tokio::task::coop::unconstrained(future));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => Some(ready),
        Poll::Pending => None,
    }
}

impl Stream {
    /// A stream over whatever carries bytes: a pipe in memory, a channel of an SSH session, a vsock
    /// connection, TLS by another library.
    ///
    /// It is read, written, checked and closed as the others are. What needs a socket is missing:
    /// it has no addresses, [`hold_back`](Stream::hold_back) and
    /// [`acknowledge`](Stream::acknowledge) do nothing, and [`abort`](Stream::abort) drops it. To
    /// find out whether something has arrived it reads one byte ahead, which the next read returns;
    /// an empty read counts as the end. [`close`](Stream::close) polls its shutdown once and drops
    /// it.
    ///
    /// ```
    /// use millpond_net::Stream;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let (near, mut far) = tokio::io::duplex(1024);
    /// let mut stream = Stream::foreign(near);
    /// stream.write_all(b"hello").await?;
    /// far.read_exact(&mut [0; 5]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn foreign(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Kind::Foreign(Box::new(Mutex::new(Foreign::new(io)))).into()
    }

    /// Keeps `companion` for as long as the stream is, and drops it when the stream is closed, in
    /// whichever way that comes about: what counts open streams travels with them. It takes the
    /// place of the one before.
    ///
    /// ```
    /// use millpond_net::Stream;
    /// use std::sync::Arc;
    ///
    /// let (near, _far) = tokio::io::duplex(1024);
    /// let open = Arc::new(());
    /// let stream = Stream::foreign(near).accompanied_by(Arc::clone(&open));
    /// assert_eq!(Arc::strong_count(&open), 2);
    /// stream.close();
    /// assert_eq!(Arc::strong_count(&open), 1);
    /// ```
    pub fn accompanied_by(mut self, companion: impl Any + Send + Sync) -> Self {
        self.companion = Some(Box::new(Box::new(companion)));
        self
    }

    /// What [accompanies](Stream::accompanied_by) it, if that is of this type.
    pub fn companion<T: Any>(&self) -> Option<&T> {
        let companion: &(dyn Any + Send + Sync) = &***self.companion.as_ref()?;
        companion.downcast_ref()
    }

    /// The address of this side, where it has one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    /// The address of the other side, where it has one.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok()
    }

    /// The TCP socket, also of a TLS stream, to set options on. Reading or writing it directly
    /// breaks a TLS stream.
    #[inline]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.kind {
            Kind::Tcp(stream) => Some(stream),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => Some(stream.get_ref().0),
            Kind::Unix(_) | Kind::Foreign(_) => None,
        }
    }

    /// The Unix socket, to ask who is at the other end ([`UnixStream::peer_cred`]).
    pub fn unix(&self) -> Option<&UnixStream> {
        match &self.kind {
            Kind::Unix(stream) => Some(stream),
            _ => None,
        }
    }

    /// The TLS session, where there is one: its version, cipher, ALPN protocol and the peer's
    /// certificates.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<&rustls::CommonState> {
        match &self.kind {
            Kind::Tls(stream) => Some(stream.get_ref().1),
            _ => None,
        }
    }

    /// Reads what has arrived already, without waiting. As long as the reactor has seen nothing
    /// arrive this makes no system call.
    ///
    /// On a TLS stream, session tickets and key updates are processed on the way. They are no data.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing has arrived;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for an empty buffer, into which nothing
    /// could be told from the end; else what broke the connection.
    #[inline]
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match &mut self.kind {
            Kind::Tcp(stream) => stream.try_read(buffer),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => match &mut **stream {
                tokio_rustls::TlsStream::Client(stream) => {
                    let (socket, session) = stream.get_mut();
                    super::tls::idle::try_read(socket, session, buffer)
                }
                tokio_rustls::TlsStream::Server(stream) => {
                    let (socket, session) = stream.get_mut();
                    super::tls::idle::try_read(socket, session, buffer)
                }
            },
            Kind::Unix(stream) => stream.try_read(buffer),
            Kind::Foreign(stream) => stream.get_mut().try_read(buffer),
        }
    }

    /// Waits until something has arrived on the socket or the connection has ended. It may be ready
    /// without a reason: read, and if there is nothing wait again. Bytes that TLS has deciphered
    /// already don't make it ready: read before waiting, as [`poll_idle`](Stream::poll_idle) does.
    ///
    /// Only the waker of the last call is called.
    #[inline]
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Tcp(stream) => stream.poll_read_ready(cx),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => stream.get_ref().0.poll_read_ready(cx),
            Kind::Unix(stream) => stream.poll_read_ready(cx),
            Kind::Foreign(stream) => stream.lock().poll_ahead(cx).map(Ok),
        }
    }

    /// Checks an idle stream, on which nothing should arrive. No system call unless the reactor has
    /// seen something arrive.
    #[inline]
    pub fn check_idle(&mut self) -> IdleState {
        match self.try_read(&mut [0]) {
            Ok(0) => IdleState::Closed,
            Ok(_) => IdleState::Bytes,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => IdleState::Quiet,
                // TLS without close_notify: an idle stream has lost no data by that.
                io::ErrorKind::UnexpectedEof => IdleState::Closed,
                _ => IdleState::Broken,
            },
        }
    }

    /// Waits until an idle stream is no longer quiet. Never returns [`IdleState::Quiet`].
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<IdleState> {
        loop {
            // Bytes that TLS has deciphered already don't make the socket ready.
            match self.check_idle() {
                IdleState::Quiet => {}
                seen => return Poll::Ready(seen),
            }
            // Last, because the check may have registered another waker.
            if ready!(self.poll_read_ready(cx)).is_err() {
                return Poll::Ready(IdleState::Broken);
            }
        }
    }

    /// Whether bytes, or an end, have arrived that nobody has read: a system call, which asks the
    /// kernel itself and not the reactor. A foreign stream is asked by reading a byte ahead.
    pub fn has_unread(&self) -> bool {
        match &self.kind {
            Kind::Foreign(stream) => stream.lock().has_unread(),
            _ => self
                .poll_socket(PollFlags::POLLIN)
                .contains(PollFlags::POLLIN),
        }
    }

    /// Whether the connection has ended in both directions: reset, given up by the kernel, or
    /// closed by a peer that takes nothing any more. A peer that has only closed its sending
    /// side isn't gone. A system call; nothing is read, and nothing that a later read would tell is
    /// lost. A foreign stream is gone when its next read fails.
    pub fn is_gone(&self) -> bool {
        match &self.kind {
            Kind::Foreign(stream) => stream.lock().has_failed(),
            _ => self
                .poll_socket(PollFlags::empty())
                .intersects(PollFlags::POLLERR | PollFlags::POLLHUP),
        }
    }

    /// Whether the peer has closed its sending side, or the connection has ended, also while bytes lie
    /// unread that came before. No system call: it is true once the reactor has run since. Of a
    /// foreign stream, whether its next read fails.
    pub fn has_hung_up(&self) -> bool {
        let ready = match &self.kind {
            Kind::Tcp(stream) => now(stream.ready(Interest::READABLE)),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => now(stream.get_ref().0.ready(Interest::READABLE)),
            Kind::Unix(stream) => now(stream.ready(Interest::READABLE)),
            Kind::Foreign(stream) => return stream.lock().has_failed(),
        };
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }

    /// Turns TCP_CORK on or off (Linux): while it is on, written bytes wait for those that follow,
    /// or for the end, to share a packet. The kernel holds them for 200 ms at most.
    pub fn hold_back(&self, holds_back: bool) {
        #[cfg(target_os = "linux")]
        if let Some(socket) = self.tcp() {
            // An optimisation: if it fails, more packets are sent.
            let _ = socket2::SockRef::from(socket).set_tcp_cork(holds_back);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = holds_back;
    }

    /// Acknowledges at once what has arrived (TCP_QUICKACK, Linux). The kernel would wait for up to
    /// 40 ms.
    pub fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        if let Some(socket) = self.tcp() {
            // An optimisation: if it fails, the acknowledgement is delayed.
            let _ = socket2::SockRef::from(socket).set_tcp_quickack(true);
        }
    }

    /// poll(2), without waiting. A foreign stream has no socket to ask.
    fn poll_socket(&self, events: PollFlags) -> PollFlags {
        let socket = match &self.kind {
            Kind::Tcp(stream) => stream.as_fd(),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => stream.get_ref().0.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
            Kind::Foreign(_) => return PollFlags::empty(),
        };
        let mut asked = [PollFd::new(socket, events)];
        match poll(&mut asked, PollTimeout::ZERO) {
            Ok(_) => asked[0].revents().unwrap_or(PollFlags::empty()),
            Err(_) => PollFlags::empty(),
        }
    }

    /// Closes the stream. Before that it sends TLS's close_notify, or begins the shutdown of a
    /// foreign stream, as far as that is possible without waiting.
    pub fn close(mut self) {
        let says_farewell = match &self.kind {
            Kind::Tcp(_) | Kind::Unix(_) => false,
            #[cfg(feature = "tls")]
            Kind::Tls(_) => true,
            Kind::Foreign(_) => true,
        };
        if says_farewell {
            let farewell = poll_fn(|cx| Pin::new(&mut self).poll_shutdown(cx));
            // Unconstrained: a used-up budget must not suppress the close_notify. A full buffer
            // may: the peer isn't reading.
            let farewell = pin!(tokio::task::coop::unconstrained(farewell));
            let _ = farewell.poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Closes at once. Bytes that the kernel hasn't delivered are discarded, and the peer sees a
    /// reset; otherwise the kernel would try to deliver them for a minute. A foreign stream is
    /// dropped.
    pub fn abort(self) {
        if let Some(socket) = self.tcp() {
            // If it fails, the kernel goes on delivering.
            let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl From<Kind> for Stream {
    fn from(kind: Kind) -> Self {
        Stream {
            kind,
            companion: None,
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Kind::Tcp(stream).into()
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Kind::Unix(stream).into()
    }
}

#[cfg(feature = "tls")]
impl From<tokio_rustls::TlsStream<TcpStream>> for Stream {
    fn from(stream: tokio_rustls::TlsStream<TcpStream>) -> Self {
        Kind::Tls(Box::new(stream)).into()
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::Foreign(stream) => stream.get_mut().poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Kind::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Kind::Foreign(stream) => stream.get_mut().io().poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::Foreign(stream) => stream.get_mut().io().poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => stream.is_write_vectored(),
            Kind::Unix(stream) => stream.is_write_vectored(),
            Kind::Foreign(stream) => stream.lock().is_write_vectored(),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Foreign(stream) => stream.get_mut().io().poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Foreign(stream) => stream.get_mut().io().poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match &self.kind {
            Kind::Tcp(_) => "tcp",
            #[cfg(feature = "tls")]
            Kind::Tls(_) => "tls",
            Kind::Unix(_) => "unix",
            Kind::Foreign(_) => "foreign",
        };
        let mut shown = f.debug_struct("Stream");
        shown.field("transport", &transport);
        if let (Some(local), Some(peer)) = (self.local_addr(), self.peer_addr()) {
            shown.field("local", &local).field("peer", &peer);
        }
        shown.finish()
    }
}
