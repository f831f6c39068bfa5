//! A TCP socket as the kernel describes it: state, both addresses, owner, queues.

use std::{fmt, net::SocketAddr};

use super::TcpInfo;

/// A TCP socket, as the kernel described it at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TcpSocket {
    /// Its state.
    pub state: TcpState,
    /// The local address. A v4-mapped one is given as the v4 address.
    pub local: SocketAddr,
    /// The address of the other side; unspecified, with the port 0, for one that listens.
    pub peer: SocketAddr,
    /// Its number, as the links in `/proc/PID/fd` show it (`socket:[4711]`). `None` for one that
    /// no process has open: a remnant in TIME_WAIT, a connection that isn't accepted yet, or a
    /// closed one whose last bytes are still to be acknowledged.
    pub inode: Option<u64>,
    /// Its owner. Without an inode this means nothing.
    pub uid: u32,
    /// What waits in it.
    pub queue: SocketQueue,
    /// Round-trip time, losses and the like: of a connection, neither listening nor a remnant in
    /// TIME_WAIT, if it was [asked for](super::SocketDetail::TcpInfo) and netlink could be asked.
    /// `/proc` doesn't tell.
    pub tcp_info: Option<TcpInfo>,
}

impl TcpSocket {
    /// A made-up socket with empty queues, for tests. Set its fields as needed.
    pub fn new(state: TcpState, local: SocketAddr, peer: SocketAddr) -> TcpSocket {
        TcpSocket {
            state,
            local,
            peer,
            inode: None,
            uid: 0,
            queue: match state {
                TcpState::Listen => SocketQueue::Connections {
                    waiting: 0,
                    limit: None,
                },
                _ => SocketQueue::Bytes {
                    received: 0,
                    unacknowledged: 0,
                },
            },
            tcp_info: None,
        }
    }
}

/// What waits in a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketQueue {
    /// Bytes, of a connection.
    Bytes {
        /// Received, and not yet read by the process. The peer's end (FIN) counts as one byte
        /// until that is read.
        received: u32,
        /// Written, and not yet acknowledged by the peer.
        unacknowledged: u32,
    },
    /// Connections, at a listener.
    Connections {
        /// How many wait to be accepted.
        waiting: u32,
        /// How many may wait: what was given to `listen`, and at most `net.core.somaxconn`. One
        /// more than that is let in. `None` if the answer is from `/proc`, which doesn't
        /// tell.
        limit: Option<u32>,
    },
}

/// The state of a TCP socket (RFC 9293, section 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TcpState {
    /// Connected, open both ways.
    Established,
    /// It connects, and no answer has come yet.
    SynSent,
    /// Somebody connects to it, and hasn't confirmed yet.
    SynReceived,
    /// Closed here; the peer hasn't acknowledged that yet.
    FinWait1,
    /// Closed here, and the peer knows; it hasn't closed its own side yet.
    FinWait2,
    /// Closed by both, here first. For a minute late packets find it instead of a connection that
    /// follows.
    TimeWait,
    /// Not connected.
    Closed,
    /// Closed by the peer; the process here hasn't closed it yet.
    CloseWait,
    /// Closed by both, the peer first; it hasn't acknowledged yet.
    LastAck,
    /// It listens.
    Listen,
    /// Closed by both at once; the peer hasn't acknowledged yet.
    Closing,
    /// One that this version doesn't know: the kernel's number for it.
    Other(u8),
}

impl fmt::Display for TcpState {
    /// As `netstat` writes it: `ESTABLISHED`, `CLOSE_WAIT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TcpState::Established => "ESTABLISHED",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynReceived => "SYN_RECV",
            TcpState::FinWait1 => "FIN_WAIT1",
            TcpState::FinWait2 => "FIN_WAIT2",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Closed => "CLOSED",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::Listen => "LISTEN",
            TcpState::Closing => "CLOSING",
            TcpState::Other(number) => return write!(f, "state {number}"),
        })
    }
}

impl TcpState {
    /// From the kernel's number, the same in netlink and in `/proc`.
    #[cfg(target_os = "linux")]
    pub(super) fn of(number: u8) -> TcpState {
        match number {
            1 => TcpState::Established,
            2 => TcpState::SynSent,
            // 12 is a connection that a listener has not made a socket of yet.
            3 | 12 => TcpState::SynReceived,
            4 => TcpState::FinWait1,
            5 => TcpState::FinWait2,
            6 => TcpState::TimeWait,
            7 => TcpState::Closed,
            8 => TcpState::CloseWait,
            9 => TcpState::LastAck,
            10 => TcpState::Listen,
            11 => TcpState::Closing,
            other => TcpState::Other(other),
        }
    }
}

impl SocketQueue {
    /// `limit` is what a listener's second queue stands for, where that is told.
    #[cfg(target_os = "linux")]
    pub(super) fn of(
        state: TcpState,
        received: u32,
        unacknowledged: u32,
        limit: Option<u32>,
    ) -> SocketQueue {
        match state {
            TcpState::Listen => SocketQueue::Connections {
                waiting: received,
                limit,
            },
            _ => SocketQueue::Bytes {
                received,
                unacknowledged,
            },
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_states_have_the_names_that_people_know() {
        for (number, name) in [
            (1, "ESTABLISHED"),
            (6, "TIME_WAIT"),
            (8, "CLOSE_WAIT"),
            (10, "LISTEN"),
        ] {
            assert_eq!(TcpState::of(number).to_string(), name);
        }
        assert_eq!(TcpState::of(200).to_string(), "state 200");
    }
}
