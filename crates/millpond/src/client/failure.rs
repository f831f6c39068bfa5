//! An exchange that failed: how, how far it had come, and what that means for its connection. What
//! the client's callers are told is `error.rs`'s.

use std::io;

use millpond_words::Chain;

use super::demands::DemandError;
use crate::{
    framed::{Doubt, Unsendable},
    framing::FrameError,
    pool::Eviction,
};

/// How far an exchange had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// Nothing of the request was written: nobody can have executed it.
    Unsent,
    /// Something was written, and nothing came back.
    Unanswered,
    /// A part of the reply came back, or something else.
    Answered,
}

/// An exchange that failed. Its session stays dirty, unless that was found out before anything was
/// sent.
#[derive(Debug)]
pub(super) struct ExchangeError {
    pub(super) progress: Progress,
    pub(super) cause: ExchangeFailure,
    /// The protocol says that the request may be executed twice without harm.
    pub(super) idempotent: bool,
}

#[derive(Debug)]
pub(super) enum ExchangeFailure {
    /// The request can't be framed.
    Unframeable(FrameError),
    /// The request asks for what its caller can't take.
    Demand(DemandError),
    /// A reply came that answers another request.
    Mismatched,
    /// A reply before it has changed the state of the connection, which others share.
    Changed,
    /// What came is no frame.
    NoFrame(FrameError),
    /// The peer closed the connection.
    Closed,
    /// The connection broke.
    Io(io::Error),
    /// The peer has stopped sending heartbeats.
    HeartbeatMissed,
    /// The peer sends more heartbeats than the client's limit allows.
    HeartbeatFlood,
    /// The deadline has passed.
    TimedOut,
    /// Something came that is no reply to anything: what came with it may be none either.
    Unasked,
    /// An exchange before it on the same connection had no reply within its deadline.
    HeadTimedOut,
    /// An exchange before it on the same connection was cancelled.
    Cancelled,
    /// Whatever drove the connection has ended.
    Abandoned,
    /// Two requests were written together, and not both were answered.
    NotPipelining {
        answered: usize,
        cause: Box<ExchangeFailure>,
    },
}

impl ExchangeFailure {
    /// The connection ended, and not by anything that we decided.
    pub(super) fn ended_by_peer(&self) -> bool {
        matches!(
            self,
            ExchangeFailure::Closed | ExchangeFailure::Io(_) | ExchangeFailure::HeadTimedOut
        )
    }

    /// The connection can't be used any more. What was never written can go on another.
    pub(super) fn ended_connection(&self) -> bool {
        let by_peer_otherwise = matches!(
            self,
            ExchangeFailure::Unasked
                | ExchangeFailure::NoFrame(_)
                | ExchangeFailure::Mismatched
                | ExchangeFailure::Changed
                | ExchangeFailure::HeartbeatMissed
                | ExchangeFailure::HeartbeatFlood
        );
        self.ended_by_peer() || by_peer_otherwise
    }

    /// The same, for another exchange on the same connection.
    pub(super) fn of_another(&self) -> ExchangeFailure {
        match self {
            ExchangeFailure::Unframeable(error) => ExchangeFailure::Unframeable(error.clone()),
            ExchangeFailure::Demand(error) => ExchangeFailure::Demand(error.clone()),
            ExchangeFailure::Mismatched => ExchangeFailure::Mismatched,
            ExchangeFailure::Changed => ExchangeFailure::Changed,
            ExchangeFailure::NoFrame(error) => ExchangeFailure::NoFrame(error.clone()),
            ExchangeFailure::Closed => ExchangeFailure::Closed,
            ExchangeFailure::Io(error) => ExchangeFailure::Io(repeated(error)),
            ExchangeFailure::HeartbeatMissed => ExchangeFailure::HeartbeatMissed,
            ExchangeFailure::HeartbeatFlood => ExchangeFailure::HeartbeatFlood,
            ExchangeFailure::TimedOut => ExchangeFailure::TimedOut,
            ExchangeFailure::Unasked => ExchangeFailure::Unasked,
            ExchangeFailure::HeadTimedOut => ExchangeFailure::HeadTimedOut,
            ExchangeFailure::Cancelled => ExchangeFailure::Cancelled,
            ExchangeFailure::Abandoned => ExchangeFailure::Abandoned,
            ExchangeFailure::NotPipelining { answered, cause } => ExchangeFailure::NotPipelining {
                answered: *answered,
                cause: Box::new(cause.of_another()),
            },
        }
    }

    /// As the pool's evictions name it.
    pub(super) fn eviction(&self) -> Eviction {
        match self {
            ExchangeFailure::Closed => Eviction::PeerClosed,
            ExchangeFailure::Io(_) => Eviction::PeerReset,
            ExchangeFailure::NoFrame(_) => Eviction::UnsolicitedBytes,
            ExchangeFailure::HeartbeatMissed => Eviction::HeartbeatMissed,
            ExchangeFailure::Unasked
            | ExchangeFailure::Mismatched
            | ExchangeFailure::HeartbeatFlood => Eviction::UnsolicitedBytes,
            ExchangeFailure::Unframeable(_)
            | ExchangeFailure::Demand(_)
            | ExchangeFailure::Changed
            | ExchangeFailure::TimedOut
            | ExchangeFailure::HeadTimedOut
            | ExchangeFailure::Cancelled
            | ExchangeFailure::Abandoned
            | ExchangeFailure::NotPipelining { .. } => Eviction::UnfinishedExchange,
        }
    }
}

impl From<Doubt> for ExchangeFailure {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Unasked => ExchangeFailure::Unasked,
            Doubt::Changed => ExchangeFailure::Changed,
            Doubt::Mismatch => ExchangeFailure::Mismatched,
            Doubt::TooLong(error) => ExchangeFailure::NoFrame(error),
        }
    }
}

impl From<Unsendable> for ExchangeFailure {
    fn from(unsendable: Unsendable) -> Self {
        match unsendable {
            Unsendable::Frame(error) => ExchangeFailure::Unframeable(error),
            Unsendable::Refused(failure) => ExchangeFailure::Demand(DemandError::Refused(failure)),
        }
    }
}

/// The same error once more, as far as anybody tells errors apart.
fn repeated(error: &io::Error) -> io::Error {
    #[cfg(feature = "tls")]
    if let Some(error) = crate::net::tls::repeated(error) {
        return error;
    }
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), Chain(error).to_string()),
    }
}
