//! `tcp_fin_timeout`, which is often mistaken for the length of TIME_WAIT.

use super::check::{Check, Systems};
use crate::commands::doctor::{
    facts::Facts,
    files::Reading,
    finding::{Finding, Mark},
};

/// In seconds. With less, a peer that is slow to close gets a reset; with more, orphaned sockets
/// pile up.
const SENSIBLE: std::ops::RangeInclusive<u64> = 10..=180;

pub(super) const FIN_TIMEOUT: Check = Check {
    name: "fin-timeout",
    about: "how long a closed socket waits for its peer to close (tcp_fin_timeout)",
    why: "It limits FIN_WAIT_2, in which this side has closed and the peer hasn't yet. TIME_WAIT comes after that and always takes 60 s, so \
          lowering this frees no ports.",
    systems: Systems::Linux,
    watches: &[],
    // Never bad: no connection fails because of it.
    examine,
};

fn examine(check: &Check, facts: &Facts) -> Reading<Finding> {
    let seconds = facts.fin_timeout.clone()?;
    let found = format!("{seconds} s in FIN_WAIT_2 at most; it doesn't shorten TIME_WAIT.");
    let finding = match SENSIBLE.contains(&seconds) {
        true => check.finding(Mark::Good, found),
        false => check
            .finding(Mark::Warning, found)
            .advice("Set net.ipv4.tcp_fin_timeout=60, its default."),
    };
    Ok(finding.figure("seconds", seconds))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found, *};
    use crate::commands::doctor::fixture::Fixture;

    #[test]
    fn any_sensible_time_is_fine() {
        let marks = ["60", "15", "2", "3600", "soon"].map(|value| {
            found(
                "fin-timeout",
                &Fixture::machine().set("ipv4/tcp_fin_timeout", value),
            )
            .mark
        });
        assert_eq!(
            marks,
            [
                Mark::Good,
                Mark::Good,
                Mark::Warning,
                Mark::Warning,
                Mark::Unknown
            ]
        );
    }
}
