//! Looks TCP connections up by their addresses alone: no descriptor of theirs is touched.

use std::{io, net::SocketAddr};

use super::TcpInfo;

/// The `TCP_INFO` of these connections, each given by its local and its peer's address. `None` for
/// one that is gone: closed here, reset, or never there. A connection that only the peer has closed
/// is still here, and so is one that was shut down.
///
/// This blocks: about 10 µs, and 2 µs for each connection. Never call it under a lock; in
/// asynchronous code call it from a blocking thread if there are many. It needs no privileges. A
/// v4-mapped address (`::ffff:127.0.0.1`) and the v4 address mean the same. A connection that is
/// bound to a device (`SO_BINDTODEVICE`) may not be found.
///
/// # Errors
///
/// When the kernel can't be asked: no netlink (a sandbox), no `tcp_diag` in the kernel, no
/// descriptor left for the question, or another system than Linux
/// ([`Unsupported`](io::ErrorKind::Unsupported)). It gives up after ten seconds.
pub fn tcp_info(pairs: &[(SocketAddr, SocketAddr)]) -> io::Result<Vec<Option<TcpInfo>>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    platform::tcp_info(pairs).map_err(super::error::sock_diag_failed)
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    pub(super) fn tcp_info(_: &[(SocketAddr, SocketAddr)]) -> io::Result<Vec<Option<TcpInfo>>> {
        Err(crate::error::only_linux())
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{collections::HashMap, fs};

    use netlink_packet_sock_diag::inet::{ExtensionFlags, StateFlags};
    use nix::errno::Errno;

    use super::*;
    use crate::{
        diag::Diag,
        ends::Ends,
        packet::{Family, Filter, Found},
    };

    /// Up to this number, connections are always looked up one by one.
    ///
    /// Measured on loopback (release build, Linux 6.18, a table of 262,144 buckets): to look one up
    /// takes 2.1 µs, and 8 µs for the whole call; a dump takes 0.16 ms, and 1 µs for every
    /// socket there is, asked for or not:
    ///
    /// | sockets | asked for | one by one | dump |
    /// |---|---|---|---|
    /// | 10 | 1 | 9.7 µs | 169 µs |
    /// | 10 | 10 | 28 µs | 169 µs |
    /// | 1,000 | 100 | 0.28 ms | 1.2 ms |
    /// | 1,000 | 1,000 | 2.0 ms | 0.9 ms |
    /// | 9,800 | 2,000 | 4.8 ms | 10.7 ms |
    /// | 4,000 | 4,000 | 9.9 ms | 4.8 ms |
    ///
    /// So a dump is worth it, by a factor of two at most, if more than half of all sockets are
    /// asked for.
    const ONE_BY_ONE: usize = 200;

    /// The states in which a process may still hold a connection that was once established.
    fn connected() -> StateFlags {
        StateFlags::ESTABLISHED
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT
            | StateFlags::CLOSING
            | StateFlags::LAST_ACK
    }

    pub(super) fn tcp_info(pairs: &[(SocketAddr, SocketAddr)]) -> io::Result<Vec<Option<TcpInfo>>> {
        let ends: Vec<_> = pairs
            .iter()
            .map(|(local, peer)| Ends::new(*local, *peer))
            .collect();
        let dump =
            ends.len() > ONE_BY_ONE && tcp_sockets().is_some_and(|all| all < 2 * ends.len() as u64);
        if dump {
            picked_out(&ends)
        } else {
            one_by_one(&ends)
        }
    }

    /// How many TCP sockets there are, without those in TIME_WAIT.
    fn tcp_sockets() -> Option<u64> {
        let v4 = in_use(&fs::read_to_string("/proc/net/sockstat").ok()?, "TCP:")?;
        // Without IPv6 there is no such file.
        let v6 = fs::read_to_string("/proc/net/sockstat6").ok();
        Some(v4.saturating_add(v6.and_then(|text| in_use(&text, "TCP6:")).unwrap_or(0)))
    }

    /// The number after `inuse` in the line that begins with `protocol`.
    pub(super) fn in_use(text: &str, protocol: &str) -> Option<u64> {
        let mut words = text
            .lines()
            .find_map(|line| line.strip_prefix(protocol))?
            .split_whitespace();
        words.find(|word| *word == "inuse")?;
        words.next()?.parse().ok()
    }

    /// What is told of a socket, if it counts as a connection.
    fn live(found: &Found) -> Option<TcpInfo> {
        let state =
            StateFlags::from_bits_truncate(1u32.checked_shl(found.state.into()).unwrap_or(0));
        found
            .tcp_info
            .filter(|_| found.inode != 0 && connected().intersects(state))
    }

    pub(super) fn one_by_one(ends: &[Ends]) -> io::Result<Vec<Option<TcpInfo>>> {
        let mut answers = vec![None; ends.len()];
        let mut diag = Diag::open()?;
        diag.look_up(ends, |index, found| answers[index] = live(&found))?;
        if answers.iter().all(Option::is_none) {
            // A kernel without tcp_diag answers as if it didn't know the connection. An empty dump
            // tells: it fails there.
            let nothing = Filter {
                states: StateFlags::empty(),
                peer_port: 0,
                extensions: ExtensionFlags::empty(),
            };
            diag.dump(Family::V4, &nothing, |_| {})?;
        }
        Ok(answers)
    }

    pub(super) fn picked_out(ends: &[Ends]) -> io::Result<Vec<Option<TcpInfo>>> {
        let filter = Filter {
            states: connected(),
            peer_port: 0,
            extensions: ExtensionFlags::INFO,
        };
        let mut wanted: HashMap<Ends, Option<TcpInfo>> =
            ends.iter().map(|ends| (*ends, None)).collect();
        let mut missing = wanted.len();
        let mut diag = Diag::open()?;
        for family in [Family::V4, Family::V6] {
            if missing == 0 {
                break;
            }
            let dumped = diag.dump(family, &filter, |found| {
                if let Some(answer) = wanted.get_mut(&found.ends)
                    && answer.is_none()
                {
                    *answer = live(&found);
                    missing -= usize::from(answer.is_some());
                }
            });
            match dumped {
                // A kernel without IPv6.
                Err(error)
                    if family == Family::V6
                        && error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
                dumped => dumped?,
            }
        }
        Ok(ends.iter().map(|ends| wanted[ends]).collect())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{
        platform::{in_use, one_by_one, picked_out},
        *,
    };
    use crate::ends::Ends;

    #[test]
    fn the_number_of_sockets_is_found_among_the_statistics() {
        let text =
            "sockets: used 22\nTCP: inuse 2 orphan 0 tw 0 alloc 3 mem 0\nUDP: inuse 7 mem 0\n";
        assert_eq!(in_use(text, "TCP:"), Some(2));
        assert_eq!(in_use(text, "UDP:"), Some(7));
        for bad in [
            "",
            "TCP:",
            "TCP: inuse",
            "TCP: inuse x",
            "TCP: orphan 0",
            "inuse 5",
            "TCP: inuse -1",
        ] {
            assert_eq!(in_use(bad, "TCP:"), None, "{bad:?}");
        }
    }

    /// Both ends of a new connection, as far as netlink isn't refused.
    fn connection(listen: &str) -> Option<(TcpListener, TcpStream, TcpStream)> {
        let listener = match TcpListener::bind(listen) {
            Ok(listener) => listener,
            Err(error) => {
                eprintln!("SKIPPED: {listen} can't be bound: {error}");
                return None;
            }
        };
        let near =
            TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let far = listener.accept().expect("accepts").0;
        Some((listener, near, far))
    }

    #[test]
    fn one_by_one_and_picked_out_of_a_dump_the_same_connections_are_there() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Some((listener, near, far)) = connection(listen) else {
                continue;
            };
            let address = listener.local_addr().expect("an address");
            let (gone, was) = {
                let stream = TcpStream::connect(address).expect("connects");
                let accepted = listener.accept().expect("accepts");
                (
                    Ends::new(stream.local_addr().expect("an address"), address),
                    Ends::new(address, accepted.1),
                )
            };
            let ends = [
                Ends::new(near.local_addr().expect("an address"), address),
                Ends::new(address, far.peer_addr().expect("an address")),
                gone,
                was,
            ];
            let one_by_one = match one_by_one(&ends) {
                Ok(answers) => answers,
                Err(error) => {
                    eprintln!("SKIPPED: netlink is refused here: {error}");
                    continue;
                }
            };
            let there = |answers: &[Option<TcpInfo>]| -> Vec<bool> {
                answers.iter().map(Option::is_some).collect()
            };
            assert_eq!(there(&one_by_one), [true, true, false, false], "{listen}");
            let picked_out = picked_out(&ends).expect("a dump");
            assert_eq!(there(&picked_out), [true, true, false, false], "{listen}");
        }
    }
}
