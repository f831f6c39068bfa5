//! `millpond serve`: where it may listen, and how it ends.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::common::{self, Authority, Folder, Served, run, until};

#[test]
fn a_line_says_where_it_listens_and_how_to_try_it() {
    let mut child = common::millpond(&["serve", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().expect("a pipe"),
    ));
    let line = lines.next().expect("a line").expect("text");
    let (before, example) = line
        .split_once("; try: millpond call --to ")
        .expect("an example");
    let endpoint = before
        .strip_prefix("listening on ")
        .and_then(|rest| rest.split(',').next())
        .expect("an endpoint");
    assert_eq!(example, format!("{endpoint} '{{\"a\":1}}'"));
    assert_eq!(
        run(&["call", "--to", endpoint, "{\"a\":1}"], "").out,
        "{\"a\":1}\n"
    );
    child.kill().expect("it runs");
    child.wait().expect("its end");
}

#[test]
fn a_taken_port_is_a_failure_and_a_wrong_endpoint_wrong_usage() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("tcp://{}", taken.local_addr().expect("an address"));
    let refused = run(&["serve", "--listen", &endpoint], "");
    assert!(
        refused.code == Some(1) && refused.err.contains("somebody listens there already"),
        "{refused:?}"
    );
    let folder = Folder::new();
    let refused = run(
        &[
            "serve",
            "--listen",
            &format!("unix://{}", folder.path().display()),
        ],
        "",
    );
    assert!(
        refused.code == Some(1)
            && refused
                .err
                .contains("a file or a folder at this path, and no socket"),
        "{refused:?}"
    );
    assert!(folder.path().is_dir(), "nobody has removed it");
    let wrong = run(&["serve", "--listen", "tcp://::1:80"], "");
    assert!(
        wrong.code == Some(2)
            && wrong.err.contains("--listen: ")
            && wrong.err.contains("\n          ^"),
        "{wrong:?}"
    );
}

#[test]
fn long_times_are_told_in_minutes() {
    let mut child = common::millpond(&["serve", "--listen", "127.0.0.1:0", "--drain", "150s"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.next().expect("a line").expect("text");
    common::signal(&child, Signal::SIGTERM);
    let line = lines.next().expect("a line").expect("text");
    assert!(
        line.starts_with("draining for 2 min 30 s at most: "),
        "{line}"
    );
    assert_eq!(common::ended(&mut child).code(), Some(0));
}

/// Its first event, and its second if there is one, with a limit of 200 open files.
fn told_with_few_descriptors(arguments: &[&str], events: usize) -> Vec<String> {
    let script = "ulimit -Sn 200 && exec \"$0\" serve --json --listen 127.0.0.1:0 \"$@\"";
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_millpond")])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let told = lines.take(events).map(|line| line.expect("text")).collect();
    child.kill().expect("it runs");
    child.wait().expect("its end");
    told
}

#[test]
fn there_are_no_more_connections_than_files_may_be_opened() {
    let event = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let told = told_with_few_descriptors(&[], 1);
    assert_eq!(event(&told[0])["max_connections"], 136);
    let told = told_with_few_descriptors(&["--max-connections", "500"], 2);
    let warned = json!({
        "version": 1, "event": "few_descriptors",
        "max_connections": 500, "descriptors_needed": 564, "descriptors_limit": 200,
    });
    assert_eq!(event(&told[1]), warned);
    // Programs have half of them at most.
    let told = told_with_few_descriptors(&["--handler", "exec:cat", "--max-processes", "64"], 2);
    assert_eq!(event(&told[0])["max_connections"], 68);
    let warned = json!({
        "version": 1, "event": "few_descriptors", "max_connections": 68, "max_processes": 64,
        "descriptors_needed": 388, "descriptors_limit": 200,
    });
    assert_eq!(event(&told[1]), warned);
}

#[test]
fn other_machines_are_let_in_only_when_that_was_said() {
    let refused = run(&["serve", "--listen", "0.0.0.0:0"], "");
    assert!(
        refused.code == Some(2) && refused.err.contains("--insecure-bind"),
        "{refused:?}"
    );
    let served = Served::start_at("0.0.0.0:0", &["--insecure-bind"]);
    assert_eq!(served.call(&["1"]).out, "1\n");
}

#[test]
fn a_unix_socket_is_this_users_alone() {
    let folder = Folder::new();
    let path = folder.file("pond.sock");
    let mut served = Served::start_at(&format!("unix://{path}"), &[]);
    assert_eq!(served.call(&["1"]).out, "1\n");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    served.signal(Signal::SIGINT);
    assert!(served.end().0.success());
    assert!(!folder.path().join("pond.sock").exists());
}

#[test]
fn with_tls_clients_show_certificates_and_may_be_anywhere() {
    let folder = Folder::new();
    let authority = Authority::new();
    let ca = authority.write(&folder, "ca.pem");
    let (cert, key) = authority.issue(&folder, "pond.example");
    let identity = ["--tls-cert", cert.as_str(), "--tls-key", key.as_str()];
    let alone = run(
        &[&["serve", "--listen", "tls://0.0.0.0:0"], &identity[..]].concat(),
        "",
    );
    assert!(
        alone.code == Some(2) && alone.err.contains("--tls-client-ca"),
        "{alone:?}"
    );

    let served = Served::start_at(
        "tls://0.0.0.0:0",
        &[&identity[..], &["--tls-client-ca", &ca]].concat(),
    );
    let (cert, key) = authority.issue(&folder, "client.example");
    let trusting = ["1", "--ca", &ca, "--server-name", "pond.example", "-v"];
    let called = served.call(&[&trusting[..], &["--cert", &cert, "--key", &key]].concat());
    assert_eq!(
        (called.code, called.out.as_str()),
        (Some(0), "1\n"),
        "{called:?}"
    );
    assert!(called.err.contains("\ntls "), "{}", called.err);
    let stranger = served.call(&trusting);
    // The text depends on which is seen first: the server's alert or the end of the connection.
    assert!(
        matches!(stranger.code, Some(1 | 3)) && stranger.out.is_empty(),
        "{stranger:?}"
    );
    let untrusting = served.call(&["1"]);
    assert!(
        untrusting.code == Some(3) && untrusting.err.contains("certificate"),
        "{untrusting:?}"
    );
    let unfit = run(
        &[
            "serve",
            "--listen",
            "tcp://127.0.0.1:0",
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
        ],
        "",
    );
    assert!(
        unfit.code == Some(2) && unfit.err.contains("tls://"),
        "{unfit:?}"
    );
}

/// A server whose requests wait for a gate to open, and how many have begun.
struct Gated {
    folder: Folder,
    served: Served,
}

impl Gated {
    fn new(flags: &[&str]) -> Gated {
        let folder = Folder::new();
        let script = folder.write(
            "script",
            &format!(
                "cd {}\ntouch began.$$\nwhile [ ! -e gate ]; do sleep 0.01; done\ncat\n",
                folder.path().display()
            ),
        );
        let handler = format!("exec:sh {script}");
        let served = Served::start(
            &[
                &["--handler", handler.as_str(), "--max-processes", "8"],
                flags,
            ]
            .concat(),
        );
        Gated { folder, served }
    }

    /// The process ids of the programs that have started.
    fn begun(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path()).expect("a folder");
        let names = files.map(|file| {
            file.expect("a file")
                .file_name()
                .into_string()
                .expect("UTF-8")
        });
        names
            .filter_map(|name| Some(name.strip_prefix("began.")?.to_owned()))
            .collect()
    }

    fn open(&self) {
        self.folder.write("gate", "");
    }
}

#[test]
fn a_drain_finishes_what_was_begun_and_takes_nothing_new() {
    let mut gated = Gated::new(&[]);
    let endpoint = gated.served.endpoint.clone();
    let calls: Vec<_> = (0..5)
        .map(|number| {
            let endpoint = endpoint.clone();
            thread::spawn(move || run(&["call", "--to", &endpoint, &number.to_string()], ""))
        })
        .collect();
    until("all have begun", || gated.begun().len() == 5);
    gated.served.signal(Signal::SIGTERM);
    let draining = gated.served.event("draining");
    assert_eq!(
        (&draining["handled"], &draining["within_seconds"]),
        (&5.into(), &10.0.into())
    );
    until("nothing new is taken", || {
        run(&["call", "--to", &endpoint, "7"], "").code == Some(3)
    });
    gated.open();
    for (number, call) in calls.into_iter().enumerate() {
        let called = call.join().expect("a call");
        assert_eq!(
            (called.code, called.out),
            (Some(0), format!("{number}\n")),
            "{}",
            called.err
        );
    }
    let drained = gated.served.event("drained");
    assert_eq!(
        (&drained["forced"], &drained["server"]["totals"]["replies"]),
        (&0.into(), &5.into())
    );
    assert_eq!(gated.served.end().0.code(), Some(0));
}

#[test]
fn what_isnt_finished_at_the_deadline_or_a_second_signal_is_closed_and_its_program_killed() {
    for (drain, signals) in [("100ms", 1), ("1h", 2)] {
        let mut gated = Gated::new(&["--drain", drain]);
        let endpoint = gated.served.endpoint.clone();
        let call = thread::spawn(move || run(&["call", "--to", &endpoint, "1"], ""));
        until("it has begun", || gated.begun().len() == 1);
        gated.served.signal(Signal::SIGTERM);
        gated.served.event("draining");
        if signals == 2 {
            gated.served.signal(Signal::SIGINT);
        }
        assert_eq!(gated.served.event("drained")["forced"], 1);
        assert_eq!(gated.served.end().0.code(), Some(1));
        assert_eq!(
            call.join().expect("a call").code,
            Some(1),
            "it is told nothing, for its reply is unknown"
        );
        let program = gated.begun().remove(0);
        let alive = || {
            std::process::Command::new("ps")
                .args(["-o", "stat=", "-p", &program])
                .output()
                .expect("ps")
        };
        until("its program is gone", || {
            let state = alive().stdout;
            state.trim_ascii().is_empty() || state.starts_with(b"Z")
        });
    }
}

#[test]
fn a_drain_that_left_requests_unanswered_says_how_many_and_fails() {
    for flags in [&["--json"][..], &[]] {
        let folder = Folder::new();
        let path = folder.file("pond.sock");
        // The reply is longer than a Unix socket's buffer.
        let mut child =
            common::millpond(&["serve", "--listen", &format!("unix://{path}"), "--raw"])
                .args([
                    "--handler",
                    "exec:head -c 900000 /dev/zero",
                    "--drain",
                    "100ms",
                ])
                .args(flags)
                .stdout(Stdio::piped())
                .spawn()
                .expect("the program");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut next = || lines.next().expect("a line").expect("text");
        next();
        // It never reads more than the first byte of the first reply.
        let mut client = std::os::unix::net::UnixStream::connect(&path).expect("a connection");
        let requests = "length:00000000000011".repeat(80);
        client
            .write_all(requests.as_bytes())
            .expect("the kernel takes it");
        client.read_exact(&mut [0]).expect("a byte");
        let pid = Pid::from_raw(child.id().try_into().expect("a number"));
        kill(pid, Signal::SIGTERM).expect("it runs");
        next();
        let ended = next();
        match flags.is_empty() {
            true => assert!(
                ended.ends_with(
                    "; 80 requests left unanswered; 1 connection closed with something under way"
                ),
                "{ended}"
            ),
            false => {
                let drained: Value = serde_json::from_str(&ended).expect("JSON");
                assert_eq!(
                    (&drained["unanswered"], &drained["forced"]),
                    (&80.into(), &1.into())
                );
                assert_eq!(drained["server"]["totals"]["unanswered"], 80);
            }
        }
        assert_eq!(child.wait().expect("its end").code(), Some(1));
    }
}

#[test]
fn flags_come_from_the_environment_too_and_the_command_line_wins() {
    let mut command = common::millpond(&["serve"]);
    let wrong = command
        .env("MILLPOND_LISTEN", "tcp://")
        .output()
        .expect("the program");
    assert_eq!(wrong.status.code(), Some(2));
    let mut command = common::millpond(&["serve", "--handler", "nope"]);
    let wrong = command
        .env("MILLPOND_HANDLER", "echo")
        .output()
        .expect("the program");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("'nope'"));
}
