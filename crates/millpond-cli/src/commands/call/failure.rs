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
pub(super) struct Failure {
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

impl Failure {
    /// One that was found on this side.
    pub(super) fn ours(exit: Exit, kind: FailureKind, message: String) -> Self {
        Failure {
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
        Failure::ours(Exit::Connect, FailureKind::Unavailable, message)
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

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let message = Chain(&error).to_string();
        match error {
            RequestError::Refused(error) => Failure {
                exit: Exit::Failure,
                error,
                origin: Origin::Server,
            },
            // How often it was dialled in vain says nothing here.
            RequestError::Acquire(AcquireError::Unavailable { cause, .. }) => Failure::ours(
                Exit::Connect,
                FailureKind::Unavailable,
                cause.cause().to_string(),
            ),
            RequestError::Acquire(AcquireError::TimedOut(_)) | RequestError::TimedOut { .. } => {
                Failure::ours(Exit::Timeout, FailureKind::TimedOut, message)
            }
            RequestError::Acquire(_) => {
                Failure::ours(Exit::Connect, FailureKind::Unavailable, message)
            }
            RequestError::Lost {
                cause: Loss::Refused(refusal),
                ..
            } => Failure::refused(&refusal),
            RequestError::NoFrame(_) | RequestError::Reply(_) => {
                Failure::ours(Exit::Protocol, FailureKind::Unavailable, message)
            }
            RequestError::Unserializable(_) | RequestError::Unframeable(_) => {
                Failure::ours(Exit::Usage, FailureKind::Refused, message)
            }
            _ => Failure::ours(Exit::Failure, FailureKind::Unavailable, message),
        }
    }
}
