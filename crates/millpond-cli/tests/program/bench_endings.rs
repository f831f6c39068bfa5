//! `millpond bench`: what it refuses, what it says of errors, and how it ends early.

use std::{
    io::{self, Read, Write},
    net::TcpListener,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::bench::{RAW, bench, mode, number, stalling};
use crate::common::{Finished, Folder, Served, Then, millpond, peer, until};

#[test]
fn without_a_server_there_is_nothing_to_measure() {
    let (finished, _) = bench("tcp://127.0.0.1:1", &[]);
    assert!(
        finished.code == Some(3) && finished.err.contains("nothing listens there"),
        "{finished:?}"
    );

    let (finished, _) = bench(&peer(b"", Then::Wait), &["--deadline", "200ms"]);
    assert!(
        finished.code == Some(4) && finished.err.contains("--deadline"),
        "{finished:?}"
    );

    let (finished, _) = bench(&peer(b"HTTP/1.1 400 Bad Request\r\n\r\n", Then::Close), &[]);
    assert!(
        finished.code == Some(5) && finished.err.contains("this is an HTTP server"),
        "{finished:?}"
    );

    let served = Served::start(&["--handler", "echo"]);
    let (finished, _) = bench(&served.endpoint, &["--expect", "1"]);
    assert!(
        finished.code == Some(5) && finished.err.contains("--expect"),
        "{finished:?}"
    );
}

#[test]
fn what_the_command_line_has_wrong_is_named() {
    let refused = |arguments: &[&str]| {
        let (finished, _) = bench("127.0.0.1:9", arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        finished.err
    };
    assert!(refused(&["--framing", "raw"]).contains("--expect-end"));
    assert!(refused(&["--framing", "raw", "--expect", "x"]).contains("--body"));
    assert!(
        refused(&["--framing", "raw", "--body", r"\q", "--expect", "x"])
            .contains(r"\q is no escape")
    );
    assert!(refused(&["--expect-length", "3"]).contains("--framing raw"));
    assert!(refused(&["--body", "{a}"]).contains("JSON"));
    assert!(refused(&["--expect", "a"]).contains("--expect isn't JSON"));
    assert!(refused(&["--rate", "fast"]).contains("from 0.1 to 10,000,000"));
    assert!(refused(&["--rounds", "0"]).contains("a whole number from 1 to 1,000"));
    assert!(refused(&["--body-file", "/nowhere/at/all"]).contains("/nowhere/at/all"));
    assert!(refused(&["--modes", "shorts"]).contains("short"));
    assert!(refused(&["--rate", "0"]).contains("--rate"));
    assert!(refused(&["--rate", "NaN"]).contains("--rate"));
    assert!(refused(&["--rate", "1e20"]).contains("10,000,000"));
    assert!(refused(&["--rate", "1", "--seconds", "1"]).contains("--rounds"));
    assert!(refused(&["--html", "/nowhere/at/all"]).contains("/nowhere/at/all"));
    assert!(refused(&["--modes", "exclusive", "--callers", "16777216"]).contains("100,000"));
    assert!(refused(&["--threads", "100000"]).contains("1,024"));
    assert!(refused(&["--seconds", "1e19"]).contains("day"));
    assert!(refused(&["--callers", "4000000000"]).contains("100,000"));
    assert!(
        refused(&["--csv"]).contains("--csv"),
        "together with --json"
    );
    assert!(refused(&["--ca", "ca.pem"]).contains("tls://"));
    assert!(refused(&["--seconds", "0"]).contains("above zero"));
}

#[test]
fn errors_under_load_are_counted_by_kind_and_told() {
    // It answers the first request as it should, and every later one with another reply.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                let reply = if number == 0 { b"!" } else { b"x" };
                if stream.write_all(reply).is_err() {
                    break;
                }
            }
        }
    });
    let raw = [&RAW[..], &["--modes", "short"]].concat();
    let shape = [
        "--requests",
        "5",
        "--rounds",
        "1",
        "--callers",
        "1",
        "--warm-up",
        "0",
    ];
    let (finished, document) = bench(&endpoint, &[&raw[..], &shape].concat());
    let short = mode(&document, "short");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(
        (&short["errors"]["protocol"], &short["replies_ok"]),
        (&5.into(), &0.into()),
        "{short}"
    );
    let example = short["error_examples"]["protocol"]
        .as_str()
        .expect("a text");
    assert!(example.contains("'x'"), "{example}");
}

/// More than the sockets hold: it has to be read while the request is being written.
#[test]
fn a_server_may_reply_while_it_still_reads() {
    const LENGTH: usize = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut back = stream.try_clone().expect("a descriptor");
            thread::spawn(move || io::copy(&mut stream, &mut back));
        }
    });
    let folder = Folder::new();
    let body = folder.write("body", &"x".repeat(LENGTH));
    let (length, raw) = (
        LENGTH.to_string(),
        ["--framing", "raw", "--body-file", &body],
    );
    let shape = [
        "--expect-length",
        &length,
        "--requests",
        "2",
        "--rounds",
        "1",
        "--callers",
        "1",
    ];
    let (finished, document) = bench(&endpoint, &[&raw[..], &shape, &["--warm-up", "0"]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for name in ["short", "exclusive"] {
        assert_eq!(
            number(&mode(&document, name)["replies_ok"]),
            2,
            "{document}"
        );
    }
}

#[test]
fn ctrl_c_ends_it_with_what_was_found_until_then() {
    let (endpoint, requests) = stalling(u64::MAX, Duration::ZERO);
    let mut command = millpond(&["bench", "--json", "--to", &endpoint, "--seconds", "600"]);
    command.args(RAW);
    command.args(["--warm-up", "0", "--rounds", "1", "--modes", "exclusive"]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("the program");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a small number"));
    until("it sends", || requests() > 200);
    kill(pid, Signal::SIGINT).expect("it runs");
    let finished = Finished::from(child.wait_with_output().expect("its end"));
    let document: Value = serde_json::from_str(&finished.out).expect("a document");
    assert_eq!(
        (finished.code, &document["interrupted"]),
        (Some(0), &true.into()),
        "{finished:?}"
    );
    assert!(
        number(&mode(&document, "exclusive")["replies_ok"]) > 0,
        "{document}"
    );
}

#[test]
fn an_open_loop_that_is_ended_early_has_taken_no_longer_than_it_did() {
    let (endpoint, requests) = stalling(u64::MAX, Duration::ZERO);
    let mut command = millpond(&[
        "bench",
        "--json",
        "--to",
        &endpoint,
        "--seconds",
        "600",
        "--rate",
        "100",
    ]);
    command.args(RAW);
    command.args(["--warm-up", "0", "--rounds", "1", "--modes", "exclusive"]);
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.expect("the program");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a small number"));
    until("it sends", || requests() > 20);
    kill(pid, Signal::SIGINT).expect("it runs");
    let finished = Finished::from(child.wait_with_output().expect("its end"));
    let document: Value = serde_json::from_str(&finished.out).expect("a document");
    let seconds = mode(&document, "exclusive")["seconds"]
        .as_f64()
        .expect("a time");
    assert!(
        seconds <= began.elapsed().as_secs_f64() + 0.01,
        "{document}"
    );
}

#[test]
fn a_server_that_never_answers_can_be_left_at_the_first_contact() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
    let mut command = millpond(&["bench", "--to", &endpoint, "--deadline", "600s"]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("the program");
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.read_exact(&mut [0]).expect("a request");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a small number"));
    kill(pid, Signal::SIGTERM).expect("it runs");
    let finished = Finished::from(child.wait_with_output().expect("its end"));
    assert!(
        finished.code == Some(1) && finished.err.contains("stopped before the first reply"),
        "{finished:?}"
    );
}

#[test]
fn bytes_behind_the_reply_are_told_before_they_spoil_the_next() {
    let raw = RAW;
    let (finished, _) = bench(&peer(b"!\r\n", Then::Wait), &raw);
    assert!(
        finished.code == Some(5) && finished.err.contains("2 more bytes came behind"),
        "{finished:?}"
    );
}
