//! A program as a handler: started for each request, without a shell; the request is its input, its output the reply. No more of them run at
//! once than a limit, none outlives its request's deadline, and none is left as a zombie.

use std::{
    future::pending,
    path::PathBuf,
    pin::pin,
    process::{ExitStatus, Stdio},
};

use bytes::Bytes;
use millpond::{
    framing::{Failure, FailureKind, json},
    server::Bodies,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    time::{Duration, timeout},
};

use crate::{complaint::say, lines::Lines, text::escaped};

/// No more is shown of a line that a program writes to stderr.
const LONGEST_COMPLAINT: usize = 4 << 10;

/// How long the last words on stderr of a program that has ended are waited for: a process that it has left behind may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Exec {
    program: PathBuf,
    arguments: Vec<String>,
    bodies: Bodies,
    max_reply: usize,
    /// One permit per process that may run.
    places: Semaphore,
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
            places: Semaphore::new(processes.min(Semaphore::MAX_PERMITS)),
        }
    }

    pub(super) fn bodies(&self) -> Bodies {
        self.bodies
    }

    /// Dropped, it kills the program and all that this has started.
    pub(super) async fn answer(&self, body: &[u8]) -> Result<Bytes, Failure> {
        let Ok(_place) = self.places.acquire().await else {
            unreachable!("the semaphore is never closed");
        };
        let mut process = self.start()?;
        let (input, output, complaints) = process.pipes();
        let answering = async {
            let fed = async {
                feed(input, body).await;
                Ok(())
            };
            let (output, ()) = tokio::try_join!(self.read(output), fed)?;
            // Only now: as long as it isn't waited for, its number is its own, and its group can be killed.
            let ended = process.child.wait().await;
            let status = ended.map_err(|error| failed(format!("the program's end was lost: {error}")))?;
            Ok((output, status))
        };
        let mut is_told = false;
        let mut telling = pin!(tell(complaints));
        let ended = tokio::select! {
            ended = answering => ended,
            () = async {
                telling.as_mut().await;
                is_told = true;
                pending().await
            } => unreachable!("it is pending"),
        };
        if !is_told {
            // Who holds the pipe for longer isn't waited for.
            let _ = timeout(LAST_WORDS, telling).await;
        }
        let (output, status) = ended?;
        self.judge(&output, status)
    }

    fn start(&self) -> Result<Process, Failure> {
        let spawned = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C is for us, who let it finish, and what it starts can be killed with it.
            .process_group(0)
            .spawn();
        let name = self.program.display();
        let child = spawned.map_err(|error| failed(format!("{name} can't be started: {error}")))?;
        Ok(Process { child })
    }

    /// All of the output, or the failure that it is too long; the process is killed then.
    async fn read(&self, output: impl AsyncRead + Unpin) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        let mut limited = output.take(self.max_reply as u64 + 1);
        let read = limited.read_to_end(&mut text).await;
        read.map_err(|error| failed(format!("the program's output can't be read: {error}")))?;
        match text.len() > self.max_reply {
            true => Err(failed(format!(
                "the program's output is longer than {} bytes",
                self.max_reply
            ))),
            false => Ok(text),
        }
    }

    fn judge(&self, output: &[u8], status: ExitStatus) -> Result<Bytes, Failure> {
        if !status.success() {
            return Err(failed(format!("the program failed: {status}")));
        }
        if self.bodies == Bodies::Opaque {
            return Ok(Bytes::copy_from_slice(output));
        }
        json::check(output).map_err(|error| failed(format!("the program's output isn't JSON: {error}")))?;
        // Most programs end it with a line end, which is no part of a value.
        Ok(Bytes::copy_from_slice(output.trim_ascii()))
    }
}

/// A program that runs. Dropped before it was waited for, it is killed, and so are those that it has started and that have stayed in its group;
/// tokio waits for it then.
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
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has no number any more once it was waited for.
        if let Some(number) = self.child.id().and_then(|number| i32::try_from(number).ok()) {
            // It may have ended by itself just now.
            let _ = killpg(Pid::from_raw(number), Signal::SIGKILL);
        }
    }
}

/// That a program doesn't read its input is its own affair.
async fn feed(mut input: ChildStdin, body: &[u8]) {
    let _ = input.write_all(body).await;
}

/// Passes what a program writes to stderr on to ours.
async fn tell(complaints: ChildStderr) {
    let mut lines = Lines::new(BufReader::new(complaints), LONGEST_COMPLAINT);
    while let Ok(Some(line)) = lines.next().await {
        let cut = if line.is_whole() { "" } else { "…" };
        say(&format!(
            "exec: {}{cut}",
            escaped(&String::from_utf8_lossy(&line.bytes))
        ));
    }
}

fn failed(message: String) -> Failure {
    Failure {
        kind: FailureKind::HandlerFailed,
        message,
    }
}
