//! The form in which events are told.

use std::fmt;

use serde::Serialize;

/// See the module.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// A line for people.
    Text,
    /// A JSON object on a line.
    Json,
}

impl Form {
    /// An event, without a line end.
    pub(super) fn line(self, event: &(impl fmt::Display + Serialize)) -> String {
        match self {
            Form::Text => event.to_string(),
            Form::Json => serde_json::to_string(event).expect("strings and numbers are JSON"),
        }
    }
}
