//! How an exchange has ended, as metrics count it.

use super::{error::RequestError, error_kind::RequestErrorKind};

/// How an exchange has ended, for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Replied,
    FailureReply,
    Lost,
    TimedOut,
    Refused,
    Cancelled,
}

impl Outcome {
    #[cfg(feature = "metrics")]
    pub(super) const ALL: [Outcome; 6] = [
        Outcome::Replied,
        Outcome::FailureReply,
        Outcome::Lost,
        Outcome::TimedOut,
        Outcome::Refused,
        Outcome::Cancelled,
    ];

    #[cfg(feature = "metrics")]
    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Replied => "replied",
            Outcome::FailureReply => "failure_reply",
            Outcome::Lost => "lost",
            Outcome::TimedOut => "timed_out",
            Outcome::Refused => "refused",
            Outcome::Cancelled => "cancelled",
        }
    }

    pub(super) fn of<T>(result: &Result<T, RequestError>) -> Outcome {
        let Err(error) = result else {
            return Outcome::Replied;
        };
        match error.kind() {
            RequestErrorKind::UnexpectedReply => Outcome::Replied,
            RequestErrorKind::ErrorReply | RequestErrorKind::NotTaken => Outcome::FailureReply,
            RequestErrorKind::TimedOut => Outcome::TimedOut,
            RequestErrorKind::Lost
            | RequestErrorKind::TlsRefused
            | RequestErrorKind::NotPipelining
            | RequestErrorKind::NotOfProtocol
            | RequestErrorKind::Mismatched => Outcome::Lost,
            RequestErrorKind::Unreachable
            | RequestErrorKind::Rejected
            | RequestErrorKind::InvalidRequest => Outcome::Refused,
        }
    }
}
