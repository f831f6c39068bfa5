//! The kinds of errors of requests: one classification, from which all others are made.

#[cfg(any(feature = "tls", test))]
use super::error::Loss;
use super::error::{Execution, RequestError};
use crate::{framing::json, pool::AcquireError};

/// What kind of error a request has ended with: [`RequestError::kind`]. Exit codes, metrics and
/// counts by kind are made from it.
///
/// | kind | when | executed? | counted as (`outcome`) |
/// |---|---|---|---|
/// | `Unreachable` | the endpoint can't be reached | no | `refused` |
/// | `Rejected` | the client takes no request: closed, draining, too many wait, or all wait too long | no | `refused` |
/// | `InvalidRequest` | the request can't be written, or asks for what its caller can't take | no | `refused` |
/// | `TimedOut` | the deadline passed, or the time for waiting for a connection | it tells | `timed_out` |
/// | `Lost` | the connection ended before the reply came | it tells | `lost` |
/// | `TlsRefused` | the server refused this side in the TLS handshake | no | `lost` |
/// | `NotPipelining` | the server seems to take one read for one request | it tells | `lost` |
/// | `NotOfProtocol` | what came is no frame of this protocol, or too long | maybe | `lost` |
/// | `Mismatched` | the reply that came answers another request | maybe | `lost` |
/// | `UnexpectedReply` | the reply isn't of the type that was asked for | yes | `replied` |
/// | `ErrorReply` | the server answered with an error | maybe | `failure_reply` |
/// | `NotTaken` | it answered that it has not taken the request | no | `failure_reply` |
///
/// "It tells": [`RequestError::execution`] does, for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestErrorKind {
    /// The endpoint can't be reached: [`AcquireError::Unavailable`].
    Unreachable,
    /// The client takes no request now: its pool is closed or being drained, its runtime has ended,
    /// as many requests or bytes wait as may, or this one was shed ([`AcquireError::Shed`]).
    Rejected,
    /// The request can't be sent, whoever is asked: [`RequestError::Unserializable`],
    /// [`RequestError::Unencodable`], [`RequestError::Unframeable`], [`RequestError::Demand`].
    InvalidRequest,
    /// The time was up, while waiting for a connection ([`AcquireError::TimedOut`]) or for the reply
    /// ([`RequestError::TimedOut`]).
    TimedOut,
    /// The connection ended before the reply came: [`RequestError::Lost`].
    Lost,
    /// The same, since the server refused this side in the TLS handshake: `Loss::Refused`.
    TlsRefused,
    /// [`RequestError::NotPipelining`].
    NotPipelining,
    /// What came isn't of this protocol: [`RequestError::NoFrame`].
    NotOfProtocol,
    /// A reply came that answers another request: [`RequestError::Mismatched`].
    Mismatched,
    /// A reply came that isn't what was asked for: [`RequestError::Reply`],
    /// [`RequestError::Undecodable`].
    UnexpectedReply,
    /// The server answered with an error: [`RequestError::Refused`].
    ErrorReply,
    /// The server answered that it has not taken the request
    /// ([`NOT_TAKEN`](crate::framing::json::NOT_TAKEN)), as one that drains does.
    NotTaken,
}

impl RequestError {
    /// What kind of error this is.
    pub fn kind(&self) -> RequestErrorKind {
        match self {
            RequestError::Acquire(AcquireError::Unavailable { .. }) => {
                RequestErrorKind::Unreachable
            }
            RequestError::Acquire(AcquireError::TimedOut(_)) | RequestError::TimedOut { .. } => {
                RequestErrorKind::TimedOut
            }
            RequestError::Acquire(_) | RequestError::FullOfBytes { .. } => {
                RequestErrorKind::Rejected
            }
            RequestError::Unserializable(_)
            | RequestError::Unencodable(_)
            | RequestError::Unframeable(_)
            | RequestError::Demand(_) => RequestErrorKind::InvalidRequest,
            RequestError::Mismatched => RequestErrorKind::Mismatched,
            #[cfg(feature = "tls")]
            RequestError::Lost {
                cause: Loss::Refused(_),
                ..
            } => RequestErrorKind::TlsRefused,
            RequestError::Lost { .. } => RequestErrorKind::Lost,
            RequestError::NotPipelining { .. } => RequestErrorKind::NotPipelining,
            RequestError::NoFrame(_) => RequestErrorKind::NotOfProtocol,
            RequestError::Reply(_) | RequestError::Undecodable(_) => {
                RequestErrorKind::UnexpectedReply
            }
            RequestError::Refused(error) if error.code == json::NOT_TAKEN => {
                RequestErrorKind::NotTaken
            }
            RequestError::Refused(_) => RequestErrorKind::ErrorReply,
        }
    }

    /// Whether the request may have been executed although no reply to it came.
    ///
    /// Of the servers' errors only one says that it wasn't: -32003
    /// ([`json::NOT_TAKEN`](crate::framing::json::NOT_TAKEN)), by which a server that
    /// drains turns requests away. -32001, overloaded, doesn't: `max_handled` of this library's
    /// server turns requests away by it before their handlers begin, but a handler may answer
    /// so as well, and then nobody knows what it did before.
    pub fn execution(&self) -> Execution {
        if let RequestError::TimedOut { execution, .. }
        | RequestError::Lost { execution, .. }
        | RequestError::NotPipelining { execution, .. } = self
        {
            return *execution;
        }
        match self.kind() {
            RequestErrorKind::Unreachable
            | RequestErrorKind::Rejected
            | RequestErrorKind::InvalidRequest
            | RequestErrorKind::NotTaken
            // Waiting for a connection: once a request is sent, its error says more.
            | RequestErrorKind::TimedOut => Execution::Impossible,
            RequestErrorKind::Lost
            | RequestErrorKind::TlsRefused
            | RequestErrorKind::NotPipelining
            | RequestErrorKind::NotOfProtocol
            | RequestErrorKind::Mismatched
            | RequestErrorKind::UnexpectedReply
            | RequestErrorKind::ErrorReply => Execution::Possible,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::framing::{
        FrameError,
        json::{ErrorObject, JsonError},
    };

    fn answered(code: i64) -> RequestError {
        RequestError::Refused(ErrorObject {
            code,
            message: String::from("no"),
        })
    }

    #[test]
    fn each_error_has_a_kind_and_tells_whether_it_may_have_been_executed() {
        use Execution::{Impossible, Possible};
        let mut all = vec![
            (
                RequestError::Acquire(AcquireError::Closed),
                RequestErrorKind::Rejected,
                Impossible,
            ),
            (
                RequestError::Acquire(AcquireError::Shed {
                    waited: Duration::from_millis(51),
                    target: Duration::from_millis(50),
                    interval: Duration::from_millis(100),
                }),
                RequestErrorKind::Rejected,
                Impossible,
            ),
            (
                RequestError::FullOfBytes {
                    waiting_bytes: 2,
                    request: 1,
                    max_waiting_bytes: 2,
                },
                RequestErrorKind::Rejected,
                Impossible,
            ),
            (
                RequestError::Unserializable(JsonError::Empty),
                RequestErrorKind::InvalidRequest,
                Impossible,
            ),
            (
                RequestError::Unframeable(FrameError::Http),
                RequestErrorKind::InvalidRequest,
                Impossible,
            ),
            (
                RequestError::NoFrame(FrameError::Http),
                RequestErrorKind::NotOfProtocol,
                Possible,
            ),
            (
                RequestError::Reply(JsonError::Empty),
                RequestErrorKind::UnexpectedReply,
                Possible,
            ),
            (answered(-32603), RequestErrorKind::ErrorReply, Possible),
            (answered(-32001), RequestErrorKind::ErrorReply, Possible),
            (
                answered(json::NOT_TAKEN),
                RequestErrorKind::NotTaken,
                Impossible,
            ),
        ];
        for execution in [Impossible, Possible] {
            let within = Duration::from_secs(1);
            all.push((
                RequestError::TimedOut { within, execution },
                RequestErrorKind::TimedOut,
                execution,
            ));
            all.push((
                RequestError::Lost {
                    cause: Loss::Closed,
                    execution,
                },
                RequestErrorKind::Lost,
                execution,
            ));
            all.push((
                RequestError::NotPipelining {
                    answered: 1,
                    cause: Loss::Closed,
                    execution,
                },
                RequestErrorKind::NotPipelining,
                execution,
            ));
        }
        for (error, kind, execution) in all {
            assert_eq!(
                (error.kind(), error.execution()),
                (kind, execution),
                "{error:?}"
            );
        }
    }

    #[test]
    fn too_many_waiting_bytes_are_told_with_what_to_try() {
        let full = RequestError::FullOfBytes {
            waiting_bytes: 67_108_000,
            request: 1_500,
            max_waiting_bytes: 67_108_864,
        };
        assert_eq!(
            full.to_string(),
            "the requests that wait for a place hold 67,108,000 bytes, this one has 1,500, and max_waiting_bytes is 67,108,864; \
             raise max_waiting_bytes, or send less at once"
        );
    }
}
