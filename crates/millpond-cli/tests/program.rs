//! The program as a newcomer meets it: help, completions, the manual.

mod common;

use common::run;

#[test]
fn every_command_explains_itself_with_two_examples() {
    for command in ["demo", "serve", "call", "bench", "doctor", "completions", "man"] {
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
        assert!(script.code == Some(0) && script.out.contains(said), "{shell}");
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
        unknown.code == Some(2) && unknown.err.contains("serve, call"),
        "{unknown:?}"
    );
}
