//! The kernel's summary of this machine's TCP sockets. Pure: text to values.

/// The machine's TCP sockets now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketCounts {
    /// Orphans: closed by their program, but not finished.
    pub(crate) orphans: u64,
    pub(crate) time_wait: u64,
    /// Pages of memory in their buffers.
    pub(crate) pages: u64,
}

impl SocketCounts {
    /// The line `TCP: inuse 1 orphan 0 tw 2 alloc 1 mem 147` of `/proc/net/sockstat`.
    pub(crate) fn parse(text: &str) -> Option<SocketCounts> {
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
    fn sockets_are_counted_in_one_line_of_several() {
        let text =
            "sockets: used 12\nTCP: inuse 1 orphan 3 tw 2 alloc 1 mem 147\nUDP: inuse 0 mem 9\n";
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
