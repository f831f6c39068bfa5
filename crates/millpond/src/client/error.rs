//! Why a request brought no reply, and whether it may have been executed all the same. What caused
//! an error is its source, and not in its text; [`Chain`](crate::Chain) puts them together for
//! people.

use std::{error::Error, fmt, io, time::Duration};

use super::demands::DemandError;
use super::failure::{ExchangeError, ExchangeFailure, Progress};
#[cfg(feature = "tls")]
use crate::net::tls::{Side, TlsError};
use millpond_words::{Span, Thousands};

use crate::{
    codec::CodecError,
    framing::{
        FrameError,
        json::{ErrorObject, JsonError},
    },
    pool::AcquireError,
};

/// Why a request brought no reply. [`kind`](RequestError::kind) sorts these errors, and
/// [`execution`](RequestError::execution) tells whether the request may have been executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There was no connection.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// Pipelined, the requests that wait for a place hold as many bytes as may.
    #[error(
        "the requests that wait for a place hold {} bytes, this one has {}, and max_waiting_bytes is {}; raise max_waiting_bytes, or send \
         less at once",
        Thousands(*.waiting_bytes as u64),
        Thousands(*.request as u64),
        Thousands(*.max_waiting_bytes as u64)
    )]
    #[non_exhaustive]
    FullOfBytes {
        /// How many bytes the requests that wait hold.
        waiting_bytes: usize,
        /// How many this one has, framed.
        request: usize,
        /// How many may wait: [the setting](super::Pipelining::max_waiting_bytes).
        max_waiting_bytes: usize,
    },
    /// The request can't be written as JSON.
    #[error("the request can't be written as JSON")]
    Unserializable(#[source] JsonError),
    /// The request can't be encoded by the client's [codec](crate::codec).
    #[error("the request can't be encoded")]
    Unencodable(#[source] CodecError),
    /// The request can't be sent by this protocol: its body is too long, or can't be framed, or what
    /// was to be sent as a whole frame isn't one.
    #[error("the request can't be sent")]
    Unframeable(#[source] FrameError),
    /// The request asks for what its caller can't take: see [`DemandError`].
    #[error(transparent)]
    Demand(#[from] DemandError),
    /// A reply came that answers another request, by its id or whatever else the protocol compares.
    /// It was delivered to nobody, and the connection was closed.
    #[error(
        "the reply that came answers another request{}",
        Executed(Execution::Possible)
    )]
    Mismatched,
    /// The deadline passed before the reply came.
    #[error("no reply within {}{}", Span(*.within), Executed(*.execution))]
    TimedOut {
        /// How long it had.
        within: Duration,
        /// Whether the request may have been executed.
        execution: Execution,
    },
    /// The connection ended before the reply had come.
    #[error("the connection was lost before the reply came{}", Executed(*.execution))]
    Lost {
        /// How it ended.
        #[source]
        cause: Loss,
        /// Whether the request may have been executed.
        execution: Execution,
    },
    /// Two requests were written together, and the server didn't answer both: it may take what it
    /// reads at once for one request. A client that isn't
    /// [pipelined](super::ClientBuilder::pipelined) works with such servers.
    #[error(
        "of two requests that were sent together the server answered {answered}{}; if it takes what it reads at once for one request, as a server that doesn't look for frames does, use a client that isn't pipelined",
        Executed(*.execution)
    )]
    NotPipelining {
        /// How many replies came: none or one.
        answered: usize,
        /// How it ended.
        #[source]
        cause: Loss,
        /// Whether the request may have been executed.
        execution: Execution,
    },
    /// What came isn't of this protocol, or is longer than its limit.
    #[error("the reply can't be read")]
    NoFrame(#[source] FrameError),
    /// The reply isn't what was asked for.
    #[error("the reply isn't what was asked for")]
    Reply(#[source] JsonError),
    /// The reply can't be decoded by the client's [codec](crate::codec).
    #[error("the reply can't be decoded")]
    Undecodable(#[source] CodecError),
    /// The server answered with an error. What that says of the request's execution,
    /// [`execution`](RequestError::execution) tells.
    #[error("the server answered with an error: {0}")]
    Refused(ErrorObject),
}

/// How a connection ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Loss {
    /// The peer closed it.
    Closed,
    /// The peer has stopped sending heartbeats.
    HeartbeatMissed,
    /// The peer sends more heartbeats than
    /// [`heartbeat_limit`](super::ClientBuilder::heartbeat_limit) allows.
    HeartbeatFlood,
    /// What came is no frame, or no reply to anything; or more came for a reply than one frame, and
    /// which of them is the reply nobody knows.
    NoReply,
    /// A reply came that answers another request than the one whose turn it was, and that is told so
    /// by [`RequestError::Mismatched`]. Nobody knows whose the replies behind it are.
    Mismatched,
    /// A reply before it has changed the [state](crate::framing::Context::state) of the connection,
    /// though its request didn't [pin](crate::framing::Demand::pins) it. Such a reply is its
    /// caller's, and the connection is of no use to those that share it.
    StateChanged,
    /// An exchange that had to be answered before had no reply within its deadline: see
    /// [pipelined](super::ClientBuilder::pipelined).
    HeadTimedOut,
    /// An exchange before it on the same connection was cancelled: see [`Pinned`](super::Pinned).
    Cancelled,
    /// The runtime on which the pool was built has ended.
    RuntimeEnded,
    /// The server refused this side in the TLS handshake. By TLS 1.3 that is told only after the
    /// handshake has ended here, when the request has been sent; no server reads it then.
    #[cfg(feature = "tls")]
    Refused(Box<TlsError>),
    /// The system says so.
    Io(io::Error),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Closed => "the peer closed it",
            Loss::HeartbeatMissed => "the peer has stopped sending heartbeats",
            Loss::HeartbeatFlood => "it sends more heartbeats than heartbeat_limit allows",
            Loss::NoReply => "it sent what is no reply",
            Loss::Mismatched => "it answered an exchange before it with another's reply",
            Loss::StateChanged => {
                "a reply before it changed the state of the connection, which its request didn't pin"
            }
            Loss::HeadTimedOut => {
                "an exchange before it on the same connection had no reply within its deadline"
            }
            Loss::Cancelled => "an exchange before it on the same connection was cancelled",
            Loss::RuntimeEnded => "the runtime that drove it has ended",
            #[cfg(feature = "tls")]
            Loss::Refused(_) => "the server refused this side in the TLS handshake",
            Loss::Io(_) => "it broke",
        })
    }
}

impl Error for Loss {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // What is in the box: a box is an error as well, and of no type that anybody looks for.
            #[cfg(feature = "tls")]
            Loss::Refused(error) => Some(&**error),
            Loss::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        Loss::Io(error)
    }
}

/// Whether a request without a reply may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Execution {
    /// Nobody has executed it, and it can be sent again: nothing of it was sent, or the server said
    /// that it didn't take it, or refused this side in the TLS handshake.
    Impossible,
    /// At least a part of it was sent.
    Possible,
}

struct Executed(Execution);

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Execution::Impossible => f.write_str("; it was not executed"),
            Execution::Possible => f.write_str("; it may have been executed"),
        }
    }
}

impl RequestError {
    pub(super) fn of(error: ExchangeError, within: Duration) -> RequestError {
        let execution = match error.progress {
            Progress::Unsent => Execution::Impossible,
            Progress::Unanswered | Progress::Answered => Execution::Possible,
        };
        #[cfg(feature = "tls")]
        if let (ExchangeFailure::Io(cause), Progress::Unsent | Progress::Unanswered) =
            (&error.cause, error.progress)
            && let Some(cause) =
                TlsError::of_stream(cause, Side::Client).filter(TlsError::is_refusal)
        {
            return RequestError::Lost {
                cause: Loss::Refused(Box::new(cause)),
                execution: Execution::Impossible,
            };
        }
        match error.cause {
            ExchangeFailure::Unframeable(error) => RequestError::Unframeable(error),
            ExchangeFailure::Demand(error) => RequestError::Demand(error),
            ExchangeFailure::Mismatched if error.progress == Progress::Answered => {
                RequestError::Mismatched
            }
            ExchangeFailure::NoFrame(error) => RequestError::NoFrame(error),
            ExchangeFailure::TimedOut => RequestError::TimedOut { within, execution },
            ExchangeFailure::NotPipelining { answered, cause } => RequestError::NotPipelining {
                answered,
                cause: Loss::of(*cause),
                execution,
            },
            cause => RequestError::Lost {
                cause: Loss::of(cause),
                execution,
            },
        }
    }
}

impl Loss {
    pub(super) fn of(cause: ExchangeFailure) -> Loss {
        match cause {
            ExchangeFailure::Closed => Loss::Closed,
            ExchangeFailure::HeartbeatMissed => Loss::HeartbeatMissed,
            ExchangeFailure::HeartbeatFlood => Loss::HeartbeatFlood,
            ExchangeFailure::Io(error) => Loss::Io(error),
            ExchangeFailure::Cancelled => Loss::Cancelled,
            ExchangeFailure::Abandoned => Loss::RuntimeEnded,
            ExchangeFailure::HeadTimedOut | ExchangeFailure::TimedOut => Loss::HeadTimedOut,
            ExchangeFailure::NotPipelining { cause, .. } => Loss::of(*cause),
            ExchangeFailure::Mismatched => Loss::Mismatched,
            ExchangeFailure::Changed => Loss::StateChanged,
            ExchangeFailure::Unasked
            | ExchangeFailure::NoFrame(_)
            | ExchangeFailure::Demand(_)
            | ExchangeFailure::Unframeable(_) => Loss::NoReply,
        }
    }
}
