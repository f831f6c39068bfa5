//! A destination, looked at from here: its name, each of its addresses, the path, the TLS
//! handshake, the ports that are left towards it. The facts are gathered by `facts` and
//! `handshake`, and judged by `judge` and `certificate`.

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
    /// Look at a destination as well: host:port, tcp://host:port, tls://host:port or unix:///path
    ///
    /// Its name is looked up, each address tried, the path measured, the TLS handshake done twice,
    /// and the local ports towards it counted. Nothing is sent but that.
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<String>,
    /// Wait for up to TIME (2m if none is given) for the destination to close a connection on
    /// which nothing is sent
    ///
    /// It tells what idle time a pool may have. Ctrl-C ends it early, with what was found until
    /// then.
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
    /// What they ask for; `None` if nothing.
    ///
    /// # Errors
    ///
    /// That the command line is wrong.
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

/// Looks at it: within some 15 s, of a destination that answers nothing, and as quickly as it
/// answers otherwise. A check that was asked for by its name and can't be made here says so.
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

/// That the destination can't be reached is told whatever was asked for: nothing else of it can be
/// found out then.
pub(super) fn is_unreached(finding: &Finding) -> bool {
    finding.mark == Mark::Bad && ["resolve", "connect"].contains(&finding.check)
}

/// Whoever leaves the time out may name a check behind the flag, which then isn't one.
fn parse_idle_time(text: &str) -> Result<Duration, String> {
    match selection::listed().any(|check| check.name == text) {
        true => Err(String::from(
            "this is a check: name it before --idle-test, or give a time such as 2m",
        )),
        false => parse_span_above_zero(text),
    }
}
