//! What can go wrong while the rig is used: which tool was asked for what, and what it said.

use std::{io, process::ExitStatus};

/// Why something couldn't be done with the rig.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tool couldn't be started.
    #[error("can't run `{command}`: {source}; is the tool installed?")]
    NotStarted {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A tool failed.
    #[error("`{command}` failed ({status}): {said}")]
    ToolFailed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        said: String,
    },
    /// The rig was about to be made in a network that is in use.
    #[error(
        "this network namespace isn't new, it has addresses: {addresses:?}; nothing was changed"
    )]
    NotNew {
        /// What has addresses.
        addresses: String,
    },
    /// Something that needs no tool failed.
    #[error("can't {attempt}: {source}")]
    Io {
        /// What was attempted.
        attempt: String,
        /// Why.
        source: io::Error,
    },
    /// A server didn't do as it was told.
    #[error("the server {name}: {problem}")]
    Server {
        /// Its name.
        name: String,
        /// What it did, or didn't.
        problem: String,
    },
    /// A tool's answer couldn't be understood.
    #[error("`{command}` said something unexpected: {said}")]
    Unintelligible {
        /// The command line.
        command: String,
        /// What it said.
        said: String,
    },
}

impl Error {
    /// Says what was attempted when `source` happened.
    pub(crate) fn io(attempt: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::Io {
            attempt: attempt.into(),
            source: source.into(),
        }
    }
}
