//! A diagnosis in words, for people: what is wrong first and in full, what is fine in one line each, the verdict last. Nothing in it but what the
//! diagnosis has.

use super::{
    checks::{Check, Systems},
    diagnosis::Diagnosis,
    finding::{Finding, Mark},
};
use crate::{
    color::{Paint, Tone},
    page::Page,
    text::escaped,
};

/// Where the words begin beside the name of a check.
const NAME: usize = 20;

/// How much is said of what is fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// What was found.
    WhatIsWrong,
    /// Why it matters as well.
    Everything,
}

/// In lines of at most `width` columns.
pub(super) fn report(diagnosis: &Diagnosis, detail: Detail, width: usize, paint: Paint) -> String {
    let mut page = Page::new(width, paint);
    for mark in [Mark::Bad, Mark::Warning] {
        for finding in diagnosis.marked(mark) {
            in_full(finding, &mut page);
        }
    }
    let mut briefly = [Mark::Unknown, Mark::Good]
        .into_iter()
        .flat_map(|mark| diagnosis.marked(mark))
        .peekable();
    if detail == Detail::WhatIsWrong && briefly.peek().is_some() {
        page.space();
    }
    for finding in briefly {
        match detail {
            Detail::WhatIsWrong => {
                let found = escaped(&finding.found);
                page.marked(
                    tone(finding.mark),
                    finding.mark.sign(),
                    finding.check,
                    NAME,
                    &found,
                );
            }
            Detail::Everything => in_full(finding, &mut page),
        }
    }
    page.verdict(
        tone(diagnosis.verdict),
        diagnosis.verdict.sign(),
        &verdict(diagnosis, width),
    );
    lines(page)
}

/// The checks, by their names.
pub(super) fn checks(checks: &[Check], system: Systems, width: usize, paint: Paint) -> String {
    let mut page = Page::new(width, paint);
    let later = " ".repeat(NAME);
    for check in checks {
        let name = format!("{:<NAME$}", check.name);
        let about = match check.systems == Systems::Linux && system != Systems::Linux {
            true => format!("{} (only on Linux)", check.about),
            false => check.about.to_owned(),
        };
        page.wrapped(&name, &later, &about);
    }
    lines(page)
}

fn lines(page: Page) -> String {
    page.into_lines()
        .into_iter()
        .flat_map(|line| [line, String::from("\n")])
        .collect()
}

fn in_full(finding: &Finding, page: &mut Page) {
    page.verdict(tone(finding.mark), finding.mark.sign(), finding.check);
    page.text(&escaped(&finding.found));
    page.item("why", &escaped(&finding.why));
    if let Some(advice) = &finding.advice {
        page.item("what to do", &escaped(advice));
    }
}

fn tone(mark: Mark) -> Tone {
    match mark {
        Mark::Good => Tone::Good,
        Mark::Unknown => Tone::Faint,
        Mark::Warning => Tone::Warning,
        Mark::Bad => Tone::Bad,
    }
}

/// One line, if the width allows it.
fn verdict(diagnosis: &Diagnosis, width: usize) -> String {
    let [bad, warnings, unknown] =
        [Mark::Bad, Mark::Warning, Mark::Unknown].map(|mark| diagnosis.marked(mark));
    let mut text = match (bad.len(), warnings.len()) {
        (0, 0) if unknown.len() == diagnosis.findings.len() => {
            return String::from("Nothing could be found out here.");
        }
        (0, 0) => String::from("Nothing here limits connections"),
        (0, count) => counted(count, "thing to know", "things to know"),
        (count, 0) => counted(count, "problem", "problems"),
        (count, others) => format!(
            "{}, {}",
            counted(count, "problem", "problems"),
            counted(others, "thing to know", "things to know")
        ),
    };
    if !unknown.is_empty() {
        text += &format!("; {} could not be found out", unknown.len());
    }
    let named: Vec<_> = bad.iter().chain(&warnings).map(|finding| finding.check).collect();
    let in_full = format!("{text}: {}.", named.join(", "));
    // Its mark and a space stand before it.
    match !named.is_empty() && in_full.chars().count() + 2 <= width {
        true => in_full,
        false => text + ".",
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}
