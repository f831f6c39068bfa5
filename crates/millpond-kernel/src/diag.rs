//! Asks Linux for its TCP sockets, by netlink sock_diag (the way of `ss`): requests out, answers
//! in, with a limit to all that is received and to all waiting. What the packets look like is
//! `packet`'s; what the answers are for is decided elsewhere.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::inet::{ExtensionFlags, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use nix::{errno::Errno, libc::MSG_TRUNC};
use socket2::SockRef;

use super::{
    Transmission,
    packet::{Answer, Messages, malformed, request},
};

/// The kernel puts at most 32 KiB into one datagram of a dump.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// Requests that may be unanswered: their answers, of about 1 KiB each as the kernel counts, have
/// to fit into the socket's receive buffer (208 KiB unless the machine is set up otherwise), or
/// they are lost.
const UNANSWERED: usize = 32;

/// The kernel answers while it takes the request. An answer that isn't there after this long won't
/// come.
const PATIENCE: Duration = Duration::from_secs(1);

/// A whole question's limit. Two million sockets are dumped in about a second.
const DEADLINE: Duration = Duration::from_secs(10);

/// The kernel doesn't compare the cookie of a request that has this one.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// Both ends of a TCP connection, in the one form that all ways to write them have in common: a
/// v4-mapped address is the v4 address, and an interface is only named where it is part of the
/// address (link-local).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) local: IpAddr,
    pub(super) local_port: u16,
    pub(super) peer: IpAddr,
    pub(super) peer_port: u16,
    interface: u32,
}

impl Ends {
    pub(super) fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        let interface = [local, peer].into_iter().find_map(|address| match address {
            SocketAddr::V6(address) => Some(address.scope_id()).filter(|scope| *scope != 0),
            SocketAddr::V4(_) => None,
        });
        let (local, local_port, peer, peer_port) =
            (local.ip(), local.port(), peer.ip(), peer.port());
        Self::between(local, local_port, peer, peer_port, interface.unwrap_or(0))
    }

    fn between(
        local: IpAddr,
        local_port: u16,
        peer: IpAddr,
        peer_port: u16,
        interface: u32,
    ) -> Self {
        let (local, peer) = (local.to_canonical(), peer.to_canonical());
        let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let interface = if link_local(local) || link_local(peer) {
            interface
        } else {
            0
        };
        Self {
            local,
            local_port,
            peer,
            peer_port,
            interface,
        }
    }

    pub(super) fn of(id: &SocketId) -> Self {
        Self::between(
            id.source_address,
            id.source_port,
            id.destination_address,
            id.destination_port,
            id.interface_id,
        )
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.address(self.local, self.local_port)
    }

    pub(super) fn peer_addr(&self) -> SocketAddr {
        self.address(self.peer, self.peer_port)
    }

    fn address(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, port, 0, self.interface).into()
            }
            ip => SocketAddr::new(ip, port),
        }
    }

    pub(super) fn is_v4(&self) -> bool {
        self.peer.is_ipv4()
    }

    /// Whether both have the same peer.
    pub(super) fn leads_where(&self, other: &Ends) -> bool {
        // Not every link-local address was written with its interface.
        let interfaces = [self.interface, other.interface];
        (self.peer, self.peer_port) == (other.peer, other.peer_port)
            && (interfaces.contains(&0) || self.interface == other.interface)
    }

    fn request_id(&self) -> SocketId {
        SocketId {
            source_port: self.local_port,
            destination_port: self.peer_port,
            source_address: self.local,
            destination_address: self.peer,
            interface_id: self.interface,
            cookie: NO_COOKIE,
        }
    }
}

/// A socket as the kernel described it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// One of the `TCP_*` constants.
    pub(super) state: u8,
    pub(super) ends: Ends,
    /// 0 if no process has it open. The kernel goes on with a closed one until its last bytes are
    /// acknowledged.
    pub(super) inode: u32,
    pub(super) uid: u32,
    /// Bytes received and not yet read; of a listener the connections that wait to be accepted.
    pub(super) receive_queue: u32,
    /// Bytes written and not yet acknowledged; of a listener how many connections may wait.
    pub(super) send_queue: u32,
    /// If it was asked for, and the socket isn't a remnant in TIME_WAIT.
    pub(super) transmission: Option<Transmission>,
}

/// Which sockets a dump describes.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) states: StateFlags,
    /// 0 for any.
    pub(super) peer_port: u16,
    pub(super) extensions: ExtensionFlags,
}

/// The address family of the sockets that a dump describes. A v4 connection of a v6 socket is in
/// the dump of v6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// A line to the kernel, for one question at a time.
pub(super) struct Diag {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    deadline: Instant,
}

impl Diag {
    /// Opens the line. All that is asked on it has to be answered within [`DEADLINE`] from now.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
        // Connected to the kernel, it takes nothing from anybody else.
        socket.connect(&NetlinkAddr::new(0, 0))?;
        Ok(Self {
            socket,
            buffer: vec![0; RECEIVE_BUFFER],
            sequence: 0,
            deadline: Instant::now() + DEADLINE,
        })
    }

    /// Looks every connection up by its two ends, and calls `each` with those that were found and
    /// their index.
    pub(super) fn look_up(
        &mut self,
        all: &[Ends],
        mut each: impl FnMut(usize, Found),
    ) -> io::Result<()> {
        for (chunk, batch) in all.chunks(UNANSWERED).enumerate() {
            let first = self.sequence.wrapping_add(1);
            let mut requests = Vec::new();
            for ends in batch {
                let family = if ends.is_v4() { Family::V4 } else { Family::V6 };
                let filter = Filter {
                    states: StateFlags::all(),
                    peer_port: ends.peer_port,
                    extensions: ExtensionFlags::INFO,
                };
                self.sequence = self.sequence.wrapping_add(1);
                let id = ends.request_id();
                requests.extend(request(family, &filter, id, NLM_F_REQUEST, self.sequence));
            }
            self.socket.send(&requests, 0)?;
            let mut unanswered = batch.len();
            while unanswered > 0 {
                let length = self.receive()?;
                for message in Messages(&self.buffer[..length]) {
                    let (sequence, answer) = message?;
                    let index = sequence.wrapping_sub(first) as usize;
                    let Some(asked) = batch.get(index) else {
                        continue;
                    };
                    match answer {
                        // Where there is no such connection but somebody listens, the kernel
                        // answers with the listener.
                        Answer::Found(found) if found.ends == *asked => {
                            each(chunk * UNANSWERED + index, found)
                        }
                        Answer::Found(_) | Answer::Failed(Errno::ENOENT) | Answer::Done => {}
                        Answer::Failed(errno) => return Err(errno.into()),
                        Answer::Nothing => continue,
                    }
                    unanswered = unanswered.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with every socket that the filter lets through. One that changes meanwhile may
    /// come twice, or not at all.
    pub(super) fn dump(
        &mut self,
        family: Family,
        filter: &Filter,
        mut each: impl FnMut(Found),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let id = SocketId {
            destination_port: filter.peer_port,
            cookie: NO_COOKIE,
            ..match family {
                Family::V4 => SocketId::new_v4(),
                Family::V6 => SocketId::new_v6(),
            }
        };
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        self.socket
            .send(&request(family, filter, id, flags, self.sequence), 0)?;
        loop {
            let length = self.receive()?;
            for message in Messages(&self.buffer[..length]) {
                let (sequence, answer) = message?;
                if sequence != self.sequence {
                    continue;
                }
                match answer {
                    Answer::Found(found) => each(found),
                    Answer::Done => return Ok(()),
                    Answer::Failed(errno) => return Err(errno.into()),
                    Answer::Nothing => {}
                }
            }
        }
    }

    /// One datagram, into the buffer; its length.
    fn receive(&mut self) -> io::Result<usize> {
        loop {
            if Instant::now() >= self.deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("not done within {} s", DEADLINE.as_secs()),
                ));
            }
            // The true length, even of what doesn't fit.
            match self.socket.recv(&mut &mut self.buffer[..], MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => {
                    return Err(malformed(format_args!("a datagram of {length} bytes")));
                }
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("no answer within {} s", PATIENCE.as_secs()),
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, peer: &str) -> Ends {
        Ends::new(
            local.parse().expect("an address"),
            peer.parse().expect("an address"),
        )
    }

    #[test]
    fn both_ends_are_the_same_however_they_are_written() {
        let plain = ends("127.0.0.1:1", "127.0.0.1:2");
        assert_eq!(ends("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2"), plain);
        assert!(plain.is_v4());
        assert_ne!(ends("127.0.0.1:2", "127.0.0.1:1"), plain);

        assert_eq!(
            ends("[2001:db8::1%3]:1", "[2001:db8::2]:2"),
            ends("[2001:db8::1]:1", "[2001:db8::2]:2")
        );
        assert_ne!(
            ends("[fe80::1%3]:1", "[fe80::2%3]:2"),
            ends("[fe80::1%4]:1", "[fe80::2%4]:2")
        );
        assert_eq!(
            ends("[fe80::1%3]:1", "[fe80::2]:2"),
            ends("[fe80::1]:1", "[fe80::2%3]:2")
        );
    }

    /// A line to the kernel, if it isn't refused here.
    fn diag() -> Option<Diag> {
        Diag::open()
            .inspect_err(|error| eprintln!("SKIPPED: netlink is refused here: {error}"))
            .ok()
    }

    #[test]
    fn a_silent_kernel_is_given_up_after_a_while() {
        let Some(mut diag) = diag() else { return };
        let error = diag.receive().expect_err("nothing was asked");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "no answer within 1 s");
        diag.deadline = Instant::now();
        let error = diag.receive().expect_err("too late");
        assert_eq!(error.to_string(), "not done within 10 s");
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_an_error() {
        let Some(mut diag) = diag() else { return };
        diag.buffer.truncate(16);
        let filter = Filter {
            states: StateFlags::empty(),
            peer_port: 0,
            extensions: ExtensionFlags::empty(),
        };
        let error = diag
            .dump(Family::V4, &filter, |_| {})
            .expect_err("16 bytes");
        assert!(
            // A kernel without tcp_diag says so instead.
            error.kind() == io::ErrorKind::InvalidData || error.kind() == io::ErrorKind::NotFound,
            "{error}"
        );
    }
}
