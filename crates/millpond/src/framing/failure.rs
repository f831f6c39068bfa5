//! What a client is told when its request fails: a kind, and a text for people. How that looks on
//! the wire is the framing's to say.

use std::fmt;

/// A failure as a client is told of it.
///
/// ```
/// use bytes::Bytes;
/// use millpond::{
///     framing::{ApplicationCode, Failure},
///     server::{Server, raw},
/// };
///
/// const OUT_OF_STOCK: ApplicationCode = ApplicationCode::new(4001).unwrap();
///
/// let shop = raw(async |order: Bytes| match &order[..] {
///     b"\"tea\"" => Ok(order),
///     b"\"milk\"" => Err(Failure::application(OUT_OF_STOCK, "no milk before Monday")),
///     _ => Err(Failure::refused("this shop sells tea and milk")),
/// });
/// # let _ = Server::builder(shop);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    kind: FailureKind,
    message: String,
    closes: bool,
}

/// The kinds of failures that a client is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The request's body isn't what the protocol asks for.
    Malformed,
    /// The request is well formed, and not acceptable.
    Refused,
    /// The handler failed.
    HandlerFailed,
    /// What the handler needs, an upstream for instance, can't be reached.
    Unavailable,
    /// There is more to do than can be done.
    Overloaded,
    /// It took too long.
    TimedOut,
    /// The server drains, and didn't take the request: **nobody has executed it**, and it can be
    /// sent again. Clients rely on that, so a handler says so only of a request of which
    /// nothing was done.
    NotTaken,
    /// What the application says by a code of its own.
    Application(ApplicationCode),
}

impl Failure {
    /// A failure of this kind, with a text for people. The server cuts texts of more than 500
    /// bytes.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Failure {
            kind,
            message: message.into(),
            closes: false,
        }
    }

    /// The request's body isn't what the protocol asks for.
    pub fn malformed(message: impl Into<String>) -> Self {
        Failure::new(FailureKind::Malformed, message)
    }

    /// The request is well formed, and not acceptable.
    pub fn refused(message: impl Into<String>) -> Self {
        Failure::new(FailureKind::Refused, message)
    }

    /// The handler failed.
    pub fn handler_failed(message: impl Into<String>) -> Self {
        Failure::new(FailureKind::HandlerFailed, message)
    }

    /// What the handler needs, an upstream for instance, can't be reached.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Failure::new(FailureKind::Unavailable, message)
    }

    /// There is more to do than can be done.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Failure::new(FailureKind::Overloaded, message)
    }

    /// It took too long.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Failure::new(FailureKind::TimedOut, message)
    }

    /// **Nobody has executed the request**, and it can be sent again, to another server for
    /// instance. Clients rely on that and send it again by themselves: say so only of a request of
    /// which nothing was done.
    pub fn not_taken(message: impl Into<String>) -> Self {
        Failure::new(FailureKind::NotTaken, message)
    }

    /// What the application says by a code of its own, which clients find in
    /// [`ErrorObject::code`](super::json::ErrorObject::code).
    pub fn application(code: ApplicationCode, message: impl Into<String>) -> Self {
        Failure::new(FailureKind::Application(code), message)
    }

    /// The client's connection is closed behind what tells of the failure, and requests behind it get
    /// no answer: for handlers that have lost what they kept for the connection, so that nothing more
    /// can be done for it.
    pub fn closing(self) -> Self {
        Failure {
            closes: true,
            ..self
        }
    }

    /// Whether the client's connection is [closed](Failure::closing) behind it.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// What kind.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// In words, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same failure, with the text that `change` makes of its own.
    pub(crate) fn map_message(self, change: impl FnOnce(String) -> String) -> Self {
        Failure {
            message: change(self.message),
            ..self
        }
    }
}

/// A code by which an application tells of its own failures: any number but those from
/// [`RESERVED`](ApplicationCode::RESERVED), which JSON-RPC 2.0 keeps for itself and for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplicationCode(i64);

impl ApplicationCode {
    /// The codes that no application may use, by JSON-RPC 2.0: both ends belong to them. Those
    /// that this library gives a meaning are in [`json::code`](super::json::code).
    pub const RESERVED: std::ops::RangeInclusive<i64> = -32_768..=-32_000;

    /// The application's code of this number; `None` if it is reserved.
    ///
    /// In a constant, a reserved number fails to compile:
    ///
    /// ```compile_fail
    /// use millpond::framing::ApplicationCode;
    ///
    /// const MINE: ApplicationCode = ApplicationCode::new(-32_003).unwrap();
    /// # let _ = MINE;
    /// ```
    pub const fn new(code: i64) -> Option<Self> {
        match code {
            -32_768..=-32_000 => None,
            _ => Some(ApplicationCode(code)),
        }
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for ApplicationCode {
    type Error = ReservedCode;

    fn try_from(code: i64) -> Result<Self, ReservedCode> {
        ApplicationCode::new(code).ok_or(ReservedCode { code })
    }
}

impl fmt::Display for ApplicationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A code that no application may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the code {code} is reserved: JSON-RPC keeps -32768 to -32000 for itself and for servers")]
#[non_exhaustive]
pub struct ReservedCode {
    /// The code.
    pub code: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_has_all_codes_but_the_reserved_ones() {
        let range = ApplicationCode::RESERVED;
        for code in [*range.start(), -32_700, -32_003, -32_000] {
            assert!(range.contains(&code));
            assert_eq!(ApplicationCode::new(code), None, "{code}");
            let refused = ApplicationCode::try_from(code).unwrap_err();
            assert_eq!(refused, ReservedCode { code });
            assert!(refused.to_string().contains(&code.to_string()), "{refused}");
        }
        for code in [i64::MIN, -32_769, -31_999, -1, 0, 4_001, i64::MAX] {
            assert!(!range.contains(&code));
            let application = ApplicationCode::try_from(code).expect("a code");
            assert_eq!(
                (application.get(), application.to_string()),
                (code, code.to_string())
            );
        }
    }

    #[test]
    fn each_kind_has_a_constructor() {
        let code = ApplicationCode::new(7).expect("a code");
        let made = [
            (Failure::malformed("a"), FailureKind::Malformed),
            (Failure::refused("a"), FailureKind::Refused),
            (Failure::handler_failed("a"), FailureKind::HandlerFailed),
            (Failure::unavailable("a"), FailureKind::Unavailable),
            (Failure::overloaded("a"), FailureKind::Overloaded),
            (Failure::timed_out("a"), FailureKind::TimedOut),
            (Failure::not_taken("a"), FailureKind::NotTaken),
            (
                Failure::application(code, "a"),
                FailureKind::Application(code),
            ),
        ];
        for (failure, kind) in made {
            assert_eq!((failure.kind(), failure.message()), (kind, "a"));
            assert_eq!(
                failure.to_string(),
                "a",
                "it can be the error of an application"
            );
        }
    }
}
