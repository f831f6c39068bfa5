//! The presets, and how a request carries a token in each that its reply repeats.

use millpond::framing::{
    Delimited, DelimitedSettings, EndOfReply, IdMode, IdSettings, LengthPrefixed,
    LengthPrefixedSettings, Protocol, json,
};

/// A preset, and how a token goes in it.
pub(crate) struct Speaks {
    pub(crate) name: &'static str,
    pub(crate) protocol: fn() -> Protocol,
    pub(crate) body: fn(u64) -> Vec<u8>,
    /// That of a request or of its reply.
    pub(crate) token: fn(&[u8]) -> u64,
    /// Whether a reply tells of a failure, and if so, whether its request may have been executed.
    pub(crate) told: fn(&[u8]) -> Option<bool>,
}

fn padded(token: u64) -> Vec<u8> {
    format!("{token} {}", "x".repeat(fastrand::usize(..200))).into_bytes()
}

fn first_number(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).expect("text");
    let number = text.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}

/// A message whose control id is the token.
fn message(token: u64) -> Vec<u8> {
    let padding = "x".repeat(fastrand::usize(..200));
    format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|{token}|P|2.5\rPID|{padding}\r").into_bytes()
}

fn control_id(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).expect("text");
    let acknowledged = text
        .split('\r')
        .find_map(|segment| segment.strip_prefix("MSA|"));
    let id = match acknowledged {
        Some(fields) => fields.split('|').nth(1),
        None => text.split('|').nth(9),
    };
    id.expect("a control id").parse().expect("a number")
}

fn error_reply(body: &[u8]) -> Option<bool> {
    let error = json::as_error_reply(body)?;
    Some(!error.message.ends_with("it was not executed"))
}

/// Of those that a server or a route sends, "busy" alone says that nothing was done.
fn exception(body: &[u8]) -> Option<bool> {
    (body[1] & 0x80 != 0).then(|| body[2] != 6)
}

/// A function of a vendor's, which may do anything: it isn't sent twice.
fn query(token: u64) -> Vec<u8> {
    [&[1, 65], &padded(token)[..]].concat()
}

fn queried(body: &[u8]) -> u64 {
    first_number(&body[2..])
}

/// A command that isn't sent twice.
fn set(token: u64) -> Vec<u8> {
    let value = padded(token);
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len());
    [head.as_bytes(), &value, b"\r\n"].concat()
}

/// That of a request, and of the reply that repeats it.
fn last_argument(body: &[u8]) -> u64 {
    let body = body.strip_suffix(b"\r\n").expect("a whole value");
    let line = body.rsplit(|&byte| byte == b'\n').next();
    first_number(line.expect("a line"))
}

fn error(body: &[u8]) -> Option<bool> {
    body.starts_with(b"-")
        .then(|| !body.ends_with(b"it was not executed\r\n"))
}

fn named(name: &str) -> Protocol {
    Protocol::named(name).expect("it is there")
}

fn with_ids(mode: IdMode) -> Protocol {
    let settings = LengthPrefixedSettings {
        id: Some(IdSettings {
            offset: 4,
            width: 2,
            mode,
            ..IdSettings::default()
        }),
        ..LengthPrefixedSettings::default()
    };
    LengthPrefixed::new(settings).expect("it is right").into()
}

/// A reply of several lines.
fn until_a_line() -> Protocol {
    let settings = DelimitedSettings {
        reply: EndOfReply::UntilLine("END".into()),
        ..DelimitedSettings::default()
    };
    Delimited::new(settings).expect("it is right").into()
}

pub(crate) const PRESETS: [Speaks; 9] = [
    Speaks {
        name: "length-json",
        protocol: || named("length-json"),
        body: padded,
        token: first_number,
        told: error_reply,
    },
    Speaks {
        name: "length-prefixed",
        protocol: || named("length-prefixed"),
        body: padded,
        token: first_number,
        told: |_| None,
    },
    Speaks {
        name: "length-prefixed-renumbered",
        protocol: || with_ids(IdMode::Renumbered),
        body: padded,
        token: first_number,
        told: |_| None,
    },
    Speaks {
        name: "length-prefixed-compared",
        protocol: || with_ids(IdMode::Compared),
        body: padded,
        token: first_number,
        told: |_| None,
    },
    Speaks {
        name: "delimited",
        protocol: || named("delimited"),
        body: padded,
        token: first_number,
        told: |_| None,
    },
    Speaks {
        name: "delimited-until-line",
        protocol: until_a_line,
        body: padded,
        token: first_number,
        told: |_| None,
    },
    Speaks {
        name: "mllp",
        protocol: || named("mllp"),
        body: message,
        token: control_id,
        told: |_| None,
    },
    Speaks {
        name: "modbus",
        protocol: || named("modbus"),
        body: query,
        token: queried,
        told: exception,
    },
    Speaks {
        name: "redis",
        protocol: || named("redis"),
        body: set,
        token: last_argument,
        told: error,
    },
];
