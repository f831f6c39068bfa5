//! The exit codes, which scripts rely on.

use std::process::{ExitCode, Termination};

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: success.
    Ok,
    /// 1: a finding, or a failure.
    Failure,
    /// 2: the command line is wrong, or something that it names. Clap uses this code as well.
    Usage,
    /// 3: no connection.
    Connect,
    /// 4: a timeout.
    Timeout,
    /// 5: the peer broke the protocol.
    Protocol,
    /// 130: stopped by Ctrl-C or SIGTERM before everything was done. Shells use this code for a
    /// program that SIGINT has ended.
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
