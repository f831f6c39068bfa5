//! `call -`: one request for each line of stdin, in parallel, and one line of stdout for each
//! reply, in the order of the requests. At most `in_flight` requests and replies are held, however
//! long the input is.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use millpond::{
    Chain,
    client::{Client, Pipelining},
    framing::{FailureKind, Protocol, json},
};
use tokio::{
    io::{AsyncWriteExt, BufReader, BufWriter, Stdout},
    runtime::Handle,
    select,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinHandle},
};

use super::{
    body::Notation,
    error::CallError,
    plan::{Bodies, Plan},
};
use crate::{
    complaint::{Complaint, say},
    exit::Exit,
    lines::{Line, Lines},
    numbers::{counted, thousands},
    output,
    stop::Stop,
    text::span,
};

/// How the lines are sent.
pub(super) struct Settings {
    pub(super) connections: u32,
    pub(super) in_flight: u32,
    pub(super) pipelining: Option<Pipelining>,
    pub(super) notation: Notation,
    /// Replies that aren't JSON are printed as JSON values.
    pub(super) json: bool,
    pub(super) verbose: bool,
}

/// What came of all lines.
#[derive(Default)]
struct Totals {
    replies: u64,
    failures: u64,
    /// Requests that were sent, or about to be, when it was stopped.
    left: Option<u64>,
}

/// A request under way, and the permit that it holds until its reply is printed.
type PendingReply = (
    JoinHandle<Result<Vec<Bytes>, CallError>>,
    OwnedSemaphorePermit,
);

pub(super) async fn run(plan: &Arc<Plan>, settings: &Settings) -> Result<Exit, Complaint> {
    let client = plan.client(
        settings.connections,
        settings.in_flight,
        None,
        settings.pipelining,
    )?;
    let began = Instant::now();
    let stop = Stop::new();
    stop.raise_at_signals(&Handle::current());
    // Bounded by the permits: each request in it holds one.
    let (queue, queued) = mpsc::unbounded_channel();
    let reading = tokio::spawn(send_lines(
        Arc::clone(plan),
        client,
        (settings.in_flight, settings.notation),
        queue,
    ));
    let form = LineForm {
        notation: settings.notation,
        values: settings.json && !plan.spoken.carries_json(),
        is_terminal: output::is_terminal(),
        are_json: plan.spoken.carries_json(),
    };
    let totals = match print_replies(queued, &stop, &reading.abort_handle(), form).await {
        Ok(totals) => totals,
        Err(error) => {
            reading.abort();
            return match error.kind() {
                // The reader has gone.
                io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
                _ => Err(output::cant_write(&error)),
            };
        }
    };
    totals.tell(settings, began.elapsed());
    if stop.is_stopped() {
        return Ok(Exit::Interrupted);
    }
    let read = reading
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    read.map_err(|error| {
        Complaint::of(
            Exit::Failure,
            &format!("stdin can't be read: {}", Chain(&error)),
        )
    })?;
    Ok(match totals.failures {
        0 => Exit::Ok,
        _ => Exit::Failure,
    })
}

impl Totals {
    fn tell(&self, settings: &Settings, took: Duration) {
        let Totals {
            replies,
            failures,
            left,
        } = self;
        let all = replies + failures;
        if let Some(left) = left {
            say(&format!(
                "stopped early: {} and {} in {}, {} without a reply",
                counted(*replies, "reply", "replies"),
                counted(*failures, "failure", "failures"),
                span(took),
                counted(*left, "request", "requests"),
            ));
        } else if settings.verbose {
            say(&format!(
                "{} and {} in {}",
                counted(*replies, "reply", "replies"),
                counted(*failures, "failure", "failures"),
                span(took)
            ));
        } else if *failures > 0 {
            say(&format!(
                "{} of {} failed: {} {{\"error\":…}}",
                thousands(*failures),
                counted(all, "request", "requests"),
                if *failures == 1 {
                    "its line is"
                } else {
                    "their lines are"
                },
            ));
        }
    }
}

/// Sends the lines of stdin until its end, each in a task that holds a permit.
async fn send_lines(
    plan: Arc<Plan>,
    client: Client<Protocol>,
    (in_flight, notation): (u32, Notation),
    queue: mpsc::UnboundedSender<PendingReply>,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(
        usize::try_from(in_flight).unwrap_or(usize::MAX),
    ));
    let longest = notation.longest(plan.spoken.max_body);
    let mut lines = Lines::new(BufReader::new(tokio::io::stdin()), longest);
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            unreachable!("the semaphore is never closed");
        };
        let line = loop {
            match lines.next().await? {
                Some(line) if line.is_blank() => {}
                Some(line) => break line,
                None => return Ok(()),
            }
        };
        let (plan, client) = (Arc::clone(&plan), client.clone());
        let request = tokio::spawn(async move { exchange(&plan, &client, line, notation).await });
        if queue.send((request, permit)).is_err() {
            return Ok(());
        }
    }
}

async fn exchange(
    plan: &Plan,
    client: &Client<Protocol>,
    line: Line,
    notation: Notation,
) -> Result<Vec<Bytes>, CallError> {
    if !line.is_whole() {
        let message = format!(
            "the line has {}, and --max-frame is {}",
            counted(line.length, "byte", "bytes"),
            thousands(plan.spoken.max_body as u64)
        );
        return Err(CallError::ours(Exit::Usage, FailureKind::Refused, message));
    }
    let malformed = |error| {
        let message = format!("the line isn't in hex digits: {error}");
        CallError::ours(Exit::Usage, FailureKind::Malformed, message)
    };
    let body = notation.read(&line.bytes).map_err(malformed)?;
    if plan.bodies == Bodies::Json
        && let Err(error) = json::check(&body)
    {
        let message = format!("the line isn't JSON: {}", Chain(&error));
        return Err(CallError::ours(
            Exit::Usage,
            FailureKind::Malformed,
            message,
        ));
    }
    plan.exchange(client, &body).await
}

/// Prints the replies in the order of their requests. When it is stopped, it stops reading, prints
/// every reply that has come, and prints an error in place of each that hasn't.
async fn print_replies(
    mut queued: mpsc::UnboundedReceiver<PendingReply>,
    stop: &Stop,
    reading: &AbortHandle,
    form: LineForm,
) -> io::Result<Totals> {
    let mut stdout: BufWriter<Stdout> = BufWriter::new(tokio::io::stdout());
    let mut totals = Totals::default();
    loop {
        if stop.is_stopped() {
            // The requests that it has queued still come, and then the end.
            reading.abort();
            totals.left.get_or_insert(0);
        }
        let next = match queued.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                stdout.flush().await?;
                select! {
                    next = queued.recv() => next,
                    () = stop.stopped(), if totals.left.is_none() => continue,
                }
            }
        };
        let Some((mut request, permit)) = next else {
            return Ok(totals);
        };
        // Before waiting, print what is there.
        if !request.is_finished() {
            stdout.flush().await?;
        }
        let is_here = request.is_finished();
        let reply = select! {
            biased;
            reply = &mut request => Some(reply.unwrap_or_else(|error| Err(unavailable(error.to_string())))),
            () = stop.stopped(), if !is_here => None,
        };
        let reply = match reply {
            Some(reply) => {
                let reply = reply.and_then(|replies| form.lines(&replies));
                match &reply {
                    Ok(_) => totals.replies += 1,
                    Err(_) => totals.failures += 1,
                }
                reply
            }
            None => {
                *totals.left.get_or_insert(0) += 1;
                Err(unavailable(String::from(
                    "stopped before the reply came; it may have been executed",
                )))
            }
        };
        let lines = reply.unwrap_or_else(|failure| form.line(&failure.line()));
        stdout.write_all(&lines).await?;
        drop(permit);
    }
}

fn unavailable(message: String) -> CallError {
    CallError::ours(Exit::Failure, FailureKind::Unavailable, message)
}

/// How replies become lines.
#[derive(Clone, Copy)]
struct LineForm {
    notation: Notation,
    /// As JSON values: `{"text":"…"}`.
    values: bool,
    is_terminal: bool,
    /// The framing says that replies are JSON.
    are_json: bool,
}

impl LineForm {
    /// Each reply as one line.
    fn lines(self, replies: &[Bytes]) -> Result<Vec<u8>, CallError> {
        let mut lines = Vec::new();
        for reply in replies {
            lines.extend(match (self.notation, self.values) {
                (_, true) => {
                    let value = self.notation.value(reply);
                    self.line(&serde_json::to_vec(&value).expect("a string is JSON"))
                }
                (Notation::Plain, false) if self.are_json => self.line(reply),
                (Notation::Plain, false) if reply.contains(&b'\n') => {
                    return Err(CallError::ours(
                        Exit::Protocol,
                        FailureKind::Unavailable,
                        String::from(
                            "the reply has line feeds, which a line can't have; --json and --hex print it",
                        ),
                    ));
                }
                (notation, false) => {
                    let mut line = notation.written(reply, self.is_terminal);
                    line.push(b'\n');
                    line
                }
            });
        }
        Ok(lines)
    }

    /// JSON as one line: line ends in it are only white space.
    fn line(self, json: &[u8]) -> Vec<u8> {
        let text = Notation::Plain.written(json, self.is_terminal);
        let mut line: Vec<_> = text
            .trim_ascii()
            .iter()
            .map(|&byte| match byte {
                b'\n' | b'\r' => b' ',
                byte => byte,
            })
            .collect();
        line.push(b'\n');
        line
    }
}
