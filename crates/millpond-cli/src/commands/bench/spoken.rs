//! What is said to the server, and what it is to answer: the framing, the request, the right reply.
//! All that can be known to be wrong with them is told before anything is measured.

use std::{fs, path::Path};

use memchr::memmem::Finder;
use millpond::{
    Chain,
    framing::{Context, Framing, Note, Protocol, Replies, json},
};

use super::{
    arguments::Arguments,
    escapes::parse_bytes,
    exchange::PlannedExchange,
    framing::{ChosenFraming, Ending},
};
use crate::{
    complaint::Complaint,
    framing::{self, RAW},
};

/// A JSON string of 64 bytes.
const BODY: &str = r#""a request of 64 bytes, which says nothing and asks for nothing""#;

/// See the module.
pub(super) struct Spoken {
    pub(super) framing: ChosenFraming,
    /// Its name on the command line.
    pub(super) name: &'static str,
    pub(super) request: PlannedExchange,
}

pub(super) fn spoken(arguments: &Arguments) -> Result<Spoken, Complaint> {
    match arguments.framing.trim() {
        RAW => raw(arguments),
        text => preset(arguments, framing::parse(text, &[RAW])?),
    }
}

fn preset(arguments: &Arguments, protocol: Protocol) -> Result<Spoken, Complaint> {
    let name = protocol.preset().name;
    if arguments.expect_end.is_some() || arguments.expect_length.is_some() {
        return Err(Complaint::usage(format!(
            "--expect-end and --expect-length say where a reply ends, which the framing {name} knows by itself; \
             they are for --framing raw",
        )));
    }
    let carries_json = framing::carries_json(&protocol);
    let given = given(arguments, |body| match carries_json {
        true => Ok(body.as_bytes().to_owned()),
        false => bytes("--body", body),
    })?;
    let body = match given {
        Some(body) => body,
        None if carries_json => BODY.into(),
        None => return Err(no_body(name)),
    };
    let no_json = |error| Complaint::usage(format!("the request isn't JSON: {}", Chain(&error)));
    let expected = match &arguments.expect {
        Some(expected) if carries_json => {
            json::check(expected.as_bytes()).map_err(|error| {
                Complaint::usage(format!(
                    "--expect isn't JSON, which replies must be: {error}"
                ))
            })?;
            Some(expected.clone().into_bytes())
        }
        Some(expected) => Some(bytes("--expect", expected)?),
        None => None,
    };
    if carries_json {
        json::check(&body).map_err(no_json)?;
    }
    let protocol = with_room(protocol, arguments.framing.trim(), body.len());
    has_one_reply(&protocol, &body)?;
    Ok(Spoken {
        framing: ChosenFraming::Preset {
            protocol,
            carries_json,
        },
        name,
        request: PlannedExchange {
            body,
            expected,
            deadline: arguments.deadline,
        },
    })
}

fn raw(arguments: &Arguments) -> Result<Spoken, Complaint> {
    let given = given(arguments, |body| bytes("--body", body))?;
    let Some(ending) = ending(arguments)? else {
        return Err(Complaint::usage(
            "--framing raw needs to know where a reply ends: give --expect, --expect-end or --expect-length",
        ));
    };
    let body = given
        .filter(|body| !body.is_empty())
        .ok_or_else(|| no_body(RAW))?;
    Ok(Spoken {
        framing: ChosenFraming::Raw(ending),
        name: RAW,
        request: PlannedExchange {
            body,
            // The framing compares it.
            expected: None,
            deadline: arguments.deadline,
        },
    })
}

/// The request that was given, if one was.
fn given(
    arguments: &Arguments,
    read_text: impl FnOnce(&str) -> Result<Vec<u8>, Complaint>,
) -> Result<Option<Vec<u8>>, Complaint> {
    match (&arguments.body, &arguments.body_file) {
        (Some(body), _) => read_text(body).map(Some),
        (None, Some(file)) => read(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn no_body(name: &str) -> Complaint {
    Complaint::usage(format!(
        "--framing {name} sends what --body or --body-file says, and neither says anything"
    ))
}

/// With as much room as the request needs, unless the settings say how much there is.
fn with_room(protocol: Protocol, written: &str, body: usize) -> Protocol {
    let is_name = written == protocol.preset().name;
    match framing::max_body(&protocol) {
        Some(limit) if is_name && limit < body => protocol.limited(body, "max_body"),
        _ => protocol,
    }
}

/// Checks that the request can be sent, and that it is answered by exactly one reply.
fn has_one_reply(protocol: &Protocol, body: &[u8]) -> Result<(), Complaint> {
    let refused = |why: &dyn std::fmt::Display| {
        Complaint::usage(format!("the request can't be measured: {why}"))
    };
    let mut frame = Vec::new();
    let encoded = protocol.encode(Context::REQUEST, body, &mut frame);
    encoded.map_err(|error| refused(&Chain(&error)))?;
    if !protocol.looks_at_requests() {
        return Ok(());
    }
    let demand = protocol.demand(&frame, &Note::default());
    if let Some(failure) = demand.refusal() {
        return Err(refused(&format_args!("the protocol refuses it: {failure}")));
    }
    match demand.awaits() {
        _ if demand.is_pinning() => Err(refused(&"it changes the state of its connection")),
        Replies::One => Ok(()),
        Replies::None => Err(refused(&"no reply comes to it")),
        _ => Err(refused(&"it may have more replies than one")),
    }
}

fn ending(arguments: &Arguments) -> Result<Option<Ending>, Complaint> {
    let some = |flag: &str, text: &str| match bytes(flag, text)? {
        bytes if bytes.is_empty() => Err(Complaint::usage(format!("{flag} says nothing"))),
        bytes => Ok(bytes),
    };
    if let Some(end) = &arguments.expect_end {
        let end = some("--expect-end", end)?;
        return Ok(Some(Ending::With(Box::new(Finder::new(&end).into_owned()))));
    }
    if let Some(length) = arguments.expect_length {
        return Ok(Some(Ending::After(length.get())));
    }
    let expected = arguments.expect.as_deref();
    expected
        .map(|expected| some("--expect", expected).map(Ending::Exactly))
        .transpose()
}

fn bytes(flag: &str, text: &str) -> Result<Vec<u8>, Complaint> {
    parse_bytes(text).map_err(|error| Complaint::usage(format!("{flag}: {error}")))
}

fn read(file: &Path) -> Result<Vec<u8>, Complaint> {
    fs::read(file)
        .map_err(|error| Complaint::usage(format!("--body-file {}: {error}", file.display())))
}
