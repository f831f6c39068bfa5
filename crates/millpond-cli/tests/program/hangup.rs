//! SIGHUP: a server's certificates are read again, and nothing that is open ends.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::common::{self, Authority, Folder, Served, millpond, run};

/// A TLS server whose clients need certificates. One authority issued the server's certificate and
/// its clients'.
struct Pond {
    folder: Folder,
    served: Served,
}

impl Pond {
    fn new() -> Pond {
        let folder = Folder::new();
        let [ca, cert, key] = Pond::issue(&folder);
        let served = Served::start_at(
            "tls://127.0.0.1:0",
            &[
                "--tls-cert",
                &cert,
                "--tls-key",
                &key,
                "--tls-client-ca",
                &ca,
            ],
        );
        Pond { folder, served }
    }

    /// A new authority and what it issues, where the server looks for it.
    fn issue(folder: &Folder) -> [String; 3] {
        let authority = Authority::new();
        let (cert, key) = authority.issue(folder, "pond.example");
        authority.issue(folder, "client.example");
        [authority.write(folder, "ca.pem"), cert, key]
    }

    /// The files that a new client needs.
    fn client(&self) -> Client {
        let folder = Folder::new();
        for name in ["ca.pem", "client.example.pem", "client.example.key"] {
            fs::copy(self.folder.file(name), folder.file(name)).expect("a file");
        }
        Client(folder)
    }
}

struct Client(Folder);

impl Client {
    fn flags(&self, served: &Served) -> Vec<String> {
        let file = |name| self.0.file(name);
        let (ca, cert, key) = (
            file("ca.pem"),
            file("client.example.pem"),
            file("client.example.key"),
        );
        let flags = [
            "call",
            "--to",
            &served.endpoint,
            "--server-name",
            "pond.example",
        ];
        let files = ["--ca", &ca, "--cert", &cert, "--key", &key];
        [&flags[..], &files[..]]
            .concat()
            .into_iter()
            .map(String::from)
            .collect()
    }

    fn gets_an_answer(&self, served: &Served) -> bool {
        let flags = self.flags(served);
        let mut words: Vec<_> = flags.iter().map(String::as_str).collect();
        words.push("1");
        run(&words, "").out == "1\n"
    }

    /// One that stays connected.
    fn stay(&self, served: &Served) -> Lasting {
        let mut child = millpond(&[])
            .args(self.flags(served))
            .args(["--connections", "1", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let replies = BufReader::new(child.stdout.take().expect("a pipe"));
        Lasting { child, replies }
    }
}

/// A client that asks line by line over one connection. Dropped, it is killed.
struct Lasting {
    child: Child,
    replies: BufReader<ChildStdout>,
}

impl Lasting {
    fn ask(&mut self, request: &str) -> String {
        writeln!(self.child.stdin.as_mut().expect("a pipe"), "{request}").expect("it reads");
        let mut reply = String::new();
        self.replies.read_line(&mut reply).expect("text");
        reply
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn new_connections_see_the_new_certificates_and_open_ones_go_on() {
    let mut pond = Pond::new();
    let old = pond.client();
    let mut lasting = old.stay(&pond.served);
    assert_eq!(lasting.ask("1"), "1\n");
    Pond::issue(&pond.folder);
    pond.served.signal(Signal::SIGHUP);
    let reloaded = pond.served.event("reloaded");
    for (name, file) in [
        ("certificate", "pond.example.pem"),
        ("key", "pond.example.key"),
        ("client_ca", "ca.pem"),
    ] {
        assert_eq!(reloaded[name], pond.folder.file(file).as_str());
    }
    // Within a second of the last handshake nobody else looks at the files.
    assert!(pond.client().gets_an_answer(&pond.served));
    assert!(
        !old.gets_an_answer(&pond.served),
        "neither trusts the other any more"
    );
    assert_eq!(lasting.ask("2"), "2\n");
}

#[test]
fn certificates_that_cannot_be_used_leave_the_old_ones_in_use_and_it_says_why() {
    let mut pond = Pond::new();
    let client = pond.client();
    pond.folder.write("pond.example.key", "no key");
    for _ in 0..2 {
        pond.served.signal(Signal::SIGHUP);
        let told = pond.served.event("not_reloaded");
        let reason = told["reason"].as_str().expect("text");
        assert!(
            reason.contains("pond.example.key")
                && reason.contains("the old certificates stay in use"),
            "{reason}"
        );
        assert!(client.gets_an_answer(&pond.served));
    }
}

#[test]
fn without_tls_there_is_nothing_to_reload_and_it_says_so_and_goes_on() {
    let mut served = Served::start(&[]);
    served.signal(Signal::SIGHUP);
    let told = served.event("not_reloaded");
    assert!(
        told["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("no TLS")),
        "{told}"
    );
    assert_eq!(served.call(&["1"]).out, "1\n");
}

#[test]
fn a_server_whose_terminal_has_gone_drains() {
    let (window, end) = common::terminal(80);
    let folder = Folder::new();
    let mut command = millpond(&["serve", "--json", "--listen", "127.0.0.1:0"]);
    let events = File::create(folder.file("events")).expect("a file");
    command.stdin(end).stdout(events).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program");
    drop(command);
    let told = || fs::read_to_string(folder.file("events")).expect("a file");
    common::until("it listens", || told().contains("listening"));
    let number = Pid::from_raw(i32::try_from(child.id()).expect("a small number"));
    kill(number, Signal::SIGHUP).expect("it runs");
    common::until("it goes on while its terminal is there", || {
        told().contains("not_reloaded")
    });
    // As a window is closed; the kernel would send the signal, were it the program's own terminal.
    drop(window);
    let mut status = None;
    common::until("it has ended", || {
        // Repeatedly: a process that another test has just started may hold this end open.
        let _ = kill(number, Signal::SIGHUP);
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    assert!(status.is_some_and(|status| status.success()), "{}", told());
    assert!(told().contains("\"drained\""), "{}", told());
}
