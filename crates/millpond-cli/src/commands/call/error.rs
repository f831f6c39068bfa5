//! Why there is no reply, as people, scripts and the readers of JSON lines are told.

use millpond::{
    Chain,
    client::{Loss, RequestError},
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

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The server, by an error reply.
    Server,
    /// We do.
    Client,
}

impl CallError {
    /// One that was found on this side.
    pub(super) fn ours(exit: Exit, kind: FailureKind, message: String) -> Self {
        CallError {
            exit,
            error: ErrorObject {
                code: json::code(kind),
                message: in_flags(&message),
            },
            origin: Origin::Client,
        }
    }

    /// The server let nobody in.
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
        let message = Chain(&error).to_string();
        match error {
            RequestError::Refused(error) => CallError {
                exit: Exit::Failure,
                error,
                origin: Origin::Server,
            },
            // How often it was dialled in vain says nothing here.
            RequestError::Acquire(AcquireError::Unavailable { cause, .. }) => CallError::ours(
                Exit::Connect,
                FailureKind::Unavailable,
                cause.cause().to_string(),
            ),
            RequestError::Acquire(AcquireError::TimedOut(_)) | RequestError::TimedOut { .. } => {
                CallError::ours(Exit::Timeout, FailureKind::TimedOut, message)
            }
            RequestError::Acquire(_) => {
                CallError::ours(Exit::Connect, FailureKind::Unavailable, message)
            }
            RequestError::Lost {
                cause: Loss::Refused(refusal),
                ..
            } => CallError::refused(&refusal),
            RequestError::NoFrame(_) | RequestError::Reply(_) => {
                CallError::ours(Exit::Protocol, FailureKind::Unavailable, message)
            }
            RequestError::Unserializable(_) | RequestError::Unframeable(_) => {
                CallError::ours(Exit::Usage, FailureKind::Refused, message)
            }
            _ => CallError::ours(Exit::Failure, FailureKind::Unavailable, message),
        }
    }
}
