//! How a request and its reply are shown. Text and JSON are made from the same [`Called`].

use std::time::Duration;

use bytes::Bytes;
use millpond::{
    framing::{
        FailureKind,
        json::{self, ErrorObject},
    },
    net::Timings,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::{CallError, Origin};
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
}

/// What came of a request.
pub(super) struct Called {
    pub(super) reply: Result<Bytes, CallError>,
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
    let (text, exit) = match &called.reply {
        Ok(reply) if form.json => (document(Some(reply), None, &called.phases)?, Exit::Ok),
        Ok(reply) => (shown(reply), Exit::Ok),
        Err(failure) => {
            let from = match failure.origin {
                Origin::Server => "the server answered with an error: ",
                Origin::Client => "",
            };
            say_error(&format!("{from}{}", escaped(&text(failure))));
            let document = match form.json {
                true => document(None, Some(&failure.error), &called.phases)?,
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

/// The reply as it came; on a terminal, with what that would act upon escaped.
fn shown(reply: &[u8]) -> Vec<u8> {
    let mut text = match (output::is_terminal(), std::str::from_utf8(reply)) {
        (false, _) => reply.to_vec(),
        (true, Ok(text)) if json::check(reply).is_ok() => escaped_json(text).into_bytes(),
        (true, _) => escaped(&String::from_utf8_lossy(reply)).into_bytes(),
    };
    text.push(b'\n');
    text
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorObject>,
    timings: &'a Phases,
}

fn document(
    reply: Option<&Bytes>,
    error: Option<&ErrorObject>,
    phases: &Phases,
) -> Result<Vec<u8>, Complaint> {
    let reply = reply
        .map(|reply| serde_json::from_slice::<&RawValue>(reply))
        .transpose();
    let reply = reply.map_err(|error| {
        let failure = CallError::ours(
            Exit::Protocol,
            FailureKind::Unavailable,
            format!("the reply isn't JSON, and can't be shown in a document: {error}"),
        );
        Complaint::of(failure.exit, &failure.error.message)
    })?;
    let document = Document {
        version: VERSION,
        reply,
        error,
        timings: phases,
    };
    let mut text = serde_json::to_string(&document).expect("strings, numbers and JSON are JSON");
    if output::is_terminal() {
        text = escaped_json(&text);
    }
    text.push('\n');
    Ok(text.into_bytes())
}

fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.unwrap_or_default().as_secs_f64())
}
