//! Sockets in TIME_WAIT: how many there are, where they lead, and the settings that affect them.

use std::{cmp::Reverse, fmt, net::SocketAddr};

use serde_json::json;

use super::check::{Check, Systems, by_share, percent};
use crate::{
    commands::doctor::{
        facts::Facts,
        files::Reading,
        finding::{Finding, Mark},
        reuse::{Allowed, Route, TIME_WAIT as KEPT_FOR},
        sockets::Sockets,
    },
    numbers::{counted, thousands},
};

/// Many towards one destination: they come from some 17 new connections a second, each with a
/// handshake. The check `ephemeral-ports` says whether the ports last.
const MANY: u32 = 1_000;

/// The most destinations and ports that are named.
const NAMED: usize = 3;

/// In percent of the sockets that may be in TIME_WAIT. Those beyond the limit are forgotten at
/// once.
const WARNING: u64 = 50;
const BAD: u64 = 95;

pub(super) const TIME_WAIT: Check = Check {
    name: "time-wait",
    about: "sockets that are closed but still keep their port, and where they lead",
    why: "The side that closes first keeps the pair of addresses and ports for 60 s, so that late packets don't reach the next connection. \
          This takes little memory, and blocks the port only towards that destination. But many of them mean that connections are opened and \
          closed all the time, each with a handshake.",
    systems: Systems::Linux,
    watches: &[],
    examine,
};

fn examine(check: &Check, facts: &Facts) -> Reading<Finding> {
    let sockets = match (&facts.sockets, &facts.socket_counts) {
        (Ok(sockets), _) => sockets,
        // Another file has their number.
        (Err(unread), Ok(counts)) => {
            let count = counted(counts.time_wait, "socket", "sockets");
            let found = format!("{count}; where they lead is not known: {unread}.");
            return Ok(check
                .finding(Mark::Unknown, found)
                .figure("sockets", counts.time_wait));
        }
        (Err(unread), Err(_)) => return Err(unread.clone()),
    };
    let mut whereabouts = whereabouts(sockets);
    whereabouts.sort_by_key(|&(whereabouts, count)| (Reverse(count), whereabouts));
    let found = match sockets.time_wait {
        0 => String::from("No socket is in TIME_WAIT."),
        count => format!(
            "{} ({} a second over the last minute): {}{}.",
            counted(count, "socket", "sockets"),
            match count / KEPT_FOR.as_secs() {
                0 => String::from("fewer than one"),
                per_second => format!("some {}", thousands(per_second)),
            },
            named(&whereabouts),
            match whereabouts.len() > NAMED {
                true => ", and others",
                false => "",
            },
        ),
    };
    let most = sockets.outgoing.values().map(|uses| uses.time_wait).max();
    let mark = match most.unwrap_or(0) {
        MANY.. => Mark::Warning,
        _ => Mark::Good,
    };
    let top: Vec<_> = whereabouts
        .iter()
        .take(NAMED)
        .map(|(whereabouts, count)| match whereabouts {
            Whereabouts::Towards(to) => json!({ "to": to.to_string(), "sockets": count }),
            Whereabouts::AcceptedAt(port) => json!({ "accepted_at_port": port, "sockets": count }),
        })
        .collect();
    let finding = check
        .finding(mark, found)
        .figure("sockets", sockets.time_wait)
        .figure("top", top);
    Ok(match mark {
        Mark::Good => finding,
        _ => finding.advice(
            "Keep connections and share them (a pool), or let the client's HTTP library keep them alive. The check ephemeral-ports shows how \
             close the limit is.",
        ),
    })
}

/// Where a socket in TIME_WAIT leads, or where it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whereabouts {
    Towards(SocketAddr),
    AcceptedAt(u16),
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whereabouts::Towards(to) => write!(f, "towards {to}"),
            Whereabouts::AcceptedAt(port) => write!(f, "accepted at port {port}"),
        }
    }
}

fn whereabouts(sockets: &Sockets) -> Vec<(Whereabouts, u32)> {
    let towards = sockets
        .outgoing
        .iter()
        .filter(|(_, uses)| uses.time_wait > 0);
    let towards = towards.map(|(way, uses)| (Whereabouts::Towards(way.to), uses.time_wait));
    let accepted = sockets.accepted_time_wait.iter();
    let accepted = accepted.map(|(&port, &count)| (Whereabouts::AcceptedAt(port), count));
    towards.chain(accepted).collect()
}

fn named(whereabouts: &[(Whereabouts, u32)]) -> String {
    let named = whereabouts.iter().take(NAMED);
    let named: Vec<_> = named
        .map(|(whereabouts, count)| format!("{} {whereabouts}", thousands((*count).into())))
        .collect();
    named.join(", ")
}

pub(super) const TIME_WAIT_REUSE: Check = Check {
    name: "time-wait-reuse",
    about: "whether a port in TIME_WAIT may be taken again (tcp_tw_reuse)",
    why: "0: a port in TIME_WAIT is never taken again within its 60 s. 1: a new connection of this machine may take it after \
          tcp_tw_reuse_delay (a second), if both sides use timestamps. 2, the default: the same over loopback, and like 0 towards other \
          machines. It does nothing for the side that accepts.",
    systems: Systems::Linux,
    watches: &[],
    examine: examine_reuse,
};

fn examine_reuse(check: &Check, facts: &Facts) -> Reading<Finding> {
    let allowed = facts.reuse.allowed.clone()?;
    let delay = facts.reuse.delay();
    let has_timestamps = facts.reuse.has_timestamps();
    let after = format!(
        "after {} ms",
        thousands(delay.as_millis().try_into().unwrap_or(u64::MAX))
    );
    let (number, found) = match allowed {
        Allowed::Never => (
            0,
            String::from("Never (0): a port stays in TIME_WAIT for 60 s, over loopback too."),
        ),
        Allowed::Always => (1, format!("Towards every machine (1), {after}.")),
        Allowed::Loopback => (
            2,
            format!("Over loopback only (2), {after}; towards other machines never."),
        ),
    };
    let (mark, note, advice) = match (allowed, has_timestamps) {
        (Allowed::Never, _) => (
            Mark::Warning,
            "",
            Some(
                "2 is the default, and safe. 1 helps a client that must open many connections to one destination; a pool helps more.",
            ),
        ),
        (Allowed::Always | Allowed::Loopback, false) => (
            Mark::Warning,
            " But without timestamps (net.ipv4.tcp_timestamps is 0) it never happens.",
            Some("Set net.ipv4.tcp_timestamps=1, its default."),
        ),
        (Allowed::Always | Allowed::Loopback, true)
            if facts.reuse.kept_for(Route::Loopback) >= KEPT_FOR =>
        {
            (
                Mark::Warning,
                " With that delay it changes nothing.",
                Some("Set net.ipv4.tcp_tw_reuse_delay=1000, its default."),
            )
        }
        (Allowed::Always | Allowed::Loopback, true) => (Mark::Good, "", None),
    };
    let finding = check
        .finding(mark, found + note)
        .figure("tcp_tw_reuse", number)
        .figure(
            "delay_ms",
            u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        )
        .figure("timestamps", has_timestamps);
    Ok(match advice {
        Some(advice) => finding.advice(advice),
        None => finding,
    })
}

pub(super) const TIME_WAIT_BUCKETS: Check = Check {
    name: "time-wait-buckets",
    about: "how many sockets may be in TIME_WAIT (tcp_max_tw_buckets)",
    why: "Beyond this limit a closed connection is forgotten at once. Its late packets can then reach the next connection between the same \
          ports, and reset it. So don't lower the limit to get rid of TIME_WAIT.",
    systems: Systems::Linux,
    watches: &["TCPTimeWaitOverflow"],
    examine: examine_buckets,
};

fn examine_buckets(check: &Check, facts: &Facts) -> Reading<Finding> {
    let limit = facts.max_time_wait.clone()?;
    let count = match (&facts.socket_counts, &facts.sockets) {
        (Ok(counts), _) => counts.time_wait,
        (Err(_), Ok(sockets)) => sockets.time_wait,
        (Err(unread), Err(_)) => return Err(unread.clone()),
    };
    let event = "TCPTimeWaitOverflow";
    let now = facts.happened_meanwhile(event);
    let ever = facts
        .events
        .as_ref()
        .map_or(0, |events| events.count(event));
    let mark = match (now, ever) {
        (1.., _) => Mark::Bad,
        (0, 1..) => Mark::Warning,
        (0, 0) => Mark::Good,
    };
    let mark = mark.max(by_share(percent(count, limit), WARNING, BAD));
    let mut found = format!(
        "{} of at most {}.",
        counted(count, "socket", "sockets"),
        thousands(limit)
    );
    if now > 0 {
        found += &format!(" Forgotten just now: {}.", thousands(now));
    } else if ever > 0 {
        found += &format!(" Forgotten so far: {}.", thousands(ever));
    }
    let finding = check
        .finding(mark, found)
        .figure("sockets", count)
        .figure("limit", limit)
        .figure("overflows", ever);
    Ok(match mark {
        Mark::Good => finding,
        _ => finding.advice("Keep connections and share them; else raise net.ipv4.tcp_max_tw_buckets (each takes some 250 bytes)."),
    })
}

pub(super) const TIME_WAIT_RECYCLE: Check = Check {
    name: "time-wait-recycle",
    about: "that tcp_tw_recycle, which breaks clients behind NAT, is off or gone",
    why: "Linux 4.12 removed it, so advice to set it is out of date. Where it still exists and is on, connections from several clients behind \
          one NAT address are silently dropped, because their timestamps differ.",
    systems: Systems::Linux,
    watches: &[],
    examine: examine_recycle,
};

fn examine_recycle(check: &Check, facts: &Facts) -> Reading<Finding> {
    let recycle = match &facts.recycle {
        // This setting is missing although tcp_tw_reuse exists: so the kernel has removed it.
        Err(unread) if unread.is_missing() && facts.reuse.allowed.is_ok() => None,
        reading => Some(reading.clone()?),
    };
    let finding = match recycle {
        None => check.finding(
            Mark::Good,
            "Not there: this kernel no longer has tcp_tw_recycle.",
        ),
        Some(0) => check.finding(Mark::Good, "Off, as it should be."),
        Some(value) => check
            .finding(
                Mark::Bad,
                format!("On ({value}): clients behind NAT are dropped."),
            )
            .advice("Set net.ipv4.tcp_tw_recycle=0."),
    };
    Ok(finding.figure("tcp_tw_recycle", recycle))
}

#[cfg(test)]
mod tests {
    use millpond::kernel::TcpState;

    use super::{
        super::tests::{found, found_in},
        *,
    };
    use crate::commands::doctor::{counters::Counters, fixture::Fixture};

    const IN_TIME_WAIT: TcpState = TcpState::TimeWait;

    #[test]
    fn few_in_time_wait_are_fine_and_many_towards_one_destination_are_a_warning() {
        // Never bad: what it harms are ports and buckets, which have checks of their own.
        let finding = found("time-wait", &Fixture::machine());
        assert_eq!(
            (finding.mark, finding.found.as_str()),
            (Mark::Good, "No socket is in TIME_WAIT.")
        );
        let machine = |count| {
            Fixture::machine().with_sockets(Route::Network, 32_768, &[(IN_TIME_WAIT, count)])
        };
        let finding = found("time-wait", &machine(999));
        assert_eq!(
            (finding.mark, finding.found.as_str()),
            (
                Mark::Good,
                "999 sockets (some 16 a second over the last minute): 999 towards 10.0.0.1:80."
            )
        );
        let finding = found("time-wait", &machine(1_000));
        assert_eq!(
            (finding.mark, &finding.figures["sockets"]),
            (Mark::Warning, &1_000.into())
        );
        let finding = found("time-wait", &Fixture::machine().without_sockets());
        assert_eq!(
            (finding.mark, &finding.figures["sockets"]),
            (Mark::Unknown, &0.into())
        );
        // Accepted ones are the server's side, and no port is missing by them.
        let accepted = Fixture::machine().with_sockets(Route::Network, 8_080, &[(IN_TIME_WAIT, 1)]);
        let finding = found("time-wait", &accepted);
        assert!(
            finding.found.ends_with("1 accepted at port 8080."),
            "{finding:?}"
        );
        assert_eq!(
            finding.figures["top"],
            json!([{ "accepted_at_port": 8_080, "sockets": 1 }])
        );
    }

    #[test]
    fn reuse_is_explained_by_its_number() {
        // Never bad: it is a means against another check's problem.
        let reuse = |value| {
            found(
                "time-wait-reuse",
                &Fixture::machine().set("ipv4/tcp_tw_reuse", value),
            )
        };
        assert_eq!(
            ["0", "1", "2", "7"].map(|value| reuse(value).mark),
            [Mark::Warning, Mark::Good, Mark::Good, Mark::Unknown]
        );
        assert_eq!(
            reuse("2").found,
            "Over loopback only (2), after 1,000 ms; towards other machines never."
        );
        let machine = Fixture::machine().set("ipv4/tcp_tw_reuse", "1");
        let finding = found(
            "time-wait-reuse",
            &machine.clone().set("ipv4/tcp_timestamps", "0"),
        );
        assert_eq!(finding.mark, Mark::Warning);
        assert!(
            finding
                .advice
                .is_some_and(|advice| advice.contains("tcp_timestamps=1"))
        );
        let finding = found(
            "time-wait-reuse",
            &machine.set("ipv4/tcp_tw_reuse_delay", "60000"),
        );
        assert!(
            finding
                .advice
                .is_some_and(|advice| advice.contains("tcp_tw_reuse_delay"))
        );
    }

    #[test]
    fn buckets_are_reported_before_they_are_full() {
        let buckets = |limit| {
            found(
                "time-wait-buckets",
                &Fixture::machine()
                    .with(
                        "/proc/net/sockstat",
                        "TCP: inuse 1 orphan 0 tw 960 alloc 1 mem 1\n",
                    )
                    .set("ipv4/tcp_max_tw_buckets", limit),
            )
        };
        assert_eq!(
            ["131072", "1920", "1000", "0"].map(|limit| buckets(limit).mark),
            [Mark::Good, Mark::Warning, Mark::Bad, Mark::Bad]
        );
        assert_eq!(buckets("1920").found, "960 sockets of at most 1,920.");
    }

    #[test]
    fn buckets_that_overflowed_once_are_a_warning_and_now_are_bad() {
        let overflows = |count: u32| {
            Counters::parse(
                "TcpExt",
                &format!("TcpExt: TCPTimeWaitOverflow\nTcpExt: {count}\n"),
            )
            .expect("counters")
        };
        let mut facts = Fixture::machine().facts();
        facts.events = Ok(overflows(7));
        facts.events_later = Some(overflows(7));
        let finding = found_in("time-wait-buckets", &facts);
        assert_eq!(finding.mark, Mark::Warning);
        assert!(
            finding.found.ends_with("Forgotten so far: 7."),
            "{finding:?}"
        );
        facts.events_later = Some(overflows(9));
        assert_eq!(found_in("time-wait-buckets", &facts).mark, Mark::Bad);
    }

    #[test]
    fn recycling_is_good_when_gone_or_off_and_bad_when_on() {
        // There is nothing between.
        let recycle = |value| {
            found(
                "time-wait-recycle",
                &Fixture::machine().set("ipv4/tcp_tw_recycle", value),
            )
        };
        assert_eq!(
            found("time-wait-recycle", &Fixture::machine()).mark,
            Mark::Good
        );
        assert_eq!(
            ["0", "1"].map(|value| recycle(value).mark),
            [Mark::Good, Mark::Bad]
        );
    }
}
