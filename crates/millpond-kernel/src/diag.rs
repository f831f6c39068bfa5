//! Asks Linux for its TCP sockets, by netlink sock_diag as `ss` does. It sends requests and
//! receives answers, with a limit on each datagram and on each wait. `packet` encodes and decodes.

use std::{
    io,
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::inet::{ExtensionFlags, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use nix::{errno::Errno, libc::MSG_TRUNC};
use socket2::SockRef;

use super::{
    ends::{Ends, NO_COOKIE},
    packet::{Answer, Family, Filter, Found, Messages, malformed, request},
};

/// The kernel puts at most 32 KiB into one datagram of a dump.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// How many requests are sent before their answers are read. The answers, which the kernel counts
/// as about 1 KiB each, must fit into the socket's receive buffer (208 KiB by default), or they are
/// lost.
const UNANSWERED: usize = 32;

/// The timeout of one read. The kernel answers while it takes the request, so an answer that isn't
/// there by then won't come.
const PATIENCE: Duration = Duration::from_secs(1);

/// The deadline of all requests on one socket. A dump of two million sockets takes about a second.
const DEADLINE: Duration = Duration::from_secs(10);

/// A netlink socket, for one request at a time.
pub(super) struct Diag {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    deadline: Instant,
}

impl Diag {
    /// Opens the socket. All its answers must arrive within [`DEADLINE`] from now.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
        // Connected to the kernel, it receives from nobody else.
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

    /// Calls `each` with every socket that passes the filter. A socket that changes meanwhile may
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
