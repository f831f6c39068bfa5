//! What clients are told when the upstream brought no reply: a kind, and words that name neither
//! addresses nor files.

use std::sync::atomic::AtomicU64;

use super::snapshot::Counters;
use crate::{
    client::{DemandError, Execution, RequestError, RequestErrorKind},
    framing::{Failure, FailureKind},
};

/// See the module.
pub(super) fn told(error: &RequestError) -> Failure {
    if let RequestError::Demand(DemandError::Refused(failure)) = error {
        return failure.clone();
    }
    let (kind, what) = match error.kind() {
        RequestErrorKind::Unreachable | RequestErrorKind::TlsRefused => {
            (FailureKind::Unavailable, "the upstream can't be reached")
        }
        RequestErrorKind::Rejected => (FailureKind::Overloaded, "too many requests wait"),
        RequestErrorKind::TimedOut if error.execution() == Execution::Impossible => (
            FailureKind::Overloaded,
            "no connection to the upstream was free in time",
        ),
        RequestErrorKind::TimedOut => (
            FailureKind::TimedOut,
            "the upstream has not answered in time",
        ),
        RequestErrorKind::InvalidRequest => {
            (FailureKind::Refused, "the request can't be passed on")
        }
        RequestErrorKind::NotOfProtocol | RequestErrorKind::Mismatched => (
            FailureKind::Unavailable,
            "what the upstream has sent is no reply to this request",
        ),
        _ => (
            FailureKind::Unavailable,
            "the connection to the upstream was lost before the reply came",
        ),
    };
    let executed = match error.execution() {
        Execution::Impossible => "it was not executed",
        Execution::Possible => "it may have been executed",
    };
    Failure::new(kind, format!("{what}; {executed}"))
}

/// By which a request that failed so is counted.
pub(super) fn counted<'c>(
    counters: &'c Counters,
    failure: &Failure,
    executed: Execution,
) -> &'c AtomicU64 {
    match (failure.kind(), executed) {
        (FailureKind::Refused, _) => &counters.refused,
        (FailureKind::Overloaded, _) => &counters.overloaded,
        (FailureKind::TimedOut, _) => &counters.timed_out,
        (_, Execution::Impossible) => &counters.unavailable,
        (_, Execution::Possible) => &counters.lost,
    }
}
