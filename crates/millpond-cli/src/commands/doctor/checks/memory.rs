//! The memory that the kernel allows for all TCP sockets together.

use super::check::{Check, Systems, by_share, percent};
use crate::{
    commands::doctor::{
        facts::Facts,
        files::Reading,
        finding::{Finding, Mark},
    },
    numbers::thousands,
};

/// In percent of the memory limit or of the limit of orphans. At the limit the kernel resets
/// connections.
const BAD: u64 = 90;

/// The same for a warning of orphans. The kernel counts them roughly, and may act at half the
/// limit.
const MANY_ORPHANS: u64 = 50;

pub(super) const MEMORY: Check = Check {
    name: "memory",
    about: "memory for the buffers of all TCP sockets (tcp_mem), and orphaned sockets",
    why: "The kernel limits the buffers of all TCP sockets together, in pages. From the second number of tcp_mem on it makes windows smaller, \
          and at the third it drops packets and resets connections. There is also a limit for orphans: sockets that their program has closed \
          and whose last bytes aren't delivered yet.",
    systems: Systems::Linux,
    watches: &[],
    examine,
};

fn examine(check: &Check, facts: &Facts) -> Reading<Finding> {
    let [_, pressure, limit] = facts.memory_pages.clone()?;
    let counts = facts.socket_counts.clone()?;
    let share = percent(counts.pages, limit);
    let pages = match share {
        BAD.. => Mark::Bad,
        _ if counts.pages >= pressure => Mark::Warning,
        _ => Mark::Good,
    };
    let max_orphans = facts.max_orphans.as_ref().ok().copied();
    let orphans = max_orphans.map_or(Mark::Good, |limit| {
        by_share(percent(counts.orphans, limit), MANY_ORPHANS, BAD)
    });
    let mut found = format!(
        "{} of {} pages ({share} %), pressure from {} on.",
        thousands(counts.pages),
        thousands(limit),
        thousands(pressure)
    );
    if let (Some(limit), true) = (max_orphans, orphans > Mark::Good) {
        found += &format!(
            " {} of {} possible orphans.",
            thousands(counts.orphans),
            thousands(limit)
        );
    }
    let finding = check
        .finding(pages.max(orphans), found)
        .figure("pages", counts.pages)
        .figure("pressure_pages", pressure)
        .figure("limit_pages", limit)
        .figure("orphans", counts.orphans)
        .figure("max_orphans", max_orphans);
    let mut advice = Vec::new();
    if pages > Mark::Good {
        advice.push(
            "Find the connections whose buffers are full (`ss -tm`): one of their sides doesn't read. Use fewer or smaller buffers, or raise \
             net.ipv4.tcp_mem.",
        );
    }
    if orphans > Mark::Good {
        advice.push("Find out why peers don't take the last bytes (`ss -tan state last-ack state fin-wait-1`), or raise net.ipv4.tcp_max_orphans.");
    }
    Ok(match advice.is_empty() {
        true => finding,
        false => finding.advice(advice.join(" ")),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found, *};
    use crate::commands::doctor::fixture::Fixture;

    fn memory(orphans: u32, pages: u32) -> Finding {
        let text = format!("TCP: inuse 9 orphan {orphans} tw 0 alloc 9 mem {pages}\n");
        let files = Fixture::machine()
            .set("ipv4/tcp_mem", "100 200 400")
            .set("ipv4/tcp_max_orphans", "1000");
        found("memory", &files.with("/proc/net/sockstat", &text))
    }

    #[test]
    fn pressure_is_a_warning_and_the_limit_is_bad() {
        let marks = [199, 200, 360, 500].map(|pages| memory(0, pages).mark);
        assert_eq!(marks, [Mark::Good, Mark::Warning, Mark::Bad, Mark::Bad]);
        assert_eq!(
            memory(0, 199).found,
            "199 of 400 pages (49 %), pressure from 200 on."
        );
    }

    #[test]
    fn orphans_count_as_well() {
        let marks = [499, 500, 900].map(|orphans| memory(orphans, 0).mark);
        assert_eq!(marks, [Mark::Good, Mark::Warning, Mark::Bad]);
        let finding = memory(500, 0);
        assert!(
            finding.found.ends_with("500 of 1,000 possible orphans."),
            "{finding:?}"
        );
        assert!(
            finding
                .advice
                .is_some_and(|advice| advice.contains("tcp_max_orphans"))
        );
    }
}
