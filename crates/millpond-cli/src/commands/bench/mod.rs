//! `millpond bench`: what short, exclusive and pipelined connections cost against a server of the
//! user's. Owns the order of things. What was found is in [`results`]; every form of output is made
//! from there.

mod arguments;
mod conclude;
mod contender;
mod escapes;
mod exchange;
mod first_contact;
mod framing;
mod miss;
mod plan;
mod progress;
mod report;
mod results;
mod run;
mod spoken;
mod statistics;
mod usage;
mod warnings;

use std::{fs, io, path::Path};

use millpond::Chain;
use tokio::select;

pub(crate) use self::arguments::Arguments;
use self::{
    first_contact::NoContact,
    plan::Plan,
    results::{ErrorKind, ModeResults, Results},
};
use super::in_flags;
use crate::{
    complaint::Complaint,
    exit::Exit,
    load::threads,
    output,
    screen::{Drawing, Screen},
    stop::Stop,
    text::{escaped, span},
};

pub(crate) fn run(arguments: &Arguments) -> Exit {
    carry_out(arguments).unwrap_or_else(Complaint::report)
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Complaint> {
    let plan = Plan::of(arguments)?;
    for (flag, file) in arguments.files() {
        writable(flag, file)?;
    }
    let runtime = threads::runtime(plan.threads).map_err(|error| {
        Complaint::of(
            Exit::Failure,
            &format!("no runtime could be started: {error}"),
        )
    })?;
    let stop = Stop::new();
    let drawing = match arguments.prints_document() {
        true => Drawing::Nothing,
        false => Drawing::of_text(),
    };
    let mut screen = Screen::new(drawing, stop.clone());
    stop.raise_at_signals(runtime.handle());
    let results = runtime.block_on(measure(&plan, &mut screen, &stop))?;
    runtime.shutdown_background();
    show(&results, arguments, &mut screen)?;
    let is_well = |mode: &ModeResults| mode.errors.is_empty();
    let is_any = |mode: &ModeResults| mode.replies_ok > 0;
    Ok(
        match results.modes.iter().all(is_well) && results.modes.iter().any(is_any) {
            true => Exit::Ok,
            false => Exit::Failure,
        },
    )
}

async fn measure(plan: &Plan, screen: &mut Screen, stop: &Stop) -> Result<Results, Complaint> {
    let server = select! {
        server = first_contact::first_contact(plan) => server.map_err(complaint)?,
        () = stop.stopped() => {
            return Err(Complaint::of(Exit::Failure, &"stopped before the first reply"));
        }
    };
    let measured = run::run(plan, server, screen, stop).await;
    let measured = measured.map_err(|error| Complaint::usage(Chain(&error).to_string()))?;
    Ok(conclude::conclude(plan, measured, stop.is_stopped()))
}

/// Why there is nothing to measure.
fn complaint(error: NoContact) -> Complaint {
    match error {
        NoContact::Unreachable(error) => {
            Complaint::of(Exit::Connect, &in_flags(&Chain(&error).to_string()))
        }
        NoContact::TimedOut { within } => Complaint::of(
            Exit::Timeout,
            &format!(
                "the first request had no reply within {} (--deadline)",
                span(within)
            ),
        ),
        NoContact::NoReply(miss) => {
            let exit = match miss.kind {
                ErrorKind::Connect => Exit::Connect,
                ErrorKind::Protocol | ErrorKind::ErrorReply | ErrorKind::Lost => Exit::Protocol,
                _ => Exit::Failure,
            };
            Complaint::of(exit, &format!("the first request failed: {}", miss.text))
        }
    }
}

fn show(results: &Results, arguments: &Arguments, screen: &mut Screen) -> Result<(), Complaint> {
    let not_drawn = |error: report::plots::NotDrawn| Complaint::of(Exit::Failure, &Chain(&error));
    if let Some(file) = &arguments.html {
        write(
            "--html",
            file,
            &report::html::html(results).map_err(not_drawn)?,
        )?;
    }
    if let Some(file) = &arguments.svg {
        write(
            "--svg",
            file,
            &report::plots::svg(results).map_err(not_drawn)?,
        )?;
    }
    let document = if arguments.json {
        serde_json::to_string_pretty(results).expect("numbers and texts are JSON")
    } else if arguments.csv {
        report::csv::csv(results)
    } else if arguments.markdown {
        report::markdown::markdown(results)
    } else {
        for line in report::text::text(results, screen.table_width(), screen.paint()) {
            screen.line(&line);
        }
        if arguments.files().next().is_some() {
            screen.line("");
        }
        for (_, file) in arguments.files() {
            screen.wrapped(
                "",
                &format!("Written to {}.", escaped(&file.display().to_string())),
            );
        }
        return screen.written().map_err(|error| output::cant_write(&error));
    };
    let printed = screen.document(document.trim_end());
    printed.map_err(|error| output::cant_write(&error))
}

/// Checks that the file can be written before anything is measured.
fn writable(flag: &str, file: &Path) -> Result<(), Complaint> {
    let opened = fs::OpenOptions::new().append(true).create(true).open(file);
    let said = |error: io::Error| format!("{flag}: {} can't be written: {error}", file.display());
    opened
        .map(drop)
        .map_err(|error| Complaint::usage(said(error)))
}

fn write(flag: &str, file: &Path, text: &str) -> Result<(), Complaint> {
    let said = |error: io::Error| format!("{flag}: {} can't be written: {error}", file.display());
    fs::write(file, text).map_err(|error| Complaint::of(Exit::Failure, &said(error)))
}
