//! Which local ports the kernel gives to outgoing connections, as its settings say. Pure: texts to values.

/// A set of ports: a bit for each.
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

    /// How many of the range it has.
    pub(super) fn count_in(&self, range: PortRange) -> u32 {
        let among = (range.first..=range.last).filter(|&port| self.contains(port));
        u32::try_from(among.count()).expect("there are 65,536 ports")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_ports_in_order() {
        let range = PortRange::parse("32768\t60999\n").expect("a range");
        assert_eq!(
            (range.length(), range.contains(60_999), range.contains(61_000)),
            (28_232, true, false)
        );
        assert_eq!(PortRange::parse("0 65535").map(PortRange::length), Some(65_536));
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
