//! How many files, and so connections, a process may open.

use super::check::{Check, Systems, by_share, percent};
use crate::{
    commands::doctor::{
        facts::{Descriptors, Facts},
        files::Reading,
        finding::{Finding, Mark},
    },
    numbers::thousands,
};

/// Descriptors that a process needs for other things: runtime, pipes, logs, files.
const OTHERS: u64 = 64;

/// The usual default. A pool of 1,000 connections doesn't fit; most are smaller.
const SMALL: u64 = 1_024;

/// The proposed limit: far more than most pools need, and no problem for any kernel.
const ENOUGH: u64 = 65_536;

/// With fewer there is room for little more than [`OTHERS`].
const TINY: u64 = 2 * OTHERS;

/// In percent of the machine's file limit. At the limit every program's `open` and `accept` fail.
const WARNING: u64 = 70;
const BAD: u64 = 90;

pub(super) const FILE_DESCRIPTORS: Check = Check {
    name: "file-descriptors",
    about: "how many files, and so connections, a process may open",
    why: "Each connection takes a file descriptor of its process (a proxied one takes two), and everything else takes some 64. When none is \
          left, connecting and accepting fail (EMFILE). The 65,535 ports are no such limit: a server uses one port for all its connections, \
          and a client can use the same ports again for each destination.",
    systems: Systems::All,
    watches: &[],
    examine,
};

fn examine(check: &Check, facts: &Facts) -> Reading<Finding> {
    let Descriptors { soft, hard, system } = facts.descriptors.clone()?;
    let room = soft.saturating_sub(OTHERS);
    let own = match soft {
        soft if soft <= TINY => Mark::Bad,
        soft if soft < SMALL => Mark::Warning,
        _ => Mark::Good,
    };
    let system_share = system.map(|(open, limit)| percent(open, limit));
    let systems = system_share.map_or(Mark::Good, |share| by_share(share, WARNING, BAD));
    let mut found = match soft {
        u64::MAX => String::from("A process may open any number of files."),
        _ => format!(
            "A process may open {} files (soft limit; hard {}): room for some {} connections.",
            thousands(soft),
            named(hard),
            thousands(room),
        ),
    };
    if let (Some((open, limit)), true) = (system, systems > Mark::Good) {
        found += &format!(
            " The whole machine has {} of its {} files open.",
            thousands(open),
            thousands(limit)
        );
    }
    let mut advice = Vec::new();
    if soft <= SMALL {
        advice.push(raising(soft, hard));
    }
    if systems > Mark::Good {
        advice.push(String::from(
            "Raise fs.file-max, or find the process that has so many files open (lsof).",
        ));
    }
    let finding = check
        .finding(own.max(systems), found)
        .figure("soft_limit", limited(soft))
        .figure("hard_limit", limited(hard))
        .figure("room_for_connections", (soft != u64::MAX).then_some(room))
        .figure("system_open", system.map(|(open, _)| open))
        .figure("system_limit", system.map(|(_, limit)| limit));
    Ok(match advice.is_empty() {
        true => finding,
        false => finding.advice(advice.join(" ")),
    })
}

fn named(limit: u64) -> String {
    match limit {
        u64::MAX => String::from("none"),
        _ => thousands(limit),
    }
}

fn raising(soft: u64, hard: u64) -> String {
    let elsewhere =
        format!("LimitNOFILE={ENOUGH} in a systemd unit, --ulimit nofile={ENOUGH} for a container");
    match hard.min(ENOUGH) {
        possible if possible > soft => {
            format!(
                "Raise it where the program is started: `ulimit -n {possible}` in a shell, {elsewhere}."
            )
        }
        _ => format!(
            "The hard limit has to be raised as well, which only root can: {elsewhere}, /etc/security/limits.conf for logins."
        ),
    }
}

/// `None` for no limit.
fn limited(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found_in, *};
    use crate::commands::doctor::fixture::Fixture;

    fn found(soft: u64, hard: u64, system: Option<(u64, u64)>) -> Finding {
        let mut facts = Fixture::machine().facts();
        facts.descriptors = Ok(Descriptors { soft, hard, system });
        found_in("file-descriptors", &facts)
    }

    #[test]
    fn many_files_are_fine() {
        let finding = found(65_536, 524_288, Some((2_000, 2_466_170)));
        assert_eq!(finding.mark, Mark::Good);
        assert_eq!(
            finding.found,
            "A process may open 65,536 files (soft limit; hard 524,288): room for some 65,472 connections."
        );
        let finding = found(u64::MAX, u64::MAX, None);
        assert_eq!(
            (finding.mark, &finding.figures["soft_limit"]),
            (Mark::Good, &().into())
        );
    }

    #[test]
    fn the_usual_limit_is_reported_with_its_cure() {
        assert_eq!(found(1_023, 524_288, None).mark, Mark::Warning);
        let finding = found(1_024, 524_288, None);
        assert_eq!(finding.mark, Mark::Good, "what most systems give");
        assert!(finding.found.contains("960 connections"), "{finding:?}");
        assert!(
            finding
                .advice
                .is_some_and(|advice| advice.contains("ulimit -n 65536"))
        );
        let advice = |soft, hard| found(soft, hard, None).advice.unwrap_or_default();
        assert!(advice(1_024, 4_096).contains("`ulimit -n 4096` in a shell, LimitNOFILE=65536"));
        assert!(advice(1_024, 1_024).contains("only root can"));
    }

    #[test]
    fn hardly_any_file_is_bad_and_so_is_a_machine_that_has_none_left() {
        assert_eq!(found(100, 100, None).mark, Mark::Bad);
        let finding = found(65_536, 65_536, Some((95, 100)));
        assert_eq!(finding.mark, Mark::Bad);
        assert!(finding.found.contains("95 of its 100 files"), "{finding:?}");
        assert!(
            finding
                .advice
                .is_some_and(|advice| advice.contains("fs.file-max"))
        );
        assert_eq!(found(65_536, 65_536, Some((75, 100))).mark, Mark::Warning);
    }
}
