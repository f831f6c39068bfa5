//! A server of a scene, from both ends: [`Server`], by which the scene commands it, and
//! [`Console`], by which it hears the commands. Between them are its standard input and output, a
//! line each way.

use std::{
    cell::RefCell,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use crate::{
    Error,
    messages::{message, send},
    role::Role,
};

/// How long a server may take to be ready, or to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const READY: &str = "ready ";

/// A server that runs in the server side, in a process of its own. Dropping it ends that process,
/// by force.
#[derive(Debug)]
pub struct Server {
    name: String,
    process: Child,
    commands: RefCell<ChildStdin>,
    answers: Receiver<String>,
    address: SocketAddr,
}

impl Server {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(
        name: &str,
        own_arguments: &[String],
        arguments: &[&str],
    ) -> Result<Server, Error> {
        // Not the path that this program was started by: the rig may have mounted something over
        // it.
        let mut command = Command::new("/proc/self/exe");
        command
            .args(own_arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Role::server(&mut command, name, arguments);
        let mut process = command.spawn().map_err(|source| Error::NotStarted {
            command: format!("{command:?}"),
            source,
        })?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (commands, out) = pipes.expect("both were asked for");
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(said) = message(&line)
                    && sender.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let mut server = Server {
            name: name.to_owned(),
            process,
            commands: RefCell::new(commands),
            answers,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let ready = server.answer()?;
        let address = ready
            .strip_prefix(READY)
            .and_then(|address| address.parse().ok());
        server.address = address
            .ok_or_else(|| server.problem(format!("instead of being ready it said {ready:?}")))?;
        Ok(server)
    }

    /// Where it says that it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Gives it a command, and waits for its answer, for at most 10 s.
    ///
    /// # Errors
    ///
    /// If it has ended, or doesn't answer.
    pub fn ask(&self, command: &str) -> Result<String, Error> {
        let mut commands = self.commands.borrow_mut();
        writeln!(commands, "{command}")
            .and_then(|()| commands.flush())
            .map_err(|error| self.problem(format!("couldn't be told {command:?}: {error}")))?;
        drop(commands);
        self.answer()
    }

    /// Asks it for a number.
    ///
    /// # Errors
    ///
    /// If it has ended, doesn't answer, or answers something else.
    pub fn ask_for_number(&self, command: &str) -> Result<u64, Error> {
        let answer = self.ask(command)?;
        let number = answer.parse();
        number.map_err(|_| self.problem(format!("asked for {command:?} it said {answer:?}")))
    }

    /// Stops it, as `kill -STOP` does: its sockets stay, and the kernel goes on acknowledging what
    /// comes for them. When this returns, none of its threads runs any more.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn suspend(&self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)?;
        // The signal is only the beginning: a thread on another core goes on until it sees it.
        // Nothing is taken from `Child` by this look.
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid()), flags) {
            Ok(WaitStatus::Stopped(..)) => Ok(()),
            other => Err(self.problem(format!("told to stop, it did otherwise: {other:?}"))),
        }
    }

    /// Lets it go on, as `kill -CONT` does.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        kill(self.pid(), signal)
            .map_err(|error| self.problem(format!("can't be sent {signal}: {error}")))
    }

    /// Our own child, which nobody has waited for yet: its number can't be somebody else's.
    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }

    fn answer(&self) -> Result<String, Error> {
        let answer = self.answers.recv_timeout(PATIENCE);
        answer.map_err(|error| self.problem(format!("no answer ({error}); see its output")))
    }

    fn problem(&self, problem: String) -> Error {
        Error::Server {
            name: self.name.clone(),
            problem,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server's end of the line to its scene.
#[derive(Debug)]
pub struct Console {
    name: String,
    arguments: Vec<String>,
}

impl Console {
    pub(crate) fn new(name: String, arguments: Vec<String>) -> Console {
        Console { name, arguments }
    }

    /// What the scene gave it when it was started.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// One of those, parsed.
    ///
    /// # Errors
    ///
    /// If it is missing or malformed.
    pub fn argument<T: std::str::FromStr>(&self, index: usize) -> Result<T, Error> {
        let argument = self.arguments.get(index);
        let parsed = argument.and_then(|argument| argument.parse().ok());
        parsed.ok_or_else(|| Error::Server {
            name: self.name.clone(),
            problem: format!("its argument {index} must be another: {argument:?}"),
        })
    }

    /// Says that it listens, and where.
    pub fn ready(&self, address: SocketAddr) {
        send(&format!("{READY}{address}"));
    }

    /// Answers each command by `answer`, until the scene closes the console.
    pub fn answer_until_closed(self, mut answer: impl FnMut(&str) -> String) {
        for command in io::stdin().lines().map_while(Result::ok) {
            send(&answer(&command));
        }
    }
}
