//! A connection that was accepted and has not made its handshake yet.

use std::{net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

use super::Stream;
#[cfg(feature = "tls")]
use super::tls::{ServerTls, TlsError};

/// A connection that was accepted. Its TLS handshake, if any, is still to be made.
#[derive(Debug)]
pub struct Accepted {
    pub(super) raw: Raw,
}

#[derive(Debug)]
pub(super) enum Raw {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(TcpStream, ServerTls),
    Unix(UnixStream),
    Open(Stream),
}

impl Raw {
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Raw::Tcp(stream) => Some(stream),
            #[cfg(feature = "tls")]
            Raw::Tls(stream, _) => Some(stream),
            Raw::Unix(_) => None,
            Raw::Open(stream) => stream.tcp(),
        }
    }
}

/// Why a client's handshake failed. Without TLS none does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The TLS handshake failed.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] Box<TlsError>),
}

impl Accepted {
    /// The client's address, if it has one.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.raw.tcp()?.peer_addr().ok()
    }

    /// Closes the connection at once, over TCP by a reset: no TIME_WAIT is left on this side.
    pub fn refuse(self) {
        if let Some(socket) = self.raw.tcp() {
            // It may have gone already.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Makes the TLS handshake, if there is one, and returns the stream. Wrap it in a timeout, and
    /// don't await it between two accepts: a client may take as long as it likes.
    ///
    /// # Errors
    ///
    /// The handshake failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it closes the connection.
    pub async fn into_stream(self) -> Result<Stream, HandshakeError> {
        match self.raw {
            Raw::Tcp(stream) => Ok(stream.into()),
            #[cfg(feature = "tls")]
            Raw::Tls(stream, tls) => {
                let stream = tls.accept(stream).await.map_err(Box::new)?;
                Ok(tokio_rustls::TlsStream::Server(stream).into())
            }
            Raw::Unix(stream) => Ok(stream.into()),
            Raw::Open(stream) => Ok(stream),
        }
    }
}
