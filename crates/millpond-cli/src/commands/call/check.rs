//! Checks a request before it is sent: what is wrong with it, where, and a hint for those who are
//! new to this. Pure.

use millpond::{
    Chain,
    framing::json::{self, JsonError},
};

use super::plan::Bodies;
use crate::{
    complaint::Complaint,
    numbers::{counted, thousands},
};

/// No more of a request that isn't JSON is shown.
const SHOWN: usize = 70;

/// See the module.
pub(super) fn check(body: &[u8], bodies: Bodies, max_body: usize) -> Result<(), Complaint> {
    if body.len() > max_body {
        return Err(Complaint::usage(format!(
            "the request has {}, and --max-frame is {}",
            counted(body.len() as u64, "byte", "bytes"),
            thousands(max_body as u64)
        )));
    }
    if bodies == Bodies::Raw {
        return Ok(());
    }
    json::check(body).map_err(|error| {
        let text = String::from_utf8_lossy(body);
        let (fault, hint) = (fault(&text, &error), hint(&text));
        Complaint::usage(format!(
            "the request isn't JSON: {}{fault}{hint}",
            Chain(&error)
        ))
    })
}

/// The text with a caret below the fault, if that fits on a line.
fn fault(text: &str, error: &JsonError) -> String {
    let JsonError::Invalid(error) = error else {
        return String::new();
    };
    let fits = text.chars().count() <= SHOWN && !text.contains(char::is_control);
    let before = text.get(..error.column().saturating_sub(1));
    match before {
        Some(before) if fits && error.line() == 1 => {
            // Where the text ends too early, the fault is behind the last character.
            let caret = before.chars().count() + usize::from(error.is_eof());
            format!("\n    {text}\n    {:caret$}^", "")
        }
        _ => String::new(),
    }
}

/// A hint for what beginners forget: the shell removes quotes.
fn hint(text: &str) -> String {
    let trimmed = text.trim();
    if trimmed.starts_with(['{', '['])
        && !trimmed.contains('"')
        && trimmed.contains(char::is_alphabetic)
    {
        return String::from(
            "\nthe shell takes double quotes away: put the whole request into single ones, as in '{\"a\":1}'",
        );
    }
    let is_word = trimmed
        .chars()
        .all(|character| character.is_alphanumeric() || " _-.,:!?".contains(character));
    if !trimmed.is_empty() && is_word && trimmed.len() <= SHOWN {
        return format!(
            "\na JSON string has double quotes, and the shell takes them away: write '\"{trimmed}\"'"
        );
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_no_json_is_shown_with_its_fault_and_a_hint() {
        let said = |text: &str| match check(text.as_bytes(), Bodies::Json, 1 << 20) {
            Ok(()) => String::new(),
            Err(complaint) => format!("{complaint:?}"),
        };
        assert_eq!(said("-5.5e3"), "");
        assert!(
            said("hello").contains(r#"write '\"hello\"'"#),
            "{}",
            said("hello")
        );
        assert!(said("{a:1}").contains("single ones"));
        assert!(
            said(r#"{"a":1,}"#).contains("column 8\\n    {\\\"a\\\":1,}\\n           ^"),
            "{}",
            said(r#"{"a":1,}"#)
        );
        assert!(said(r#"{"a":"#).contains("EOF"));
        assert!(
            !said("{\"a\u{1b}\":}").contains('^'),
            "no caret under what is escaped"
        );
        assert!(said("").contains("empty"));
        assert!(
            !said("[1,2").contains("single ones"),
            "no quotes are missing there"
        );
    }
}
