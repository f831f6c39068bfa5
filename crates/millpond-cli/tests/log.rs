//! `--log`: nothing on a normal run, what was asked for on stderr, and never a payload.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use common::{Served, millpond, run};
use nix::sys::signal::Signal;

#[test]
fn a_normal_run_logs_nothing() {
    let mut served = Served::start(&[]);
    let called = served.call(&["1"]);
    assert_eq!((called.code, called.err.as_str()), (Some(0), ""));
    let refused = run(&["call", "--to", "tcp://127.0.0.1:1", "1"], "");
    assert_eq!(refused.err.lines().count(), 1, "the error alone: {refused:?}");
    served.signal(Signal::SIGTERM);
    let (status, said) = served.end();
    assert!(status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_server_says_by_default_whom_it_had_to_refuse() {
    let mut served = Served::start(&["--max-connections", "1"]);
    let address = served.endpoint.strip_prefix("tcp://").expect("tcp").to_owned();
    let first = TcpStream::connect(&address).expect("a connection");
    let mut second = TcpStream::connect(&address).expect("one more");
    // It is reset, or closed.
    let _ = second.read(&mut [0]);
    served.signal(Signal::SIGTERM);
    drop(first);
    let (_, said) = served.end();
    assert!(
        said.contains("warn  millpond::server: connection refused: the limit is reached"),
        "{said}"
    );
}

#[test]
fn what_was_asked_for_is_logged_and_no_payload_even_at_trace() {
    let mut served = Served::start(&["--log", "trace"]);
    let called = served.call(&["--log=millpond::transport=debug", "\"SECRET\""]);
    assert_eq!(called.out, "\"SECRET\"\n");
    assert!(
        called.err.contains(" debug millpond::transport: dialled "),
        "{called:?}"
    );
    assert!(
        !called.err.contains("millpond::pool"),
        "not asked for: {called:?}"
    );
    let called = served.call(&["--log", "trace", "\"SECRET\""]);
    assert!(
        called.err.contains("millpond::pool") && !called.err.contains("SECRET"),
        "{called:?}"
    );
    // What is no request is a stranger's payload.
    let address = served.endpoint.strip_prefix("tcp://").expect("tcp");
    let mut stranger = TcpStream::connect(address).expect("a connection");
    stranger.write_all(b"\x1b[31mSECRET").expect("sent");
    // It is closed, or reset.
    let _ = stranger.read_to_end(&mut Vec::new());
    served.signal(Signal::SIGTERM);
    let (_, said) = served.end();
    assert!(
        said.contains("it spoke another protocol") && !said.contains("SECRET"),
        "{said}"
    );
    assert!(!said.contains('\x1b'), "{said}");
}

#[test]
fn a_filter_that_cannot_be_read_is_wrong_usage_with_what_can() {
    for filter in ["wran", "nobody=warn", "warn,millpond::pool"] {
        let flag = run(&["--log", filter, "man"], "");
        let variable = millpond(&["man"]).env("MILLPOND_LOG", filter).output();
        let variable = common::Finished::from(variable.expect("the program"));
        for wrong in [flag, variable] {
            assert_eq!(wrong.code, Some(2), "{wrong:?}");
            assert!(wrong.out.is_empty(), "{wrong:?}");
            for part in [
                "--log",
                "off, error, warn, info, debug, trace",
                "millpond::transport",
            ] {
                assert!(wrong.err.contains(part), "{part:?} is missing: {wrong:?}");
            }
        }
    }
}

#[test]
fn the_flag_beats_the_environment() {
    let mut command = millpond(&["--log", "off", "call", "--to", "tcp://127.0.0.1:1", "1"]);
    let output = command
        .env("MILLPOND_LOG", "trace")
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "the error alone: {said}");
}
