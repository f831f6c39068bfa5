//! The local ports for outgoing connections according to the kernel's settings, and how every check
//! describes them. Pure.

use super::{finding::Mark, sockets::Uses};
use crate::numbers::thousands;

/// Advice where ports are short.
pub(super) const ADVICE: &str = "Keep connections and share them (a pool) instead of opening one per request. Else widen \
                                 net.ipv4.ip_local_port_range, or spread over several destination or local addresses.";

/// A set of ports, as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortSet(Box<[u64; 1024]>);

/// From the first to the last port, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortRange {
    pub(super) first: u16,
    pub(super) last: u16,
}

impl PortRange {
    /// `32768 60999`.
    pub(super) fn parse(text: &str) -> Option<PortRange> {
        let [first, last] = super::files::numbers(text)?;
        let range = PortRange {
            first: first.try_into().ok()?,
            last: last.try_into().ok()?,
        };
        (range.first <= range.last).then_some(range)
    }

    pub(super) fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    pub(super) fn length(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }
}

impl PortSet {
    pub(super) fn empty() -> PortSet {
        PortSet(Box::new([0; 1024]))
    }

    /// `8080,9000-9010`, or nothing.
    pub(super) fn parse(text: &str) -> Option<PortSet> {
        let mut ports = PortSet::empty();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            if first > last {
                return None;
            }
            for port in first..=last {
                ports.0[usize::from(port / 64)] |= 1 << (port % 64);
            }
        }
        Some(ports)
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port / 64)] & (1 << (port % 64)) != 0
    }

    /// How many ports of a range it has.
    pub(super) fn count_in(&self, range: PortRange) -> u32 {
        let among = (range.first..=range.last).filter(|&port| self.contains(port));
        u32::try_from(among.count()).expect("there are 65,536 ports")
    }
}

/// `28,232 local ports (32768-60999)`, or `(40000-40199, without 100 reserved)`.
pub(super) fn described(range: PortRange, reserved: u32) -> String {
    format!(
        "{} local ports ({}-{}{})",
        thousands(range.length().saturating_sub(reserved).into()),
        range.first,
        range.last,
        match reserved {
            0 => String::new(),
            _ => format!(", without {} reserved", thousands(reserved.into())),
        },
    )
}

/// New connections a second: a whole number unless it is small.
pub(super) fn rate(limit: Option<f64>) -> String {
    match limit {
        None => String::from("any number of"),
        Some(limit) if limit < 10.0 => format!("{limit:.1}"),
        // Rounded down: no more is promised.
        Some(limit) => thousands(limit.floor() as u64),
    }
}

/// `25,512, 25,100 of them in TIME_WAIT`. `held` is the number that can't be taken again at once.
pub(super) fn in_use(uses: Uses, held: u32) -> String {
    let again = match held < uses.ports {
        true => " (free to be used again)",
        false => "",
    };
    format!(
        "{}, {} in TIME_WAIT{again}",
        thousands(uses.ports.into()),
        match uses.time_wait {
            0 => String::from("none of them"),
            1 if uses.ports == 1 => String::from("and that"),
            count if count == uses.ports => String::from("all of them"),
            count => format!("{} of them", thousands(count.into())),
        },
    )
}

/// The judgement on ports towards one destination, by how many can't be taken again at once.
pub(super) fn mark(held: u32, available: u32) -> Mark {
    const WARNING: u64 = 50;
    const BAD: u64 = 80;
    match u64::from(held) * 100 / u64::from(available.max(1)) {
        _ if available == 0 => Mark::Bad,
        BAD.. => Mark::Bad,
        WARNING.. => Mark::Warning,
        _ => Mark::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_described_in_one_way() {
        let range = PortRange {
            first: 40_000,
            last: 40_199,
        };
        assert_eq!(described(range, 0), "200 local ports (40000-40199)");
        assert_eq!(
            described(range, 100),
            "100 local ports (40000-40199, without 100 reserved)"
        );
        let uses = |ports, time_wait| Uses { ports, time_wait };
        assert_eq!(in_use(uses(12, 0), 12), "12, none of them in TIME_WAIT");
        assert_eq!(in_use(uses(1, 1), 1), "1, and that in TIME_WAIT");
        assert_eq!(
            in_use(uses(9, 9), 0),
            "9, all of them in TIME_WAIT (free to be used again)"
        );
        assert_eq!(
            [None, Some(3.333), Some(470.9)].map(rate),
            ["any number of", "3.3", "470"]
        );
    }

    #[test]
    fn the_more_ports_are_held_the_worse() {
        let marks =
            [(49, 100), (50, 100), (79, 100), (80, 100), (0, 0)].map(|(held, of)| mark(held, of));
        assert_eq!(
            marks,
            [
                Mark::Good,
                Mark::Warning,
                Mark::Warning,
                Mark::Bad,
                Mark::Bad
            ]
        );
    }

    #[test]
    fn a_range_is_two_ports_in_order() {
        let range = PortRange::parse("32768\t60999\n").expect("a range");
        assert_eq!(
            (
                range.length(),
                range.contains(60_999),
                range.contains(61_000)
            ),
            (28_232, true, false)
        );
        assert_eq!(
            PortRange::parse("0 65535").map(PortRange::length),
            Some(65_536)
        );
        for bad in ["", "1", "2 1", "1 65536", "-1 5", "1 2 3", "a b"] {
            assert_eq!(PortRange::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn reserved_ports_are_single_ones_and_ranges() {
        let all = PortRange {
            first: 0,
            last: u16::MAX,
        };
        let count = |text: &str| PortSet::parse(text).map(|ports| ports.count_in(all));
        assert_eq!(count("\n"), Some(0));
        assert_eq!(count("8080,9000-9002\n"), Some(4));
        assert_eq!(count("0-65535"), Some(65_536));
        for bad in ["x", "1-", "9-8", "65536", "1;2", "1-2-3"] {
            assert_eq!(count(bad), None, "{bad:?}");
        }
    }
}
