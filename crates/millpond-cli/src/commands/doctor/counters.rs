//! The kernel's event counters since its network namespace began. Pure: texts to values.

use std::collections::HashMap;

/// Counts of events, by the names that the kernel gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters(HashMap<String, u64>);

impl Counters {
    /// Reads `/proc/net/netstat` or `/proc/net/snmp`: for each group a line of names and a line of
    /// counts. Only this group's are kept.
    pub(super) fn parse(group: &str, text: &str) -> Option<Counters> {
        let mut lines = text.lines().filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            (name == group).then_some(rest)
        });
        let (names, counts) = (lines.next()?, lines.next()?);
        let names: Vec<_> = names.split_ascii_whitespace().collect();
        let counts: Vec<_> = counts.split_ascii_whitespace().collect();
        if names.len() != counts.len() {
            return None;
        }
        let pairs = names.into_iter().zip(counts);
        // One of the values may be -1 for "no limit", which isn't a count.
        Some(Counters(
            pairs
                .filter_map(|(name, count)| Some((String::from(name), count.parse().ok()?)))
                .collect(),
        ))
    }

    /// Zero also if the kernel is too old to count this.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_below_their_names() {
        let text = "TcpExt: A B C\nTcpExt: 1 -1 3\nIpExt: A\nIpExt: 9\n";
        let counters = Counters::parse("TcpExt", text).expect("counts");
        assert_eq!(
            ["A", "B", "C", "D"].map(|name| counters.count(name)),
            [1, 0, 3, 0]
        );
        for bad in [
            "",
            "TcpExt: A\n",
            "TcpExt: A B\nTcpExt: 1\n",
            "IpExt: A\nIpExt: 1\n",
        ] {
            assert_eq!(Counters::parse("TcpExt", bad), None, "{bad:?}");
        }
    }
}
