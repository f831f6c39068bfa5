//! How the program ends: the codes that scripts go by.

use std::process::{ExitCode, Termination};

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: all is well.
    Ok,
    /// 1: something was found, or has failed.
    Failure,
    /// 2: the command line is wrong, or what it names. Clap ends with it as well.
    Usage,
    /// 3: nobody could be connected to.
    Connect,
    /// 4: it took too long.
    Timeout,
    /// 5: what came was not of the protocol.
    Protocol,
    /// 130: Ctrl-C or SIGTERM came, and something is missing. Shells say so of a program that
    /// SIGINT has ended.
    Interrupted,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(match self {
            Exit::Ok => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Connect => 3,
            Exit::Timeout => 4,
            Exit::Protocol => 5,
            Exit::Interrupted => 130,
        })
    }
}
