//! The checks of the machine, in one table. A check is a pure function of the facts, with a name and
//! the reason why it matters; one file has the checks of one topic. None of them reads anything.

mod backlog;
mod cgroup;
mod check;
mod conntrack;
mod descriptors;
mod fin_timeout;
mod keepalive;
mod memory;
mod ports;
mod time_wait;

pub(super) use self::check::{Check, Systems};
use super::{facts::Facts, finding::Finding};

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

/// The findings of the checks of these names; of all checks if there are no names.
pub(super) fn examine(facts: &Facts, names: &[String], system: Systems) -> Vec<Finding> {
    chosen(names)
        .map(|check| check.examined(facts, system))
        .collect()
}

/// The events that these checks watch.
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

#[cfg(test)]
mod tests {
    use super::{
        super::{finding::Mark, fixture::Fixture},
        *,
    };

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
            // The file limits come from a system call. What a missing file tells may be known as
            // well.
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
}
