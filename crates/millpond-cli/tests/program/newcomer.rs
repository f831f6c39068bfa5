//! The program as a newcomer meets it: help, completions, the manual.

use crate::common::{millpond, run};

#[test]
fn every_command_explains_itself_with_two_examples() {
    for command in [
        "demo",
        "serve",
        "call",
        "bench",
        "doctor",
        "hash-secret",
        "completions",
        "man",
    ] {
        let help = run(&[command, "--help"], "");
        assert_eq!(help.code, Some(0));
        let examples = help.out.split("Examples:\n").nth(1).expect("examples");
        let shown = examples
            .lines()
            .filter(|line| line.starts_with("  millpond "))
            .count();
        assert_eq!(shown, 2, "{examples}");
    }
}

#[test]
fn without_a_command_there_is_help() {
    let bare = run(&[], "");
    assert!(
        bare.code == Some(2) && bare.err.contains("serve") && bare.err.contains("call"),
        "{bare:?}"
    );
}

#[test]
fn there_are_completions_for_shells_and_a_manual() {
    for (shell, said) in [
        ("bash", "complete -F _millpond"),
        ("zsh", "#compdef millpond"),
        ("fish", "complete -c millpond"),
    ] {
        let script = run(&["completions", shell], "");
        assert!(
            script.code == Some(0) && script.out.contains(said),
            "{shell}"
        );
    }
    assert_eq!(run(&["completions", "nosh"], "").code, Some(2));
    let page = run(&["man"], "");
    assert!(page.out.contains(".TH millpond 1"), "{}", page.out);
    let page = run(&["man", "call"], "");
    assert!(
        page.out.contains(".TH millpond-call 1") && page.out.contains("Examples"),
        "{}",
        page.out
    );
    let unknown = run(&["man", "nope"], "");
    assert!(
        unknown.code == Some(2) && unknown.err.contains("serve, proxy, call"),
        "{unknown:?}"
    );
}

#[test]
fn every_time_and_every_number_of_bytes_is_read_alike() {
    let help = |command| {
        millpond(&[command, "--help"])
            .output()
            .expect("the program")
            .stdout
    };
    let takes = |command, value: &str| -> Vec<String> {
        let text = String::from_utf8(help(command)).expect("UTF-8");
        let flags = text.lines().filter_map(|line| line.trim().split_once(' '));
        let flags = flags.filter(|(flag, rest)| {
            flag.starts_with("--") && rest.trim_matches(['[', ']']) == value
        });
        flags.map(|(flag, _)| flag.to_owned()).collect()
    };
    let mut seen = 0;
    for command in ["demo", "serve", "call", "bench", "doctor"] {
        for (value, right, wrong) in [
            (
                "<TIME>",
                ["2", "1.5", "900ms", "1m 30s"],
                ["soon", "-1", "5x"],
            ),
            (
                "<BYTES>",
                ["4096", "64KiB", "1 MiB", "10kB"],
                ["many", "-1", "5x"],
            ),
        ] {
            for flag in takes(command, value) {
                seen += 1;
                // The last flag is wrong, and is complained about if the others are right.
                let said = |text: &str| {
                    let given = format!("{flag}={text}");
                    let output = millpond(&[command, &given, "--no-such-flag"]).output();
                    String::from_utf8(output.expect("the program").stderr).expect("UTF-8")
                };
                for text in right {
                    let said = said(text);
                    assert!(
                        said.contains("--no-such-flag"),
                        "{command} {flag} {text}: {said}"
                    );
                }
                for text in wrong {
                    let said = said(text);
                    assert!(
                        said.contains(&flag) && said.contains(text),
                        "{command} {flag} {text}: {said}"
                    );
                }
            }
        }
    }
    assert!(seen >= 17, "{seen} flags");
}

#[test]
fn the_page_about_the_program_tells_the_limits_of_serve_as_its_help_does() {
    let page = include_str!("../../../../docs/program.md");
    let help = run(&["serve", "--help"], "").out;
    let plain = |text: &str| text.replace([' ', ',', '\n'], "");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `--max-"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 5, "{rows:?}");
    for row in rows {
        let (flag, default) = (row[1].trim_matches('`'), plain(row[3]));
        let about = help
            .split(&format!("{flag} <"))
            .nth(1)
            .expect("a flag of serve");
        let about = about.split("\n\n").next().expect("its words");
        assert!(
            plain(about).contains(&format!("[default:{default}]")),
            "{flag}: {default} beside {about}"
        );
    }
}

#[test]
fn wrong_values_are_told_with_right_ones_and_with_their_flag() {
    const TIME: &str = "like 500ms or 1m 30s";
    for (command, flag, value, hint) in [
        ("demo", "--seconds", "soon", TIME),
        ("demo", "--seconds", "0.1", "between 500ms and 1h"),
        (
            "demo",
            "--callers",
            "1e3",
            "a whole number from 1 to 10,000",
        ),
        (
            "demo",
            "--connections",
            "-1",
            "a whole number from 1 to 10,000",
        ),
        (
            "serve",
            "--max-connections",
            "0",
            "a whole number from 1 to",
        ),
        ("serve", "--max-waiting", "-1", "a whole number from 0 to"),
        (
            "serve",
            "--max-processes",
            "many",
            "a whole number from 1 to",
        ),
        ("serve", "--max-bytes", "0", "above zero"),
        ("serve", "--max-frame", "big", "like 65536, 64KiB or 1MiB"),
        (
            "serve",
            "--heartbeat",
            "100us",
            "0 (never), or 1ms at least",
        ),
        ("serve", "--deadline", "2y", "no longer than 365 days"),
        ("serve", "--drain", "-1", TIME),
        (
            "call",
            "--connections",
            "0",
            "a whole number from 1 to 100,000",
        ),
        ("call", "--deadline", "0", "above zero"),
        ("call", "--heartbeat", "400d", "no longer than 365 days"),
        (
            "bench",
            "--callers",
            "100001",
            "a whole number from 1 to 100,000",
        ),
        ("bench", "--warm-up", "x", TIME),
        ("doctor", "--pid", "0", "a whole number from 1 to"),
        ("doctor", "--idle-test", "5x", TIME),
    ] {
        let refused = run(&[command, &format!("{flag}={value}")], "");
        assert_eq!(
            refused.code,
            Some(2),
            "{command} {flag} {value}: {}",
            refused.err
        );
        assert!(refused.out.is_empty(), "{}", refused.out);
        for part in [format!("'{value}' for '{flag}"), hint.to_owned()] {
            assert!(refused.err.contains(&part), "{part}: {}", refused.err);
        }
        // Names of internal settings and types mean nothing to users.
        for inside in [
            "_",
            "target type",
            "non-zero type",
            "digit found",
            "float literal",
        ] {
            assert!(!refused.err.contains(inside), "{inside}: {}", refused.err);
        }
        // The same with a space between flag and value.
        let apart = run(&[command, flag, value], "");
        assert_eq!(apart.err, refused.err, "{command} {flag} {value}");
    }
}
