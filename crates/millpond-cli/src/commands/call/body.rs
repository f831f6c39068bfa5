//! How bodies are written, on the command line and in what is printed: as they are, or in hex
//! digits. Pure.

use serde::Serialize;

use crate::{
    hex::{hex, parse_hex},
    text::{escaped_bytes, escaped_json},
};

/// How bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// As they are.
    Plain,
    /// In hex digits.
    Hex,
}

impl Notation {
    /// The body that is written so.
    pub(super) fn read(self, written: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Notation::Plain => Ok(written.to_owned()),
            Notation::Hex => parse_hex(&String::from_utf8_lossy(written)),
        }
    }

    /// How many bytes the longest body has, written so with a space between any two bytes.
    pub(super) fn longest(self, body: usize) -> usize {
        match self {
            Notation::Plain => body,
            Notation::Hex => body.saturating_mul(3),
        }
    }

    /// The body, without a line end; for a terminal with what that would act upon escaped.
    pub(super) fn written(self, body: &[u8], is_terminal: bool) -> Vec<u8> {
        match (self, is_terminal) {
            (Notation::Hex, _) => hex(body).into_bytes(),
            (Notation::Plain, false) => body.to_vec(),
            (Notation::Plain, true) => match std::str::from_utf8(body) {
                Ok(text) if millpond::framing::json::check(body).is_ok() => {
                    escaped_json(text).into_bytes()
                }
                _ => escaped_bytes(body).into_bytes(),
            },
        }
    }

    /// The body as a value in JSON, where it isn't JSON itself.
    pub(super) fn value(self, body: &[u8]) -> OpaqueBody {
        match (self, std::str::from_utf8(body)) {
            (Notation::Plain, Ok(text)) => OpaqueBody::Text(text.to_owned()),
            _ => OpaqueBody::Hex(hex(body)),
        }
    }
}

/// A body that isn't JSON, within a document: `{"text":"…"}`, or `{"hex":"…"}` if it isn't UTF-8.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OpaqueBody {
    Text(String),
    Hex(String),
}
