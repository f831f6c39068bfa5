//! Which checks are made: the names on the command line select some of those of a subject (the
//! machine, a destination, a process).

use super::checks::{CHECKS, Check, Systems};
use crate::complaint::Complaint;

/// What a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Machine,
    Destination,
    Process,
}

impl Subject {
    /// The flag that names what to look at.
    pub(super) fn flag(self) -> Option<&'static str> {
        match self {
            Subject::Machine => None,
            Subject::Destination => Some("--to"),
            Subject::Process => Some("--pid"),
        }
    }
}

/// A check, as it is named and listed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) name: &'static str,
    /// In a few words.
    pub(super) about: &'static str,
    pub(super) subject: Subject,
    pub(super) systems: Systems,
}

/// The check that has a flag of its own.
pub(super) const IDLE: &str = "idle";

/// The checks of a destination and of a process.
const OTHERS: [Listed; 12] = [
    destination("resolve", "the addresses of a destination's name"),
    destination(
        "connect",
        "each address of it, and how long its handshake takes",
    ),
    of_linux(destination(
        "path",
        "segment size, round-trip time and losses on the way to it",
    )),
    destination("tls", "the handshake with it, and its certificate"),
    of_linux(destination(
        "ports-to",
        "local ports towards it, and the rate that they last for",
    )),
    destination(IDLE, "with --idle-test: when it closes an idle connection"),
    process(
        "process-descriptors",
        "how many files a process has open, of how many",
    ),
    process("process-sockets", "its connections, by state and peer"),
    process("process-transmission", "their round-trip times and losses"),
    process(
        "process-close-wait",
        "connections that their peer has closed, and it hasn't",
    ),
    process(
        "process-time-wait",
        "whether it opens a connection for each request",
    ),
    process(
        "process-listeners",
        "whether it accepts as fast as clients come",
    ),
];

const fn destination(name: &'static str, about: &'static str) -> Listed {
    Listed {
        name,
        about,
        subject: Subject::Destination,
        systems: Systems::All,
    }
}

const fn process(name: &'static str, about: &'static str) -> Listed {
    Listed {
        name,
        about,
        subject: Subject::Process,
        systems: Systems::Linux,
    }
}

const fn of_linux(check: Listed) -> Listed {
    Listed {
        systems: Systems::Linux,
        ..check
    }
}

/// All checks, in the order in which they are shown.
pub(super) fn listed() -> impl Iterator<Item = Listed> {
    let machine = CHECKS.iter().map(|check: &Check| Listed {
        name: check.name,
        about: check.about,
        subject: Subject::Machine,
        systems: check.systems,
    });
    machine.chain(OTHERS)
}

/// The names on the command line; no name selects everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection<'n>(pub(super) &'n [String]);

impl Selection<'_> {
    /// Whether this check's finding is shown: names select among the checks of their own subject
    /// only.
    pub(super) fn wants(self, name: &str) -> bool {
        // It runs only if its own flag is given.
        if name == IDLE {
            return true;
        }
        let subject = listed()
            .find(|check| check.name == name)
            .map(|check| check.subject);
        let chosen = |subject| self.of(subject).any(|asked| asked == name);
        match subject {
            Some(Subject::Machine) => self.0.is_empty() || chosen(Subject::Machine),
            Some(subject) => self.of(subject).next().is_none() || chosen(subject),
            None => true,
        }
    }

    /// Whether anything of the machine is wanted.
    pub(super) fn wants_machine(self) -> bool {
        self.0.is_empty() || self.of(Subject::Machine).next().is_some()
    }

    /// Checks that the flag of a named check's subject is given as well.
    pub(super) fn check(self, subject: Subject, is_named: bool) -> Result<(), Complaint> {
        match (self.of(subject).next(), subject.flag()) {
            (Some(name), Some(flag)) if !is_named => Err(Complaint::usage(format!(
                "{name} looks at what {flag} names: give {flag} as well"
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that --idle-test is given if the idle check is named.
    pub(super) fn check_idle(self, has_time: bool) -> Result<(), Complaint> {
        match !has_time && self.of(Subject::Destination).any(|name| name == IDLE) {
            true => Err(Complaint::usage(format!(
                "{IDLE} waits for as long as --idle-test says: give --idle-test as well"
            ))),
            false => Ok(()),
        }
    }

    /// The names of this subject's checks.
    pub(super) fn of(self, subject: Subject) -> impl Iterator<Item = &'static str> {
        listed()
            .filter(move |check| {
                check.subject == subject && self.0.iter().any(|name| name == check.name)
            })
            .map(|check| check.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(names: &[&str]) -> Vec<&'static str> {
        let names: Vec<_> = names.iter().map(|&name| String::from(name)).collect();
        let among = ["memory", "keepalive", "connect", "tls", "process-sockets"];
        among
            .into_iter()
            .filter(|name| Selection(&names).wants(name))
            .collect()
    }

    #[test]
    fn names_choose_within_their_group() {
        assert_eq!(wanted(&[]).len(), 5);
        assert_eq!(
            wanted(&["memory"]),
            ["memory", "connect", "tls", "process-sockets"]
        );
        assert_eq!(wanted(&["tls"]), ["tls", "process-sockets"]);
        assert_eq!(
            wanted(&["tls", "keepalive"]),
            ["keepalive", "tls", "process-sockets"]
        );
    }

    #[test]
    fn a_name_without_what_it_is_about_is_wrong() {
        let names = [String::from("tls")];
        assert!(Selection(&names).check(Subject::Destination, true).is_ok());
        assert!(Selection(&names).check(Subject::Process, false).is_ok());
        assert!(
            Selection(&names)
                .check(Subject::Destination, false)
                .is_err()
        );
    }

    #[test]
    fn the_idle_test_is_wanted_by_its_flag_alone_and_not_made_without_it() {
        let names = [String::from("tls"), String::from("idle")];
        assert!(Selection(&names[..1]).wants("idle"));
        assert!(Selection(&names[..1]).check_idle(false).is_ok());
        assert!(Selection(&names).check_idle(true).is_ok());
        assert!(Selection(&names).check_idle(false).is_err());
    }

    #[test]
    fn no_name_is_given_twice() {
        let mut names: Vec<_> = listed().map(|check| check.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
