//! A scene: a function that runs in namespaces made for it. Owns how the program starts itself
//! again as the scene and as its servers, and how their output reaches the first process. Never
//! runs a part of a scene in the machine's own network.

use std::{
    env, fmt,
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{prctl::set_pdeathsig, signal::Signal};

use crate::{
    Console, Error, Result, Rig, Unavailable,
    available::right,
    messages::{REPORT, message, send},
    role::{POLICY, Role},
};

const PLAYED: &str = "played";

/// The function of a scene's server. It returns when its console is closed.
pub(crate) type Serve = fn(Console) -> Result;

/// A function that runs in namespaces of its own.
///
/// The process that reaches [`play`](Scene::play) or [`check`](Scene::check) first starts its own
/// program again, in new namespaces. So the code before that call runs twice, and once more for
/// each server. Keep it short.
#[derive(Debug)]
#[must_use]
pub struct Scene {
    name: String,
    arguments: Vec<String>,
    servers: Vec<(&'static str, Serve)>,
    limit: Duration,
    ipv6: bool,
}

/// How a scene ended, if it didn't fail.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Outcome {
    /// It ran to its end. These are the lines that it [reported](Rig::report).
    Played(Vec<String>),
    /// It couldn't run here, for this reason.
    Skipped(Unavailable),
}

/// Why a scene failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The rig isn't available, and `MILLPOND_RIG=require` is set.
    #[error("{POLICY}=require is set, but the rig can't be made: {0}")]
    Required(#[source] Unavailable),
    /// It couldn't be started.
    #[error("the scene {scene} couldn't be started: {source}")]
    NotStarted {
        /// Its name.
        scene: String,
        /// Why.
        source: Error,
    },
    /// It ended with an error, or panicked. Its output has been passed on.
    #[error("the scene {scene} failed ({status}); see its output")]
    Failed {
        /// Its name.
        scene: String,
        /// How its process ended.
        status: ExitStatus,
    },
    /// Its process ended with success, but never reached the scene.
    #[error("the scene {scene} was never reached; is that the test's whole path?")]
    NotReached {
        /// Its name.
        scene: String,
    },
    /// It took longer than its limit, and was killed.
    #[error("the scene {scene} took longer than {limit:?} and was ended")]
    TookTooLong {
        /// Its name.
        scene: String,
        /// The limit.
        limit: Duration,
    },
}

impl Scene {
    /// The scene of a `#[test]`, which is named by its whole path within its test binary:
    /// `tests::a_wire_is_cut`.
    pub fn of_test(path: &str) -> Scene {
        let arguments = [
            "--exact",
            path,
            "--include-ignored",
            "--nocapture",
            "--test-threads=1",
        ];
        Scene::of_program(path, &arguments)
    }

    /// The scene of a program. Started with these arguments, the program must come to this same
    /// call.
    pub fn of_program(name: &str, arguments: &[&str]) -> Scene {
        Scene {
            name: name.to_owned(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            servers: Vec::new(),
            limit: Duration::from_secs(120),
            ipv6: false,
        }
    }

    /// Adds a server, which [`Rig::start`] starts by this name.
    pub fn server(mut self, name: &'static str, serve: fn(Console) -> Result) -> Self {
        self.servers.push((name, serve));
        self
    }

    /// Sets how long the scene may take before it is killed. Default: 2 min.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Also gives both sides an IPv6 address: [`CLIENT_V6`](crate::CLIENT_V6) and
    /// [`SERVER_V6`](crate::SERVER_V6). Default: no.
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Plays the scene as a test. If it can't be played here, it says so on standard error and
    /// returns; with `MILLPOND_RIG=require` it fails.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn check(self, play: impl FnOnce(&Rig) -> Result) {
        let name = self.name.clone();
        match self.play(play) {
            Ok(Outcome::Played(_)) => {}
            // Not with `eprintln`, whose output the test harness hides.
            Ok(Outcome::Skipped(why)) => {
                let _ = writeln!(
                    io::stderr(),
                    "\nSKIPPED {name}: no network namespaces here: {why}"
                );
            }
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Plays the scene. In the process that is the scene or one of its servers this doesn't return.
    ///
    /// # Errors
    ///
    /// If the scene failed or couldn't be started. If no rig can be made here, only with
    /// `MILLPOND_RIG=require`.
    pub fn play(self, play: impl FnOnce(&Rig) -> Result) -> std::result::Result<Outcome, Failure> {
        match Role::of_this_process(&self.name) {
            Role::Outside => self.play_inside(),
            Role::Scene => end(self.play_here(play)),
            Role::Server { name, arguments } => end(self.serve(name, arguments)),
        }
    }

    /// Starts the process that is the scene.
    fn play_inside(&self) -> std::result::Result<Outcome, Failure> {
        let right = match right() {
            Ok(right) => right,
            Err(why) if env::var_os(POLICY).is_some_and(|policy| policy == "require") => {
                return Err(Failure::Required(why));
            }
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
        let not_started = |source| Failure::NotStarted {
            scene: self.name.clone(),
            source,
        };
        let program = env::current_exe()
            .map_err(|error| not_started(Error::io("find out which program this is", error)))?;
        let mut command = right.unshare();
        command.arg(program).args(&self.arguments);
        Role::scene(&mut command, &self.name).map_err(not_started)?;
        let (child, lines) = start(command).map_err(not_started)?;
        self.listen(child, &lines)
    }

    /// Passes on the scene's output until the scene ends, and kills it at its limit.
    fn listen(
        &self,
        mut child: Child,
        lines: &Receiver<Line>,
    ) -> std::result::Result<Outcome, Failure> {
        let deadline = Instant::now() + self.limit;
        let mut reports = Vec::new();
        let mut played = false;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Line::Out(line)) => match message(&line) {
                    Some(PLAYED) => played = true,
                    Some(said) => reports.push(said.trim_start_matches(REPORT).to_owned()),
                    None => println!("{line}"),
                },
                Ok(Line::Err(line)) => eprintln!("{line}"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Failure::TookTooLong {
                        scene: self.name.clone(),
                        limit: self.limit,
                    });
                }
            }
        }
        let status = child.wait().map_err(|error| Failure::NotStarted {
            scene: self.name.clone(),
            source: Error::io("wait for it", error),
        })?;
        let scene = self.name.clone();
        match (status.success(), played) {
            (true, true) => Ok(Outcome::Played(reports)),
            (true, false) => Err(Failure::NotReached { scene }),
            (false, _) => Err(Failure::Failed { scene, status }),
        }
    }

    fn play_here(&self, play: impl FnOnce(&Rig) -> Result) -> Result {
        set_pdeathsig(Signal::SIGKILL)?;
        let names = self.servers.iter().map(|(name, _)| *name).collect();
        let rig = Rig::make(names, self.arguments.clone(), self.ipv6)?;
        play(&rig)?;
        drop(rig);
        send(PLAYED);
        Ok(())
    }

    fn serve(&self, name: String, arguments: Vec<String>) -> Result {
        // A suspended server can't see its console close. It must end with its scene nevertheless.
        set_pdeathsig(Signal::SIGKILL)?;
        crate::side::enter_server_side()?;
        let serve = self.servers.iter().find(|(each, _)| *each == name);
        let (_, serve) = serve.ok_or_else(|| format!("no server is called {name}"))?;
        serve(Console::new(name, arguments))
    }
}

/// Ends this process. The rest of the program is only for the process that the user started.
fn end(result: Result) -> ! {
    match result {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                if !text.contains(&cause.to_string()) {
                    text = format!("{text}: {cause}");
                }
                source = cause.source();
            }
            let _ = writeln!(io::stderr(), "{text}");
            std::process::exit(1)
        }
    }
}

enum Line {
    Out(String),
    Err(String),
}

/// Starts a scene's process, and a thread each for its standard output and its standard error.
fn start(mut command: Command) -> std::result::Result<(Child, Receiver<Line>), Error> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| Error::NotStarted {
        command: format!("{command:?}"),
        source,
    })?;
    let (sender, receiver) = channel();
    if let Some(out) = child.stdout.take() {
        read_lines(out, sender.clone(), Line::Out);
    }
    if let Some(err) = child.stderr.take() {
        read_lines(err, sender, Line::Err);
    }
    Ok((child, receiver))
}

fn read_lines(from: impl io::Read + Send + 'static, to: Sender<Line>, wrap: fn(String) -> Line) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if to
                .send(wrap(text.trim_end_matches('\n').to_owned()))
                .is_err()
            {
                return;
            }
            line.clear();
        }
    });
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Played(_) => f.write_str("played"),
            Outcome::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}
