//! The command line of `proxy`.

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf, time::Duration};

use millpond::proxy;

use crate::{
    commands::{listening::ListenFlags, tls::TlsFlags},
    complaint::Complaint,
    framing::FramingFlags,
    text::{count, parse_heartbeat, parse_size, parse_span, parse_span_above_zero},
};

/// The largest number that a limit may be: far beyond the descriptors of any system.
const MOST: u64 = 1_000_000_000;

/// The most upstream connections, requests that wait, and the like.
const MOST_UPSTREAM: u64 = 1 << 24;

/// How many connections a route has to its upstreams, if that isn't said: they keep several cores
/// busy, and a database holds that many easily.
pub(super) const MAX_SIZE: u32 = 8;

/// What --config says instead, and --demo for itself.
const OF_ONE_ROUTE: [&str; 25] = [
    "listen",
    "to",
    "framing",
    "max_frame",
    "mode",
    "max_size",
    "max_waiting",
    "wait",
    "shed",
    "deadline",
    "depth",
    "max_pins",
    "max_pin_age",
    "heartbeat",
    "max_connections",
    "max_connections_per_address",
    "max_bytes",
    "max_bytes_per_connection",
    "idle_timeout",
    "ca",
    "cert",
    "key",
    "server_name",
    "tls_cert",
    "insecure_bind",
];

/// What is about requests, of which `--framing raw` knows none.
const OF_REQUESTS: [&str; 6] = [
    "max_frame",
    "deadline",
    "max_pins",
    "heartbeat",
    "max_bytes",
    "max_bytes_per_connection",
];

/// How upstream connections are lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    Exchange,
    Pipeline,
    Session,
}

impl From<Mode> for proxy::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Exchange => proxy::Mode::Exchange,
            Mode::Pipeline => proxy::Mode::Pipeline,
            Mode::Session => proxy::Mode::Session,
        }
    }
}

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond proxy --demo
  millpond proxy --listen 127.0.0.1:7071 --to 127.0.0.1:7070
  millpond proxy --listen unix:///tmp/pond.sock --to tls://db.example.com:7070 \\
    --ca ca.pem --mode pipeline --max-size 2
  millpond proxy --framing raw --listen 127.0.0.1:8081 --to 127.0.0.1:8080 --max-size 50
  millpond proxy --config routes.toml --check

SIGTERM or Ctrl-C drains: requests under way are finished, within --drain; new ones are refused as not executed. \
A second signal closes everything at once.

Exit codes: 0 everything was finished; 1 it failed, or the drain ended with requests unfinished; 2 wrong flags or a wrong file.")]
pub(crate) struct Arguments {
    /// Where clients connect to: host:port, tls://host:port, tcp://host:port or unix:///path; with
    /// port 0 the system chooses one
    #[arg(
        long,
        value_name = "ENDPOINT",
        required_unless_present_any = ["config", "demo"]
    )]
    pub(super) listen: Option<String>,
    /// The upstream, to which requests are passed on: an endpoint as above; given more than once,
    /// several that do the same, in one line
    ///
    /// A new connection goes to the one that has the fewest. One that fails three times in a row is
    /// ejected, its idle connections are closed, and it is dialled now and then until it is back.
    #[arg(
        long,
        value_name = "ENDPOINT",
        required_unless_present_any = ["config", "demo"]
    )]
    pub(super) to: Vec<String>,
    #[command(flatten)]
    pub(super) framing: FramingFlags,
    /// How upstream connections are lent: exchange, pipeline or session [default: exchange; with
    /// --framing raw session]
    ///
    /// `exchange`: for one request and its reply, to any client. `pipeline`: to many requests of
    /// many clients at once, for upstreams that answer in order or tell replies apart. `session`: to
    /// one client, for as long as it stays, for protocols with a state of which the framing knows
    /// nothing. With `--framing raw` bytes are passed on, whatever they mean; then it is `session`, and
    /// a connection is closed behind its client.
    #[arg(long, value_name = "MODE", value_enum, hide_possible_values = true)]
    pub(super) mode: Option<Mode>,
    /// How many connections there may be to the upstream; 8 keep several cores of it busy, and a
    /// database holds that many easily
    #[arg(long, value_name = "COUNT", default_value_t = MAX_SIZE, value_parser = count::<u32>(1..=MOST_UPSTREAM))]
    pub(super) max_size: u32,
    /// How many requests may wait for one; others are refused as overloaded
    #[arg(long, value_name = "COUNT", default_value = "1024", value_parser = count::<u32>(0..=MOST_UPSTREAM))]
    pub(super) max_waiting: u32,
    /// How long a request may wait for one
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_span_above_zero)]
    pub(super) wait: Duration,
    /// Refuse requests that have waited this long for one when their turn comes, as overloaded, while
    /// more come than are answered [without a time: 50ms; without this flag: never]
    ///
    /// For clients that give up: served in their order, after a while all would be served too late.
    /// Nobody is refused before all have waited so long for 100ms, nor if nobody else waits. Not for
    /// clients that must not be refused, such as those that deliver records.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "50ms", value_parser = parse_span_above_zero)]
    pub(super) shed: Option<Duration>,
    /// How long a request may take, waiting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span_above_zero)]
    pub(super) deadline: Duration,
    /// With --mode pipeline: how many requests may be under way on one connection [default: 128]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..=MOST_UPSTREAM))]
    pub(super) depth: Option<usize>,
    /// How many clients may have a connection to themselves [default: half of --max-size; with
    /// --mode session all]
    #[arg(long, value_name = "COUNT", value_parser = count::<u32>(0..=MOST_UPSTREAM))]
    pub(super) max_pins: Option<u32>,
    /// How long a client may have a connection to itself; 0: without a limit [default: 10m; with
    /// --framing raw without a limit]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(super) max_pin_age: Option<Duration>,
    /// Send a heartbeat after this long without sending anything; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat)]
    pub(super) heartbeat: Duration,
    /// How many clients may be connected [default: 10000, or what the limit of open files leaves]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..=MOST))]
    pub(super) max_connections: Option<usize>,
    /// How many of them may come from one address; 0: without a limit
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = count::<usize>(0..=MOST))]
    pub(super) max_connections_per_address: usize,
    /// How many bytes of requests and replies are held for all clients together; beyond it clients
    /// wait
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_size)]
    pub(super) max_bytes: NonZeroUsize,
    /// How many bytes are held for one client, besides its first request
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = parse_size)]
    pub(super) max_bytes_per_connection: NonZeroUsize,
    /// How long a client may stay connected without a request; 0: without a limit
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_span)]
    pub(super) idle_timeout: Duration,
    /// How long requests under way may take after SIGTERM or Ctrl-C
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span_above_zero, env = "MILLPOND_DRAIN")]
    pub(super) drain: Duration,
    /// How many threads pass requests on; on few cores one is faster than two, which take cores from
    /// clients and upstream
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count::<usize>(1..=1_024))]
    pub(super) threads: usize,
    #[command(flatten)]
    pub(super) tls: ListenFlags,
    #[command(flatten)]
    pub(super) upstream_tls: TlsFlags,
    /// Read the routes from a TOML file, any number of them, instead of the flags above
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// With --config: say whether the file is right, and serve nothing
    #[arg(long, requires = "config")]
    pub(super) check: bool,
    /// Show what a route does: 200 clients with a connection for each request, first direct, then
    /// through a route with 8 connections; takes seconds
    #[arg(long, conflicts_with = "config")]
    pub(super) demo: bool,
    /// Print events as JSON, one object on each line
    #[arg(long)]
    pub(super) json: bool,
}

impl Arguments {
    /// With --config or --demo no flag of a route may be given. Its environment variable may be set,
    /// for other commands, and is of no account then; clap would refuse it as well.
    pub(super) fn check_given(
        &self,
        given: impl IntoIterator<Item = OsString>,
    ) -> Result<(), Complaint> {
        let alone = match (&self.config, self.demo) {
            (Some(_), _) => "--config",
            (None, true) => "--demo",
            (None, false) => return Ok(()),
        };
        let said = match self.demo {
            true => "it has a route of its own",
            false => "the file says it, for each route",
        };
        match first_of(&OF_ONE_ROUTE, given) {
            Some(flag) => Err(Complaint::usage(format!(
                "{alone} cannot be used with {flag}: {said}"
            ))),
            None => Ok(()),
        }
    }

    /// With --framing raw no flag may be given that is about requests.
    pub(super) fn check_raw(
        &self,
        given: impl IntoIterator<Item = OsString>,
    ) -> Result<(), Complaint> {
        if self.mode.is_some_and(|mode| mode != Mode::Session) {
            return Err(Complaint::usage(
                "--framing raw is for --mode session, which needn't be said: bytes don't tell where a request ends, so a client keeps its connection",
            ));
        }
        match first_of(&OF_REQUESTS, given) {
            Some(flag) => Err(Complaint::usage(format!(
                "--framing raw cannot be used with {flag}: it passes bytes on, and knows of no requests"
            ))),
            None => Ok(()),
        }
    }
}

/// The first of these flags that is given.
fn first_of(flags: &[&str], given: impl IntoIterator<Item = OsString>) -> Option<String> {
    given.into_iter().find_map(|argument| {
        let argument = argument.to_string_lossy();
        let flag = argument.split('=').next().unwrap_or_default();
        let is_it = |name: &&str| flag.strip_prefix("--") == Some(&name.replace('_', "-"));
        flags.iter().any(is_it).then(|| flag.to_owned())
    })
}
