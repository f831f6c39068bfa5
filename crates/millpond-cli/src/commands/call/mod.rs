//! `millpond call`: one request, or one per line of stdin, over pooled connections.

mod failure;
mod pipe;
mod single;

use std::{ffi::OsString, num::NonZeroUsize, os::unix::ffi::OsStrExt, sync::Arc, time::Duration};

use bytes::Bytes;
use millpond::{
    Chain,
    client::{Client, ErrorReplies, Pipelining, RequestError, Requests},
    framing::{
        LengthJson,
        json::{self, JsonError},
    },
    net::{
        Dialer, Endpoint,
        tls::{ClientTls, TlsError},
    },
    pool::{AcquireError, DialError},
};
use tokio::sync::OnceCell;

use self::failure::Failure;
use super::tls::{self, TlsFlags};
use crate::{
    complaint::Complaint,
    exit::Exit,
    numbers::{counted, thousands},
    text::{count, parse_heartbeat, parse_size, parse_span_above_zero},
};

/// No more of a request that isn't JSON is shown.
const SHOWN: usize = 70;

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond call --to 127.0.0.1:7070 '{\"a\":1}' -v
  millpond call --to tls://db.example.com:7070 \\
    --ca ca.pem - < requests.jsonl > replies.jsonl

With -, Ctrl-C ends it early: each reply that has come is a whole line, an error is in place of each that hasn't, and stderr says how many \
are missing; a second one ends it at once.

Exit codes: 0 there was a reply; 1 an error reply, the connection was lost, or a line of many failed; 2 wrong flags or no JSON; \
3 nobody could be connected to; 4 it took too long; 5 what came was not of the protocol; \
130 it was stopped before its end.")]
pub(crate) struct Arguments {
    /// Where: host:port, tcp://host:port, tls://host:port or unix:///path
    #[arg(long, value_name = "ENDPOINT", env = "MILLPOND_TO")]
    to: String,
    /// The request, a JSON value; or - for one on each line of stdin, which are sent in parallel
    ///
    /// With `-` there is one reply a line, in the order of the requests; a failure is
    /// {"error":{"code":…,"message":…}}, our own too: -32000 unavailable, -32002 timed out,
    /// -32700 not JSON. Blank lines are skipped.
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    request: OsString,
    /// How long a request may take, connecting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span_above_zero, env = "MILLPOND_CALL_DEADLINE")]
    deadline: Duration,
    /// The request may be executed twice: send it again if an old connection turns out to be dead
    #[arg(long)]
    idempotent: bool,
    /// Send the request as it is, and print the reply as it is: neither need be JSON
    #[arg(long)]
    raw: bool,
    /// Take a reply {"error":{"code":…,"message":…}} for a reply like any other, not for a failure
    #[arg(long)]
    accept_errors: bool,
    /// Print one JSON document with the reply or the error, and what it took; with - each line is
    /// JSON in any case
    #[arg(long)]
    json: bool,
    /// Say on stderr what each phase took; with -, how many requests there were
    #[arg(short, long)]
    verbose: bool,
    /// With -: over how many connections at most
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = count::<u32>(1..=100_000))]
    connections: u32,
    /// With -: how many requests are read ahead of the reply that is printed next
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = count::<u32>(1..=100_000))]
    in_flight: u32,
    /// With -: keep many requests in flight on each connection, for servers that answer in order
    /// and look for frames in what they read
    #[arg(long)]
    pipelined: bool,
    /// The longest body, in either direction
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    max_frame: NonZeroUsize,
    /// After how long without sending anything a heartbeat is sent; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    heartbeat: Duration,
    #[command(flatten)]
    tls: TlsFlags,
}

/// What is to be sent, and where.
struct Plan {
    endpoint: Endpoint,
    tls: Option<ClientTls>,
    request: Request,
    deadline: Duration,
    idempotent: bool,
    bodies: Bodies,
    error_replies: ErrorReplies,
    heartbeat: Duration,
    max_frame: usize,
    /// Asked for once, when it is needed.
    refusal: OnceCell<Option<TlsError>>,
}

enum Request {
    One(single::Form, Vec<u8>),
    Lines(pipe::Settings),
}

/// What requests and replies must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bodies {
    Json,
    Raw,
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    carry_out(arguments).unwrap_or_else(Complaint::report)
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Complaint> {
    let plan = Arc::new(parse(arguments)?);
    let runtime = super::runtime()?;
    let exit = runtime.block_on(async {
        match &plan.request {
            Request::One(form, body) => single::run(&plan, *form, body).await,
            Request::Lines(settings) => pipe::run(&plan, settings).await,
        }
    });
    // A read of stdin can't be given up, and isn't waited for.
    runtime.shutdown_background();
    exit
}

fn parse(arguments: &Arguments) -> Result<Plan, Complaint> {
    let endpoint = super::endpoint("--to", &arguments.to)?;
    let bodies = match arguments.raw {
        true => Bodies::Raw,
        false => Bodies::Json,
    };
    let max_frame = arguments.max_frame.get();
    let request = match arguments.request.as_bytes() {
        b"-" => Request::Lines(pipe::Settings {
            connections: arguments.connections,
            in_flight: arguments.in_flight,
            pipelining: arguments.pipelined.then(Pipelining::default),
            verbose: arguments.verbose,
        }),
        body => {
            check(body, bodies, max_frame)?;
            let form = single::Form {
                json: arguments.json,
                verbose: arguments.verbose,
            };
            Request::One(form, body.to_owned())
        }
    };
    Ok(Plan {
        tls: arguments.tls.towards(&endpoint)?,
        endpoint,
        request,
        deadline: arguments.deadline,
        idempotent: arguments.idempotent,
        bodies,
        error_replies: match arguments.accept_errors {
            true => ErrorReplies::AreReplies,
            false => ErrorReplies::AreErrors,
        },
        heartbeat: arguments.heartbeat,
        max_frame,
        refusal: OnceCell::new(),
    })
}

/// Whether a request may be sent.
fn check(body: &[u8], bodies: Bodies, max_frame: usize) -> Result<(), Complaint> {
    if body.len() > max_frame {
        return Err(Complaint::usage(format!(
            "the request has {}, and --max-frame is {}",
            counted(body.len() as u64, "byte", "bytes"),
            thousands(max_frame as u64)
        )));
    }
    if bodies == Bodies::Raw {
        return Ok(());
    }
    json::check(body).map_err(|error| {
        let text = String::from_utf8_lossy(body);
        let (place, hint) = (place(&text, &error), hint(&text));
        Complaint::usage(format!(
            "the request isn't JSON: {}{place}{hint}",
            Chain(&error)
        ))
    })
}

/// The text with a caret below the fault, if that fits on a line.
fn place(text: &str, error: &JsonError) -> String {
    let JsonError::Invalid(error) = error else {
        return String::new();
    };
    let fits = text.chars().count() <= SHOWN && !text.contains(char::is_control);
    let before = text.get(..error.column().saturating_sub(1));
    match before {
        Some(before) if fits && error.line() == 1 => {
            // At its end something is missing behind the last character.
            let caret = before.chars().count() + usize::from(error.is_eof());
            format!("\n    {text}\n    {:caret$}^", "")
        }
        _ => String::new(),
    }
}

/// What people forget who are new to this: that the shell takes quotes away.
fn hint(text: &str) -> String {
    let trimmed = text.trim();
    if trimmed.starts_with(['{', '['])
        && !trimmed.contains('"')
        && trimmed.contains(char::is_alphabetic)
    {
        return String::from(
            "\nthe shell takes double quotes away: put the whole request into single ones, as in '{\"a\":1}'",
        );
    }
    let is_word = trimmed
        .chars()
        .all(|character| character.is_alphanumeric() || " _-.,:!?".contains(character));
    if !trimmed.is_empty() && is_word && trimmed.len() <= SHOWN {
        return format!(
            "\na JSON string has double quotes, and the shell takes them away: write '\"{trimmed}\"'"
        );
    }
    String::new()
}

impl Plan {
    /// A client with so many connections at most, for so many requests at once.
    fn client(
        &self,
        connections: u32,
        callers: u32,
        outage_grace: Option<Duration>,
        pipelining: Option<Pipelining>,
    ) -> Result<Client, Complaint> {
        let built = Client::dialled_by(self.dialer())
            .framing(LengthJson::with_max_body(self.max_frame).limit_named("--max-frame"))
            .deadline(self.deadline)
            .heartbeat_interval(self.heartbeat)
            .pool(move |pool| {
                let pool = pool.max_size(connections).max_waiting(callers);
                match outage_grace {
                    Some(grace) => pool.outage_grace(grace),
                    None => pool,
                }
            });
        let built = match pipelining {
            Some(pipelining) => built.pipelined(pipelining),
            None => built,
        };
        let built = built.build();
        built.map_err(|error| Complaint::usage(Chain(&error).to_string()))
    }

    /// One exchange.
    async fn exchange(&self, client: &Client, body: &[u8]) -> Result<Bytes, Failure> {
        let requests: Requests<'_> = client.within(self.deadline);
        let replied = match self.idempotent {
            true => requests.idempotent().exchange(body).await,
            false => requests.exchange(body).await,
        };
        if let Err(RequestError::Acquire(AcquireError::Unavailable {
            cause: DialError::DiedEarly(_),
            ..
        })) = &replied
            && let Some(refusal) = self.refusal().await
        {
            return Err(Failure::refused(refusal));
        }
        replied.map_err(Failure::from)
    }

    /// Why a server that closes what it has accepted does so, as far as it says. The pool has only
    /// seen that it did.
    async fn refusal(&self) -> Option<&TlsError> {
        let asked = self.refusal.get_or_init(|| async {
            let mut dialled = self.dialer().dial().await.ok()?;
            tls::refusal(&mut dialled.stream).await
        });
        asked.await.as_ref()
    }

    fn dialer(&self) -> Dialer {
        let dialer = Dialer::new(self.endpoint.clone());
        match &self.tls {
            Some(tls) => dialer.tls(tls.clone()),
            None => dialer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_no_json_is_shown_with_its_fault_and_a_hint() {
        let said = |text: &str| match check(text.as_bytes(), Bodies::Json, 1 << 20) {
            Ok(()) => String::new(),
            Err(complaint) => format!("{complaint:?}"),
        };
        assert_eq!(said("-5.5e3"), "");
        assert!(
            said("hello").contains(r#"write '\"hello\"'"#),
            "{}",
            said("hello")
        );
        assert!(said("{a:1}").contains("single ones"));
        assert!(
            said(r#"{"a":1,}"#).contains("column 8\\n    {\\\"a\\\":1,}\\n           ^"),
            "{}",
            said(r#"{"a":1,}"#)
        );
        assert!(said(r#"{"a":"#).contains("EOF"));
        assert!(
            !said("{\"a\u{1b}\":}").contains('^'),
            "no caret under what is escaped"
        );
        assert!(said("").contains("empty"));
        assert!(
            !said("[1,2").contains("single ones"),
            "no quotes are missing there"
        );
    }
}
