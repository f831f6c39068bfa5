//! A check's finding: the struct from which text and JSON are made.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// The finding where a check doesn't exist.
pub(super) const ONLY_ON_LINUX: &str = "This check exists only on Linux.";

/// Advice where netlink is refused.
pub(super) const NETLINK: &str = "Allow netlink (AF_NETLINK) where this runs.";

/// What one check has found, in sentences.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    /// The check's name, as it is listed and asked for.
    pub(super) check: &'static str,
    pub(super) mark: Mark,
    /// What was found, with its figures.
    pub(super) found: String,
    /// Why it matters.
    pub(super) why: String,
    /// What to do, if there is something to do.
    pub(super) advice: Option<String>,
    /// The same figures, for programs: the unit is in the name unless it is a count.
    pub(super) figures: BTreeMap<&'static str, Value>,
}

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// All is well.
    Good,
    /// It couldn't be found out: not allowed, not there, or not on this system.
    Unknown,
    /// A warning.
    Warning,
    /// Connections fail, or soon will.
    Bad,
}

impl Mark {
    pub(super) fn sign(self) -> char {
        match self {
            Mark::Good => '✓',
            Mark::Unknown => '?',
            Mark::Warning => '!',
            Mark::Bad => '✗',
        }
    }
}

impl Finding {
    pub(super) fn new(
        check: &'static str,
        mark: Mark,
        found: impl Into<String>,
        why: impl Into<String>,
    ) -> Finding {
        Finding {
            check,
            mark,
            found: found.into(),
            why: why.into(),
            advice: None,
            figures: BTreeMap::new(),
        }
    }

    pub(super) fn advice(mut self, advice: impl Into<String>) -> Finding {
        self.advice = Some(advice.into());
        self
    }

    pub(super) fn figure(mut self, name: &'static str, value: impl Into<Value>) -> Finding {
        self.figures.insert(name, value.into());
        self
    }
}
