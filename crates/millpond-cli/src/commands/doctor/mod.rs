//! `millpond doctor`: finds what limits connections, and changes nothing. `facts` reads the machine
//! first; then each check in `checks` makes one finding. A destination (`destination`, `idle`) and
//! a process (`process`) are examined if the command line names them. All findings become one
//! diagnosis, from which text and JSON are made.

mod cgroups;
mod checks;
mod counters;
mod destination;
mod diagnosis;
mod facts;
mod files;
mod finding;
#[cfg(test)]
mod fixture;
mod idle;
mod ports;
mod process;
mod report;
mod reuse;
mod selection;
mod sockets;
mod towards;

use std::{io, thread, time::Duration};

use clap::builder::{PossibleValue, PossibleValuesParser};
use millpond::kernel::descriptor_limits;
use tokio::runtime::Handle;

use self::{
    checks::Systems,
    destination::{Destination, DestinationFlags},
    diagnosis::Diagnosis,
    facts::{Descriptors, Facts},
    files::{Machine, Unread},
    finding::Finding,
    process::ProcessFlags,
    report::Detail,
    selection::{Selection, Subject},
};
use crate::{
    complaint::Complaint,
    exit::Exit,
    output,
    screen::{Drawing, Screen},
    stop::Stop,
    text::escaped_json,
};

/// The time between two readings of the kernel's counters: long enough to see events that happen
/// all the time, short enough not to annoy.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// See the command's help.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millpond doctor
  millpond doctor --to tls://db.example.com:5432 \\
    --idle-test 5m ephemeral-ports

Nothing is changed, and no privileges are needed; what can't be read is reported as unknown. Most checks exist only on Linux.

Exit codes: 0 nothing makes connections fail; 1 something does (✗), or --to can't be reached; 2 wrong flags, no such check, \
or no such process.")]
pub(crate) struct Arguments {
    /// Run only these checks of the machine, of --to or of --pid; --list-checks lists them
    #[arg(value_name = "CHECK", value_parser = check_names(), hide_possible_values = true)]
    checks: Vec<String>,

    /// List the checks and what they are about
    #[arg(long, conflicts_with_all = ["checks", "verbose", "json", "to", "pid"])]
    list_checks: bool,

    /// Explain good findings as fully as bad ones
    #[arg(short, long)]
    verbose: bool,

    /// Print the findings as one JSON document, and nothing else
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    destination: DestinationFlags,

    #[command(flatten)]
    process: ProcessFlags,
}

/// Clap answers a wrong name with the nearest right one and all others, and completes names.
fn check_names() -> PossibleValuesParser {
    let names = selection::listed().map(|check| PossibleValue::new(check.name).help(check.about));
    PossibleValuesParser::new(names)
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    carry_out(arguments).unwrap_or_else(Complaint::report)
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Complaint> {
    let screen = Screen::new(Drawing::Lines, Stop::new());
    if arguments.list_checks {
        // Flags that need --to are wrong without it here as well.
        arguments.destination.read()?;
        let lines = report::checks(
            selection::listed(),
            Systems::HERE,
            screen.width(),
            screen.paint(),
        );
        return output::write(lines.as_bytes(), Exit::Ok);
    }
    let diagnosis = diagnose(arguments)?;
    let shown = match arguments.json {
        true => {
            let document =
                serde_json::to_string_pretty(&diagnosis).expect("numbers and texts are JSON");
            escaped_json(&document) + "\n"
        }
        false => {
            let detail = match arguments.verbose {
                true => Detail::Everything,
                false => Detail::WhatIsWrong,
            };
            report::report(&diagnosis, detail, screen.width(), screen.paint())
        }
    };
    output::write(shown.as_bytes(), diagnosis.exit())
}

/// Runs all selected checks.
fn diagnose(arguments: &Arguments) -> Result<Diagnosis, Complaint> {
    let selection = Selection(&arguments.checks);
    let destination = arguments.destination.read()?;
    selection.check(Subject::Destination, destination.is_some())?;
    selection.check(Subject::Process, arguments.process.is_given())?;
    if let Some(destination) = &destination {
        selection.check_idle(destination.idle_test.is_some())?;
    }
    // The process first: it may not exist, and an idle test takes minutes.
    let of_the_process = process::check(&arguments.process, selection)?;
    let endpoint = destination
        .as_ref()
        .map(|destination| destination.endpoint.to_string());
    let mut findings = match selection.wants_machine() {
        true => of_the_machine(&arguments.checks),
        false => Vec::new(),
    };
    if let Some(destination) = destination {
        let runtime = super::runtime()?;
        findings.extend(runtime.block_on(of_the_destination(&destination, selection)));
        // A name lookup can't be cancelled, so it isn't waited for.
        runtime.shutdown_background();
    }
    findings.extend(of_the_process);
    let position =
        |finding: &Finding| selection::listed().position(|check| check.name == finding.check);
    findings.sort_by_key(position);
    findings.retain(|finding| selection.wants(finding.check) || destination::is_unreached(finding));
    Ok(Diagnosis::of(findings).about(endpoint, arguments.process.pid()))
}

fn of_the_machine(names: &[String]) -> Vec<Finding> {
    let limits = descriptor_limits()
        .map(Descriptors::from)
        .map_err(|error: io::Error| Unread::of("the limit of open files", &error));
    let watched = checks::watched(names);
    let facts = Facts::gather(&Machine, limits, &watched, || thread::sleep(BETWEEN_LOOKS));
    checks::examine(&facts, names, Systems::HERE)
}

async fn of_the_destination(destination: &Destination, selection: Selection<'_>) -> Vec<Finding> {
    let mut findings = destination::check(destination, selection).await;
    if destination.idle_test.is_some() {
        let stop = Stop::new();
        stop.raise_at_signals(&Handle::current());
        findings.extend(idle::check(destination, &stop).await);
    }
    findings
}
