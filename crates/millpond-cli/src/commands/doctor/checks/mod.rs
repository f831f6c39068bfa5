//! The checks of the machine, in one table: their names, what each is about, why it matters. A
//! check is a pure function of the facts; one file has those of one topic. None of them reads
//! anything.

mod backlog;
mod cgroup;
mod conntrack;
mod descriptors;
mod fin_timeout;
mod keepalive;
mod memory;
mod ports;
mod time_wait;

use super::{
    facts::Facts,
    files::Reading,
    finding::{Finding, Mark, ONLY_ON_LINUX},
};

/// One check.
pub(super) struct Check {
    /// As it is asked for.
    pub(super) name: &'static str,
    /// In a few words, for the list.
    pub(super) about: &'static str,
    /// Why what it finds matters.
    pub(super) why: &'static str,
    pub(super) systems: Systems,
    /// Events of which more within a moment are a problem now, not only one that there once was.
    watches: &'static [&'static str],
    examine: fn(&Check, &Facts) -> Reading<Finding>,
}

/// Where a check exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Systems {
    All,
    Linux,
}

impl Systems {
    /// The system that this runs on.
    pub(super) const HERE: Systems = match cfg!(target_os = "linux") {
        true => Systems::Linux,
        false => Systems::All,
    };
}

/// All, in the order in which they are shown.
pub(super) static CHECKS: [Check; 13] = [
    descriptors::FILE_DESCRIPTORS,
    ports::EPHEMERAL_PORTS,
    time_wait::TIME_WAIT,
    time_wait::TIME_WAIT_REUSE,
    time_wait::TIME_WAIT_BUCKETS,
    time_wait::TIME_WAIT_RECYCLE,
    fin_timeout::FIN_TIMEOUT,
    backlog::SYN_BACKLOG,
    backlog::LISTEN_BACKLOG,
    memory::MEMORY,
    keepalive::KEEPALIVE,
    conntrack::CONNTRACK,
    cgroup::CGROUP,
];

/// What the checks of these names find on such a system; all checks if no name is given.
pub(super) fn examine(facts: &Facts, names: &[String], system: Systems) -> Vec<Finding> {
    chosen(names)
        .map(|check| check.examined(facts, system))
        .collect()
}

/// The events that the checks of these names watch.
pub(super) fn watched(names: &[String]) -> Vec<&'static str> {
    chosen(names)
        .flat_map(|check| check.watches)
        .copied()
        .collect()
}

fn chosen(names: &[String]) -> impl Iterator<Item = &'static Check> {
    let is_chosen =
        |check: &&Check| names.is_empty() || names.iter().any(|name| name == check.name);
    CHECKS.iter().filter(is_chosen)
}

impl Check {
    fn examined(&self, facts: &Facts, system: Systems) -> Finding {
        if self.systems == Systems::Linux && system != Systems::Linux {
            return self.finding(Mark::Unknown, ONLY_ON_LINUX);
        }
        (self.examine)(self, facts).unwrap_or_else(|unread| {
            self.finding(Mark::Unknown, format!("Not known: {unread}."))
                .figure("unread", unread.to_string())
        })
    }

    fn finding(&self, mark: Mark, found: impl Into<String>) -> Finding {
        Finding::new(self.name, mark, found, self.why)
    }
}

/// A part of a whole in percent, rounded down: 100 only when it is full. The whole may be zero,
/// which is full.
fn percent(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(whole.max(1));
    match whole {
        0 => 100,
        _ => u64::try_from(share).unwrap_or(u64::MAX),
    }
}

/// What is found of something that is being used up, by its share in percent.
fn by_share(percent: u64, warning: u64, bad: u64) -> Mark {
    match percent {
        share if share >= bad => Mark::Bad,
        share if share >= warning => Mark::Warning,
        _ => Mark::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::Fixture, *};

    /// What one check finds.
    pub(super) fn found(name: &str, files: &Fixture) -> Finding {
        found_in(name, &files.facts())
    }

    pub(super) fn found_in(name: &str, facts: &Facts) -> Finding {
        let mut findings = examine(facts, &[name.to_owned()], Systems::Linux);
        assert_eq!(findings.len(), 1, "{name}");
        findings.remove(0)
    }

    #[test]
    fn on_an_ordinary_machine_all_is_well() {
        let findings = examine(&Fixture::machine().facts(), &[], Systems::Linux);
        for finding in findings {
            assert_eq!(finding.mark, Mark::Good, "{finding:?}");
        }
    }

    #[test]
    fn where_nothing_can_be_read_every_check_says_so() {
        for finding in examine(&Fixture::empty().facts(), &[], Systems::Linux) {
            // The limits of files come by a system call; what is told only by a file that is
            // missing may be known by that.
            let expected = match finding.check {
                "file-descriptors" => Mark::Good,
                _ => Mark::Unknown,
            };
            assert_eq!(finding.mark, expected, "{finding:?}");
        }
    }

    #[test]
    fn whatever_a_file_says_a_check_survives_it() {
        let machine = Fixture::machine();
        for path in machine.paths() {
            for text in [
                "",
                "\n",
                "x",
                "-1",
                "0",
                "99999999999999999999",
                "18446744073709551615",
                "1 2",
                "\0\u{1b}",
            ] {
                let findings = examine(
                    &machine.clone().with(&path, text).facts(),
                    &[],
                    Systems::Linux,
                );
                assert_eq!(findings.len(), CHECKS.len(), "{path}: {text:?}");
            }
            for files in [
                machine.clone().forbidden(&path),
                machine.clone().without(&path),
            ] {
                assert_eq!(
                    examine(&files.facts(), &[], Systems::Linux).len(),
                    CHECKS.len(),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn elsewhere_than_on_linux_most_checks_do_not_exist_and_say_so() {
        let findings = examine(&Fixture::machine().facts(), &[], Systems::All);
        let known: Vec<_> = findings
            .iter()
            .filter(|finding| finding.mark != Mark::Unknown)
            .map(|finding| finding.check)
            .collect();
        assert_eq!(known, ["file-descriptors"]);
        assert!(findings[1].found.contains("only on Linux"), "{findings:?}");
    }

    #[test]
    fn a_share_is_never_rounded_up_to_all() {
        assert_eq!(percent(999, 1_000), 99);
        assert_eq!(percent(1_000, 1_000), 100);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX, 1), u64::MAX);
        assert_eq!(
            [49, 50, 79, 80].map(|share| by_share(share, 50, 80)),
            [Mark::Good, Mark::Warning, Mark::Warning, Mark::Bad]
        );
    }
}
