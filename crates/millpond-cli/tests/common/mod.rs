//! What the tests of the program share: a server of it, calls to it, peers that misbehave, folders
//! for files.

#![allow(dead_code, reason = "each test program uses its own part of this")]

pub(crate) mod findings;

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;

/// How long a test waits for something that happens in another process.
const PATIENCE: Duration = Duration::from_secs(30);

/// After how long a run that should have ended by itself is killed.
const LONGEST_RUN: Duration = Duration::from_secs(180);

/// The program, without the environment variables that would change what it does.
pub(crate) fn millpond(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(arguments);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("MILLPOND_") {
            command.env_remove(name);
        }
    }
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    command
}

/// A terminal of this width: the window's end, and the program's.
pub(crate) fn terminal(columns: u16) -> (File, OwnedFd) {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let ends = openpty(&size, None).expect("a terminal");
    // The copies aren't inherited by child processes, unlike these.
    let copied = |end: &OwnedFd| end.try_clone().expect("a descriptor");
    (File::from(copied(&ends.master)), copied(&ends.slave))
}

/// How a command ends, and what it shows at a terminal of this width, stderr included.
pub(crate) fn at_terminal(mut command: Command, columns: u16) -> (ExitStatus, String) {
    let (mut window, end) = terminal(columns);
    let [input, output] = [&end, &end].map(|end| end.try_clone().expect("a descriptor"));
    command.stdin(input).stdout(output).stderr(end);
    let mut child = command.spawn().expect("the program");
    // The command holds the program's end of the terminal as well.
    drop(command);
    let mut shown = Vec::new();
    // A terminal's end is an error.
    let _ = window.read_to_end(&mut shown);
    let text = String::from_utf8(shown)
        .expect("UTF-8")
        .replace("\r\n", "\n");
    (child.wait().expect("its end"), text)
}

/// Issues certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its own certificate, in this file.
    pub(crate) fn write(&self, folder: &Folder, name: &str) -> String {
        folder.write(name, &self.0.pem())
    }

    /// A certificate for this name and its key, in files of this name.
    pub(crate) fn issue(&self, folder: &Folder, name: &str) -> (String, String) {
        let params = CertificateParams::new([String::from(name)]).expect("a name");
        self.sign(folder, name, &params)
    }

    /// As [`issue`](Authority::issue), but it expired at the end of 2019.
    pub(crate) fn issue_expired(&self, folder: &Folder, name: &str) -> (String, String) {
        let mut params = CertificateParams::new([String::from(name)]).expect("a name");
        (params.not_before, params.not_after) =
            (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        self.sign(folder, name, &params)
    }

    fn sign(&self, folder: &Folder, name: &str, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (
            folder.write(&format!("{name}.pem"), &certificate.pem()),
            folder.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

/// Runs the program with this on stdin.
pub(crate) fn run(arguments: &[&str], input: &str) -> Finished {
    let mut command = millpond(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let feeding = thread::spawn(move || {
        // It may end without having read it.
        let _ = stdin.write_all(input.as_bytes());
    });
    // A program that serves instead of refusing its flags would never end.
    let (ended, wait) = mpsc::channel::<()>();
    let process = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    let watching = thread::spawn(move || {
        if wait.recv_timeout(LONGEST_RUN) == Err(RecvTimeoutError::Timeout) {
            let _ = kill(process, Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().expect("its end");
    drop(ended);
    watching.join().expect("watched");
    feeding.join().expect("fed");
    Finished::from(output)
}

/// How a run has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Finished {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// A `millpond serve --json`. Dropped, it is killed.
pub(crate) struct Served {
    child: Child,
    events: BufReader<ChildStdout>,
    pub(crate) endpoint: String,
}

impl Served {
    pub(crate) fn start(arguments: &[&str]) -> Served {
        Served::start_at("tcp://127.0.0.1:0", arguments)
    }

    pub(crate) fn start_at(endpoint: &str, arguments: &[&str]) -> Served {
        let mut command = millpond(&["serve", "--json", "--listen", endpoint]);
        command.args(arguments).stderr(Stdio::piped());
        Served::begin(command)
    }

    /// With this for its stderr.
    pub(crate) fn start_with_stderr(stderr: impl Into<Stdio>, arguments: &[&str]) -> Served {
        let mut command = millpond(&["serve", "--json", "--listen", "tcp://127.0.0.1:0"]);
        command.args(arguments).stderr(stderr);
        Served::begin(command)
    }

    /// With a limit of open files.
    pub(crate) fn start_with_descriptors(limit: u32, arguments: &[&str]) -> Served {
        let program = millpond(&["serve", "--json", "--listen", "tcp://127.0.0.1:0"]);
        let limited = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &limited]).arg(program.get_program());
        command.args(program.get_args()).args(arguments);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stderr(Stdio::piped());
        Served::begin(command)
    }

    fn begin(mut command: Command) -> Served {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program");
        let events = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut served = Served {
            child,
            events,
            endpoint: String::new(),
        };
        let listening = served.event("listening");
        served.endpoint = listening["endpoint"]
            .as_str()
            .expect("an endpoint")
            .to_owned();
        served
    }

    /// The next event, which must be this one.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        let mut line = String::new();
        self.events.read_line(&mut line).expect("a line");
        if line.is_empty() {
            let mut said = String::new();
            let stderr = self.child.stderr.as_mut().expect("a pipe");
            stderr.read_to_string(&mut said).expect("text");
            panic!("it ended instead of {name}: {said}");
        }
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&event["event"], &event["version"]),
            (&name.into(), &1.into()),
            "{line}"
        );
        event
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Finished {
        run(&[&["call", "--to", &self.endpoint], arguments].concat(), "")
    }

    pub(crate) fn signal(&self, number: Signal) {
        signal(&self.child, number);
    }

    /// How it ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }

    /// How it ended, and what it wrote to stderr.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut said).expect("text");
        (self.child.wait().expect("its end"), said)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a program that runs.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let number = i32::try_from(child.id()).expect("a small number");
    kill(Pid::from_raw(number), signal).expect("it runs");
}

/// How a program ended. One that doesn't is killed.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            return status;
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("it doesn't end");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A peer that answers the first bytes of each connection with these, and waits for its end, or
/// ends it.
pub(crate) fn peer(answer: &'static [u8], then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(answer);
            while then == Then::Wait && stream.read(&mut bytes).is_ok_and(|length| length > 0) {}
        }
    });
    endpoint
}

/// What a [`peer`] does then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Wait,
    Close,
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "still not so: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of its own, removed with this.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "millpond-cli-{}-{}",
            process::id(),
            NUMBER.fetch_add(1, SeqCst)
        );
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
