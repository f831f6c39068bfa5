//! A server's queues: connections that are being established, and those that wait for `accept`.
//! The kernel counts since its start, so the counts show past problems too. There is a problem now
//! only if they grow between the two looks.

use super::check::{Check, Systems};
use crate::{
    commands::doctor::{
        facts::Facts,
        files::Reading,
        finding::{Finding, Mark},
    },
    numbers::thousands,
};

/// The default of both queues before Linux 5.4: a longer burst is dropped while the server is busy.
const SMALL: u64 = 128;

/// The default of `somaxconn` since Linux 5.4.
const USUAL: u64 = 4_096;

/// If fewer than one in this many accepted connections overflowed, it was a single bad moment. If
/// more did, it happens often.
const RARE: u64 = 1_000;

pub(super) const SYN_BACKLOG: Check = Check {
    name: "syn-backlog",
    about: "how many connections may be half open, and SYN cookies beyond that",
    why: "A connection whose handshake is under way waits in this queue. When it is full, SYN cookies still let clients in. Without them the \
          first packet is dropped, and the client tries again after a second.",
    systems: Systems::Linux,
    watches: &["TCPReqQFullDrop"],
    examine: examine_syn,
};

fn examine_syn(check: &Check, facts: &Facts) -> Reading<Finding> {
    let backlog = facts.syn_backlog.clone()?;
    let cookies = facts.syn_cookies.clone()?;
    let dropped = facts.happened_meanwhile("TCPReqQFullDrop");
    let ever = facts
        .events
        .as_ref()
        .map_or(0, |events| events.count("TCPReqQFullDrop"));
    let mut found = format!(
        "{} connections may be half open; SYN cookies are {}.",
        thousands(backlog),
        match cookies {
            0 => "off (0)",
            1 => "sent beyond that (1)",
            _ => "always sent, which is for tests (2)",
        },
    );
    if dropped > 0 {
        found += &format!(" Dropped just now: {}.", thousands(dropped));
    } else if ever > 0 {
        found += &format!(" Dropped so far: {}.", thousands(ever));
    }
    let (mark, advice) = match (dropped, cookies, backlog) {
        (1.., ..) => (
            Mark::Bad,
            Some(
                "Set net.ipv4.tcp_syncookies=1, and raise net.ipv4.tcp_max_syn_backlog and net.core.somaxconn.",
            ),
        ),
        (0, 1, SMALL..) => (Mark::Good, None),
        (0, 1, _) => (
            Mark::Warning,
            Some(
                "Raise net.ipv4.tcp_max_syn_backlog to some 1,000 or more, if this machine is a server.",
            ),
        ),
        (0, ..) => (
            Mark::Warning,
            Some("Set net.ipv4.tcp_syncookies=1, the default."),
        ),
    };
    let finding = check
        .finding(mark, found)
        .figure("tcp_max_syn_backlog", backlog)
        .figure("tcp_syncookies", cookies)
        .figure("dropped", ever);
    Ok(match advice {
        Some(advice) => finding.advice(advice),
        None => finding,
    })
}

pub(super) const LISTEN_BACKLOG: Check = Check {
    name: "listen-backlog",
    about: "how many connections may wait to be accepted (somaxconn), and overflows",
    why: "An established connection waits here until the server accepts it. The queue is as long as the server asked for, but no longer than \
          net.core.somaxconn. A connection that comes while it is full is dropped, and its client tries again after a second or more.",
    systems: Systems::Linux,
    watches: &["ListenOverflows"],
    examine: examine_listen,
};

fn examine_listen(check: &Check, facts: &Facts) -> Reading<Finding> {
    let limit = facts.accept_backlog.clone()?;
    let now = facts.happened_meanwhile("ListenOverflows");
    let mut found = format!("{} connections may wait to be accepted", thousands(limit));
    let mut often = false;
    let (mut overflows, mut drops) = (None, None);
    match &facts.events {
        Err(unread) => found += &format!("; how many were dropped is not known: {unread}."),
        Ok(events) => {
            let (overflowed, dropped) =
                (events.count("ListenOverflows"), events.count("ListenDrops"));
            let accepted = facts
                .accepted
                .as_ref()
                .map_or(0, |counters| counters.count("PassiveOpens"));
            often = overflowed > 0 && overflowed >= accepted / RARE;
            (overflows, drops) = (Some(overflowed), Some(dropped));
            found += &match (now, overflowed) {
                (0, 0) => String::from("; none was ever dropped."),
                (0, _) => format!(
                    "; dropped so far: {}, of {} accepted.",
                    thousands(overflowed),
                    thousands(accepted)
                ),
                _ => format!("; dropped just now: {}.", thousands(now)),
            };
        }
    }
    let mark = match now {
        1.. => Mark::Bad,
        0 if often || limit <= SMALL => Mark::Warning,
        0 => Mark::Good,
    };
    let finding = check
        .finding(mark, found)
        .figure("somaxconn", limit)
        .figure("overflows", overflows)
        .figure("drops", drops);
    Ok(match mark {
        Mark::Good => finding,
        _ if limit < USUAL => finding.advice(
            "Let the server accept sooner and ask for a longer queue (the number given to listen); raise net.core.somaxconn to 4,096, the \
             default since Linux 5.4. `ss -ltn` shows the queues.",
        ),
        _ => finding.advice(
            "Let the server accept sooner and ask for a longer queue (the number given to listen). `ss -ltn` shows the queues.",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{found, found_in},
        *,
    };
    use crate::commands::doctor::{counters::Counters, fixture::Fixture};

    fn events(names: &str, counts: &str) -> Counters {
        Counters::parse("TcpExt", &format!("TcpExt: {names}\nTcpExt: {counts}\n"))
            .expect("counters")
    }

    #[test]
    fn syn_cookies_are_good_and_their_absence_is_reported() {
        let finding = found("syn-backlog", &Fixture::machine());
        assert_eq!(finding.mark, Mark::Good);
        assert_eq!(
            finding.found,
            "2,048 connections may be half open; SYN cookies are sent beyond that (1)."
        );
        for (setting, value) in [
            ("tcp_syncookies", "0"),
            ("tcp_syncookies", "2"),
            ("tcp_max_syn_backlog", "64"),
        ] {
            let machine = Fixture::machine().set(&format!("ipv4/{setting}"), value);
            assert_eq!(
                found("syn-backlog", &machine).mark,
                Mark::Warning,
                "{setting}"
            );
        }
    }

    #[test]
    fn dropped_syns_are_bad_while_they_happen() {
        let mut facts = Fixture::machine().facts();
        facts.events = Ok(events("TCPReqQFullDrop", "5"));
        facts.events_later = Some(events("TCPReqQFullDrop", "5"));
        let finding = found_in("syn-backlog", &facts);
        assert_eq!(finding.mark, Mark::Good);
        assert!(finding.found.contains("Dropped so far: 5."), "{finding:?}");
        facts.events_later = Some(events("TCPReqQFullDrop", "6"));
        let finding = found_in("syn-backlog", &facts);
        assert_eq!(finding.mark, Mark::Bad);
        assert!(
            finding.found.contains("Dropped just now: 1."),
            "{finding:?}"
        );
    }

    #[test]
    fn a_queue_that_overflowed_rarely_is_fine_often_a_warning_and_now_bad() {
        let finding = found("listen-backlog", &Fixture::machine());
        assert_eq!(
            (finding.mark, finding.found.as_str()),
            (
                Mark::Good,
                "4,096 connections may wait to be accepted; none was ever dropped."
            )
        );
        let mut facts = Fixture::machine().facts();
        // Of 100,000 accepted.
        for (before, later, mark) in [
            ("99", "99", Mark::Good),
            ("100", "100", Mark::Warning),
            ("7", "9", Mark::Bad),
        ] {
            facts.events = Ok(events(
                "ListenOverflows ListenDrops",
                &format!("{before} {before}"),
            ));
            facts.events_later = Some(events(
                "ListenOverflows ListenDrops",
                &format!("{later} {later}"),
            ));
            let finding = found_in("listen-backlog", &facts);
            assert_eq!(finding.mark, mark, "{finding:?}");
            let advice = finding.advice.unwrap_or_default();
            assert!(
                !advice.contains("somaxconn"),
                "it is as high as it is by default: {advice}"
            );
        }
        let finding = found(
            "listen-backlog",
            &Fixture::machine().set("core/somaxconn", "128"),
        );
        assert_eq!(finding.mark, Mark::Warning);
        assert!(
            finding
                .advice
                .as_ref()
                .is_some_and(|advice| advice.contains("somaxconn to 4,096")),
            "{finding:?}"
        );
        let finding = found(
            "listen-backlog",
            &Fixture::machine().forbidden("/proc/net/netstat"),
        );
        assert!(
            finding.mark == Mark::Good && finding.found.contains("may not be read"),
            "{finding:?}"
        );
    }
}
