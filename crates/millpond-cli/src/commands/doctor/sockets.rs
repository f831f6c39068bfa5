//! The machine's TCP sockets, read from `/proc/net/tcp` and `tcp6` line by line, and counted at once: of a hundred thousand lines no more is kept
//! than counts by destination. Whoever has sockets from elsewhere (netlink) counts them by the same [`Tally`].

use std::{
    collections::{HashMap, HashSet},
    io::BufRead,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::files::{Files, Reading, Unread};

/// One for each family; a kernel may lack the second.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Destinations that are counted one by one. A crawler may have more; each takes some 100 bytes.
const MOST_DESTINATIONS: usize = 100_000;

/// The states that matter here, by the kernel's numbers.
const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;

/// A socket, as far as it matters here. IPv4 addresses in IPv6 form are told as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) state: u8,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// From a local address to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) from: IpAddr,
    pub(super) to: SocketAddr,
}

/// The sockets that a way has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// Whose local port is one that the kernel gives away by itself.
    pub(super) ports: u32,
    /// Of these, in TIME_WAIT.
    pub(super) time_wait: u32,
}

/// How many sockets there are, by where they lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sockets {
    pub(super) outgoing: HashMap<Way, Uses>,
    /// In TIME_WAIT though accepted here, by the port that accepted them: this side has closed first.
    pub(super) accepted_time_wait: HashMap<u16, u32>,
    /// All in TIME_WAIT.
    pub(super) time_wait: u64,
}

/// Counts sockets, one after the other.
pub(super) struct Tally<P> {
    listening: HashSet<u16>,
    /// Whether the kernel gives a port away by itself.
    is_given_away: P,
    sockets: Sockets,
}

impl<P: Fn(u16) -> bool> Tally<P> {
    /// With the ports that somebody listens at, which tell accepted sockets from others.
    pub(super) fn new(listening: HashSet<u16>, is_given_away: P) -> Self {
        Tally {
            listening,
            is_given_away,
            sockets: Sockets::default(),
        }
    }

    pub(super) fn add(&mut self, socket: Socket) {
        let Socket { state, local, peer } = socket;
        if state == LISTEN {
            return;
        }
        let in_time_wait = u32::from(state == TIME_WAIT);
        self.sockets.time_wait += u64::from(in_time_wait);
        if self.listening.contains(&local.port()) || !(self.is_given_away)(local.port()) {
            if in_time_wait > 0 {
                *self.sockets.accepted_time_wait.entry(local.port()).or_default() += 1;
            }
            return;
        }
        let way = Way {
            from: local.ip(),
            to: peer,
        };
        let outgoing = &mut self.sockets.outgoing;
        if outgoing.len() < MOST_DESTINATIONS || outgoing.contains_key(&way) {
            let uses = outgoing.entry(way).or_default();
            uses.ports += 1;
            uses.time_wait += in_time_wait;
        }
    }

    pub(super) fn finish(self) -> Sockets {
        self.sockets
    }
}

/// All sockets, counted. The tables tell of those who listen first, and are read up to there before all else.
pub(super) fn read(files: &dyn Files, is_given_away: impl Fn(u16) -> bool) -> Reading<Sockets> {
    let mut listening = HashSet::new();
    each(files, |socket| {
        let is_listening = socket.state == LISTEN;
        if is_listening {
            listening.insert(socket.local.port());
        }
        is_listening
    })?;
    let mut tally = Tally::new(listening, is_given_away);
    each(files, |socket| {
        tally.add(socket);
        true
    })?;
    Ok(tally.finish())
}

/// Every socket, table by table, each as long as more is wanted.
fn each(files: &dyn Files, mut wants_more: impl FnMut(Socket) -> bool) -> Reading<()> {
    for (nth, path) in TABLES.into_iter().enumerate() {
        let failed = |error| Unread::of(path, &error);
        let mut table = match files.open(path).map_err(failed) {
            // Without IPv6.
            Err(unread) if nth > 0 && unread.is_missing() => return Ok(()),
            opened => opened?,
        };
        let mut line = String::new();
        let mut is_heading = true;
        while {
            line.clear();
            table.read_line(&mut line).map_err(failed)? > 0
        } {
            if !std::mem::take(&mut is_heading) {
                let socket = parse(&line).ok_or_else(|| Unread::malformed(path, &line))?;
                if !wants_more(socket) {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// `0: 0100007F:1F90 0200000A:0050 06 …`.
fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    Some(Socket {
        local: address(words.next()?)?,
        peer: address(words.next()?)?,
        state: u8::from_str_radix(words.next()?, 16).ok()?,
    })
}

/// An address as words of 32 bits in the machine's own order, and a port, all in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| -> Option<[u8; 4]> {
        let digits = address.get(8 * at..8 * at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::Fixture, *};

    /// Of a machine whose words are little-endian, as that of most.
    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 35 1 0000000058d9b580 100 0 0 10 0
   1: 0200000A:9C40 0100000A:0050 06 00000000:00000000 03:00001279 00000000     0        0 0 3 000000008a195db8
   2: 0200000A:9C41 0100000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 36 1 000000008a195db9
   3: 0200000A:1F90 0300000A:C000 06 00000000:00000000 03:00001279 00000000     0        0 0 3 000000008a195dba
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 37 1 0 100 0 0 10 0
   1: 0000000000000000FFFF00000200000A:9C42 0000000000000000FFFF00000100000A:0050 06 00000000:00000000 03:00001279 00000000     0        0 0 3 0
   2: 00000000000000000000000001000000:9C43 00000000000000000000000001000000:0051 08 00000000:00000000 03:00001279 00000000     0        0 0 3 0
";

    fn way(from: &str, to: &str) -> Way {
        Way {
            from: from.parse().expect("an address"),
            to: to.parse().expect("an address"),
        }
    }

    fn given_away(port: u16) -> bool {
        port >= 8_000
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn sockets_are_counted_by_where_they_lead() {
        let files = Fixture::empty()
            .with("/proc/net/tcp", TCP)
            .with("/proc/net/tcp6", TCP6);
        let sockets = read(&files, given_away).expect("sockets");
        let uses = |ports, time_wait| Uses { ports, time_wait };
        assert_eq!(
            sockets.outgoing,
            HashMap::from([
                (way("10.0.0.2", "10.0.0.1:80"), uses(3, 2)),
                (way("::1", "[::1]:81"), uses(1, 0)),
            ])
        );
        assert_eq!(sockets.accepted_time_wait, HashMap::from([(8_080, 1)]));
        assert_eq!(sockets.time_wait, 3);
        let without_v6 = read(&files.without("/proc/net/tcp6"), given_away).expect("sockets");
        assert_eq!(without_v6.outgoing.len(), 1);
    }

    #[test]
    fn a_table_that_makes_no_sense_is_quoted() {
        let heading = "  sl  local_address\n";
        for line in [
            "0: 0200000A",
            "0: 02:1 03:1 06",
            "0: 0200000A:1 0100000A:2 zz",
            "",
            "0: ééé:1 é:2 06",
        ] {
            let files = Fixture::empty().with("/proc/net/tcp", &format!("{heading}{line}\n"));
            let unread = read(&files, given_away).expect_err("no table");
            assert!(matches!(unread, Unread::Malformed { .. }), "{line}: {unread}");
        }
        let unread = read(&Fixture::empty(), given_away).expect_err("no table");
        assert!(unread.is_missing(), "{unread}");
    }

    #[test]
    fn destinations_beyond_the_most_are_left_out_and_memory_is_bounded() {
        let mut tally = Tally::new(HashSet::new(), |_| true);
        let number = u32::try_from(MOST_DESTINATIONS).expect("a small number") + 5;
        for last in 0..number {
            tally.add(Socket {
                state: TIME_WAIT,
                local: SocketAddr::from(([10, 0, 0, 1], 40_000)),
                peer: SocketAddr::from((Ipv4Addr::from(last), 80)),
            });
        }
        let sockets = tally.finish();
        assert_eq!(
            (sockets.outgoing.len(), sockets.time_wait),
            (MOST_DESTINATIONS, u64::from(number))
        );
    }
}
