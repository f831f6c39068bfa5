//! Why a request of the demo brought no right reply, and what of that a load with bad manners
//! brings about by itself. Pure.

use millpond::client::{RequestError, RequestErrorKind};
use serde::Serialize;

use crate::load::tally::MissKind;

/// Why a request brought no right reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ErrorKind {
    /// Its caller dropped it.
    Cancelled,
    /// Its connection ended, and it may be executed twice.
    LostIdempotent,
    /// Its connection ended, and it may not be executed twice.
    LostNotIdempotent,
    /// No connection for longer than a restart takes.
    Connect,
    /// No reply, or no connection, before the deadline.
    TimedOut,
    /// The server was draining, and said that it hasn't executed the request.
    NotTaken,
    /// The server answered with an error.
    ErrorReply,
    /// The reply was that of another request. Never in the JSON's `errors`: it has a number of its
    /// own.
    Wrong,
    /// Any other: an invalid frame, a closed pool, …
    Other,
}

/// Whether a request may be executed twice without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repetition {
    Harmless,
    Harmful,
}

impl ErrorKind {
    pub(super) fn of(error: &RequestError, repetition: Repetition) -> ErrorKind {
        match error.kind() {
            RequestErrorKind::Lost | RequestErrorKind::TlsRefused => match repetition {
                Repetition::Harmless => ErrorKind::LostIdempotent,
                Repetition::Harmful => ErrorKind::LostNotIdempotent,
            },
            RequestErrorKind::Unreachable => ErrorKind::Connect,
            RequestErrorKind::TimedOut => ErrorKind::TimedOut,
            RequestErrorKind::NotTaken => ErrorKind::NotTaken,
            RequestErrorKind::ErrorReply => ErrorKind::ErrorReply,
            _ => ErrorKind::Other,
        }
    }

    /// Whether a load with bad manners causes it on purpose.
    pub(super) fn is_part_of_the_load(self) -> bool {
        matches!(
            self,
            ErrorKind::Cancelled
                | ErrorKind::LostIdempotent
                | ErrorKind::LostNotIdempotent
                | ErrorKind::NotTaken
                | ErrorKind::Connect
        )
    }

    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            ErrorKind::Cancelled => "cancelled by the caller",
            ErrorKind::LostIdempotent => "lost with the socket (idempotent)",
            ErrorKind::LostNotIdempotent => "lost with the socket (not idempotent)",
            ErrorKind::Connect => "told that nothing listens",
            ErrorKind::TimedOut => "timed out",
            ErrorKind::NotTaken => "turned away, not executed, by a server about to end",
            ErrorKind::ErrorReply => "answered with an error",
            ErrorKind::Wrong => "answered with the reply to another request",
            ErrorKind::Other => "failed otherwise",
        }
    }
}

impl MissKind for ErrorKind {
    // Not used: in a closed loop every request is sent.
    const NOT_SENT: ErrorKind = ErrorKind::Other;
    const CUT_SHORT: ErrorKind = ErrorKind::Other;

    fn calls_for_a_pause(self) -> bool {
        // The server is draining: a request sent at once would be turned away as well.
        self == ErrorKind::NotTaken
    }
}
