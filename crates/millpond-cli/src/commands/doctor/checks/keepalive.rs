//! When TCP keepalive probes an idle connection, compared with the times after which middleboxes
//! forget it.

use std::time::Duration;

use super::check::{Check, Systems};
use crate::{
    commands::doctor::{
        facts::Facts,
        files::Reading,
        finding::{Finding, Mark},
    },
    text::long_span,
};

/// The seconds after which common middleboxes forget an idle connection, from their makers'
/// documentation.
const FORGETTING: [(u64, &str); 4] = [
    (240, "Azure's load balancers and NAT (4 minutes)"),
    (300, "many home routers (5 minutes)"),
    (350, "AWS's load balancers and NAT gateways (350 s)"),
    (600, "Google Cloud's firewall (10 minutes)"),
];

/// The kernel's default time before the first probe, in seconds.
const DEFAULT: u64 = 7_200;

pub(super) const KEEPALIVE: Check = Check {
    name: "keepalive",
    about: "whether idle connections are probed before NAT and load balancers forget them",
    why: "NAT, load balancers and firewalls forget a connection on which nothing is sent for some minutes. What is sent on it after that \
          vanishes or is answered by a reset. Keepalive probes that come sooner prevent this. These times are for sockets that turn \
          keepalive on and set no times of their own; millpond's sockets set 30 s.",
    systems: Systems::Linux,
    watches: &[],
    // The kernel's default is good: there may be no middlebox, and programs may set their own time.
    // A longer time is a warning.
    examine,
};

fn examine(check: &Check, facts: &Facts) -> Reading<Finding> {
    let time = facts.keepalive_time.clone()?;
    let interval = facts.keepalive_interval.clone()?;
    let probes = facts.keepalive_probes.clone()?;
    let noticed = time.saturating_add(interval.saturating_mul(probes));
    let sooner: Vec<_> = FORGETTING
        .iter()
        .filter(|(forgotten, _)| *forgotten <= time)
        .map(|(_, who)| *who)
        .collect();
    let found = format!(
        "The first probe goes out after {}, a dead peer is noticed after {}.",
        long_span(Duration::from_secs(time)),
        long_span(Duration::from_secs(noticed))
    );
    let mark = match time > DEFAULT {
        true => Mark::Warning,
        false => Mark::Good,
    };
    let finding = match sooner.is_empty() {
        true => check.finding(mark, found),
        false => check
            .finding(mark, format!("{found} Before that an idle connection is forgotten by {}.", listed(&sooner)))
            .advice(
                "Let programs set keepalive on their sockets (TCP_KEEPIDLE) or send heartbeats; for those that can't, set \
                 net.ipv4.tcp_keepalive_time=120, net.ipv4.tcp_keepalive_intvl=30 and net.ipv4.tcp_keepalive_probes=4.",
            ),
    };
    Ok(finding
        .figure("first_probe_seconds", time)
        .figure("interval_seconds", interval)
        .figure("probes", probes)
        .figure("noticed_after_seconds", noticed))
}

/// `a, b and c`.
fn listed(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found, *};
    use crate::commands::doctor::fixture::Fixture;

    fn keepalive(time: &str) -> Finding {
        found(
            "keepalive",
            &Fixture::machine().set("ipv4/tcp_keepalive_time", time),
        )
    }

    #[test]
    fn probes_before_any_middlebox_forgets_are_good() {
        assert_eq!(keepalive("239").mark, Mark::Good);
        assert_eq!(
            keepalive("120").found,
            "The first probe goes out after 2 min, a dead peer is noticed after 13 min 15 s."
        );
    }

    #[test]
    fn those_who_forget_sooner_are_named() {
        let finding = keepalive("350");
        assert_eq!(finding.mark, Mark::Good);
        assert!(
            finding.found.contains("(5 minutes) and AWS") && !finding.found.contains("Google"),
            "{finding:?}"
        );
        let finding = keepalive("7200");
        assert_eq!(finding.mark, Mark::Good, "the kernel's default");
        assert!(finding.advice.is_some(), "{finding:?}");
        assert!(
            finding
                .found
                .contains("after 2 h, a dead peer is noticed after 2 h 11 min."),
            "{finding:?}"
        );
        assert_eq!(keepalive("7201").mark, Mark::Warning);
        assert_eq!(keepalive("18446744073709551615").mark, Mark::Warning);
    }
}
