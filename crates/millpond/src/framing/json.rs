//! What the bodies of the `length:` protocol must be, JSON texts of bounded nesting; and the error
//! reply, JSON-RPC 2.0's error object under the single key `error`.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ApplicationCode, Failure, FailureKind};
use millpond_words::Thousands;

/// How deep arrays and objects may be nested: a reader that recurses must not be led to the end of
/// its stack.
pub const MAX_DEPTH: usize = 64;

/// Why a body isn't what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is empty.
    #[error("the body is empty, and should be a JSON value")]
    Empty,
    /// It isn't UTF-8.
    #[error("the body isn't UTF-8")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// It is no JSON text, or isn't of the type that was asked for.
    #[error(transparent)]
    Invalid(#[from] serde_json::Error),
    /// Its arrays and objects are nested too deep.
    #[error("the JSON value is nested deeper than {MAX_DEPTH} at byte {}", Thousands(*.position as u64))]
    TooDeep {
        /// Where that was found out.
        position: usize,
    },
}

/// Reads a body.
///
/// # Errors
///
/// It isn't one JSON text and nothing but white space behind it; it is nested too deep; it isn't a
/// `T`.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    check_depth(body)?;
    // All of it, also what nothing is made of.
    Ok(serde_json::from_str(std::str::from_utf8(body)?)?)
}

/// Whether a body is one JSON text, without making anything of it.
///
/// # Errors
///
/// As [`read`].
pub fn check(body: &[u8]) -> Result<(), JsonError> {
    read::<serde::de::IgnoredAny>(body).map(drop)
}

/// Writes a value as a body.
///
/// # Errors
///
/// It can't be written as JSON: a map whose keys aren't strings, or a `Serialize` that fails.
pub fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    Ok(serde_json::to_vec(value)?)
}

/// Looks at brackets outside strings only: what else is wrong the reader will say.
fn check_depth(body: &[u8]) -> Result<(), JsonError> {
    if body.is_empty() {
        return Err(JsonError::Empty);
    }
    let (mut depth, mut within_string, mut escaped) = (0_usize, false, false);
    for (position, &byte) in body.iter().enumerate() {
        if within_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => within_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => within_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonError::TooDeep { position });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// An error reply's content: JSON-RPC 2.0's error object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorObject {
    /// What kind of failure: see [`code`](code()).
    pub code: i64,
    /// In words, for people.
    pub message: String,
}

impl ErrorObject {
    /// An error with nothing but a code and a message.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        ErrorObject {
            code,
            message: message.into(),
        }
    }

    /// The application's code, if it is one: no reserved one.
    ///
    /// ```
    /// use millpond::framing::{ApplicationCode, json::ErrorObject};
    ///
    /// const OUT_OF_STOCK: ApplicationCode = ApplicationCode::new(4001).unwrap();
    ///
    /// let error = ErrorObject::new(4001, "no milk");
    /// assert_eq!(error.application_code(), Some(OUT_OF_STOCK));
    /// ```
    pub fn application_code(&self) -> Option<ApplicationCode> {
        ApplicationCode::new(self.code)
    }
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// The error reply's only key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorReply {
    error: ErrorObject,
}

/// The code of [`FailureKind::NotTaken`]: the server has not executed the request, because it
/// drains.
pub const NOT_TAKEN: i64 = -32003;

/// The code that stands for a kind of failure: JSON-RPC 2.0's where it has one.
///
/// | kind | code |
/// |---|---|
/// | [`Malformed`](FailureKind::Malformed) | -32700 |
/// | [`Refused`](FailureKind::Refused) | -32600 |
/// | [`HandlerFailed`](FailureKind::HandlerFailed) | -32603 |
/// | [`Unavailable`](FailureKind::Unavailable) | -32000 |
/// | [`Overloaded`](FailureKind::Overloaded) | -32001 |
/// | [`TimedOut`](FailureKind::TimedOut) | -32002 |
/// | [`NotTaken`](FailureKind::NotTaken) | -32003 |
/// | [`Application`](FailureKind::Application) | its own, never one of [`ApplicationCode::RESERVED`] |
pub fn code(kind: FailureKind) -> i64 {
    match kind {
        FailureKind::Malformed => -32700,
        FailureKind::Refused => -32600,
        FailureKind::HandlerFailed => -32603,
        FailureKind::Unavailable => -32000,
        FailureKind::Overloaded => -32001,
        FailureKind::TimedOut => -32002,
        FailureKind::NotTaken => NOT_TAKEN,
        FailureKind::Application(code) => code.get(),
    }
}

/// The body of an error reply.
pub fn error_reply(failure: &Failure) -> Vec<u8> {
    let reply = ErrorReply {
        error: ErrorObject {
            code: code(failure.kind()),
            message: failure.message().to_owned(),
        },
    };
    serde_json::to_vec(&reply).expect("a number and a string are JSON")
}

/// The error object, if a body is an error reply: an object with the single key `error`, whose
/// value is an error object. That is legal data as well: ask only where the server is known to mean
/// it so.
pub fn as_error_reply(body: &[u8]) -> Option<ErrorObject> {
    // By far the most replies are none, and are told apart by their first bytes.
    let text = body.trim_ascii_start().strip_prefix(b"{")?;
    let text = text.trim_ascii_start().strip_prefix(b"\"error\"")?;
    // An array of a number and a text is none, though serde would take it for one.
    let text = text.trim_ascii_start().strip_prefix(b":")?;
    text.trim_ascii_start().strip_prefix(b"{")?;
    // JSON in all its parts, also in those that nothing is made of.
    let reply: ErrorReply = read(body).ok()?;
    Some(reply.error)
}

/// Whether a reply says by [`NOT_TAKEN`] that the server didn't take the request.
pub(crate) fn is_not_taken(body: &[u8]) -> bool {
    as_error_reply(body).is_some_and(|error| error.code == NOT_TAKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_strings() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(check(&nested(MAX_DEPTH)).is_ok());
        let error = check(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert!(
            matches!(
                error,
                JsonError::TooDeep {
                    position: MAX_DEPTH
                }
            ),
            "{error}"
        );
        assert!(check(&nested(1_000_000)).is_err());
        let brackets = format!(r#""{}\"{}""#, "[".repeat(100), "{".repeat(100));
        assert!(check(brackets.as_bytes()).is_ok(), "within a string");
        let behind =
            |string: &str| check_depth(&[string.as_bytes(), &nested(MAX_DEPTH + 1)].concat());
        for string in [r#""","#, r#""a[","#, r#""\\","#, r#""\"[","#] {
            assert!(behind(string).is_err(), "behind the string {string}");
        }
        assert!(behind(r#""\""#).is_ok(), "the string hasn't ended");
        assert!(check(br#"[[],[],{"a":[]}]"#).is_ok());
        let wide = format!("[{}1]", "[],".repeat(1_000));
        assert!(check(wide.as_bytes()).is_ok(), "wide isn't deep");
    }

    #[test]
    fn a_body_is_one_text_with_nothing_but_white_space_around_it() {
        for good in ["1", " null ", "\n{\"a\": [1, 2]}\t\r\n", "\"\\u0000\""] {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            " ",
            "1 2",
            "{}x",
            "{\"a\":}",
            "nul",
            "\"\u{1}\"",
            "[1,]",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check(b"\"\xff\"").is_err(), "not UTF-8");
    }

    #[test]
    fn failures_have_the_codes_of_json_rpc_and_are_shown_with_them() {
        use FailureKind::{
            HandlerFailed, Malformed, NotTaken, Overloaded, Refused, TimedOut, Unavailable,
        };
        assert_eq!(
            [
                Malformed,
                Refused,
                HandlerFailed,
                Unavailable,
                Overloaded,
                TimedOut,
                NotTaken
            ]
            .map(code),
            [
                -32_700, -32_600, -32_603, -32_000, -32_001, -32_002, -32_003
            ]
        );
        let error = ErrorObject {
            code: -32_700,
            message: String::from("not JSON"),
        };
        assert_eq!(error.to_string(), "not JSON (-32700)");
        assert_eq!(error.application_code(), None, "it is reserved");
        let own = ApplicationCode::new(-7).expect("a code");
        assert_eq!(code(FailureKind::Application(own)), -7);
        let told = error_reply(&Failure::application(own, "no"));
        let read = as_error_reply(&told).expect("an error reply");
        assert_eq!(read.application_code(), Some(own));
    }

    #[test]
    fn what_is_written_is_the_value_as_json() {
        assert_eq!(write(&("a", [1])).expect("JSON"), br#"["a",[1]]"#);
        let unwritable = std::collections::BTreeMap::from([([1], 2)]);
        assert!(write(&unwritable).is_err(), "keys are strings");
    }

    #[test]
    fn an_error_reply_is_known_by_its_single_key() {
        let failure = Failure::handler_failed("no \"luck\"");
        let body = error_reply(&failure);
        assert_eq!(
            body,
            br#"{"error":{"code":-32603,"message":"no \"luck\""}}"#
        );
        let read = as_error_reply(&body).expect("one");
        assert_eq!((read.code, read.message.as_str()), (-32603, "no \"luck\""));
        for one in [
            &br#" { "error" : {"code":1,"message":"m","data":[1]} } "#[..],
            // Both are JSON, though nothing can be made of them.
            br#"{"error":{"code":1,"message":"m","data":1e999}}"#,
            br#"{"error":{"data":"\ud800","code":1,"message":"m"}}"#,
        ] {
            assert!(
                as_error_reply(one).is_some(),
                "{}",
                String::from_utf8_lossy(one)
            );
        }
        for other in [
            &br#"{"error":"text"}"#[..],
            br#"{"error":{"code":1,"message":"m"},"id":1}"#,
            br#"{"errors":{"code":1,"message":"m"}}"#,
            br#"["error"]"#,
            br#"{"error":[1,"m"]}"#,
            b"{\"error\":{\"code\":1,\"message\":\"m\",\"data\":\"\xa0\"}}",
            b"1",
        ] {
            assert!(
                as_error_reply(other).is_none(),
                "{}",
                String::from_utf8_lossy(other)
            );
        }
    }
}
