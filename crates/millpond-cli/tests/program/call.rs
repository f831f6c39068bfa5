//! `millpond call` with one request: replies, errors, and the exit code of each.

use serde_json::Value;

use crate::common::{Folder, Served, Then, peer, run};

#[test]
fn a_reply_is_printed_as_it_came_and_its_phases_on_stderr() {
    let served = Served::start(&[]);
    let called = served.call(&["{\"b\": [1,  2], \"a\":\"ü\"}", "-v"]);
    assert_eq!(
        (called.code, called.out.as_str()),
        (Some(0), "{\"b\": [1,  2], \"a\":\"ü\"}\n")
    );
    let phases: Vec<_> = called
        .err
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(phases, ["connect", "request", "total"], "{}", called.err);
    let called = served.call(&["-5"]);
    assert_eq!(
        (called.code, called.out.as_str(), called.err.as_str()),
        (Some(0), "-5\n", "")
    );
}

#[test]
fn the_reference_handler_answers_as_the_article() {
    let served = Served::start(&["--handler", "reference"]);
    let called = served.call(&[r#"{"a":"a"}"#]);
    assert_eq!(called.out, "\"服务端的数据数据:{\\\"a\\\":\\\"a\\\"}\"\n");
}

#[test]
fn with_json_there_is_one_document_for_replies_and_for_errors() {
    let served = Served::start(&[]);
    let called = served.call(&["--json", "{\"a\":1.50}"]);
    assert_eq!(called.code, Some(0));
    assert!(
        called
            .out
            .starts_with(r#"{"version":1,"reply":{"a":1.50},"timings":{"#),
        "{}",
        called.out
    );
    let document: Value = serde_json::from_str(&called.out).expect("JSON");
    let timings = &document["timings"];
    assert!(timings["total_seconds"].as_f64() > timings["connect_seconds"].as_f64());

    let called = served.call(&["--json", "--raw", "no json"]);
    assert_eq!(called.code, Some(1));
    let document: Value = serde_json::from_str(&called.out).expect("JSON");
    assert_eq!(
        (&document["version"], &document["error"]["code"]),
        (&1.into(), &(-32700).into())
    );
    assert!(called.err.contains("-32700"), "{}", called.err);
}

#[test]
fn what_is_no_json_is_not_sent() {
    // Nobody listens there.
    for (request, said) in [
        ("{\"a\":1,}", "column 8"),
        ("hello", "'\"hello\"'"),
        ("{a:1}", "single ones"),
        ("", "empty"),
    ] {
        let called = run(&["call", "--to", "127.0.0.1:1", request], "");
        assert_eq!(
            (called.code, called.out.as_str()),
            (Some(2), ""),
            "{called:?}"
        );
        assert!(called.err.contains(said), "{called:?}");
    }
}

#[test]
fn an_endpoint_that_is_none_is_shown_with_its_fault() {
    let called = run(&["call", "--to", "tpc://db:1", "1"], "");
    assert_eq!(called.code, Some(2));
    assert!(
        called.err.contains("--to: unknown scheme") && called.err.contains("    tpc://db:1\n    ^"),
        "{}",
        called.err
    );
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    let silent = peer(b"", Then::Wait);
    let stranger = peer(b"220 mail.example ESMTP\r\n", Then::Wait);
    let no_json = peer(b"length:0000000000003abc", Then::Wait);
    let hangs_up = peer(b"", Then::Close);
    for (endpoint, code, said) in [
        ("127.0.0.1:1", 3, "connection refused"),
        (
            silent.as_str(),
            4,
            "no reply within 200 ms; it may have been executed",
        ),
        (stranger.as_str(), 5, "byte 0 of a frame is '2'"),
        (no_json.as_str(), 5, "the reply isn't JSON"),
        (hangs_up.as_str(), 1, "the connection was lost"),
    ] {
        let called = run(
            &[
                "call",
                "--to",
                endpoint,
                "--deadline",
                "200ms",
                "--json",
                "1",
            ],
            "",
        );
        assert_eq!(called.code, Some(code), "{called:?}");
        assert!(
            called.err.starts_with("error: ") && called.err.contains(said),
            "{called:?}"
        );
        let document: Value = serde_json::from_str(&called.out).expect("JSON");
        assert!(document["error"]["code"].is_i64(), "{called:?}");
    }
    let raw = run(&["call", "--to", &no_json, "--raw", "1"], "");
    assert_eq!((raw.code, raw.out.as_str()), (Some(0), "abc\n"));
}

#[test]
fn a_server_of_another_protocol_is_told_as_what_it_is() {
    for (answer, said) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..],
            "this is an HTTP server",
        ),
        (
            b"\x15\x03\x03\x00\x02\x02\x46",
            "this is a TLS server: connect to it with tls://",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "this is an SSH server"),
    ] {
        for then in [Then::Wait, Then::Close] {
            let endpoint = peer(answer, then);
            for (arguments, input) in [
                (&["1"][..], ""),
                (&["-"], "1\n"),
                (&["-", "--pipelined"], "1\n"),
            ] {
                let called = run(
                    &[&["call", "--to", &endpoint][..], arguments].concat(),
                    input,
                );
                assert!(
                    format!("{}{}", called.err, called.out).contains(said),
                    "{called:?}"
                );
                assert_eq!(
                    called.code,
                    Some(if input.is_empty() { 5 } else { 1 }),
                    "{called:?}"
                );
            }
            let benched = run(&["bench", "--to", &endpoint, "--seconds", "1"], "");
            assert!(
                benched.code == Some(5) && benched.err.contains(said),
                "{benched:?}"
            );
        }
    }
}

#[test]
fn a_reply_that_is_too_long_names_its_length_the_limit_and_the_flag() {
    let endpoint = peer(b"length:0000002000000[", Then::Wait);
    let said =
        "a body of 2,000,000 bytes is longer than the limit of 1,048,576; --max-frame raises it";
    for (arguments, input) in [
        (&["1"][..], ""),
        (&["-"], "1\n"),
        (&["-", "--pipelined"], "1\n"),
    ] {
        let called = run(
            &[&["call", "--to", &endpoint][..], arguments].concat(),
            input,
        );
        assert!(
            format!("{}{}", called.err, called.out).contains(said),
            "{called:?}"
        );
    }
    let raised = run(
        &[
            "call",
            "--to",
            &endpoint,
            "--max-frame",
            "2000000",
            "--deadline",
            "200ms",
            "1",
        ],
        "",
    );
    assert_eq!(raised.code, Some(4), "it is waited for: {raised:?}");
    let benched = run(&["bench", "--to", &endpoint, "--seconds", "1"], "");
    assert!(
        benched.err.contains(
            "of 2,000,000 bytes is longer than the limit of 1,048,576, and bench takes no longer ones"
        ),
        "{benched:?}"
    );
}

#[test]
fn an_error_reply_can_be_taken_for_a_reply_and_does_nothing_to_a_terminal() {
    let body =
        b"length:0000000000052{\"error\":{\"code\":7,\"message\":\"\\u001b[2Jno\\nluck\xc2\x9b\"}}";
    let endpoint = peer(body, Then::Wait);
    let called = run(&["call", "--to", &endpoint, "1"], "");
    assert_eq!((called.code, called.out.as_str()), (Some(1), ""));
    assert_eq!(
        called.err,
        "error: the server answered with an error: \\u{1b}[2Jno\\nluck\\u{9b} (7)\n"
    );
    let called = run(&["call", "--to", &endpoint, "--accept-errors", "1"], "");
    assert_eq!((called.code, called.err.as_str()), (Some(0), ""));
    assert!(
        called.out.contains("\\u001b[2Jno"),
        "as it came: {}",
        called.out
    );
}

#[test]
fn wrong_flags_are_told_with_the_right_ones() {
    let too = run(&["call", "--too", "x:1", "1"], "");
    assert!(too.code == Some(2) && too.err.contains("'--to'"), "{too:?}");
    let unit = run(&["call", "--to", "x:1", "--deadline", "5x", "1"], "");
    assert!(
        unit.code == Some(2) && unit.err.contains("time unit"),
        "{unit:?}"
    );
    let zero = run(&["call", "--to", "x:1", "--deadline", "0", "1"], "");
    assert!(
        zero.code == Some(2) && zero.err.contains("above zero"),
        "{zero:?}"
    );
    let tls = run(&["call", "--to", "x:1", "--server-name", "y", "1"], "");
    assert!(tls.code == Some(2) && tls.err.contains("tls://"), "{tls:?}");
    let long = run(&["call", "--to", "x:1", "--max-frame", "3", "[1,2]"], "");
    assert!(
        long.code == Some(2) && long.err.contains("5 bytes"),
        "{long:?}"
    );
}

#[test]
fn a_folder_or_a_file_in_the_place_of_a_socket_is_told_as_what_it_is() {
    let folder = Folder::new();
    let file = folder.write("file", "text");
    let path = folder.path().to_str().expect("UTF-8");
    for (path, told) in [
        (path.to_owned(), "this is a folder"),
        (file.clone(), "there is a file, and it is no socket"),
        (format!("{file}/pond.sock"), "is no folder"),
    ] {
        let to = format!("unix://{path}");
        for (command, code) in [
            (&["call", "--to", &to, "1"][..], 3),
            (&["bench", "--to", &to], 3),
            (&["doctor", "--to", &to, "connect"], 1),
        ] {
            let run = run(command, "");
            assert_eq!(run.code, Some(code), "{run:?}");
            // The doctor's lines are wrapped.
            let said = format!("{}{}", run.out, run.err)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert!(said.contains(told), "{run:?}");
        }
    }
}
