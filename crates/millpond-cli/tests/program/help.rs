//! What each command's help looks like, at four widths.

use std::fmt::Write;

use crate::common::millpond;

const WIDTHS: [usize; 4] = [60, 80, 100, 120];

/// The help, at each of the widths.
fn help(command: &[&str]) -> String {
    let mut all = String::new();
    for width in WIDTHS {
        let shown = millpond(&[command, &["--help"]].concat())
            .env("COLUMNS", width.to_string())
            .output()
            .expect("the program");
        assert!(shown.status.success());
        let text = String::from_utf8(shown.stdout).expect("UTF-8");
        for line in text.lines() {
            // A path or a command is never broken.
            let is_one_word = !line.trim_start().contains(' ') || line.starts_with("  millpond ");
            assert!(
                line.chars().count() <= width || is_one_word,
                "too wide for {width}: {line}"
            );
            assert!(
                !line.contains('\u{a0}') && line.trim_end() == line,
                "{line:?}"
            );
            for value in ["[default:", "[env:"] {
                let begun = line
                    .rfind(value)
                    .is_none_or(|at| !line[at..].ends_with(':'));
                assert!(begun, "broken at {width}: {line}");
            }
        }
        writeln!(all, "{width} columns {}\n\n{text}", "-".repeat(width - 11)).expect("memory");
    }
    all
}

#[test]
fn every_help_is_even_at_every_width() {
    insta::assert_snapshot!("millpond", help(&[]));
    for command in [
        "demo",
        "serve",
        "proxy",
        "call",
        "bench",
        "doctor",
        "hash-secret",
        "completions",
        "man",
    ] {
        insta::assert_snapshot!(command, help(&[command]));
    }
}
