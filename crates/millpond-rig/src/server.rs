//! The two ends of a scene's server: with [`Server`] the scene gives it commands, with [`Console`]
//! the server reads and answers them. They use the server's standard input and output: a command
//! is a line, and so is its answer.

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

/// A server that runs in the server side, in a process of its own. Dropping it kills that process.
#[derive(Debug)]
pub struct Server {
    name: String,
    process: Child,
    commands: RefCell<ChildStdin>,
    answers: Receiver<String>,
    address: SocketAddr,
}

impl Server {
    /// Starts the server, and waits until it is ready.
    pub(crate) fn start(
        name: &str,
        own_arguments: &[String],
        arguments: &[&str],
    ) -> Result<Server, Error> {
        // Not the path of this program: the rig may have mounted something over it.
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

    /// The address on which it says that it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Gives it a command, and waits at most 10 s for the answer.
    ///
    /// # Errors
    ///
    /// If it has ended, or doesn't answer.
    pub fn ask(&self, command: &str) -> Result<String, Error> {
        let mut commands = self.commands.borrow_mut();
        writeln!(commands, "{command}")
            .and_then(|()| commands.flush())
            .map_err(|error| self.problem(format!("can't be sent {command:?}: {error}")))?;
        drop(commands);
        self.answer()
    }

    /// Gives it a command whose answer is a number.
    ///
    /// # Errors
    ///
    /// If it has ended, doesn't answer, or answers with something else.
    pub fn ask_for_number(&self, command: &str) -> Result<u64, Error> {
        let answer = self.ask(command)?;
        let number = answer.parse();
        number.map_err(|_| self.problem(format!("answered {command:?} with {answer:?}, no number")))
    }

    /// Stops it, as `kill -STOP` does. Its sockets stay, and the kernel still acknowledges what
    /// arrives for them. When this returns, none of its threads runs any more.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn suspend(&self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)?;
        // Wait until the kernel says that it has stopped: a thread on another core runs on until it
        // sees the signal. `WNOWAIT` leaves the status for `Child::wait`.
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid()), flags) {
            Ok(WaitStatus::Stopped(..)) => Ok(()),
            other => Err(self.problem(format!("didn't stop: {other:?}"))),
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

    /// The id of our child. No other process can have it, because we haven't waited for the child.
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
        // These fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's end: where it reads the scene's commands and answers them.
#[derive(Debug)]
pub struct Console {
    name: String,
    arguments: Vec<String>,
}

impl Console {
    pub(crate) fn new(name: String, arguments: Vec<String>) -> Console {
        Console { name, arguments }
    }

    /// The arguments with which the scene started the server.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The argument at this index, parsed.
    ///
    /// # Errors
    ///
    /// If it is missing or malformed.
    pub fn argument<T: std::str::FromStr>(&self, index: usize) -> Result<T, Error> {
        let argument = self.arguments.get(index);
        let parsed = argument.and_then(|argument| argument.parse().ok());
        parsed.ok_or_else(|| Error::Server {
            name: self.name.clone(),
            problem: format!("its argument {index} is missing or malformed: {argument:?}"),
        })
    }

    /// Tells the scene that the server listens on this address.
    pub fn ready(&self, address: SocketAddr) {
        send(&format!("{READY}{address}"));
    }

    /// Answers each command with what `answer` returns, until the scene closes the console.
    pub fn answer_until_closed(self, mut answer: impl FnMut(&str) -> String) {
        for command in io::stdin().lines().map_while(Result::ok) {
            send(&answer(&command));
        }
    }
}
