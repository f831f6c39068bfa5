//! What the kernel has counted: events since its network (the machine's, or the container's own) began, and sockets as they are now. Pure: texts
//! to values.

use std::collections::HashMap;

/// Counts of events, by the names that the kernel gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters(HashMap<String, u64>);

impl Counters {
    /// Of `/proc/net/netstat` and `/proc/net/snmp`: for each group a line of names and a line of counts, of which only this group's are kept.
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
        // One of them may be -1, for "no limit": it isn't a count.
        Some(Counters(
            pairs
                .filter_map(|(name, count)| Some((String::from(name), count.parse().ok()?)))
                .collect(),
        ))
    }

    /// Zero too where the kernel is too old to count this.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// The machine's TCP sockets now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketCounts {
    /// Closed by their program, but not done yet.
    pub(super) orphans: u64,
    pub(super) time_wait: u64,
    /// Pages of memory for what waits in their buffers.
    pub(super) pages: u64,
}

impl SocketCounts {
    /// The line `TCP: inuse 1 orphan 0 tw 2 alloc 1 mem 147` of `/proc/net/sockstat`.
    pub(super) fn parse(text: &str) -> Option<SocketCounts> {
        let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let of = |name: &str| -> Option<u64> {
            let pair = words.chunks_exact(2).find(|pair| pair[0] == name)?;
            pair[1].parse().ok()
        };
        Some(SocketCounts {
            orphans: of("orphan")?,
            time_wait: of("tw")?,
            pages: of("mem")?,
        })
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

    #[test]
    fn sockets_are_counted_in_one_line_of_several() {
        let text = "sockets: used 12\nTCP: inuse 1 orphan 3 tw 2 alloc 1 mem 147\nUDP: inuse 0 mem 9\n";
        let counts = SocketCounts {
            orphans: 3,
            time_wait: 2,
            pages: 147,
        };
        assert_eq!(SocketCounts::parse(text), Some(counts));
        for bad in [
            "",
            "UDP: inuse 0\n",
            "TCP: inuse 1 orphan\n",
            "TCP: orphan x tw 2 mem 3\n",
        ] {
            assert_eq!(SocketCounts::parse(bad), None, "{bad:?}");
        }
    }
}
