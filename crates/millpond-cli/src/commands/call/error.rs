//! Why there is no reply: the exit code, and the error for people, scripts and JSON lines.

use millpond::{
    Chain,
    client::{DemandError, Loss, RequestError, RequestErrorKind},
    framing::{
        FailureKind,
        json::{self, ErrorObject},
    },
    net::tls::TlsError,
    pool::AcquireError,
};

use crate::{commands::in_flags, exit::Exit};

/// A request that has failed.
#[derive(Debug)]
pub(super) struct CallError {
    pub(super) exit: Exit,
    pub(super) error: ErrorObject,
    pub(super) origin: Origin,
}

/// Who reports the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The server, by an error reply.
    Server,
    /// This program.
    Client,
}

impl CallError {
    /// An error found on this side.
    pub(super) fn ours(exit: Exit, kind: FailureKind, message: String) -> Self {
        CallError {
            exit,
            error: ErrorObject::new(json::code(kind), in_flags(&message)),
            origin: Origin::Client,
        }
    }

    /// The server refused the TLS connection.
    pub(super) fn refused(refusal: &TlsError) -> Self {
        let message = format!("the server refused the connection: {refusal}");
        CallError::ours(Exit::Connect, FailureKind::Unavailable, message)
    }

    /// As the body of an error reply.
    pub(super) fn line(&self) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Line<'e> {
            error: &'e ErrorObject,
        }
        serde_json::to_vec(&Line { error: &self.error }).expect("a number and a string are JSON")
    }
}

impl From<RequestError> for CallError {
    fn from(error: RequestError) -> Self {
        let (kind, message) = (error.kind(), Chain(&error).to_string());
        match (kind, error) {
            (_, RequestError::Refused(error)) => CallError {
                exit: Exit::Failure,
                error,
                origin: Origin::Server,
            },
            // The number of failed dials would say nothing here.
            (_, RequestError::Acquire(AcquireError::Unavailable { cause, .. })) => CallError::ours(
                Exit::Connect,
                FailureKind::Unavailable,
                cause.cause().to_string(),
            ),
            (
                _,
                RequestError::Lost {
                    cause: Loss::Refused(refusal),
                    ..
                },
            ) => CallError::refused(&refusal),
            (RequestErrorKind::TimedOut, _) => {
                CallError::ours(Exit::Timeout, FailureKind::TimedOut, message)
            }
            (RequestErrorKind::Rejected, _) => {
                CallError::ours(Exit::Connect, FailureKind::Unavailable, message)
            }
            (
                RequestErrorKind::NotOfProtocol
                | RequestErrorKind::UnexpectedReply
                | RequestErrorKind::Mismatched,
                _,
            ) => CallError::ours(Exit::Protocol, FailureKind::Unavailable, message),
            (_, RequestError::Demand(DemandError::Pins)) => CallError::ours(
                Exit::Usage,
                FailureKind::Refused,
                String::from(
                    "this request changes the state of its connection, and call sends none of those: others may use the \
                     connection afterwards",
                ),
            ),
            (RequestErrorKind::InvalidRequest, _) => {
                CallError::ours(Exit::Usage, FailureKind::Refused, message)
            }
            _ => CallError::ours(Exit::Failure, FailureKind::Unavailable, message),
        }
    }
}
