//! When there is colour: what the command line says, else the environment, else the terminal.

use crate::common::{Served, at_terminal, millpond, run};

/// Commands with coloured output: an error of ours, one of the command line, and help.
const TOLD: [&[&str]; 3] = [
    &["call", "--to", "unix:///nobody/here", "1"],
    &["call", "--nope"],
    &["call", "--help"],
];

/// Flags, the environment, and whether there is colour.
type Case<'a> = (&'a [&'a str], &'a [(&'static str, &'static str)], bool);

fn environment(variables: &[(&'static str, &'static str)], command: &mut std::process::Command) {
    command.env("TERM", "xterm").envs(variables.iter().copied());
}

#[test]
fn the_flag_beats_the_environment_and_that_beats_what_a_pipe_is() {
    let cases: [Case; 8] = [
        (&[], &[], false),
        (&[], &[("CLICOLOR_FORCE", "1")], true),
        (&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&[], &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true),
        (&["--color", "always"], &[("NO_COLOR", "1")], true),
        (&["--color=always"], &[("TERM", "dumb")], true),
        (&["--color=never"], &[("CLICOLOR_FORCE", "1")], false),
        (&["--color=auto"], &[("NO_COLOR", "1")], false),
    ];
    for (flags, variables, colored) in cases {
        for told in TOLD {
            let mut command = millpond(flags);
            environment(variables, &mut command);
            let output = command.args(told).output().expect("the program");
            let text = [output.stdout, output.stderr].concat();
            assert_eq!(
                text.contains(&b'\x1b'),
                colored,
                "{flags:?} {variables:?} {told:?}: {}",
                String::from_utf8_lossy(&text)
            );
        }
    }
}

#[test]
fn a_terminal_gets_it_unless_it_is_dumb_or_nobody_wants_it() {
    let cases: [Case; 6] = [
        (&[], &[], true),
        (&[], &[("TERM", "dumb")], false),
        (&[], &[("NO_COLOR", "1")], false),
        (&[], &[("CLICOLOR", "0")], false),
        (&["--color=never"], &[], false),
        (&["--color=always"], &[("TERM", "dumb")], true),
    ];
    for (flags, variables, colored) in cases {
        for told in TOLD {
            let mut command = millpond(flags);
            environment(variables, &mut command);
            command.args(told);
            let (_, text) = at_terminal(command, 80);
            assert_eq!(
                text.contains('\x1b'),
                colored,
                "{flags:?} {variables:?}: {text:?}"
            );
        }
    }
}

#[test]
fn the_word_error_is_red_and_its_text_is_as_it_was() {
    let flags = ["--color=always", "call", "--to", "tcp://", "1"];
    let colored = run(&flags, "");
    let plain = run(&flags[1..], "");
    let said = colored
        .err
        .replace("\x1b[1m\x1b[31merror:\x1b[0m", "error:");
    assert_eq!(said, plain.err, "{colored:?}");
    assert!(
        colored
            .err
            .starts_with("\x1b[1m\x1b[31merror:\x1b[0m --to: "),
        "{colored:?}"
    );
}

#[test]
fn documents_are_never_in_colour() {
    // Its events are read as JSON.
    let mut served = Served::start(&["--color=always"]);
    let called = served.call(&["--color=always", "--json", "1"]);
    assert!(
        called.code == Some(0) && !called.out.contains('\x1b'),
        "{called:?}"
    );
    served.signal(nix::sys::signal::Signal::SIGTERM);
    served.event("draining");
    served.event("drained");
    for page in [["man", "--color=always"], ["--color=always", "man"]] {
        assert!(!run(&page, "").out.contains('\x1b'));
    }
}

#[test]
fn a_word_that_is_no_answer_is_refused_with_those_that_are() {
    let wrong = run(&["--color", "blue", "man"], "");
    assert!(
        wrong.code == Some(2) && wrong.err.contains("auto, always, never"),
        "{wrong:?}"
    );
}
