//! The judge of bodies against the grammar, and error replies.

use millpond::framing::{
    Failure, FailureKind,
    json::{self, ErrorObject},
};
use serde_json::Value;

use crate::grammar;

/// Judges the bytes as a body, reads a value and an error reply from them, and makes an error reply
/// of them.
///
/// # Panics
///
/// The judge and the grammar differ; a value is read from what is no JSON; something is taken for
/// an error reply that isn't one, or one isn't recognised.
pub fn run(bytes: &[u8]) {
    let is_json = grammar::is_json(bytes);
    let judged = json::check(bytes);
    assert_eq!(judged.is_ok(), is_json, "{judged:?}");
    let value = json::read::<Value>(bytes);
    if let Ok(value) = &value {
        assert!(is_json, "a value was read from what is no JSON: {value}");
        let written = json::write(value).expect("a value is JSON");
        assert!(
            grammar::is_json(&written),
            "{value} was written as {written:?}"
        );
    }
    if let Some(error) = json::as_error_reply(bytes) {
        assert!(is_json, "no JSON was taken for an error reply");
        // A member that nobody reads may be what no value can be made of: a number such as 1e999.
        if let Ok(value) = &value {
            assert!(
                is_error_reply(value, &error),
                "{value} was taken for an error reply"
            );
        }
    }
    let message = String::from_utf8_lossy(bytes);
    for kind in [FailureKind::Malformed, FailureKind::TimedOut] {
        let failure = Failure::new(kind, &*message);
        let reply = json::error_reply(&failure);
        assert!(grammar::is_json(&reply));
        let read = json::as_error_reply(&reply).expect("an error reply");
        assert_eq!((read.code, &*read.message), (json::code(kind), &*message));
    }
}

/// An object with the single key `error`, whose value is an object with at least these two.
fn is_error_reply(value: &Value, error: &ErrorObject) -> bool {
    let Some(object) = value.as_object().filter(|object| object.len() == 1) else {
        return false;
    };
    let content = object.get("error").and_then(Value::as_object);
    content.is_some_and(|content| {
        content.get("code") == Some(&Value::from(error.code))
            && content.get("message") == Some(&Value::from(error.message.as_str()))
    })
}
