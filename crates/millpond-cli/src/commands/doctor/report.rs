//! Shows a diagnosis as text: what is wrong first and in full, what is fine in one line each, the
//! verdict last.

use super::{
    checks::Systems,
    diagnosis::Diagnosis,
    finding::{Finding, Mark},
    selection::{Listed, Subject},
};
use crate::{
    color::{Paint, Tone},
    numbers::counted,
    page::Page,
    text::escaped,
};

/// The column at which the words beside a check's name begin.
const NAME: usize = 23;

/// How much is shown of good findings.
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
pub(super) fn checks(
    checks: impl Iterator<Item = Listed>,
    system: Systems,
    width: usize,
    paint: Paint,
) -> String {
    let mut page = Page::new(width, paint);
    let later = " ".repeat(NAME);
    let mut subject = Subject::Machine;
    for check in checks {
        if check.subject != subject {
            subject = check.subject;
            page.heading(&format!("With {}:", subject.flag().unwrap_or_default()));
        }
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

/// The verdict, in one line if the width allows it: names what is wrong as far as there is room.
fn verdict(diagnosis: &Diagnosis, width: usize) -> String {
    let [bad, warnings, unknown] =
        [Mark::Bad, Mark::Warning, Mark::Unknown].map(|mark| diagnosis.marked(mark));
    let text = match (bad.len(), warnings.len()) {
        (0, 0) if unknown.len() == diagnosis.findings.len() => {
            return String::from("No check could be made.");
        }
        (0, 0) if unknown.is_empty() => String::from("Nothing here limits connections"),
        (0, 0) => String::from("Nothing was found that limits connections"),
        (0, count) => counted(count as u64, "thing to know", "things to know"),
        (count, 0) => counted(count as u64, "problem", "problems"),
        (count, others) => format!(
            "{}, {}",
            counted(count as u64, "problem", "problems"),
            counted(others as u64, "thing to know", "things to know")
        ),
    };
    let end = match unknown.len() {
        0 => String::from("."),
        count => format!("; {count} of {} not known.", diagnosis.findings.len()),
    };
    let named: Vec<_> = bad
        .iter()
        .chain(&warnings)
        .map(|finding| finding.check)
        .collect();
    let in_full = format!("{text}: {}{end}", named.join(", "));
    // The mark and a space come before it.
    match !named.is_empty() && in_full.chars().count() + 2 <= width {
        true => in_full,
        false => text + &end,
    }
}

#[cfg(test)]
mod tests {
    use millpond::kernel::TcpState;

    use super::{
        super::{
            checks::{CHECKS, examine},
            facts::Descriptors,
            fixture::Fixture,
            reuse::Route,
            selection::listed,
        },
        *,
    };

    /// A machine with a bit of everything: something bad, warnings, what can't be read, and what is
    /// fine.
    fn ill() -> Diagnosis {
        let files = Fixture::machine()
            .with_sockets(
                Route::Network,
                32_768,
                &[(TcpState::Established, 412), (TcpState::TimeWait, 25_100)],
            )
            .set("ipv4/tcp_fin_timeout", "fif\u{1b}teen")
            .forbidden("/proc/sys/net/netfilter/nf_conntrack_count");
        let mut facts = files.facts();
        facts.descriptors = Ok(Descriptors {
            soft: 1_024,
            hard: 524_288,
            system: None,
        });
        Diagnosis::of(examine(&facts, &[], Systems::Linux))
    }

    fn shown(diagnosis: &Diagnosis, detail: Detail, width: usize) -> String {
        let text = report(diagnosis, detail, width, Paint::Plain);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{line}");
        }
        text
    }

    #[test]
    fn what_is_wrong_comes_first_and_the_verdict_last() {
        insta::assert_snapshot!("ill_60_columns", shown(&ill(), Detail::WhatIsWrong, 60));
        insta::assert_snapshot!("ill_120_columns", shown(&ill(), Detail::WhatIsWrong, 120));
    }

    #[test]
    fn everything_is_explained_when_asked_for() {
        let machine = Fixture::machine()
            .set("ipv4/tcp_keepalive_time", "120")
            .facts();
        let healthy = Diagnosis::of(examine(&machine, &[], Systems::Linux));
        insta::assert_snapshot!(
            "healthy_60_columns",
            shown(&healthy, Detail::Everything, 60)
        );
        insta::assert_snapshot!(
            "healthy_120_columns",
            shown(&healthy, Detail::Everything, 120)
        );
        insta::assert_snapshot!("healthy_briefly", shown(&healthy, Detail::WhatIsWrong, 80));
    }

    #[test]
    fn where_most_checks_do_not_exist_they_say_so() {
        let elsewhere = Diagnosis::of(examine(&Fixture::empty().facts(), &[], Systems::All));
        insta::assert_snapshot!("elsewhere", shown(&elsewhere, Detail::WhatIsWrong, 80));
        let listed = checks(listed(), Systems::All, 80, Paint::Plain);
        let words: Vec<_> = listed.split_whitespace().collect();
        let only_on_linux = words.join(" ").matches("(only on Linux)").count();
        // All of the machine but its descriptors, two of a destination, and those of a process.
        assert_eq!(only_on_linux, CHECKS.len() - 1 + 2 + 6, "{listed}");
    }

    #[test]
    fn nothing_of_a_file_reaches_the_terminal_as_it_is() {
        let mut findings = Vec::new();
        for mark in [Mark::Good, Mark::Bad] {
            findings.push(Finding::new("any", mark, "a\u{1b}b", "c\u{7}d").advice("e\u{9b}f"));
        }
        let text = shown(&Diagnosis::of(findings), Detail::WhatIsWrong, 80);
        let is_harmless = |character: char| character == '\n' || !character.is_control();
        assert!(
            text.chars().all(is_harmless) && text.contains("a\\u{1b}b"),
            "{text:?}"
        );
    }

    #[test]
    fn the_verdict_names_what_is_wrong_as_far_as_there_is_room() {
        let finding = |name, mark| Finding::new(name, mark, "", "");
        let of = |findings: &[&Finding], width| {
            let findings = findings.iter().map(|&finding| finding.clone());
            verdict(&Diagnosis::of(findings.collect()), width)
        };
        let bad = finding("ephemeral-ports", Mark::Bad);
        let warning = finding("keepalive", Mark::Warning);
        let unknown = finding("memory", Mark::Unknown);
        assert_eq!(of(&[&bad], 80), "1 problem: ephemeral-ports.");
        assert_eq!(
            of(&[&warning, &bad], 80),
            "1 problem, 1 thing to know: ephemeral-ports, keepalive."
        );
        assert_eq!(of(&[&warning, &bad], 40), "1 problem, 1 thing to know.");
        assert_eq!(
            of(&[&warning, &warning], 80),
            "2 things to know: keepalive, keepalive."
        );
        assert_eq!(
            of(&[&finding("time-wait", Mark::Bad), &unknown], 80),
            "1 problem: time-wait; 1 of 2 not known."
        );
        let good = finding("cgroup", Mark::Good);
        assert_eq!(of(&[&good], 80), "Nothing here limits connections.");
        assert_eq!(
            of(&[&good, &unknown], 80),
            "Nothing was found that limits connections; 1 of 2 not known."
        );
        assert_eq!(of(&[&unknown], 80), "No check could be made.");
    }
}
