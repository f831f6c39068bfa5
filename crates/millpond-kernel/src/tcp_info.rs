//! `TCP_INFO`: the round-trip time, retransmissions and queues of a TCP connection, parsed from the
//! bytes of the kernel's `struct tcp_info`.

use std::time::Duration;

/// Some of the kernel's `TCP_INFO` of a TCP connection: its round-trip time, losses and queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
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

#[cfg(target_os = "linux")]
impl TcpInfo {
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
    use super::*;

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
            TcpInfo::parse(&info()),
            Some(TcpInfo {
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
        let older = TcpInfo::parse(&info()[..104]).expect("all that is needed");
        assert_eq!(
            (older.retransmits, older.unsent, older.shortest_rtt),
            (99, None, None)
        );
        for length in 0..104 {
            assert_eq!(TcpInfo::parse(&info()[..length]), None, "{length} bytes");
        }
        let mut unmeasured = info();
        unmeasured[148..].fill(0xff);
        assert_eq!(
            TcpInfo::parse(&unmeasured).expect("info").shortest_rtt,
            None
        );
    }
}
