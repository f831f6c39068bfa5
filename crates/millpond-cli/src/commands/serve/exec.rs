//! A program as a handler: started for each request, without a shell. The request is its input, its
//! output is the reply. The number of programs that run at once is limited, also by the
//! descriptors. No program outlives its request's deadline or becomes a zombie, and what it leaves
//! behind in its process group is killed.

use std::{
    future::pending,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use bytes::Bytes;
use millpond::{
    Chain,
    framing::{Failure, json},
    server::Bodies,
};
#[cfg(target_os = "linux")]
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
#[cfg(target_os = "linux")]
use tokio::signal::unix::{SignalKind, signal};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{RwLock, Semaphore, watch},
    time::{Duration, sleep},
};

use crate::{complaint::say, lines::Lines, numbers::counted, text::escaped};

/// The longest line of a program's stderr that is shown.
const LONGEST_COMPLAINT: usize = 4 << 10;

/// How long output is still read after the program has ended: a process that has left its group may
/// hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The interval between attempts to start a program while no descriptor is free.
const NEXT_TRY: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct Exec {
    program: PathBuf,
    arguments: Vec<String>,
    bodies: Bodies,
    max_reply: usize,
    /// One permit per process that may run.
    running: Semaphore,
    /// Read-locked to start a program; write-locked by one that waits for descriptors, so that
    /// nobody overtakes it.
    starting: RwLock<()>,
}

impl Exec {
    pub(super) fn new(
        program: PathBuf,
        arguments: Vec<String>,
        processes: usize,
        bodies: Bodies,
        max_reply: usize,
    ) -> Self {
        Exec {
            program,
            arguments,
            bodies,
            max_reply,
            running: Semaphore::new(processes.min(Semaphore::MAX_PERMITS)),
            starting: RwLock::new(()),
        }
    }

    pub(super) fn bodies(&self) -> Bodies {
        self.bodies
    }

    /// Runs the program for a request.
    ///
    /// # Cancel safety
    ///
    /// Dropping it kills the program and all that this has started.
    pub(super) async fn answer(&self, body: &[u8]) -> Result<Bytes, Failure> {
        let Ok(_permit) = self.running.acquire().await else {
            unreachable!("the semaphore is never closed");
        };
        let mut process = self.start().await?;
        let (input, output, complaints) = process.pipes();
        let (over, is_over) = watch::channel(false);
        let running = async {
            process.run(feed(input, body)).await?;
            over.send_replace(true);
            Ok(())
        };
        let mut text = Vec::new();
        let reading = last_words(self.read(output, &mut text), is_over.clone());
        tokio::try_join!(running, reading, last_words(pass_on(complaints), is_over))?;
        let status = process.child.wait().await.map_err(lost)?;
        self.judge(&text, status)
    }

    /// Starts the program. Waits while no descriptor is free; then programs start one at a time, in
    /// the order of their requests.
    async fn start(&self) -> Result<Process, Failure> {
        let shared = self.starting.read().await;
        let mut spawned = self.spawn();
        drop(shared);
        if spawned.as_ref().is_err_and(is_shortage) {
            let _alone = self.starting.write().await;
            spawned = self.spawn();
            while spawned.as_ref().is_err_and(is_shortage) {
                sleep(NEXT_TRY).await;
                spawned = self.spawn();
            }
        }
        let name = self.program.display();
        let child = spawned.map_err(|error| failed(format!("{name} can't be started: {error}")))?;
        Ok(Process { child })
    }

    fn spawn(&self) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A process group of its own: Ctrl-C doesn't reach the program, which may finish, and
            // all that it starts can be killed with it.
            .process_group(0)
            .spawn()
    }

    /// Reads the output to its end. If it is too long this fails, and the program is killed.
    async fn read(
        &self,
        output: impl AsyncRead + Unpin,
        text: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut limited = output.take((self.max_reply as u64).saturating_add(1));
        let read = limited.read_to_end(text).await;
        read.map_err(|error| failed(format!("the program's output can't be read: {error}")))?;
        match text.len() > self.max_reply {
            true => Err(failed(format!(
                "the program's output is longer than {}",
                counted(self.max_reply as u64, "byte", "bytes")
            ))),
            false => Ok(()),
        }
    }

    fn judge(&self, output: &[u8], status: ExitStatus) -> Result<Bytes, Failure> {
        if !status.success() {
            return Err(failed(format!("the program failed: {status}")));
        }
        if self.bodies == Bodies::Opaque {
            return Ok(Bytes::copy_from_slice(output));
        }
        json::check(output).map_err(|error| {
            failed(format!(
                "the program's output isn't JSON: {}",
                Chain(&error)
            ))
        })?;
        // Most programs print a line end, which isn't part of the JSON value.
        Ok(Bytes::copy_from_slice(output.trim_ascii()))
    }
}

/// A running program. If it is dropped before its end, it is killed with its group, and tokio reaps
/// it.
struct Process {
    child: Child,
}

impl Process {
    /// Its stdin, stdout and stderr. Can be taken once.
    fn pipes(&mut self) -> (ChildStdin, ChildStdout, ChildStderr) {
        let taken = (
            self.child.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        );
        match taken {
            (Some(input), Some(output), Some(complaints)) => (input, output, complaints),
            _ => unreachable!("all three were asked for, and nobody else takes them"),
        }
    }

    /// Feeds it until it ends, whether or not it has read everything; then kills what is left of
    /// its group.
    async fn run(&mut self, feeding: impl Future<Output = ()>) -> Result<(), Failure> {
        let ended = tokio::select! {
            ended = self.ended() => ended,
            ended = async {
                feeding.await;
                pending().await
            } => ended,
        };
        self.kill();
        ended.map_err(lost)
    }

    /// Waits until it has ended, without reaping it, so that its process id and group id can't be
    /// reused yet.
    #[cfg(target_os = "linux")]
    async fn ended(&mut self) -> io::Result<()> {
        // Subscribe before the first look: SIGCHLD doesn't say which child has ended.
        let mut ends = signal(SignalKind::child())?;
        while let Some(number) = self.number() {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            if waitid(Id::Pid(number), flags)? != WaitStatus::StillAlive {
                break;
            }
            ends.recv().await;
        }
        Ok(())
    }

    /// Waits until it has ended. This reaps it, so its group can't be killed any more.
    #[cfg(not(target_os = "linux"))]
    async fn ended(&mut self) -> io::Result<()> {
        self.child.wait().await.map(drop)
    }

    /// Kills it and everything that has stayed in its group.
    fn kill(&self) {
        if let Some(number) = self.number() {
            // It may just have ended by itself.
            let _ = killpg(number, Signal::SIGKILL);
        }
    }

    /// Its process id; `None` once it was reaped.
    fn number(&self) -> Option<Pid> {
        let number = i32::try_from(self.child.id()?).ok()?;
        Some(Pid::from_raw(number))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads a pipe to its end. Once the program has ended, it waits for other holders of the pipe no
/// longer than [`LAST_WORDS`].
async fn last_words(
    reading: impl Future<Output = Result<(), Failure>>,
    mut is_over: watch::Receiver<bool>,
) -> Result<(), Failure> {
    tokio::select! {
        // Read what is there before the time is up.
        biased;
        read = reading => read,
        () = async {
            let _ = is_over.wait_for(|is_over| *is_over).await;
            sleep(LAST_WORDS).await;
        } => Ok(()),
    }
}

/// Whether no descriptor was free, in this process or on the machine.
fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
}

/// Writes the request to the program. It need not read it.
async fn feed(mut input: ChildStdin, body: &[u8]) {
    let _ = input.write_all(body).await;
}

/// Copies the program's stderr to ours.
async fn pass_on(complaints: ChildStderr) -> Result<(), Failure> {
    let mut lines = Lines::new(BufReader::new(complaints), LONGEST_COMPLAINT);
    while let Ok(Some(line)) = lines.next().await {
        let cut = if line.is_whole() { "" } else { "…" };
        say(&format!(
            "exec: {}{cut}",
            escaped(&String::from_utf8_lossy(&line.bytes))
        ));
    }
    Ok(())
}

fn lost(error: io::Error) -> Failure {
    failed(format!("the program's end was lost: {error}"))
}

fn failed(message: String) -> Failure {
    Failure::handler_failed(message)
}
