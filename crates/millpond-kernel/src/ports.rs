//! Which local ports the kernel gives to outgoing connections, and how many of them are in use
//! towards one destination.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use millpond_words::Thousands;

/// How far the local ports for connections to one destination are used up. Each connection to the
/// same address and port, from the same local address, needs a local port of its own, and keeps it
/// for a minute after it was closed by this side (TIME_WAIT).
///
/// Its `Display` is one clause: `28,231 of the 28,232 ports 32768-60999 are in use towards
/// 10.0.0.1:80, 28,100 of them in TIME_WAIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortUse {
    /// Where to.
    pub destination: SocketAddr,
    /// From which local address: the one that was asked for, or else the one that most of the
    /// ports belong to. `None` if no port is in use.
    pub source: Option<IpAddr>,
    /// The first ephemeral port (`net.ipv4.ip_local_port_range`, for IPv6 as well).
    pub first: u16,
    /// The last.
    pub last: u16,
    /// How many ports between these are reserved (`net.ipv4.ip_local_reserved_ports`).
    pub reserved: u32,
    /// How many ports between these, and not reserved, are used by sockets towards the destination,
    /// in whatever state.
    pub in_use_towards: u32,
    /// Of these, ports in TIME_WAIT.
    pub in_time_wait_towards: u32,
}

impl PortUse {
    /// How many ports the kernel may give away towards each destination.
    pub fn available(&self) -> u32 {
        (u32::from(self.last) + 1)
            .saturating_sub(self.first.into())
            .saturating_sub(self.reserved)
    }

    /// How many are left.
    pub fn free(&self) -> u32 {
        self.available().saturating_sub(self.in_use_towards)
    }
}

impl fmt::Display for PortUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (destination, time_wait) = (self.destination, self.in_time_wait_towards);
        write!(
            f,
            "{} are in use towards {destination}, {} of them in TIME_WAIT",
            Share(self),
            Count(time_wait)
        )
    }
}

/// `28,231 of the 28,232 ports 32768-60999`.
pub(super) struct Share<'p>(pub(super) &'p PortUse);

impl fmt::Display for Share<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortUse {
            first,
            last,
            reserved,
            ..
        } = *self.0;
        let available = Thousands(self.0.available().into());
        write!(
            f,
            "{} of the {available} ports {first}-{last}",
            Count(self.0.in_use_towards)
        )?;
        match reserved {
            0 => Ok(()),
            reserved => write!(f, " ({} reserved)", Thousands(reserved.into())),
        }
    }
}

/// A number, or `none`.
pub(super) struct Count(pub(super) u32);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            count => Thousands(count.into()).fmt(f),
        }
    }
}

/// How far the local ports for connections to `destination` are used up, from the local address
/// that most of them belong to.
///
/// This blocks: for some 0.2 ms, and 1 µs for each socket that goes there, TIME_WAIT included; so
/// with all 28,000 ports in use for 30 ms. Never call it under a lock, and in asynchronous code
/// from a blocking thread. It needs no privileges.
///
/// # Errors
///
/// When the kernel can't be asked: no netlink (a sandbox), no `tcp_diag` in the kernel, no
/// descriptor left for the question, no `/proc`, or another system than Linux
/// ([`Unsupported`](io::ErrorKind::Unsupported)). It gives up after ten seconds.
pub fn port_use(destination: SocketAddr) -> io::Result<PortUse> {
    platform::port_use(None, destination)
}

/// Like [`port_use`], from this local address alone: for connections that are bound to it.
///
/// # Errors
///
/// Those of [`port_use`].
pub fn port_use_from(source: IpAddr, destination: SocketAddr) -> io::Result<PortUse> {
    // Port 0: the kernel will choose one.
    let source = Some(source.to_canonical()).filter(|source| !source.is_unspecified());
    platform::port_use(source, destination)
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    pub(super) fn port_use(_: Option<IpAddr>, _: SocketAddr) -> io::Result<PortUse> {
        Err(crate::error::only_linux())
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{collections::HashMap, fs, net::Ipv6Addr};

    use netlink_packet_sock_diag::{
        TCP_TIME_WAIT,
        inet::{ExtensionFlags, StateFlags},
    };
    use nix::errno::Errno;

    use super::*;
    use crate::{
        diag::Diag,
        ends::Ends,
        error::sock_diag_failed,
        packet::{Family, Filter},
    };

    pub(super) fn port_use(source: Option<IpAddr>, destination: SocketAddr) -> io::Result<PortUse> {
        let (first, last) = read("/proc/sys/net/ipv4/ip_local_port_range", range)?;
        let reserved = read("/proc/sys/net/ipv4/ip_local_reserved_ports", ports)?;
        let usable = |port: u16| (first..=last).contains(&port) && !reserved.contains(port);

        let mut sources: HashMap<IpAddr, Taken> = HashMap::new();
        if let Some(source) = source {
            sources.insert(source, Taken::default());
        }
        let towards = Ends::new(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), destination);
        let mut count = |ends: Ends, state: u8| {
            if ends.leads_where(&towards) && usable(ends.local_port) {
                match source {
                    Some(source) if source != ends.local => {}
                    _ => sources
                        .entry(ends.local)
                        .or_default()
                        .add(ends.local_port, state),
                }
            }
        };
        dump(&towards, &mut count).map_err(sock_diag_failed)?;

        let most = sources.into_iter().max_by_key(|(_, count)| count.in_use);
        let (source, count) = most.map_or((source, Taken::default()), |(source, count)| {
            (Some(source), count)
        });
        Ok(PortUse {
            destination,
            source,
            first,
            last,
            reserved: (first..=last)
                .map(|port| u32::from(reserved.contains(port)))
                .sum(),
            in_use_towards: count.in_use,
            in_time_wait_towards: count.in_time_wait,
        })
    }

    /// Every socket, in whatever state, that has this peer's port.
    fn dump(towards: &Ends, count: &mut impl FnMut(Ends, u8)) -> io::Result<()> {
        let filter = Filter {
            states: StateFlags::all(),
            peer_port: towards.peer_port,
            extensions: ExtensionFlags::empty(),
        };
        let mut diag = Diag::open()?;
        if towards.is_v4() {
            diag.dump(Family::V4, &filter, |found| count(found.ends, found.state))?;
        }
        // For a v4 destination too: v6 sockets connect to v4-mapped addresses.
        match diag.dump(Family::V6, &filter, |found| count(found.ends, found.state)) {
            // A kernel without IPv6.
            Err(error) if towards.is_v4() && error.raw_os_error() == Some(Errno::ENOENT as i32) => {
                Ok(())
            }
            dumped => dumped,
        }
    }

    /// The ports in use from one local address.
    #[derive(Default)]
    pub(super) struct Taken {
        /// A dump may tell of a socket twice.
        counted: Ports,
        pub(super) in_use: u32,
        pub(super) in_time_wait: u32,
    }

    impl Taken {
        pub(super) fn add(&mut self, port: u16, state: u8) {
            if self.counted.insert(port) {
                self.in_use += 1;
                self.in_time_wait += u32::from(state == TCP_TIME_WAIT);
            }
        }
    }

    /// A set of ports: a bit for each.
    #[derive(Debug)]
    pub(super) struct Ports(Box<[u64; 1024]>);

    impl Default for Ports {
        fn default() -> Self {
            Self(Box::new([0; 1024]))
        }
    }

    impl Ports {
        fn place(port: u16) -> (usize, u64) {
            (usize::from(port / 64), 1 << (port % 64))
        }

        pub(super) fn contains(&self, port: u16) -> bool {
            let (word, bit) = Self::place(port);
            self.0[word] & bit != 0
        }

        /// Whether it is new.
        fn insert(&mut self, port: u16) -> bool {
            let (word, bit) = Self::place(port);
            let new = self.0[word] & bit == 0;
            self.0[word] |= bit;
            new
        }
    }

    /// Reads a small file, and parses it.
    fn read<T>(path: &str, parse: impl FnOnce(&str) -> Option<T>) -> io::Result<T> {
        let text = fs::read_to_string(path).map_err(|error| {
            io::Error::new(error.kind(), format!("reading {path} failed: {error}"))
        })?;
        parse(&text).ok_or_else(|| {
            let text: String = text.trim().chars().take(80).collect();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{path} makes no sense: {text:?}"),
            )
        })
    }

    /// `32768 60999`.
    pub(super) fn range(text: &str) -> Option<(u16, u16)> {
        let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
        let (first, last) = (numbers.next()??, numbers.next()??);
        (first <= last && numbers.next().is_none()).then_some((first, last))
    }

    /// `8080,9000-9010`, or nothing.
    pub(super) fn ports(text: &str) -> Option<Ports> {
        let mut ports = Ports::default();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            if first > last {
                return None;
            }
            for port in first..=last {
                ports.insert(port);
            }
        }
        Some(ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_use_reads_as_one_clause() {
        let mut ports = PortUse {
            destination: "10.0.0.1:80".parse().expect("an address"),
            source: None,
            first: 32_768,
            last: 60_999,
            reserved: 0,
            in_use_towards: 28_231,
            in_time_wait_towards: 28_100,
        };
        assert_eq!(ports.free(), 1);
        assert_eq!(
            ports.to_string(),
            "28,231 of the 28,232 ports 32768-60999 are in use towards 10.0.0.1:80, 28,100 of them in TIME_WAIT"
        );
        ports.reserved = 1_000;
        assert_eq!((ports.available(), ports.free()), (27_232, 0));
        assert_eq!(
            ports.to_string(),
            "28,231 of the 27,232 ports 32768-60999 (1,000 reserved) are in use towards 10.0.0.1:80, \
             28,100 of them in TIME_WAIT"
        );
    }

    #[test]
    fn a_range_of_all_ports_is_counted_without_overflow() {
        let ports = PortUse {
            destination: "[::1]:80".parse().expect("an address"),
            source: None,
            first: 0,
            last: u16::MAX,
            reserved: 0,
            in_use_towards: 0,
            in_time_wait_towards: 0,
        };
        assert_eq!(ports.available(), 65_536);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_that_a_dump_tells_twice_counts_once() {
        use netlink_packet_sock_diag::{TCP_ESTABLISHED, TCP_TIME_WAIT};

        let mut taken = super::platform::Taken::default();
        for (port, state) in [
            (40_000, TCP_TIME_WAIT),
            (40_000, TCP_TIME_WAIT),
            (40_001, TCP_ESTABLISHED),
        ] {
            taken.add(port, state);
        }
        assert_eq!((taken.in_use, taken.in_time_wait), (2, 1));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_port_range_is_two_numbers_in_order() {
        use super::platform::range;

        assert_eq!(range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(range("1 65535"), Some((1, 65_535)));
        for bad in [
            "",
            "\n",
            "32768",
            "32768 x",
            "1 65536",
            "-1 5",
            "60999 32768",
            "1 2 3",
        ] {
            assert_eq!(range(bad), None, "{bad:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reserved_ports_are_single_ones_and_ranges() {
        use super::platform::ports;

        let reserved = |text: &str| -> Option<Vec<u16>> {
            let ports = ports(text)?;
            Some(
                (0..=u16::MAX)
                    .filter(|port| ports.contains(*port))
                    .collect(),
            )
        };
        assert_eq!(reserved("\n"), Some(vec![]));
        assert_eq!(
            reserved("8080,9000-9002\n"),
            Some(vec![8_080, 9_000, 9_001, 9_002])
        );
        assert_eq!(reserved("0-65535").map(|ports| ports.len()), Some(65_536));
        for bad in ["x", "1-", "-1", "9-8", "65536", "1;2", "1 2", "1-2-3"] {
            assert_eq!(reserved(bad), None, "{bad:?}");
        }
    }
}
