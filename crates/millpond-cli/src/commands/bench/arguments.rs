//! The command line of `bench`.

use std::{
    num::NonZero,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ArgGroup;

use super::results::Mode;
use crate::{
    commands::{DEFAULT_ENDPOINT, tls::TlsFlags},
    framing,
    load::threads,
    numbers::thousands,
    text::{count, parse_heartbeat, parse_size, parse_span, parse_span_above_zero},
};

/// The rates that can be asked for: with less there is nothing to measure, and no machine of today
/// sends more.
const RATES: RangeInclusive<f64> = 0.1..=10_000_000.0;

/// What the help says of it, behind the presets.
const ABOUT_RAW: &str =
    "\n- raw: bytes of your own; --expect, --expect-end or --expect-length says where a reply ends";

/// See the command's help.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("document").args(["json", "csv", "markdown"]),
    after_help = "\
Examples:
  millpond bench
  millpond bench --to 127.0.0.1:6379 --framing raw \\
    --body 'PING\\r\\n' --expect '+PONG\\r\\n' \\
    --rate 20000 --html bench.html

The modes take turns: a connection for each request (short), a pool with one request on a connection at a time (exclusive), \
a pool with many requests in flight on a connection (pipelined). Without --rate each caller sends as soon as it has its \
reply; a server that stalls then gets fewer requests, and its stalls hardly show. With --rate requests are sent at that rate \
whatever happens, and latency counts from when each was due.

Ctrl-C ends it early and shows the results until then; a second Ctrl-C ends it at once.

Exit codes: 0 every reply was right; 1 some were not; 2 wrong flags; 3 no connection; 4 timed out; 5 the first \
request got no right reply."
)]
pub(crate) struct Arguments {
    /// The server: host:port, tls://host:port, tcp://host:port or unix:///path
    #[arg(
        long,
        value_name = "ENDPOINT",
        default_value = DEFAULT_ENDPOINT,
        env = "MILLPOND_TO"
    )]
    pub(super) to: String,
    /// The modes to compare, separated by commas: short, exclusive, pipelined
    #[arg(
        long,
        value_name = "MODES",
        value_enum,
        value_delimiter = ',',
        default_value = "short,exclusive,pipelined",
        hide_possible_values = true
    )]
    pub(super) modes: Vec<Mode>,
    /// How many requests may be in flight at once
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = count::<u32>(1..=100_000))]
    pub(super) callers: u32,
    /// How many connections each pool may have
    #[arg(long, value_name = "COUNT", default_value = "16", value_parser = count::<u32>(1..=100_000))]
    pub(super) connections: u32,
    /// How long each mode is measured, in seconds or with a unit, without the warm-up
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = parse_slice, conflicts_with = "requests")]
    pub(super) seconds: Duration,
    /// Send this many requests in each mode, instead of measuring for a time
    #[arg(long, value_name = "COUNT", value_parser = count::<u64>(1..=1_000_000_000_000))]
    pub(super) requests: Option<u64>,
    /// How many rounds to divide this into; the modes take turns in each round
    #[arg(long, value_name = "COUNT", default_value = "5", value_parser = count::<u32>(1..=1_000))]
    pub(super) rounds: u32,
    /// How long each mode sends requests before the measurement; 0: no warm-up
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_warm_up)]
    pub(super) warm_up: Duration,
    /// Send this many requests a second, whether or not replies keep up
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    pub(super) rate: Option<f64>,
    #[arg(
        long,
        value_name = "FRAMING",
        default_value = framing::default_name(),
        env = "MILLPOND_FRAMING",
        help = framing::HELP,
        long_help = framing::help(ABOUT_RAW),
    )]
    pub(super) framing: String,
    /// The request: JSON with length-json, else any bytes (\r, \n, \t, \0, \xNN, \\) [default: a
    /// JSON string of 64 bytes with length-json, else none]
    #[arg(long, value_name = "TEXT", conflicts_with = "body_file")]
    pub(super) body: Option<String>,
    /// Read the request from this file
    #[arg(long, value_name = "FILE")]
    pub(super) body_file: Option<PathBuf>,
    /// The right reply, written as --body is; without it every reply of the protocol counts as
    /// right, unless it is an error of length-json
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["expect_end", "expect_length"])]
    pub(super) expect: Option<String>,
    /// With raw: a reply ends where these bytes first occur
    #[arg(long, value_name = "TEXT", conflicts_with = "expect_length")]
    pub(super) expect_end: Option<String>,
    /// With raw: every reply has this many bytes
    #[arg(long, value_name = "BYTES", value_parser = parse_reply_length)]
    pub(super) expect_length: Option<NonZero<usize>>,
    /// How long a request may take, connecting included
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span_above_zero)]
    pub(super) deadline: Duration,
    /// How many threads run the callers [default: half of the cores, to leave some for the server
    /// and the kernel]
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(1..=1_024))]
    pub(super) threads: Option<u32>,
    /// Open short connections until no local port is left, and see what happens
    #[arg(long)]
    pub(super) exhaust: bool,
    /// Send a heartbeat on a connection that has been idle for this long; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    pub(super) heartbeat: Duration,
    /// Print the results as one JSON document, and nothing else
    #[arg(long)]
    pub(super) json: bool,
    /// Print the results as CSV, one line for each mode
    #[arg(long)]
    pub(super) csv: bool,
    /// Print the results as a Markdown table
    #[arg(long)]
    pub(super) markdown: bool,
    /// Write the results with plots into this file, as an HTML page
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Write only the plots into this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tls: TlsFlags,
}

impl Arguments {
    pub(super) fn threads(&self) -> usize {
        self.threads
            .map_or(threads::by_default(), |threads| threads as usize)
    }

    /// The files that are to be written, and their flags.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [("--html", &self.html), ("--svg", &self.svg)]
            .into_iter()
            .filter_map(|(flag, file)| Some((flag, file.as_deref()?)))
    }

    /// Whether stdout is a document.
    pub(super) fn prints_document(&self) -> bool {
        self.json || self.csv || self.markdown
    }
}

/// Reads how many requests a second are to be sent.
fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| {
        let (least, most) = (RATES.start(), thousands(*RATES.end() as u64));
        format!("write requests a second, from {least} to {most}")
    })
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
