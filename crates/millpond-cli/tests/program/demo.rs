//! `millpond demo` as its users run it: the program, its output, its exit code.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::common;

fn demo(arguments: &[&str]) -> Output {
    common::millpond(&["demo"])
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn number(document: &Value, pointer: &str) -> f64 {
    document
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number at {pointer} in {document:#}"))
}

fn sum(counts: &Value) -> f64 {
    let counts = counts.as_object().expect("counts by kind");
    counts.values().filter_map(Value::as_f64).sum()
}

#[test]
fn with_many_on_each_socket_the_replies_are_right_as_well() {
    let output = demo(&["--seconds", "1", "--pipelined", "--json"]);
    let document: Value =
        serde_json::from_slice(&output.stdout).expect("one JSON document and nothing else");
    assert_eq!(output.status.code(), Some(0), "{document:#}");
    assert_eq!(document["mode"], "pipelined");
    assert_eq!(document["unexpected"], Value::Array(Vec::new()));
    let number = |pointer| number(&document, pointer);
    assert_eq!(number("/replies_wrong"), 0.0);
    assert!(number("/errors/cancelled") > 0.0, "{document:#}");
    assert_eq!(
        number("/requests"),
        number("/replies_ok") + sum(&document["errors"])
    );
    // All 64 callers fit on one.
    assert_eq!(
        number("/pooled_connections/connections_opened"),
        1.0,
        "{document:#}"
    );
}

#[test]
fn a_short_demo_has_right_replies_only_over_few_sockets() {
    let output = demo(&["--seconds", "1", "--json"]);
    let document: Value =
        serde_json::from_slice(&output.stdout).expect("one JSON document and nothing else");
    assert_eq!(output.status.code(), Some(0), "{document:#}");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let number = |pointer| number(&document, pointer);
    assert_eq!(number("/version"), 1.0);
    assert_eq!(number("/replies_wrong"), 0.0);
    assert_eq!(document["unexpected"], Value::Array(Vec::new()));

    assert_eq!(document["scene"]["reused"], true);
    assert_eq!(
        document["scene"]["first_ports"],
        document["scene"]["later_ports"]
    );
    assert_eq!(number("/scene/connections_opened"), 2.0);
    assert!(number("/heartbeats/sent") >= 1.0, "{document:#}");
    assert!(number("/heartbeats/received") >= 1.0, "{document:#}");

    assert!(number("/requests") > 1_000.0, "{document:#}");
    assert!(number("/connections_opened") >= 2.0, "{document:#}");
    assert!(number("/requests_per_connection") > 10.0, "{document:#}");
    assert!(
        number("/errors/cancelled") > 0.0,
        "the load was kind: {document:#}"
    );
    assert!(number("/evicted/unfinished_exchange") > 0.0, "{document:#}");
    assert!(number("/evicted/peer_closed") > 0.0, "{document:#}");
    assert_eq!(number("/restarts"), 1.0);
    // How many there are is chance.
    assert!(number("/retries/granted") + number("/retries/refused") < number("/requests"));
    let failed = sum(&document["errors"]);
    assert_eq!(number("/requests"), number("/replies_ok") + failed);
    assert!(
        number("/latency_us/p50") > 0.0 && number("/latency_us/p50") <= number("/latency_us/p99")
    );

    assert!(number("/throughput") > 0.0);
    assert!(number("/short_connections/throughput") > 0.0);
    let short = "/short_connections/requests";
    assert_eq!(
        number("/short_connections/connections_opened"),
        number(short)
    );
    assert!(number("/pooled_connections/connections_opened") <= 8.0);
    assert!(document["short_connections"]["ports_nearly_used_up"].is_boolean());
    if cfg!(target_os = "linux") {
        assert!(number("/short_connections/time_wait") > number("/pooled_connections/time_wait"));
    }
}

#[test]
fn the_text_fits_eighty_columns_and_is_never_rewritten_where_there_is_no_terminal() {
    let output = demo(&["--seconds", "1", "--callers", "16", "--connections", "4"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains(['\r', '\x1b']), "{text:?}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too wide: {line}");
    }
    for part in [
        "the same two sockets carried them: 2 opened in all",
        " right, 0 wrong ",
        " whose first socket had died; ",
        "left in TIME_WAIT",
        "nothing unexpected happened",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let summary = text
        .lines()
        .skip_while(|line| !line.starts_with("What became of the load"));
    assert!((10..=27).contains(&summary.count()), "{text}");
}

#[test]
fn at_a_terminal_of_forty_columns_no_line_is_broken_by_it() {
    let mut command = common::millpond(&["demo", "--seconds", "1", "--callers", "16"]);
    command.env("TERM", "xterm").env("NO_COLOR", "1");
    let (status, text) = common::at_terminal(command, 40);
    assert!(status.success(), "{text}");
    assert!(
        text.contains("\r\x1b[K"),
        "counts are rewritten in place: {text:?}"
    );
    for line in text.lines().flat_map(|line| line.split("\r\x1b[K")) {
        assert!(line.chars().count() <= 40, "too wide: {line}");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused_before_anything_starts() {
    for (arguments, named) in [
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "3601"], "--seconds"),
        (["--callers", "0"], "--callers"),
        (["--callers", "99999999999999999999"], "--callers"),
        (["--connections", "0"], "--connections"),
        (["--connections", "-1"], "-1"),
        (["--seed", "apple"], "--seed"),
    ] {
        let output = demo(&arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
        assert!(error.contains(named), "{arguments:?}: {error}");
    }
}

#[test]
fn one_of_something_is_one_and_a_narrow_output_is_heeded_without_a_terminal() {
    let output = common::millpond(&[
        "demo",
        "--seconds",
        "500ms",
        "--callers",
        "1",
        "--connections",
        "1",
    ])
    .env("COLUMNS", "44")
    .output()
    .expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 44, "too wide: {line}");
    }
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(" by 1 caller over at most 1 socket at once, one on each"),
        "{text}"
    );
    // However short it was, its counts are seen once.
    assert!(
        words.contains("s active ") && words.contains("s opened "),
        "{text}"
    );
}

#[test]
fn more_sockets_than_descriptors_are_refused_with_what_to_do() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 100 && exec \"$0\" demo --connections 50"])
        .arg(env!("CARGO_BIN_EXE_millpond"))
        .output()
        .expect("a shell");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(output.stdout.is_empty());
    assert!(error.contains("this process may open 100"), "{error}");
    assert!(error.contains("ulimit -n 256"), "{error}");
}

#[test]
fn an_interrupt_ends_it_early_with_the_summary_of_what_was_done() {
    let mut running = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["demo", "--seconds", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(running.stdout.take().expect("its output")).lines();
    // The first counts of the load.
    let under_load = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("evicted")));
    assert!(under_load.is_some());
    let interrupted = Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status();
    assert!(interrupted.is_ok_and(|status| status.success()));
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    let status = running.wait().expect("its end");
    assert_eq!(status.code(), Some(0), "{rest:#?}");
    assert!(
        rest.iter().any(|line| line.contains(" right, 0 wrong ")),
        "{rest:#?}"
    );
    assert!(
        rest.iter().any(|line| line.starts_with("Stopped early")),
        "{rest:#?}"
    );
    assert!(
        !rest.iter().any(|line| line.contains("TIME_WAIT")),
        "{rest:#?}"
    );
}

#[test]
fn whoever_closes_the_output_ends_it() {
    let mut running = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["demo", "--seconds", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let began = Instant::now();
    drop(running.stdout.take());
    let output = running.wait_with_output().expect("its end");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!error.contains("panicked"), "{error}");
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "it went on for nobody"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_an_error_and_ends_it() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let output = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["demo", "--seconds", "60"])
        .stdout(full.expect("a device that is always full"))
        .output()
        .expect("the program runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && error.contains("can't be written"),
        "{output:?}"
    );
}
