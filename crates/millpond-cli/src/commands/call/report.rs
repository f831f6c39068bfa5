//! How a request and its reply are shown. Text and JSON are made from the same [`Called`].

use std::time::Duration;

use bytes::Bytes;
use millpond::{
    framing::{FailureKind, json::ErrorObject},
    net::Timings,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    body::{Notation, OpaqueBody},
    error::{CallError, Origin},
};
use crate::{
    complaint::{Complaint, say, say_error},
    exit::Exit,
    output,
    text::{escaped, escaped_json, span},
};

/// The version of the JSON: fields are added without a new one, renamed or removed only with one.
const VERSION: u32 = 1;

/// How it is shown.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) json: bool,
    pub(super) verbose: bool,
    pub(super) notation: Notation,
}

/// What came of a request.
pub(super) struct Called {
    pub(super) replies: Result<Vec<Bytes>, CallError>,
    /// The framing says that replies are JSON.
    pub(super) carry_json: bool,
    pub(super) phases: Phases,
}

/// How long it took, and each of its phases.
#[derive(Serialize)]
pub(super) struct Phases {
    #[serde(
        rename = "resolve_seconds",
        serialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    resolve: Option<Duration>,
    #[serde(
        rename = "connect_seconds",
        serialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    connect: Option<Duration>,
    #[serde(
        rename = "tls_seconds",
        serialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    tls: Option<Duration>,
    /// From the connection to the reply, if there was a connection.
    #[serde(
        rename = "request_seconds",
        serialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    request: Option<Duration>,
    #[serde(rename = "total_seconds", serialize_with = "seconds")]
    total: Option<Duration>,
}

impl Phases {
    pub(super) fn of(dialled: Option<Timings>, total: Duration) -> Self {
        let before = dialled.map(|dialled| {
            dialled.resolve.unwrap_or_default() + dialled.connect + dialled.tls.unwrap_or_default()
        });
        Phases {
            resolve: dialled.and_then(|dialled| dialled.resolve),
            connect: dialled.map(|dialled| dialled.connect),
            tls: dialled.and_then(|dialled| dialled.tls),
            request: before.map(|before| total.saturating_sub(before)),
            total: Some(total),
        }
    }

    fn lines(&self) -> String {
        let phases = [
            ("resolve", self.resolve),
            ("connect", self.connect),
            ("tls", self.tls),
            ("request", self.request),
            ("total", self.total),
        ];
        let lines = phases
            .iter()
            .filter_map(|(name, time)| Some(format!("{name:<8} {:>9}", span((*time)?))));
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn show(called: &Called, form: Form) -> Result<Exit, Complaint> {
    let (text, exit) = match &called.replies {
        Ok(replies) if form.json => (document(replies, called, form.notation)?, Exit::Ok),
        Ok(replies) => (shown(replies, form.notation), Exit::Ok),
        Err(failure) => {
            let from = match failure.origin {
                Origin::Server => "the server answered with an error: ",
                Origin::Client => "",
            };
            say_error(&format!("{from}{}", escaped(&text(failure))));
            let document = match form.json {
                true => Document::of_error(&failure.error, &called.phases).line(),
                false => Vec::new(),
            };
            (document, failure.exit)
        }
    };
    if form.verbose {
        say(&called.phases.lines());
    }
    output::write(&text, exit)
}

/// The server's code is of interest; ours only repeats the message.
fn text(failure: &CallError) -> String {
    match failure.origin {
        Origin::Server => failure.error.to_string(),
        Origin::Client => failure.error.message.clone(),
    }
}

/// Each reply as it came, on a line; on a terminal, with what that would act upon escaped.
fn shown(replies: &[Bytes], notation: Notation) -> Vec<u8> {
    let is_terminal = output::is_terminal();
    let mut lines = Vec::new();
    for reply in replies {
        lines.extend(notation.written(reply, is_terminal));
        lines.push(b'\n');
    }
    lines
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replies: Option<Vec<OpaqueBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorObject>,
    timings: &'a Phases,
}

impl<'a> Document<'a> {
    fn new(timings: &'a Phases) -> Self {
        Document {
            version: VERSION,
            reply: None,
            replies: None,
            error: None,
            timings,
        }
    }

    fn of_error(error: &'a ErrorObject, timings: &'a Phases) -> Self {
        Document {
            error: Some(error),
            ..Document::new(timings)
        }
    }

    fn line(&self) -> Vec<u8> {
        let mut text = serde_json::to_string(self).expect("strings, numbers and JSON are JSON");
        if output::is_terminal() {
            text = escaped_json(&text);
        }
        text.push('\n');
        text.into_bytes()
    }
}

/// The reply as it is, if replies are JSON and no hex digits were asked for; otherwise all replies,
/// as texts or in hex digits.
fn document(replies: &[Bytes], called: &Called, notation: Notation) -> Result<Vec<u8>, Complaint> {
    let timings = &called.phases;
    let document = match replies {
        [reply] if called.carry_json && notation == Notation::Plain => Document {
            reply: Some(serde_json::from_slice(reply).map_err(|error| no_json(&error))?),
            ..Document::new(timings)
        },
        _ => Document {
            replies: Some(replies.iter().map(|reply| notation.value(reply)).collect()),
            ..Document::new(timings)
        },
    };
    Ok(document.line())
}

fn no_json(error: &serde_json::Error) -> Complaint {
    let failure = CallError::ours(
        Exit::Protocol,
        FailureKind::Unavailable,
        format!("the reply isn't JSON, and can't be shown in a document: {error}"),
    );
    Complaint::of(failure.exit, &failure.error.message)
}

fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.unwrap_or_default().as_secs_f64())
}
