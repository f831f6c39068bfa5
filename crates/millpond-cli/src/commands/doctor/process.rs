//! The checks of a process: what it has open, with whom, how its connections transmit, and what
//! looks wrong. `facts` gathers, `judge` and `quality` judge.

mod facts;
mod judge;
#[cfg(all(test, target_os = "linux"))]
mod live;
mod peer;
mod quality;
#[cfg(test)]
mod tests;

use self::facts::{Facts, NoProcess};
use super::{
    finding::{Finding, Mark, ONLY_ON_LINUX},
    selection::{Selection, Subject},
};
use crate::{complaint::Complaint, text::count};

/// What to look at.
#[derive(Debug, clap::Args)]
pub(super) struct ProcessFlags {
    /// Examine the sockets of a running process as well: states, peers, round-trip times, and what
    /// looks wrong
    ///
    /// This takes half a second: it looks at the sockets several times, to see which states last.
    /// Only root and the process's own user may do this.
    #[arg(long, value_name = "PID", value_parser = count::<u32>(1..=0x7fff_ffff))]
    pid: Option<u32>,
}

impl ProcessFlags {
    pub(super) fn is_given(&self) -> bool {
        self.pid.is_some()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }
}

/// Runs the checks, if a process was named. Blocks for half a second or more. A check that was
/// named and can't be run says so.
///
/// # Errors
///
/// There is no such process, so the command line is wrong.
pub(super) fn check(
    flags: &ProcessFlags,
    selection: Selection<'_>,
) -> Result<Vec<Finding>, Complaint> {
    let Some(pid) = flags.pid else {
        return Ok(Vec::new());
    };
    if !cfg!(target_os = "linux") {
        const WHY: &str =
            "Here only the process itself, or tools of this system, can show its sockets.";
        return Ok(vec![Finding::new(
            "process-sockets",
            Mark::Unknown,
            ONLY_ON_LINUX,
            WHY,
        )]);
    }
    let facts = Facts::gather(pid).map_err(|NoProcess| {
        Complaint::usage(format!(
            "--pid: there is no process {pid}, or none any more"
        ))
    })?;
    let mut findings = judge::all(&facts);
    for check in selection.of(Subject::Process) {
        if findings.iter().all(|finding| finding.check != check) {
            findings.push(judge::absent(check, &facts));
        }
    }
    Ok(findings)
}
