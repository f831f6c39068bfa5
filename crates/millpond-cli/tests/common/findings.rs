//! Reads what `millpond doctor --json` has found.

use serde_json::Value;

use super::Finished;

/// The findings in a doctor's JSON, in order. The exit code must agree with them, and every text
/// must be a sentence.
pub(crate) fn findings(finished: &Finished) -> Vec<Value> {
    assert_eq!(finished.err, "", "{finished:?}");
    let document: Value = serde_json::from_str(&finished.out).expect("JSON");
    let is_bad = document["verdict"] == "bad";
    assert_eq!(finished.code, Some(i32::from(is_bad)), "{finished:?}");
    let findings = document["findings"].as_array().expect("findings").clone();
    for finding in &findings {
        for said in ["found", "why", "advice"] {
            let Some(text) = finding[said].as_str() else {
                assert!(said == "advice" && finding[said].is_null(), "{finding}");
                continue;
            };
            let begins_small = text.starts_with(|first: char| first.is_ascii_lowercase());
            assert!(
                text.ends_with(['.', '?']) && !begins_small,
                "{said}: {finding}"
            );
        }
    }
    findings
}

/// Their checks, in order.
pub(crate) fn names(findings: &[Value]) -> Vec<&str> {
    findings
        .iter()
        .map(|finding| finding["check"].as_str().expect("a name"))
        .collect()
}

/// The finding of this check, which must have this mark.
pub(crate) fn marked<'f>(findings: &'f [Value], check: &str, mark: &str) -> &'f Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    let finding = found.unwrap_or_else(|| panic!("no {check} in {findings:?}"));
    assert_eq!(finding["mark"], mark, "{finding}");
    finding
}

/// Asserts that one of its texts has these words.
pub(crate) fn says(finding: &Value, part: &str, words: &str) {
    let text = finding[part].as_str().unwrap_or_default();
    assert!(text.contains(words), "{words}: {finding}");
}
