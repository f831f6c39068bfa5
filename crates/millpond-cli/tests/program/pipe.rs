//! `millpond call -`: a request per line, in parallel, the replies in order.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{self, Folder, Served, ended, millpond, run, signal, until};

/// Printed in place of a reply that hadn't come before the stop.
const STOPPED: &str = r#"{"error":{"code":-32000,"message":"stopped before the reply came; it may have been executed"}}"#;

fn pipe(served: &Served, flags: &[&str], input: &str) -> common::Finished {
    run(
        &[&["call", "--to", &served.endpoint], flags, &["-"]].concat(),
        input,
    )
}

#[test]
fn a_thousand_lines_are_answered_in_their_order() {
    // Later requests are often answered first.
    let served = Served::start(&[
        "--handler",
        "exec:sh -c 'read n; [ $((n % 7)) = 0 ] && sleep 0.05; echo $n'",
    ]);
    let lines: String = (1..=1_000).map(|number| format!("{number}\n")).collect();
    let called = pipe(&served, &["-v"], &lines);
    assert_eq!(called.code, Some(0), "{}", called.err);
    assert_eq!(called.out, lines);
    assert!(
        called.err.contains("1,000 replies and 0 failures"),
        "{}",
        called.err
    );
}

#[test]
fn a_failure_takes_the_place_of_a_reply() {
    let served = Served::start(&[]);
    let long = format!("\"{}\"", "x".repeat(3_000_000));
    let input = format!("1\n\n  \r\n{{\"a\":\n{long}\n\t2 ");
    let called = pipe(&served, &[], &input);
    assert_eq!(called.code, Some(1));
    let lines: Vec<Value> = called
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let codes: Vec<_> = lines
        .iter()
        .map(|line| line["error"]["code"].as_i64())
        .collect();
    assert_eq!(
        codes,
        [None, Some(-32700), Some(-32600), None],
        "{}",
        called.out
    );
    assert_eq!((&lines[0], &lines[3]), (&1.into(), &2.into()));
    assert!(
        called.err.contains("2 of 4 requests failed"),
        "{}",
        called.err
    );
}

#[test]
fn our_own_failures_are_lines_as_well() {
    let called = run(&["call", "--to", "127.0.0.1:1", "-"], "1\n2\n");
    assert_eq!(
        (called.code, called.out.lines().count()),
        (Some(1), 2),
        "{called:?}"
    );
    for line in called.out.lines() {
        assert!(
            line.starts_with(r#"{"error":{"code":-32000,"message":"#),
            "{line}"
        );
    }
    let silent = common::peer(b"", common::Then::Wait);
    let called = run(
        &["call", "--to", &silent, "--deadline", "100ms", "-"],
        "1\n",
    );
    assert!(
        called.out.starts_with(r#"{"error":{"code":-32002,"#),
        "{called:?}"
    );
}

#[test]
fn a_reply_of_several_lines_becomes_one() {
    let served = Served::start(&["--handler", "exec:printf '{\n\"a\":\r\n1}'"]);
    let called = pipe(&served, &[], "1\n");
    assert_eq!(called.out, "{ \"a\":  1}\n");
}

#[test]
fn a_reply_comes_while_stdin_is_still_open() {
    let served = Served::start(&[]);
    let mut child = millpond(&["call", "--to", &served.endpoint, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut replies = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for request in ["1", "2"] {
        writeln!(stdin, "{request}").expect("it reads");
        assert_eq!(replies.next().expect("a line").expect("text"), request);
    }
    drop(stdin);
    assert!(replies.next().is_none());
    assert!(child.wait().expect("its end").success());
}

#[test]
fn it_ends_quietly_when_nobody_reads_and_stdin_never_ends() {
    let served = Served::start(&[]);
    let mut child = millpond(&["call", "--to", &served.endpoint, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdin = child.stdin.take().expect("a pipe");
    drop(child.stdout.take());
    // It stays open: only the missing reader can end the program.
    stdin.write_all(b"1\n2\n").expect("it reads");
    let ended = child.wait_with_output().expect("its end");
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
    drop(stdin);
}

#[test]
fn an_input_that_cant_be_read_is_told_in_words() {
    let served = Served::start(&[]);
    let folder = Folder::new();
    let called = millpond(&["call", "--to", &served.endpoint, "-"])
        .stdin(File::open(folder.path()).expect("the folder"))
        .output()
        .expect("the program");
    assert_eq!(called.status.code(), Some(1), "{called:?}");
    assert_eq!(
        String::from_utf8_lossy(&called.stderr),
        "error: stdin can't be read: is a directory\n"
    );
}

#[test]
fn no_more_is_read_ahead_than_may_be_in_flight() {
    let silent = common::peer(b"", common::Then::Wait);
    let mut child = millpond(&["call", "--to", &silent, "--in-flight", "4", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let stdin = child.stdin.take().expect("a pipe");
    let line = format!("\"{}\"\n", "x".repeat(100_000));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut stdin = stdin;
        // Ends when the program is killed.
        while stdin.write_all(line.as_bytes()).is_ok() && tell.send(()).is_ok() {}
    });
    // Four lines, what the pipe and the buffers hold, and no more.
    let mut taken = 0;
    while told.recv_timeout(std::time::Duration::from_secs(1)).is_ok() {
        taken += 1;
        assert!(taken < 20, "it reads on without any reply");
    }
    assert!(taken >= 4, "{taken}");
    child.kill().expect("it runs");
    child.wait().expect("its end");
}

#[test]
fn ctrl_c_ends_it_with_whole_lines_a_sum_and_an_exit_code() {
    let served = Served::start(&[
        "--handler",
        "exec:sh -c 'read n; [ $n = 2 ] && sleep 60; echo $n'",
    ]);
    let mut child = millpond(&["call", "--to", &served.endpoint, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"1\n2\n3\n").expect("it reads");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "1");
    signal(&child, Signal::SIGINT);
    let rest: Vec<_> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert_eq!(rest[0], STOPPED);
    assert!(rest[1] == "3" || rest[1] == STOPPED, "{rest:?}");
    // It doesn't wait for the end of its input.
    let status = ended(&mut child);
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(130), "{said}");
    let whole = rest.iter().filter(|line| *line == "3").count();
    let replies = ["1 reply", "2 replies"][whole];
    assert!(
        said.starts_with(&format!("stopped early: {replies} and 0 failures in ")),
        "{said}"
    );
    assert!(said.contains(" without a reply\n"), "{said}");
    drop(input);
}

#[test]
fn ctrl_c_prints_every_reply_that_has_come_behind_one_that_has_not() {
    const LAST: usize = 12;
    let folder = Folder::new();
    let began = folder.file("began");
    let handler = format!(
        "exec:sh -c 'read n; echo $n >> {began}; [ $n = 1 -o $n = {LAST} ] && sleep 60; echo $n'"
    );
    let begun =
        |count| fs::read_to_string(&began).is_ok_and(|lines| lines.lines().count() == count);
    let served = Served::start(&["--handler", &handler]);
    let mut child = millpond(&["call", "--to", &served.endpoint, "--connections", "2", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut input = child.stdin.take().expect("a pipe");
    // Of two connections the first request keeps one. As the last one begins on the other, the
    // replies to all others have come.
    for number in 1..LAST {
        writeln!(input, "{number}").expect("it reads");
    }
    until("all but the last one have begun", || begun(LAST - 1));
    writeln!(input, "{LAST}").expect("it reads");
    until("the last one has begun", || begun(LAST));
    signal(&child, Signal::SIGINT);
    let ended = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&ended.stderr);
    let lines = String::from_utf8_lossy(&ended.stdout);
    let lines: Vec<_> = lines.lines().collect();
    let mut wanted: Vec<_> = (1..=LAST).map(|number| number.to_string()).collect();
    wanted[0] = STOPPED.to_owned();
    wanted[LAST - 1] = STOPPED.to_owned();
    assert_eq!(lines, wanted, "{said}");
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(
        said.starts_with("stopped early: 10 replies and 0 failures in "),
        "{said}"
    );
    assert!(said.ends_with(", 2 requests without a reply\n"), "{said}");
    drop(input);
}
