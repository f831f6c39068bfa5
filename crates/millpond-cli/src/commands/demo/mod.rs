//! `millpond demo`: the founding scene, a load with bad manners, and a comparison with a connection
//! per request, against servers of its own on 127.0.0.1. This file has their order; each act stands
//! alone.

mod acts;
mod callers;
mod counts;
mod error;
mod error_kind;
mod patience;
mod report;
mod scene;
mod setup;
mod summary;
mod unkind;

use std::{fmt, io, time::Duration};

use millpond::Chain;

use self::{
    error::DemoError,
    setup::{Mode, Setup},
    summary::Summary,
};
use crate::{
    complaint::Complaint,
    descriptors::Shortage,
    exit::Exit,
    load::threads,
    numbers::{counted, thousands},
    screen::{Drawing, Screen},
    stop::Stop,
    text::{count, parse_span},
};

/// See the command's help.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millpond demo
  millpond demo --pipelined --seconds 20 --callers 256 \\
    --connections 4 --json > demo.json

Ctrl-C ends it early and shows the results until then; a second Ctrl-C ends it at once.

Exit codes: 0 every reply was right; 1 something unexpected was found, or it failed; 2 wrong flags, or too few \
descriptors.")]
pub(crate) struct Arguments {
    /// How long the load lasts, in seconds or with a unit; the other parts take about half as long
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = parse_load)]
    seconds: Duration,

    /// How many callers send requests at once
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = count::<u32>(1..=10_000))]
    callers: u32,

    /// How many sockets the pool may have
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = count::<u32>(1..=10_000))]
    connections: u32,

    /// Keep many requests in flight on each socket, answered in order, instead of one at a time
    #[arg(long)]
    pipelined: bool,

    /// Print the results as one JSON document, and nothing else
    #[arg(long)]
    json: bool,

    /// Repeat the same random faults: which requests are cancelled, which replies are cut off
    /// [default: new ones each time]
    #[arg(long, value_name = "NUMBER", value_parser = count::<u64>(0..=u64::MAX))]
    seed: Option<u64>,
}

impl Arguments {
    fn mode(&self) -> Mode {
        match self.pipelined {
            true => Mode::Pipelined,
            false => Mode::Exclusive,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    carry_out(arguments).unwrap_or_else(Complaint::report)
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Complaint> {
    if let Some(error) = too_few_descriptors(arguments) {
        return Err(Complaint::usage(error));
    }
    let failed = |what: &str, error: &dyn fmt::Display| {
        Complaint::of(Exit::Failure, &format!("{what}{error}"))
    };
    let runtime = threads::runtime(threads::by_default())
        .map_err(|error| failed("no runtime for the callers could be started: ", &error))?;
    let stop = Stop::new();
    let drawing = match arguments.json {
        true => Drawing::Nothing,
        false => Drawing::of_text(),
    };
    let mut screen = Screen::new(drawing, stop.clone());
    stop.raise_at_signals(runtime.handle());
    let mut summary = Summary::new(
        arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)),
        arguments.mode(),
        arguments.callers,
        arguments.connections,
    );
    if let Err(error) = runtime.block_on(play(arguments, &mut summary, &mut screen, &stop)) {
        screen.keep();
        return Err(failed("", &Chain(&error)));
    }
    summary.interrupted = stop.is_stopped();
    show(&summary, arguments, &mut screen)
        .map_err(|error| failed("what was found can't be written: ", &error))?;
    Ok(match summary.is_well() {
        true => Exit::Ok,
        false => Exit::Failure,
    })
}

/// Plays one act after the other, until it is stopped.
async fn play(
    arguments: &Arguments,
    summary: &mut Summary,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<(), DemoError> {
    screen.title("1. ", "Two requests at once, and two more a second later");
    if let Some(scene) = scene::play(screen, stop).await? {
        summary.add_scene(scene);
    }
    let mut setup = Setup {
        callers: arguments.callers,
        length: arguments.seconds,
        seed: summary.seed,
        connections: arguments.connections,
        mode: arguments.mode(),
    };
    if !stop.is_stopped() {
        screen.line("");
        screen.title(
            "2. ",
            &format!(
                "Load: some requests are cancelled, some sockets cut off, some replies late; one restart (--seed {})",
                summary.seed
            ),
        );
        summary.add_load(&acts::unkind(setup, screen, stop).await?);
    }
    setup.length = comparison_length(setup.length);
    if !stop.is_stopped() {
        screen.line("");
        screen.title(
            "3. ",
            "All behave well: over a pool, then a socket per request",
        );
        summary.add_pooled(&acts::kind(setup, screen, stop).await?);
    }
    if !stop.is_stopped() {
        summary.add_short(&acts::short(setup, screen, stop).await?);
    }
    Ok(())
}

/// A shorter load would leave no time to recover from the restart.
fn parse_load(text: &str) -> Result<Duration, String> {
    let limits = Duration::from_millis(500)..=Duration::from_secs(60 * 60);
    match parse_span(text)? {
        length if limits.contains(&length) => Ok(length),
        _ => Err(String::from("it must be between 500ms and 1h")),
    }
}

/// How long each side of the comparison lasts: a fifth of the load, but not so long that short
/// connections would use up all ports.
fn comparison_length(load: Duration) -> Duration {
    (load / 5).clamp(Duration::from_millis(500), Duration::from_secs(2))
}

fn show(summary: &Summary, arguments: &Arguments, screen: &mut Screen) -> io::Result<()> {
    if arguments.json {
        let document = serde_json::to_string_pretty(summary).expect("numbers and texts are JSON");
        return screen.document(&document);
    }
    screen.line("");
    for line in report::report(summary, screen.width(), screen.paint()) {
        screen.line(&line);
    }
    screen.written()
}

/// Both ends of every socket are in this process, and short connections overlap with those that are
/// closing.
fn too_few_descriptors(arguments: &Arguments) -> Option<String> {
    let (connections, callers) = (
        u64::from(arguments.connections),
        u64::from(arguments.callers),
    );
    Shortage::of((2 * connections).max(3 * callers)).map(|shortage| {
        format!(
            "{} and {} need {} descriptors, since both ends of each socket are here, and {shortage}, or ask for fewer",
            counted(callers, "caller", "callers"),
            counted(connections, "connection", "connections"),
            thousands(shortage.needed),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_is_short_whatever_the_load() {
        let length = |seconds| comparison_length(Duration::from_secs(seconds)).as_millis();
        assert_eq!([1, 5, 3_600].map(length), [500, 1_000, 2_000]);
    }
}
