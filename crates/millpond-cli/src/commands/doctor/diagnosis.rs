//! All findings together: the struct that is serialized as JSON, and from which the text is made.

use serde::Serialize;

use super::finding::{Finding, Mark};
use crate::exit::Exit;

/// All findings, and the worst of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Diagnosis {
    /// [`Diagnosis::VERSION`].
    version: u32,
    /// The destination that was looked at, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// The process that was looked at, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// The worst mark; unknown ones don't count.
    pub(super) verdict: Mark,
    /// In the order of the checks.
    pub(super) findings: Vec<Finding>,
}

impl Diagnosis {
    /// The version of the JSON: fields are added without a new one, renamed or removed only with
    /// one.
    const VERSION: u32 = 1;

    pub(super) fn of(findings: Vec<Finding>) -> Diagnosis {
        let marks = findings.iter().map(|finding| finding.mark);
        let worst = marks.filter(|&mark| mark != Mark::Unknown).max();
        // If nothing is known, the verdict isn't good.
        let nothing = if findings.is_empty() {
            Mark::Good
        } else {
            Mark::Unknown
        };
        Diagnosis {
            version: Diagnosis::VERSION,
            endpoint: None,
            pid: None,
            verdict: worst.unwrap_or(nothing),
            findings,
        }
    }

    /// What was examined besides this machine.
    pub(super) fn about(self, endpoint: Option<String>, pid: Option<u32>) -> Diagnosis {
        Diagnosis {
            endpoint,
            pid,
            ..self
        }
    }

    /// The checks that have found this.
    pub(super) fn marked(&self, mark: Mark) -> Vec<&Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.mark == mark)
            .collect()
    }

    pub(super) fn exit(&self) -> Exit {
        match self.verdict {
            Mark::Bad => Exit::Failure,
            Mark::Good | Mark::Unknown | Mark::Warning => Exit::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(marks: &[Mark]) -> (Mark, Exit) {
        let finding = |&mark| Finding::new("any", mark, "", "");
        let diagnosis = Diagnosis::of(marks.iter().map(finding).collect());
        (diagnosis.verdict, diagnosis.exit())
    }

    #[test]
    fn the_worst_decides_and_what_is_not_known_does_not() {
        use Mark::{Bad, Good, Unknown, Warning};
        assert_eq!(
            verdict(&[Good, Warning, Bad, Unknown]),
            (Bad, Exit::Failure)
        );
        assert_eq!(verdict(&[Good, Warning, Unknown]), (Warning, Exit::Ok));
        assert_eq!(verdict(&[Good, Unknown]), (Good, Exit::Ok));
        assert_eq!(verdict(&[Unknown]), (Unknown, Exit::Ok));
    }
}
