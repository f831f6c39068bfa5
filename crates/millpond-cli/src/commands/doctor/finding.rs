//! What a check has found: the one struct that the text and the JSON are made from.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// What one check has found.
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

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// All is well.
    Good,
    /// It couldn't be found out: not allowed, not there, or not on this system.
    Unknown,
    /// Somebody should know.
    Warning,
    /// Connections fail by it, or soon will.
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
            found: sentence(found.into()),
            why: sentence(why.into()),
            advice: None,
            figures: BTreeMap::new(),
        }
    }

    pub(super) fn advice(mut self, advice: impl Into<String>) -> Finding {
        self.advice = Some(sentence(advice.into()));
        self
    }

    pub(super) fn figure(mut self, name: &'static str, value: impl Into<Value>) -> Finding {
        self.figures.insert(name, value.into());
        self
    }
}

/// With a capital letter, if it begins with a word, and a full stop.
fn sentence(mut text: String) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    let is_word = first
        .chars()
        .all(|letter| letter.is_ascii_lowercase() || ",'-".contains(letter));
    if is_word && let Some(letter) = text.get_mut(..1) {
        letter.make_ascii_uppercase();
    }
    if !text.is_empty() && !text.ends_with(['.', '!', '?', ':']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_are_sentences() {
        let told = |text: &str| sentence(String::from(text));
        assert_eq!(told("a server, perhaps"), "A server, perhaps.");
        assert_eq!(told("It is."), "It is.");
        for kept in ["tcp://a.b: refused.", "127.0.0.1 is there.", "net.ipv4.x=1.", ""] {
            assert_eq!(told(kept), kept);
        }
    }
}
