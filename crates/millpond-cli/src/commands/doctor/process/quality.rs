//! How a process's connections transmit: round-trip times, retransmissions, and peers that no
//! longer answer. Pure.

use std::time::Duration;

use millpond::kernel::{TcpInfo, TcpSocket, TcpState};

use super::{
    facts::{Seen, Source},
    peer::Peer,
};
use crate::{
    commands::doctor::finding::{Finding, Mark, NETLINK},
    numbers::{counted, rounded, thousands},
    text::span,
};

/// The retransmission timer doubles each time: two timeouts in a row are no accident, and after
/// five nothing has arrived for many seconds.
const SUSPICIOUS_TIMEOUTS: u8 = 2;
const HOPELESS_TIMEOUTS: u8 = 5;

/// The most connections that are named as the worst.
const WORST: usize = 3;

const CHECK: &str = "process-transmission";
const WHY: &str = "A request takes at least one round trip, and longer if a packet has to be sent again. A peer that acknowledges \
                   nothing is down, or can't be reached.";

pub(super) fn transmission(seen: &Seen) -> Finding {
    if seen.source != Source::Netlink {
        let found = "Not known: only netlink shows how its connections transmit.";
        let advice = match seen.source {
            Source::OtherNamespace => {
                "Run this in the same network namespace (`nsenter --net`, or in the container)."
            }
            _ => NETLINK,
        };
        return Finding::new(CHECK, Mark::Unknown, found, WHY).advice(advice);
    }
    let live: Vec<Live<'_>> = seen
        .own
        .iter()
        .filter_map(|socket| Live::of(seen, socket))
        .collect();
    if live.is_empty() {
        return Finding::new(
            CHECK,
            Mark::Good,
            "It has no connection at the moment.",
            WHY,
        );
    }
    let worst = live
        .iter()
        .map(|live| live.seen.timeouts)
        .max()
        .unwrap_or(0);
    let unanswered = live.iter().filter(|live| live.is_unanswered()).count();
    let mark = match worst {
        timeouts if timeouts >= HOPELESS_TIMEOUTS => Mark::Bad,
        timeouts if timeouts >= SUSPICIOUS_TIMEOUTS || unanswered > 0 => Mark::Warning,
        _ => Mark::Good,
    };
    let finding = figures(
        Finding::new(CHECK, mark, found(&live, unanswered), WHY),
        &live,
    );
    match mark {
        Mark::Good => finding,
        _ => finding.advice(
            "Check whether these peers are up, and what drops the packets on the way (a firewall, a load balancer that has forgotten \
             the connection). Deadlines and a user timeout (TCP_USER_TIMEOUT) end such connections sooner.",
        ),
    }
}

/// A connection of the process, and its transmission.
struct Live<'s> {
    socket: &'s TcpSocket,
    peer: Peer,
    seen: TcpInfo,
}

impl<'s> Live<'s> {
    fn of(seen: &Seen, socket: &'s TcpSocket) -> Option<Live<'s>> {
        let is_over = matches!(
            socket.state,
            TcpState::Listen | TcpState::Closed | TcpState::TimeWait
        );
        Some(Live {
            socket,
            peer: Peer::of(seen, socket),
            seen: socket.tcp_info.filter(|_| !is_over)?,
        })
    }

    /// It is still connecting, and has sent its SYN again.
    fn is_unanswered(&self) -> bool {
        self.socket.state == TcpState::SynSent && self.seen.timeouts > 0
    }

    fn is_troubled(&self) -> bool {
        self.seen.timeouts > 0 || self.seen.lost > 0 || self.seen.retransmits > 0
    }

    fn described(&self) -> String {
        let TcpInfo {
            timeouts,
            unacknowledged,
            retransmits,
            lost,
            ..
        } = self.seen;
        let parts = [
            (u32::from(timeouts), "timeout", "timeouts in a row"),
            (retransmits, "segment sent again", "segments sent again"),
            (unacknowledged, "unacknowledged", "unacknowledged"),
            (lost, "presumed lost", "presumed lost"),
        ];
        let parts = parts.iter().filter(|(count, ..)| *count > 0);
        let parts: Vec<_> = parts
            .map(|(count, one, many)| {
                let what = if *count == 1 { one } else { many };
                format!("{} {what}", thousands(u64::from(*count)))
            })
            .collect();
        format!("{}: {}", self.peer, parts.join(", "))
    }
}

fn found(live: &[Live<'_>], unanswered: usize) -> String {
    let mut found = counted(live.len() as u64, "connection", "connections");
    if let Some((median, worst)) = round_trips(live) {
        found += &format!(
            ", round-trip time {} at the median, {} at worst ({})",
            span(median),
            span(worst.seen.rtt),
            worst.peer
        );
    }
    let retransmits = total_retransmits(live);
    found += &match retransmits {
        0 => String::from(", nothing sent again"),
        count => format!(
            ", {} sent again in all",
            counted(count, "segment", "segments")
        ),
    };
    if unanswered > 0 {
        found += &format!(
            ", {} without an answer yet",
            counted(
                unanswered as u64,
                "attempt to connect",
                "attempts to connect"
            )
        );
    }
    let mut worst: Vec<_> = live.iter().filter(|live| live.is_troubled()).collect();
    worst.sort_by_key(|live| {
        let seen = live.seen;
        std::cmp::Reverse((
            seen.timeouts,
            seen.lost,
            seen.retransmits,
            seen.unacknowledged,
        ))
    });
    let worst: Vec<_> = worst
        .iter()
        .take(WORST)
        .map(|live| live.described())
        .collect();
    match worst.is_empty() {
        true => found + ".",
        false => format!("{found}. The worst: {}.", worst.join("; ")),
    }
}

fn figures(finding: Finding, live: &[Live<'_>]) -> Finding {
    let finding = finding
        .figure("connections", live.len())
        .figure("retransmits", total_retransmits(live))
        .figure(
            "most_timeouts_in_a_row",
            live.iter()
                .map(|live| live.seen.timeouts)
                .max()
                .unwrap_or(0),
        )
        .figure(
            "unacknowledged_segments",
            live.iter()
                .map(|live| u64::from(live.seen.unacknowledged))
                .sum::<u64>(),
        );
    match round_trips(live) {
        Some((median, worst)) => finding
            .figure("rtt_median_seconds", rounded(median.as_secs_f64(), 6))
            .figure(
                "rtt_worst_seconds",
                rounded(worst.seen.rtt.as_secs_f64(), 6),
            ),
        None => finding,
    }
}

/// The median round-trip time, and the connection with the longest.
fn round_trips<'l, 's>(live: &'l [Live<'s>]) -> Option<(Duration, &'l Live<'s>)> {
    let mut measured: Vec<_> = live
        .iter()
        .filter(|live| !live.seen.rtt.is_zero())
        .collect();
    measured.sort_by_key(|live| live.seen.rtt);
    Some((measured.get(measured.len() / 2)?.seen.rtt, measured.last()?))
}

fn total_retransmits(live: &[Live<'_>]) -> u64 {
    live.iter()
        .map(|live| u64::from(live.seen.retransmits))
        .sum()
}
