//! `millpond bench`: what short, exclusive and pipelined connections cost against a server of the
//! user's. Owns the command line and the order of things; what was found is in [`results`], and
//! every form that it is shown in is made from there.

mod conclude;
mod contender;
mod load;
mod pacer;
mod plan;
mod progress;
mod report;
mod results;
mod run;
mod tally;
mod usage;
mod warnings;
mod wire;

use millpond::Chain;
use std::{
    fs, io,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::{ArgGroup, ValueEnum};
use tokio::{
    runtime::{self, Runtime},
    select,
};

use self::{
    contender::FirstContact,
    plan::Plan,
    results::{ErrorKind, Mode, ModeResults, Results},
};
use super::{in_flags, tls::TlsFlags};
use crate::{
    complaint::Complaint,
    exit::Exit,
    output,
    screen::{Drawing, Screen},
    stop::Stop,
    text::{count, escaped, parse_heartbeat, parse_size, parse_span, parse_span_above_zero},
};

/// See the command's help.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("document").args(["json", "csv", "markdown"]),
    after_help = "\
Examples:
  millpond bench --to 127.0.0.1:7070
  millpond bench --to 127.0.0.1:6379 --framing raw \\
    --body 'PING\\r\\n' --expect '+PONG\\r\\n' \\
    --rate 20000 --html bench.html

The callers send over connections of their own (short), over a pool with one exchange on a connection at a time (exclusive), \
or over a pool with many in flight (pipelined), in turns. Without --rate each sends as soon as it has its reply: a server \
that stalls is then asked less, and its stalls hardly show. With --rate requests are sent at that rate whatever happens, and \
latency counts from when each was to be sent.

Ctrl-C ends it early, with what was found until then; a second one at once.

Exit codes: 0 every reply was right; 1 some were not; 2 wrong flags; 3 nobody could be connected to; 4 it took too long; \
5 no right reply came."
)]
pub(crate) struct Arguments {
    /// Where: host:port, tcp://host:port, tls://host:port or unix:///path
    #[arg(long, value_name = "ENDPOINT", env = "MILLPOND_TO")]
    to: String,
    /// What to compare: short, exclusive, pipelined, or some of them with commas
    #[arg(
        long,
        value_name = "MODES",
        value_enum,
        value_delimiter = ',',
        default_value = "short,exclusive,pipelined",
        hide_possible_values = true
    )]
    modes: Vec<Mode>,
    /// How many requests may be under way at once
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = count::<u32>(1..=100_000))]
    callers: u32,
    /// How many connections a pool may have
    #[arg(long, value_name = "COUNT", default_value = "16", value_parser = count::<u32>(1..=100_000))]
    connections: u32,
    /// How long each mode is measured, in seconds or with a unit, warm-up not included
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = parse_slice, conflicts_with = "requests")]
    seconds: Duration,
    /// How many requests each mode sends, instead of for how long
    #[arg(long, value_name = "COUNT", value_parser = count::<u64>(1..=1_000_000_000_000))]
    requests: Option<u64>,
    /// In how many rounds, between which the modes take turns
    #[arg(long, value_name = "COUNT", default_value = "5", value_parser = count::<u32>(1..=1_000))]
    rounds: u32,
    /// How long each mode sends before anything counts; 0: not at all
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_warm_up)]
    warm_up: Duration,
    /// Send so many requests a second, whatever becomes of them
    #[arg(long, value_name = "PER_SECOND", value_parser = plan::parse_rate)]
    rate: Option<f64>,
    /// What the server speaks: length-json, or raw for bytes that you give
    #[arg(
        long,
        value_name = "FRAMING",
        value_enum,
        default_value = "length-json",
        hide_possible_values = true
    )]
    framing: FramingName,
    /// The request: JSON, or with raw any bytes (\r, \n, \t, \0, \xNN, \\) [default: a JSON string
    /// of 64 bytes]
    #[arg(long, value_name = "TEXT", conflicts_with = "body_file")]
    body: Option<String>,
    /// The request, as it is in this file
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// What each reply must be; without it any reply counts as right that is no error
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["expect_end", "expect_length"])]
    expect: Option<String>,
    /// With raw: a reply ends with the first of these bytes
    #[arg(long, value_name = "TEXT", conflicts_with = "expect_length")]
    expect_end: Option<String>,
    /// With raw: a reply has so many bytes
    #[arg(long, value_name = "BYTES", value_parser = parse_reply_length)]
    expect_length: Option<NonZero<usize>>,
    /// How long a request may take, connecting included
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span_above_zero)]
    deadline: Duration,
    /// How many threads carry the callers [default: half of the cores, for the server and the
    /// kernel need some]
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..=1_024))]
    threads: Option<u32>,
    /// Go on with short connections until no local port is left, and see what that looks like
    #[arg(long)]
    exhaust: bool,
    /// After how long without sending anything a heartbeat is sent on an idle connection; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    heartbeat: Duration,
    /// Print what was found as one JSON document, and nothing else
    #[arg(long)]
    json: bool,
    /// Print it as CSV, one line for each mode
    #[arg(long)]
    csv: bool,
    /// Print it as a Markdown table
    #[arg(long)]
    markdown: bool,
    /// Write it with plots into this file, for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the plots alone into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsFlags,
}

/// How requests and replies are told apart on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FramingName {
    /// A header with the length, and a JSON body
    LengthJson,
    /// None: bytes that the command line gives
    Raw,
}

impl FramingName {
    fn name(self) -> &'static str {
        match self {
            FramingName::LengthJson => "length-json",
            FramingName::Raw => "raw",
        }
    }
}

impl Arguments {
    fn threads(&self) -> usize {
        self.threads
            .map_or((cores() / 2).max(1), |threads| threads as usize)
    }

    /// The files that are to be written, and their flags.
    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [("--html", &self.html), ("--svg", &self.svg)]
            .into_iter()
            .filter_map(|(flag, file)| Some((flag, file.as_deref()?)))
    }

    /// Whether stdout is a document.
    fn prints_document(&self) -> bool {
        self.json || self.csv || self.markdown
    }
}

/// Cores that this process may use.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    carry_out(arguments).unwrap_or_else(Complaint::report)
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Complaint> {
    let plan = Plan::of(arguments)?;
    for (flag, file) in arguments.files() {
        writable(flag, file)?;
    }
    let runtime = callers_runtime(plan.threads).map_err(|error| {
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
        server = contender::first_contact(plan) => server.map_err(complaint)?,
        () = stop.stopped() => {
            return Err(Complaint::of(Exit::Failure, &"stopped before the first reply"));
        }
    };
    let measured = run::run(plan, server, screen, stop).await;
    let measured = measured.map_err(|error| Complaint::usage(Chain(&error).to_string()))?;
    Ok(conclude::conclude(plan, measured, stop.is_stopped()))
}

/// Why there is nothing to measure.
fn complaint(error: FirstContact) -> Complaint {
    match error {
        FirstContact::Unreachable(error) => {
            Complaint::of(Exit::Connect, &in_flags(&Chain(&error).to_string()))
        }
        FirstContact::TimedOut { within } => Complaint::of(
            Exit::Timeout,
            &format!(
                "the first request had no reply within {} (--deadline)",
                crate::text::span(within)
            ),
        ),
        FirstContact::NoReply(miss) => {
            let exit = match miss.kind {
                ErrorKind::Connect => Exit::Connect,
                ErrorKind::Protocol | ErrorKind::ErrorReply | ErrorKind::Lost => Exit::Protocol,
                _ => Exit::Failure,
            };
            Complaint::of(exit, &format!("the first request failed: {}", miss.said))
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

/// Makes sure of it before there is anything to lose.
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

fn callers_runtime(threads: usize) -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}

/// A time of a day at most.
fn within_a_day(time: Duration) -> Result<Duration, String> {
    match time > Duration::from_secs(24 * 60 * 60) {
        true => Err(String::from("it must be no longer than a day")),
        false => Ok(time),
    }
}

fn parse_slice(text: &str) -> Result<Duration, String> {
    within_a_day(parse_span_above_zero(text)?)
}

fn parse_reply_length(text: &str) -> Result<NonZero<usize>, String> {
    match parse_size(text)? {
        length if length.get() > 1 << 30 => Err(String::from("it must be no longer than 1GiB")),
        length => Ok(length),
    }
}

fn parse_warm_up(text: &str) -> Result<Duration, String> {
    within_a_day(parse_span(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_measured_for_a_day_at_most() {
        assert_eq!(parse_slice("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_slice("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_warm_up("0"), Ok(Duration::ZERO));
        for bad in ["0", "-1", "NaN", "1e19", "1e99", "25h", "x"] {
            assert!(parse_slice(bad).is_err(), "{bad}");
        }
    }
}
