//! `--log`: nothing on a normal run, what was asked for on stderr, and never a payload.

use std::{
    io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write, pipe},
    net::TcpStream,
    os::fd::AsFd,
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::Signal,
};

use crate::common::{self, Folder, Served, ended, millpond, run, signal, until};

/// A full pipe.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let blocking = |flag| fcntl(writer.as_fd(), FcntlArg::F_SETFL(flag)).expect("a flag");
    blocking(OFlag::O_NONBLOCK);
    let full = loop {
        if let Err(error) = (&writer).write(&[b'\n'; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    blocking(OFlag::empty());
    writer.flush().expect("nothing to do");
    (reader, writer)
}

#[test]
fn a_normal_run_logs_nothing() {
    let mut served = Served::start(&[]);
    let called = served.call(&["1"]);
    assert_eq!((called.code, called.err.as_str()), (Some(0), ""));
    let refused = run(&["call", "--to", "tcp://127.0.0.1:1", "1"], "");
    assert_eq!(
        refused.err.lines().count(),
        1,
        "the error alone: {refused:?}"
    );
    served.signal(Signal::SIGTERM);
    let (status, said) = served.end();
    assert!(status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_server_says_by_default_whom_it_had_to_refuse() {
    let mut served = Served::start(&["--max-connections", "1"]);
    let address = served
        .endpoint
        .strip_prefix("tcp://")
        .expect("tcp")
        .to_owned();
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
fn a_frame_that_is_too_long_is_told_with_the_flag_that_allows_it() {
    let mut served = Served::start(&[]);
    let address = served.endpoint.strip_prefix("tcp://").expect("tcp");
    let mut client = TcpStream::connect(address).expect("a connection");
    client.write_all(b"length:0000002000000").expect("sent");
    let mut told = String::new();
    client
        .read_to_string(&mut told)
        .expect("a reply, and no reset");
    assert!(
        told.contains("2,000,000 bytes") && told.contains("set by --max-frame"),
        "{told}"
    );
    drop(client);
    served.signal(Signal::SIGTERM);
    let (_, said) = served.end();
    assert!(
        said.contains("length=2000000 limit=1048576 setting=\"--max-frame\""),
        "{said}"
    );
}

#[test]
fn what_was_asked_for_is_logged_and_no_payload_even_at_trace() {
    let mut served = Served::start(&["--log", "trace"]);
    let called = served.call(&["--log=millpond::net=debug", "\"SECRET\""]);
    assert_eq!(called.out, "\"SECRET\"\n");
    assert!(
        called.err.contains(" debug millpond::net: dialled "),
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
    // Bytes that are no request are a stranger's payload as well.
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
    // Addresses and times, not how Rust debugs them.
    for log in [&called.err, &said] {
        assert!(!log.contains("Some(") && !log.contains("=None"), "{log}");
    }
    assert!(said.contains(" peer=127.0.0.1:"), "{said}");
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
                "millpond::net",
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

#[test]
fn a_server_whose_log_nobody_reads_answers_and_ends_and_what_it_dropped_is_counted() {
    let (reader, writer) = full_pipe();
    // Each connection is logged, and what the program says is passed on.
    let handler = "exec:sh -c 'yes trouble | head -c 1000000 >&2; echo 1'";
    let mut served = Served::start_with_stderr(writer, &["--log", "trace", "--handler", handler]);
    for _ in 0..3 {
        let called = served.call(&["--deadline", "20s", "1"]);
        assert_eq!(
            (called.code, called.out.as_str()),
            (Some(0), "1\n"),
            "{called:?}"
        );
    }
    // Somebody reads now.
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(reader).lines();
        lines
            .map_while(Result::ok)
            .try_for_each(|line| tell.send(line))
    });
    let mut lines = std::iter::from_fn(|| told.recv_timeout(Duration::from_secs(30)).ok());
    let dropped = lines
        .find(|line| line.contains("dropped"))
        .expect("it is told");
    assert!(
        dropped.contains(" lines of the log were dropped here: nobody read stderr"),
        "{dropped}"
    );
    served.signal(Signal::SIGTERM);
    assert_eq!(served.wait().code(), Some(0));
    let last = lines.last().expect("it goes on");
    assert!(last.contains("millpond::server"), "{last}");
}

#[test]
fn a_server_whose_output_nobody_reads_ends_when_it_is_told_to() {
    let folder = Folder::new();
    let endpoint = format!("unix://{}", folder.file("pond.sock"));
    let ((_out, stdout), (_err, stderr)) = (full_pipe(), full_pipe());
    let mut command = millpond(&["serve", "--listen", &endpoint, "--log", "trace"]);
    let mut child = command
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("the program");
    until("it answers", || {
        run(&["call", "--to", &endpoint, "--deadline", "1s", "1"], "").code == Some(0)
    });
    signal(&child, Signal::SIGTERM);
    assert_eq!(ended(&mut child).code(), Some(0));
}
