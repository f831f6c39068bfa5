//! What can go wrong while a rig is used: which tool was run, and what it said.

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
    /// The rig would have been made in a network namespace that is in use.
    #[error(
        "this network namespace isn't new, it has addresses: {addresses:?}; nothing was changed"
    )]
    NotNew {
        /// The addresses that `ip` shows.
        addresses: String,
    },
    /// A system call failed.
    #[error("can't {attempt}: {source}")]
    Io {
        /// What was attempted.
        attempt: String,
        /// Why.
        source: io::Error,
    },
    /// A server didn't do what the scene asked of it.
    #[error("the server {name}: {problem}")]
    Server {
        /// Its name.
        name: String,
        /// What it did, or didn't do.
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
