//! The peers of a process's sockets.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use millpond::kernel::TcpSocket;

use super::facts::Seen;

/// A peer. Clients that connected to the process have a new port each time, so only their address
/// counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Peer {
    To(SocketAddr),
    From(IpAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::To(address) => write!(f, "to {address}"),
            Peer::From(address) => write!(f, "from {address}"),
        }
    }
}

impl Peer {
    pub(super) fn of(seen: &Seen, socket: &TcpSocket) -> Peer {
        match seen.is_accepted(socket) {
            true => Peer::From(socket.peer.ip()),
            false => Peer::To(socket.peer),
        }
    }
}
