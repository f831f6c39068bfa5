//! `millpond proxy`: short clients over a few upstream connections, an upstream that isn't there,
//! wrong flags and files, the demo.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixListener,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{self, Finished, Folder, Served, ended, millpond, run};

/// A `millpond proxy --json`. Dropped, it is killed.
pub(crate) struct Proxy {
    child: Child,
    events: BufReader<ChildStdout>,
}

impl Proxy {
    pub(crate) fn start(arguments: &[&str]) -> Proxy {
        let command: &mut Command = &mut millpond(&[&["proxy", "--json"], arguments].concat());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program");
        let events = BufReader::new(child.stdout.take().expect("a pipe"));
        Proxy { child, events }
    }

    /// The next event, which must be this one.
    fn event(&mut self, name: &str) -> Value {
        let mut line = String::new();
        self.events.read_line(&mut line).expect("a line");
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        assert_eq!(event["event"], name, "{line}");
        assert_eq!(event["version"], 1, "{line}");
        event
    }

    pub(crate) fn listening(&mut self) -> String {
        let listening = self.event("listening");
        listening["endpoint"]
            .as_str()
            .expect("an endpoint")
            .to_owned()
    }

    /// SIGTERM; the last event of its only route, and the exit code.
    pub(crate) fn drained(&mut self) -> (Value, Option<i32>) {
        common::signal(&self.child, Signal::SIGTERM);
        self.event("draining");
        let drained = self.event("drained");
        (drained, ended(&mut self.child).code())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(endpoint: &str, request: &str) -> Finished {
    run(&["call", "--to", endpoint, request], "")
}

#[test]
fn short_clients_share_the_upstream_connections_and_sigterm_drains() {
    for mode in ["exchange", "pipeline"] {
        let mut upstream = Served::start(&[]);
        let mut proxy = Proxy::start(&[
            "--listen",
            "127.0.0.1:0",
            "--to",
            &upstream.endpoint,
            "--max-size",
            "2",
            "--mode",
            mode,
        ]);
        let endpoint = proxy.listening();
        thread::scope(|scope| {
            for client in 0..4 {
                let endpoint = &endpoint;
                scope.spawn(move || {
                    for number in 0..4 {
                        let request = format!("[{client},{number}]");
                        assert_eq!(call(endpoint, &request).out, format!("{request}\n"));
                    }
                });
            }
        });
        let (drained, code) = proxy.drained();
        assert_eq!(code, Some(0), "{drained}");
        assert_eq!(drained["proxy"]["mode"], mode);
        assert_eq!(drained["proxy"]["totals"]["answered"], 16, "{drained}");
        assert_eq!(drained["server"]["totals"]["accepted"], 16, "{drained}");
        upstream.signal(Signal::SIGTERM);
        upstream.event("draining");
        let accepted = upstream.event("drained")["server"]["totals"]["accepted"].as_u64();
        assert!(
            accepted.is_some_and(|accepted| (1..=2).contains(&accepted)),
            "{accepted:?}"
        );
    }
}

#[test]
fn clients_are_told_that_the_upstream_is_not_there_and_the_proxy_stays() {
    let folder = Folder::new();
    let upstream = format!("unix://{}", folder.file("upstream"));
    let mut proxy = Proxy::start(&["--listen", "127.0.0.1:0", "--to", &upstream]);
    let endpoint = proxy.listening();
    let told = call(&endpoint, "1");
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(
        told.err
            .contains("the upstream can't be reached; it was not executed (-32000)"),
        "{told:?}"
    );
    assert!(!told.err.contains("upstream\""), "no path: {told:?}");
    let _served = Served::start_at(&upstream, &[]);
    common::until("the upstream is found again", || {
        call(&endpoint, "2").out == "2\n"
    });
    let (drained, code) = proxy.drained();
    assert_eq!(code, Some(0), "{drained}");
    assert_ne!(drained["proxy"]["totals"]["unavailable"], 0, "{drained}");
}

#[test]
fn a_request_that_is_unfinished_at_the_end_of_the_drain_is_a_failure() {
    let folder = Folder::new();
    let path = folder.file("mute");
    let mute = UnixListener::bind(&path).expect("a socket");
    let mut proxy = Proxy::start(&[
        "--listen",
        "127.0.0.1:0",
        "--to",
        &format!("unix://{path}"),
        "--drain",
        "50ms",
    ]);
    let endpoint = proxy.listening();
    thread::scope(|scope| {
        let client = scope.spawn(|| call(&endpoint, "1"));
        let (mut taken, _) = mute.accept().expect("a connection");
        taken.read_exact(&mut [0; 8]).expect("a request");
        let (drained, code) = proxy.drained();
        assert_eq!(code, Some(1), "{drained}");
        assert_eq!(drained["unanswered"], 1, "{drained}");
        assert_eq!(client.join().expect("a client").code, Some(1));
    });
}

#[test]
fn an_error_reply_of_the_upstream_is_passed_on() {
    let upstream = Served::start(&["--handler", "exec:false"]);
    let mut proxy = Proxy::start(&["--listen", "127.0.0.1:0", "--to", &upstream.endpoint]);
    let told = call(&proxy.listening(), "1");
    assert!(told.err.contains("(-32603)"), "{told:?}");
    let (drained, _) = proxy.drained();
    assert_eq!(drained["proxy"]["totals"]["answered"], 1, "{drained}");
}

#[test]
fn what_each_route_alone_may_do_is_checked_too() {
    let folder = Folder::new();
    let route = |name: &str, listen: &str| {
        format!("[route.{name}]\nlisten = '{listen}'\nto = '127.0.0.1:1'\n")
    };
    for (routes, said) in [
        (
            [route("a", "127.0.0.1:9"), route("b", "tcp://127.0.0.1:9")],
            Some("line 4, column 1: route b: it listens on tcp://127.0.0.1:9, and so does route a"),
        ),
        ([route("a", "127.0.0.1:0"), route("b", "127.0.0.1:0")], None),
        (
            [
                route("a", "127.0.0.1:9"),
                route("b", "0.0.0.0:9").replace("to =", "insecure_bind = true\nto ="),
            ],
            Some("route b: it listens on tcp://0.0.0.0:9, and so does route a"),
        ),
        (
            [route("a", "127.0.0.1:9"), route("b", "0.0.0.0:0")],
            Some("route b: tcp://0.0.0.0:0 can be reached from other machines"),
        ),
    ] {
        let file = folder.write("routes.toml", &routes.concat());
        let checked = run(&["proxy", "--config", &file, "--check"], "");
        let Some(said) = said else {
            assert_eq!(checked.code, Some(0), "{}", checked.err);
            continue;
        };
        assert_eq!(checked.code, Some(2), "{}", checked.err);
        assert!(checked.err.contains(said), "{}", checked.err);
        assert!(!checked.err.contains("--insecure-bind"), "{}", checked.err);
    }
}

#[test]
fn wrong_flags_are_told() {
    for (arguments, said) in [
        (&["--to", "127.0.0.1:1"][..], "--listen <ENDPOINT>"),
        (&["--listen", "127.0.0.1:0"], "--to <ENDPOINT>"),
        (
            &["--listen", "127.0.0.1:1", "--to", "127.0.0.1:1"],
            "its own",
        ),
        (
            &["--listen", "0.0.0.0:0", "--to", "127.0.0.1:1"],
            "--insecure-bind",
        ),
        (
            &[
                "--listen",
                "127.0.0.1:0",
                "--to",
                "127.0.0.1:1",
                "--depth",
                "3",
            ],
            "--depth is for --mode pipeline",
        ),
        (
            &[
                "--listen",
                "127.0.0.1:0",
                "--to",
                "127.0.0.1:1",
                "--mode",
                "pipe",
            ],
            "exchange, pipeline, session",
        ),
        (
            &["--config", "routes.toml", "--to", "127.0.0.1:1"],
            "cannot be used with",
        ),
        (&["--demo", "--mode", "session"], "cannot be used with"),
        (&["--check"], "--config <FILE>"),
        (&["--config", "nowhere.toml"], "nowhere.toml: "),
    ] {
        let refused = run(&[&["proxy"], arguments].concat(), "");
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
        assert!(refused.err.contains(said), "{arguments:?}: {refused:?}");
    }
}

#[test]
fn a_variable_that_is_set_for_other_commands_does_not_count_beside_a_file() {
    let folder = Folder::new();
    let route = "[route.orders]\nlisten = '127.0.0.1:0'\nto = ['127.0.0.1:1', '127.0.0.1:2']\n";
    let file = folder.write("routes.toml", route);
    let mut checked = millpond(&["proxy", "--check", "--config"]);
    checked.arg(&file).env("MILLPOND_FRAMING", "mllp");
    let output = checked.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_file_is_checked_with_the_line_of_what_is_wrong() {
    let folder = Folder::new();
    let route = "[route.orders]\nlisten = '127.0.0.1:0'\nto = '127.0.0.1:1'\n";
    let check = |more: &str| {
        let file = folder.write("routes.toml", &format!("{route}{more}\n"));
        run(&["proxy", "--config", &file, "--check"], "")
    };
    let right = check("pool.max_size = 3\nmode = 'session'");
    assert_eq!(
        (right.code, &*right.out),
        (Some(0), "1 route, and nothing wrong\n"),
        "{right:?}"
    );
    for (more, said) in [
        ("pool.max_sise = 3", "did you mean max_size?"),
        ("pool.max_sise = 3", "routes.toml, line 4, column 6: "),
        (
            "pool.max_size = 0",
            "routes.toml, line 4, column 1: route orders: max_size is 0",
        ),
        (
            "server.max_handled = 0",
            "line 4, column 1: route orders: server: max_handled is 0",
        ),
        (
            "[route.orders.client]\ndeadline_seconds = 0",
            "line 5, column 1: route orders: deadline is 0",
        ),
    ] {
        let wrong = check(more);
        assert_eq!(wrong.code, Some(2), "{more}: {wrong:?}");
        assert!(wrong.err.contains(said), "{more}: {wrong:?}");
    }
}

#[test]
fn a_route_logs_in_with_a_secret_that_is_shown_nowhere() {
    const SECRET: &str = "open-sesame-4711";
    let folder = Folder::new();
    let socket = folder.file("upstream");
    let upstream = UnixListener::bind(&socket).expect("a socket");
    let secret = folder.write("secret", &format!("{SECRET}\n"));
    let file = folder.write(
        "routes.toml",
        &format!(
            "[route.orders]\nlisten = '127.0.0.1:0'\nto = 'unix://{socket}'\nframing = {{ delimited = {{ delimiters = [\"\\n\"] }} }}\n\
             on_connect = [{{ expect = 'hello' }}, {{ send = 'AUTH ${{file:{secret}}}', expect = '+OK' }}]\n\
             client.deadline_seconds = 20\npool.acquire_timeout_seconds = 20\n"
        ),
    );
    let mut command = millpond(&["proxy", "--json", "--config", &file]);
    let command = command.env("MILLPOND_LOG", "trace");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the program");
    let mut log = child.stderr.take().expect("a pipe");
    let log = thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).expect("text");
        text
    });
    let events = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut proxy = Proxy { child, events };
    let listening = proxy.event("listening");
    let endpoint = listening["endpoint"].as_str().expect("an endpoint");
    let address = endpoint.trim_start_matches("tcp://");
    let mut client = std::net::TcpStream::connect(address).expect("it listens");
    client.write_all(b"ping\n").expect("sent");
    // The first login is refused, with the secret in the refusal.
    for answer in [&*format!("-ERR {SECRET}\n"), "+OK\n"] {
        let (stream, _) = upstream.accept().expect("a connection");
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(b"hello\n").expect("sent");
        let mut line = String::new();
        stream.read_line(&mut line).expect("a login");
        assert_eq!(line, format!("AUTH {SECRET}\n"));
        stream.get_mut().write_all(answer.as_bytes()).expect("sent");
        if answer.starts_with('+') {
            line.clear();
            stream.read_line(&mut line).expect("a request");
            assert_eq!(line, "ping\n");
            stream.get_mut().write_all(b"pong\n").expect("sent");
        }
    }
    let mut reply = [0; 5];
    client.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"pong\n");
    drop(client);
    let (drained, code) = proxy.drained();
    assert_eq!(code, Some(0), "{drained}");
    let shown = &drained["proxy"]["upstream"]["upstreams"][0];
    assert_eq!(shown["totals"]["failed"], 1, "{drained}");
    let cause = shown["last_failure"]["cause"].as_str().expect("a cause");
    assert!(
        cause.contains("step 2: the answer doesn't begin with"),
        "{cause}"
    );
    let log = log.join().expect("the log");
    assert!(log.contains("an upstream has failed"), "{log}");
    for text in [&log, &listening.to_string(), &drained.to_string()] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn no_route_serves_unless_all_can() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address");
    let folder = Folder::new();
    let socket = folder.file("first");
    let file = folder.write(
        "routes.toml",
        &format!(
            "[route.a]\nlisten = 'unix://{socket}'\nto = '127.0.0.1:1'\n[route.b]\nlisten = '{taken}'\nto = '127.0.0.1:1'\n"
        ),
    );
    let refused = run(&["proxy", "--config", &file], "");
    assert_eq!((refused.code, &*refused.out), (Some(1), ""), "{refused:?}");
    assert!(refused.err.contains("route b: "), "{refused:?}");
}

#[test]
fn several_routes_are_served_and_drained_together() {
    let upstream = Served::start(&[]);
    let folder = Folder::new();
    let route = |name: &str| {
        format!(
            "[route.{name}]\nlisten = '127.0.0.1:0'\nto = '{}'\n",
            upstream.endpoint
        )
    };
    let file = folder.write("routes.toml", &[route("a"), route("b")].concat());
    let mut proxy = Proxy::start(&["--config", &file]);
    for endpoint in [proxy.listening(), proxy.listening()] {
        assert_eq!(call(&endpoint, "7").out, "7\n");
    }
    common::signal(&proxy.child, Signal::SIGTERM);
    let mut rest = String::new();
    proxy.events.read_to_string(&mut rest).expect("text");
    assert_eq!(ended(&mut proxy.child).code(), Some(0), "{rest}");
    let ends = rest.lines().filter(|line| line.contains("\"drained\""));
    assert_eq!(ends.count(), 2, "{rest}");
}

#[test]
fn the_demo_shows_both_sides_without_a_wrong_reply() {
    let shown = run(&["proxy", "--demo", "--json"], "");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let outcome: Value = serde_json::from_str(&shown.out).expect("one document");
    for side in ["direct", "proxied"] {
        assert_eq!(outcome[side]["wrong"], 0, "{outcome}");
        assert_ne!(outcome[side]["replies_ok"], 0, "{outcome}");
    }
    let upstream = |side: &str| outcome[side]["upstream_connections"].as_u64();
    assert!(upstream("proxied") <= Some(8), "{outcome}");
    assert!(upstream("direct") >= outcome["direct"]["replies_ok"].as_u64());
}

/// One request on a connection of its own, in the protocol's bytes: the reply's body, or nothing if
/// the connection ended without a byte.
fn asked(address: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("length:{:013}{body}", body.len());
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = Vec::new();
    // It says that there is nothing more, so that the proxy closes behind the reply.
    stream.shutdown(Shutdown::Write).ok()?;
    let read = stream.read_to_end(&mut reply);
    match read.is_ok() && reply.len() >= 20 {
        true => Some(String::from_utf8(reply.split_off(20)).expect("text")),
        false => None,
    }
}

/// SIGTERM under load: what is under way is finished, and what isn't is refused. Nothing else is
/// seen, and nothing was executed whose client didn't get the reply.
#[test]
fn sigterm_under_load_loses_no_request() {
    for mode in ["exchange", "pipeline", "session"] {
        let mut upstream = Served::start(&[]);
        let to = ["--listen", "127.0.0.1:0", "--to", &upstream.endpoint];
        let mut proxy = Proxy::start(&[&to[..], &["--mode", mode]].concat());
        let endpoint = proxy.listening();
        let address = endpoint.trim_start_matches("tcp://");
        let right = AtomicU64::new(0);
        let (drained, code) = thread::scope(|scope| {
            for client in 0..8 {
                let right = &right;
                scope.spawn(move || {
                    for number in 0.. {
                        let body = format!("[{client},{number}]");
                        match asked(address, &body) {
                            Some(reply) if reply == body => right.fetch_add(1, Relaxed),
                            Some(told) => {
                                assert!(told.contains("-32003"), "{told}");
                                return;
                            }
                            None => return,
                        };
                    }
                });
            }
            common::until("it is under load", || right.load(Relaxed) >= 200);
            proxy.drained()
        });
        let right = right.load(Relaxed);
        assert_eq!(code, Some(0), "{drained}");
        assert_eq!(drained["unanswered"], 0, "{drained}");
        assert_eq!(drained["proxy"]["totals"]["answered"], right, "{drained}");
        upstream.signal(Signal::SIGTERM);
        upstream.event("draining");
        let totals = upstream.event("drained")["server"]["totals"].clone();
        assert_eq!(totals["requests"], right, "{totals}");
    }
}

#[test]
fn a_second_sigterm_ends_what_would_never_end() {
    for mode in ["exchange", "pipeline", "session"] {
        let folder = Folder::new();
        let path = folder.file("mute");
        let mute = UnixListener::bind(&path).expect("a socket");
        let to = format!("unix://{path}");
        let to = ["--listen", "127.0.0.1:0", "--to", &to, "--drain", "1h"];
        let mut proxy = Proxy::start(&[&to[..], &["--deadline", "1h", "--mode", mode]].concat());
        let endpoint = proxy.listening();
        let address = endpoint.trim_start_matches("tcp://");
        thread::scope(|scope| {
            let client = scope.spawn(|| asked(address, "1"));
            let (mut taken, _) = mute.accept().expect("a connection");
            taken.read_exact(&mut [0; 21]).expect("a request");
            common::signal(&proxy.child, Signal::SIGTERM);
            proxy.event("draining");
            assert!(!client.is_finished(), "it is waited for");
            common::signal(&proxy.child, Signal::SIGTERM);
            let drained = proxy.event("drained");
            assert_eq!(drained["unanswered"], 1, "{drained}");
            assert_eq!(ended(&mut proxy.child).code(), Some(1), "{drained}");
            client.join().expect("its connection has ended");
        });
    }
}
