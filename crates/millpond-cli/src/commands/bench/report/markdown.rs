//! The results in Markdown as GitHub shows it: a heading, the table, what failed, how the modes
//! compare, the warnings.

use super::{
    super::results::Results,
    table,
    words::{self, failed},
};
use crate::text::escaped;

/// A part of a document: its heading has two `#`.
pub(in super::super) fn markdown(results: &Results) -> String {
    let mut parts = vec![
        format!("## Benchmark of {}", code(&escaped(&results.endpoint))),
        prose(&words::settings(results)),
    ];
    parts.extend(words::reading(results).map(prose));
    parts.extend(words::ending(results).map(|ending| format!("**{}**", prose(ending))));
    if !results.modes.is_empty() {
        parts.push(figures(results));
    }
    parts.extend(failures(results));
    parts.extend(factors(results));
    for warning in &results.warnings {
        let (text, advice) = (escaped(&warning.text), escaped(&warning.advice));
        parts.push(format!(
            "> [!WARNING]\n> {}  \n> {}",
            prose(&text),
            prose(&advice)
        ));
    }
    parts.join("\n\n") + "\n"
}

fn figures(results: &Results) -> String {
    let names = table::names(results);
    let mut lines = vec![
        format!("| | {} |", names.join(" | ")),
        format!("|:--|{}", "--:|".repeat(names.len())),
    ];
    for row in table::rows(results) {
        let cells = row.cells.iter().map(|cell| match cell.is_bad {
            true => format!("**{}**", cell.text),
            false => cell.text.clone(),
        });
        lines.push(format!(
            "| {} | {} |",
            row.name,
            cells.collect::<Vec<_>>().join(" | ")
        ));
    }
    lines.join("\n")
}

fn failures(results: &Results) -> Option<String> {
    let mut lines = Vec::new();
    for mode in results.modes.iter().filter(|mode| failed(mode) > 0) {
        for failure in words::failures(mode) {
            let example = failure
                .example
                .map(|example| format!("; the first: {}", code(&example)));
            lines.push(format!(
                "- {}: {}{}",
                mode.mode.name(),
                failure.what,
                example.unwrap_or_default()
            ));
        }
    }
    (!lines.is_empty()).then(|| format!("What failed:\n\n{}", lines.join("\n")))
}

fn factors(results: &Results) -> Option<String> {
    let mut lines = Vec::new();
    for factors in words::factors(results) {
        for factor in factors.factors {
            lines.push(format!(
                "- {} had **{}** {}",
                factors.mode.name(),
                factor.number,
                factor.words
            ));
        }
    }
    (!lines.is_empty()).then(|| format!("How they compare:\n\n{}", lines.join("\n")))
}

/// Escapes a text, so that nothing in it is markup, a link or a mention.
fn code(text: &str) -> String {
    let longest = text.split(|character| character != '`').map(str::len).max();
    let fence = "`".repeat(longest.unwrap_or(0) + 1);
    match text.starts_with('`') || text.ends_with('`') || text.trim().is_empty() {
        true => format!("{fence} {text} {fence}"),
        false => format!("{fence}{text}{fence}"),
    }
}

/// Words, of which nothing is markup.
fn prose(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if "\\`*_{}[]<>#|&~@".contains(character) {
            shown.push('\\');
        }
        shown.push(character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_is_no_markup() {
        assert_eq!(code("a|b"), "`a|b`");
        assert_eq!(code("a``b"), "```a``b```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(prose("a <b> *c*"), "a \\<b\\> \\*c\\*");
    }
}
