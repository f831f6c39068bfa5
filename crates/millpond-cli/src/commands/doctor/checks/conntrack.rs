//! The firewall's table of connections, if there is one.

use super::check::{Check, Systems, by_share, percent};
use crate::{
    commands::doctor::{
        facts::Facts,
        files::Reading,
        finding::{Finding, Mark},
    },
    numbers::thousands,
};

/// In percent of the table. A burst, or a minute of short connections, fills the rest.
const WARNING: u64 = 70;
const BAD: u64 = 90;

pub(super) const CONNTRACK: Check = Check {
    name: "conntrack",
    about: "how full the firewall's table of connections is (nf_conntrack)",
    why: "With a stateful firewall or NAT each connection has an entry here, which stays for two minutes after it is closed. When the table is \
          full, the packets of new connections are dropped and their dials time out (\"nf_conntrack: table full\" in the kernel's log).",
    systems: Systems::Linux,
    watches: &[],
    examine,
};

fn examine(check: &Check, facts: &Facts) -> Reading<Finding> {
    let limit = match &facts.max_tracked {
        // The module isn't loaded, if the settings can be read at all.
        Err(unread) if unread.is_missing() && facts.reuse.allowed.is_ok() => {
            return Ok(check
                .finding(Mark::Good, "Connections aren't tracked here.")
                .figure("entries", None::<u64>)
                .figure("limit", None::<u64>));
        }
        // No limit.
        Ok(0) => u64::MAX,
        limit => limit.clone()?,
    };
    let entries = facts.tracked.clone()?;
    let share = percent(entries, limit);
    let mark = by_share(share, WARNING, BAD);
    let shown = match limit {
        u64::MAX => String::from("without limit"),
        _ => format!("of {} possible ({share} %)", thousands(limit)),
    };
    let finding = check
        .finding(mark, format!("{} entries {shown}.", thousands(entries)))
        .figure("entries", entries)
        .figure("limit", (limit != u64::MAX).then_some(limit));
    Ok(match mark {
        Mark::Good => finding,
        _ => finding.advice(
            "Keep connections and share them; raise net.netfilter.nf_conntrack_max (an entry takes some 300 bytes), or leave this traffic \
             untracked (notrack).",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found, *};
    use crate::commands::doctor::fixture::Fixture;

    const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

    #[test]
    fn a_table_is_reported_before_it_is_full() {
        let table = |entries| {
            let files = Fixture::machine().with(MAX, "1000");
            found(
                "conntrack",
                &files.set("netfilter/nf_conntrack_count", entries),
            )
        };
        let marks = ["699", "700", "900", "1000"].map(|entries| table(entries).mark);
        assert_eq!(marks, [Mark::Good, Mark::Warning, Mark::Bad, Mark::Bad]);
        assert_eq!(table("700").found, "700 entries of 1,000 possible (70 %).");
    }

    #[test]
    fn no_table_and_no_limit_are_good() {
        let none = found("conntrack", &Fixture::machine().without(MAX));
        assert_eq!(
            (none.mark, none.found.as_str()),
            (Mark::Good, "Connections aren't tracked here.")
        );
        let endless = found("conntrack", &Fixture::machine().with(MAX, "0"));
        assert_eq!(
            (endless.mark, endless.found.as_str()),
            (Mark::Good, "120 entries without limit.")
        );
        assert_eq!(
            found("conntrack", &Fixture::machine().forbidden(MAX)).mark,
            Mark::Unknown
        );
    }
}
