//! A program as a handler: started for each request, without a shell; the request is its input, its
//! output the reply. No more of them run at once than a limit, and than there are descriptors for;
//! none outlives its request's deadline, none is left as a zombie, and what it leaves behind in its
//! process group is killed.

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

/// No more is shown of a line that a program writes to stderr.
const LONGEST_COMPLAINT: usize = 4 << 10;

/// How long the last words of a program that has ended are waited for: a process that has left its
/// group may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// After how long a program that couldn't be started for want of descriptors is tried again.
const NEXT_TRY: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct Exec {
    program: PathBuf,
    arguments: Vec<String>,
    bodies: Bodies,
    max_reply: usize,
    /// One permit per process that may run.
    running: Semaphore,
    /// Shared by those who start a program; held alone by one who waits for descriptors, whom
    /// nobody overtakes.
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

    /// Dropped, it kills the program and all that this has started.
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

    /// Where no descriptor is free, it waits for some; one starts at a time then, in the order in
    /// which they came.
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
            // A group of its own: Ctrl-C is for us, who let it finish, and what it starts can be
            // killed with it.
            .process_group(0)
            .spawn()
    }

    /// Reads the output to its end, or fails because it is too long; the program is killed then.
    async fn read(
        &self,
        output: impl AsyncRead + Unpin,
        text: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut limited = output.take(self.max_reply as u64 + 1);
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
        // Most programs end it with a line end, which is no part of a value.
        Ok(Bytes::copy_from_slice(output.trim_ascii()))
    }
}

/// A program that runs. Dropped before it was waited for, it is killed with its group; tokio waits
/// for it then.
struct Process {
    child: Child,
}

impl Process {
    /// Its input, its output and its stderr, which can be taken once.
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

    /// Feeds it until it has ended, whether or not it has taken all of it; then what it has left in
    /// its group is killed.
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

    /// It has ended, and hasn't been waited for: its number is still its own, and so is that of its
    /// group.
    #[cfg(target_os = "linux")]
    async fn ended(&mut self) -> io::Result<()> {
        // Listened for before the first look: the end of any child is told, not of which.
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

    /// It has ended. It has been waited for, so that its group can't be killed any more.
    #[cfg(not(target_os = "linux"))]
    async fn ended(&mut self) -> io::Result<()> {
        self.child.wait().await.map(drop)
    }

    /// Kills it, and those that it has started and that have stayed in its group.
    fn kill(&self) {
        if let Some(number) = self.number() {
            // It may have ended by itself just now.
            let _ = killpg(number, Signal::SIGKILL);
        }
    }

    /// It has none any more once it was waited for.
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

/// Reads a pipe of a program to its end. Once the program is over, who else holds that pipe is
/// waited for no longer than last words may take.
async fn last_words(
    reading: impl Future<Output = Result<(), Failure>>,
    mut is_over: watch::Receiver<bool>,
) -> Result<(), Failure> {
    tokio::select! {
        // What has been written is read before the time is over.
        biased;
        read = reading => read,
        () = async {
            let _ = is_over.wait_for(|is_over| *is_over).await;
            sleep(LAST_WORDS).await;
        } => Ok(()),
    }
}

/// No descriptor is free, of this process or of the machine.
fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
}

/// That a program doesn't read its input is its own affair.
async fn feed(mut input: ChildStdin, body: &[u8]) {
    let _ = input.write_all(body).await;
}

/// Passes what a program writes to stderr on to ours.
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
