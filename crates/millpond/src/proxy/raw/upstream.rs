//! The connections to a raw route's upstream, and the pool's connector for them. Each is lent to
//! one client, and then closed.

use std::{
    error::Error,
    fmt, io,
    task::{Context, Poll},
};

use crate::{
    connectors::StreamConnector,
    net::{ConnectError, Stream},
    pool::{Closing, Connector, Ends, Eviction, LastExchange, Transmission},
};

/// How much is read of what an upstream says before anyone is lent the connection: more than any
/// greeting. The rest waits in the kernel.
const AHEAD: usize = 4 << 10;

/// A connection to the upstream.
#[derive(Debug)]
pub struct RawConnection {
    pub(super) stream: Stream,
    /// What the upstream has said before anyone was lent it.
    pub(super) ahead: Vec<u8>,
    /// Nobody has been lent it, and the pool has looked at it meanwhile.
    was_idle: bool,
    pub(super) farewell: Farewell,
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// In good order.
    Close,
    /// By a reset: the upstream must not take what it was sent for all of it.
    Reset,
}

impl RawConnection {
    fn new(stream: Stream) -> Self {
        RawConnection {
            stream,
            ahead: Vec::new(),
            was_idle: false,
            farewell: Farewell::Close,
        }
    }

    /// Reads what has come before anyone is lent it, for the client to come. Where the server
    /// speaks first, that is its greeting, and no reason to evict anything.
    ///
    /// One that ends has nothing to say to a client, unless it was just opened: then what it has
    /// said may be all that its protocol says.
    fn look(&mut self) -> Result<(), Eviction> {
        while self.ahead.len() < AHEAD {
            let mut room = [0; 512];
            match self.stream.try_read(&mut room) {
                Ok(0) if self.ahead.is_empty() || self.was_idle => {
                    return Err(Eviction::PeerClosed);
                }
                Ok(0) => break,
                Ok(read) => self.ahead.extend_from_slice(&room[..read]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::UnexpectedEof => return Err(Eviction::PeerClosed),
                    _ => return Err(Eviction::PeerReset),
                },
            }
        }
        Ok(())
    }
}

/// Pools the connections to a raw route's upstream: what a [`RawRoute`](super::RawRoute)'s pool is
/// made with.
pub struct RawConnector {
    streams: StreamConnector,
}

impl RawConnector {
    pub(super) fn new(streams: StreamConnector) -> Self {
        RawConnector { streams }
    }

    /// What opens the streams.
    pub fn streams(&self) -> &StreamConnector {
        &self.streams
    }
}

impl Connector for RawConnector {
    type Connection = RawConnection;
    type Error = ConnectError;

    async fn connect(&self) -> Result<RawConnection, ConnectError> {
        self.streams.connect().await.map(RawConnection::new)
    }

    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        self.streams.refused(error)
    }

    fn check(&self, connection: &mut RawConnection) -> Result<(), Eviction> {
        let looked = connection.look();
        self.streams.note_check(&connection.stream, looked.is_ok());
        looked
    }

    /// Not once a client has had it: nobody knows its state then.
    fn is_clean(&self, _: &RawConnection, exchange: LastExchange) -> bool {
        exchange == LastExchange::None
    }

    fn poll_idle(&self, connection: &mut RawConnection, cx: &mut Context<'_>) -> Poll<Eviction> {
        connection.was_idle = true;
        let seen = loop {
            if let Err(reason) = connection.look() {
                break Poll::Ready(reason);
            }
            if connection.ahead.len() >= AHEAD {
                break Poll::Pending;
            }
            match connection.stream.poll_read_ready(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => break Poll::Ready(Eviction::PeerReset),
            }
        };
        self.streams
            .note_idle(&connection.stream, seen.is_pending());
        seen
    }

    fn close(&self, connection: RawConnection) -> Closing {
        match connection.farewell {
            Farewell::Close => connection.stream.close(),
            Farewell::Reset => connection.stream.abort(),
        }
        Closing::Done
    }

    fn ends(&self, connection: &RawConnection) -> Ends {
        self.streams.ends(&connection.stream)
    }

    async fn run(&self) {
        self.streams.run().await;
    }

    async fn endpoint_changed(&self) {
        self.streams.endpoint_changed().await;
    }

    fn is_current(&self, ends: &Ends) -> bool {
        self.streams.is_current(ends)
    }

    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>> {
        self.streams.transmissions(ends)
    }
}

impl fmt::Debug for RawConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.streams.fmt(f)
    }
}
