//! How the transmission of a TCP connection goes, as the kernel sees it: round-trip time,
//! retransmissions, what is under way. By the connection's addresses alone; no descriptor is
//! touched.

use std::{io, net::SocketAddr, time::Duration};

/// How the transmission of a TCP connection goes: some of the kernel's `TCP_INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transmission {
    /// The smoothed round-trip time. Zero before the first was measured.
    pub rtt: Duration,
    /// How much the round-trip time varies: the smoothed mean deviation.
    pub rtt_variance: Duration,
    /// The shortest round-trip time lately (the last five minutes, unless
    /// `net.ipv4.tcp_min_rtt_wlen` says otherwise). `None` before the first was measured, and
    /// before Linux 4.6.
    pub shortest_rtt: Option<Duration>,
    /// Segments retransmitted in the connection's life.
    pub retransmits: u32,
    /// How many times in a row the retransmission timer has fired without anything being
    /// acknowledged. More than one or two: the peer or the way to it is gone.
    pub timeouts: u8,
    /// Segments sent and not yet acknowledged.
    pub unacknowledged: u32,
    /// Of these, how many are presumed lost.
    pub lost: u32,
    /// Bytes written to the socket and not yet sent. `None` before Linux 4.6.
    pub unsent: Option<u32>,
    /// After how long without an acknowledgement a segment is sent again. It doubles with each of
    /// the [`timeouts`](Self::timeouts).
    pub retransmission_timeout: Duration,
    /// How many segments may be under way: the congestion window. It grows as long as nothing is
    /// lost.
    pub congestion_window: u32,
    /// The most bytes that this side puts into one segment, headers not counted.
    pub send_mss: u32,
    /// The largest packet that fits the path, in bytes, as far as the kernel knows: it begins with
    /// the interface's own and learns of smaller ones (a tunnel) as packets get lost or are
    /// refused.
    pub path_mtu: u32,
}

/// How the transmission of these connections goes, each given by its local and its peer's address.
/// `None` for one that is gone: closed here, reset, or never there. A connection that only the peer
/// has closed is still here, and so is one that was shut down.
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
pub fn transmissions(pairs: &[(SocketAddr, SocketAddr)]) -> io::Result<Vec<Option<Transmission>>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    platform::transmissions(pairs).map_err(super::asking)
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    pub(super) fn transmissions(
        _: &[(SocketAddr, SocketAddr)],
    ) -> io::Result<Vec<Option<Transmission>>> {
        Err(crate::only_linux())
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{collections::HashMap, fs};

    use netlink_packet_sock_diag::inet::{ExtensionFlags, StateFlags};
    use nix::errno::Errno;

    use super::*;
    use crate::diag::{Diag, Ends, Family, Filter, Found};

    /// Up to so many connections are looked up one by one in any case.
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

    pub(super) fn transmissions(
        pairs: &[(SocketAddr, SocketAddr)],
    ) -> io::Result<Vec<Option<Transmission>>> {
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

    /// The transmission of a socket that counts as a connection.
    fn live(found: &Found) -> Option<Transmission> {
        let state =
            StateFlags::from_bits_truncate(1u32.checked_shl(found.state.into()).unwrap_or(0));
        found
            .transmission
            .filter(|_| found.inode != 0 && connected().intersects(state))
    }

    pub(super) fn one_by_one(ends: &[Ends]) -> io::Result<Vec<Option<Transmission>>> {
        let mut answers = vec![None; ends.len()];
        let mut diag = Diag::open()?;
        diag.look_up(ends, |index, found| answers[index] = live(&found))?;
        if answers.iter().all(Option::is_none) {
            // A kernel without tcp_diag answers like one that doesn't know the connection. To a
            // dump, of nothing, it answers otherwise.
            let nothing = Filter {
                states: StateFlags::empty(),
                peer_port: 0,
                extensions: ExtensionFlags::empty(),
            };
            diag.dump(Family::V4, &nothing, |_| {})?;
        }
        Ok(answers)
    }

    pub(super) fn picked_out(ends: &[Ends]) -> io::Result<Vec<Option<Transmission>>> {
        let filter = Filter {
            states: connected(),
            peer_port: 0,
            extensions: ExtensionFlags::INFO,
        };
        let mut wanted: HashMap<Ends, Option<Transmission>> =
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

#[cfg(target_os = "linux")]
impl Transmission {
    /// From the kernel's `struct tcp_info`, which grows at its end from version to version: what
    /// this kernel's doesn't have is `None`. `None` as a whole if it ends before the fields
    /// that every supported kernel has.
    pub(super) fn parse(info: &[u8]) -> Option<Self> {
        let word = |offset: usize| {
            let bytes = info.get(offset..offset + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
        };
        let micros = |offset| word(offset).map(|micros| Duration::from_micros(micros.into()));
        Some(Self {
            timeouts: *info.get(2)?,
            unacknowledged: word(24)?,
            lost: word(32)?,
            rtt: micros(68)?,
            rtt_variance: micros(72)?,
            retransmits: word(100)?,
            unsent: word(144),
            retransmission_timeout: micros(8)?,
            congestion_window: word(80)?,
            send_mss: word(16)?,
            path_mtu: word(60)?,
            // The kernel says "not measured" by the greatest number.
            shortest_rtt: micros(148).filter(|rtt| *rtt != Duration::from_micros(u32::MAX.into())),
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{
        platform::{in_use, one_by_one, picked_out},
        *,
    };
    use crate::diag::Ends;

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

    /// As Linux 6 has it, up to `tcpi_min_rtt`.
    fn info() -> Vec<u8> {
        let mut info = vec![0; 152];
        info[2] = 3;
        for (offset, value) in [
            (8, 204_000),
            (16, 1_448),
            (24, 10),
            (32, 4),
            (60, 1_492),
            (68, 1_500),
            (72, 700),
            (80, 12),
            (100, 99),
            (144, 65_000),
            (148, 800),
        ] {
            info[offset..offset + 4].copy_from_slice(&u32::to_ne_bytes(value));
        }
        info
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        assert_eq!(
            Transmission::parse(&info()),
            Some(Transmission {
                rtt: Duration::from_micros(1_500),
                rtt_variance: Duration::from_micros(700),
                shortest_rtt: Some(Duration::from_micros(800)),
                retransmits: 99,
                timeouts: 3,
                unacknowledged: 10,
                lost: 4,
                unsent: Some(65_000),
                retransmission_timeout: Duration::from_millis(204),
                congestion_window: 12,
                send_mss: 1_448,
                path_mtu: 1_492,
            })
        );
    }

    #[test]
    fn what_an_older_kernel_does_not_tell_is_none() {
        let older = Transmission::parse(&info()[..104]).expect("all that is needed");
        assert_eq!(
            (older.retransmits, older.unsent, older.shortest_rtt),
            (99, None, None)
        );
        for length in 0..104 {
            assert_eq!(
                Transmission::parse(&info()[..length]),
                None,
                "{length} bytes"
            );
        }
        let mut unmeasured = info();
        unmeasured[148..].fill(0xff);
        assert_eq!(
            Transmission::parse(&unmeasured).expect("info").shortest_rtt,
            None
        );
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
            let there = |answers: &[Option<Transmission>]| -> Vec<bool> {
                answers.iter().map(Option::is_some).collect()
            };
            assert_eq!(there(&one_by_one), [true, true, false, false], "{listen}");
            let picked_out = picked_out(&ends).expect("a dump");
            assert_eq!(there(&picked_out), [true, true, false, false], "{listen}");
        }
    }
}
