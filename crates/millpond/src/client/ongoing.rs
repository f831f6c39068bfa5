//! An exchange as metrics count it, from its beginning to its end.

use super::{error::RequestError, metrics::Metrics};
use crate::pool::AcquireError;

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
        match result {
            Ok(_) | Err(RequestError::Reply(_)) => Outcome::Replied,
            Err(RequestError::Refused(_)) => Outcome::FailureReply,
            Err(
                RequestError::TimedOut { .. } | RequestError::Acquire(AcquireError::TimedOut(_)),
            ) => Outcome::TimedOut,
            Err(
                RequestError::Lost { .. }
                | RequestError::NotPipelining { .. }
                | RequestError::NoFrame(_),
            ) => Outcome::Lost,
            Err(
                RequestError::Acquire(_)
                | RequestError::Unserializable(_)
                | RequestError::Unframeable(_),
            ) => Outcome::Refused,
        }
    }
}

/// An exchange that goes on. Dropped before its end, it was cancelled.
pub(super) struct Ongoing<'m> {
    metrics: Option<&'m Metrics>,
}

impl<'m> Ongoing<'m> {
    pub(super) fn begin(metrics: Option<&'m Metrics>) -> Self {
        if let Some(metrics) = metrics {
            metrics.began();
        }
        Ongoing { metrics }
    }

    pub(super) fn ended<T>(mut self, result: Result<T, RequestError>) -> Result<T, RequestError> {
        if let Some(metrics) = self.metrics.take() {
            metrics.ended(Outcome::of(&result));
        }
        result
    }
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics {
            metrics.ended(Outcome::Cancelled);
        }
    }
}
