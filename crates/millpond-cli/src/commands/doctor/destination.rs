//! The checks of a destination: its name, each of its addresses, the path, the TLS handshake, and
//! the local ports towards it. `facts` and `handshake` gather, `judge` judges.

mod dialling;
mod facts;
mod handshake;
mod judge;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(super) use self::dialling::Destination;
use self::facts::Facts;
use super::{
    finding::{Finding, Mark},
    selection::{self, Selection, Subject},
};
use crate::{
    commands::{endpoint, tls::TlsFlags},
    complaint::Complaint,
    text::parse_span_above_zero,
};

/// What to look at.
#[derive(Debug, clap::Args)]
pub(super) struct DestinationFlags {
    /// Examine a destination as well: host:port, tls://host:port, tcp://host:port or unix:///path
    ///
    /// Looks up its name, connects to each address, measures the path, does the TLS handshake
    /// twice, and counts the local ports towards it. Sends nothing else.
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<String>,
    /// Wait for up to TIME (default: 2m) until the destination closes an idle connection
    ///
    /// This shows how long a pool may keep idle connections. Ctrl-C ends the test early; what was
    /// found until then is shown.
    #[arg(
        long,
        value_name = "TIME",
        requires = "to",
        num_args = 0..=1,
        default_missing_value = "2m",
        value_parser = parse_idle_time
    )]
    idle_test: Option<Duration>,
    #[command(flatten)]
    tls: TlsFlags,
}

impl DestinationFlags {
    /// The destination that the flags name; `None` if they name none.
    ///
    /// # Errors
    ///
    /// The command line is wrong.
    pub(super) fn read(&self) -> Result<Option<Destination>, Complaint> {
        let Some(to) = &self.to else {
            return match self.tls.first_given() {
                Some(flag) => Err(Complaint::usage(format!(
                    "{flag} is about what --to names: give --to as well"
                ))),
                None => Ok(None),
            };
        };
        let endpoint = endpoint("--to", to)?;
        Ok(Some(Destination {
            tls: self.tls.towards(&endpoint)?,
            endpoint,
            idle_test: self.idle_test,
        }))
    }
}

/// Runs the checks. This takes about 15 s if the destination doesn't answer. A check that was
/// named and can't be run says so.
pub(super) async fn check(destination: &Destination, selection: Selection<'_>) -> Vec<Finding> {
    let mut findings = judge::all(&Facts::gather(destination).await);
    for check in selection
        .of(Subject::Destination)
        .filter(|check| *check != selection::IDLE)
    {
        if findings.iter().all(|finding| finding.check != check) {
            findings.push(judge::absent(check, destination));
        }
    }
    findings
}

/// Whether the finding says that the destination can't be reached. Such a finding is always shown,
/// because the other checks can't be made then.
pub(super) fn is_unreached(finding: &Finding) -> bool {
    finding.mark == Mark::Bad && ["resolve", "connect"].contains(&finding.check)
}

/// Reads the time. If it was left out, the next word may be the name of a check.
fn parse_idle_time(text: &str) -> Result<Duration, String> {
    match selection::listed().any(|check| check.name == text) {
        true => Err(String::from(
            "this is a check: name it before --idle-test, or give a time such as 2m",
        )),
        false => parse_span_above_zero(text),
    }
}
