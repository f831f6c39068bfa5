//! A process's sockets: what it has open, with whom, how that goes, and what looks wrong. Says what
//! to ask for and brings facts and judgement together; the facts are gathered by `facts`, judged by
//! `judge` and `quality`.

mod facts;
mod judge;
#[cfg(all(test, target_os = "linux"))]
mod live;
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
    /// Look at the sockets of a running process as well: their states and peers, their round-trip
    /// times, and what looks wrong
    ///
    /// It takes half a second, for what lasts is told from what passes by looking more than once.
    /// A process of another user can only be looked at by that user and by root.
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

/// Looks at the process, if one was named. This blocks, for half a second and more: its caller sees
/// to that. A check that was asked for by its name and can't be made says so.
///
/// # Errors
///
/// That there is no such process: the command line is wrong.
pub(super) fn check(
    flags: &ProcessFlags,
    selection: Selection<'_>,
) -> Result<Vec<Finding>, Complaint> {
    let Some(pid) = flags.pid else {
        return Ok(Vec::new());
    };
    if !cfg!(target_os = "linux") {
        const WHY: &str =
            "Here only the process itself, or tools of this system, can tell of its sockets.";
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
