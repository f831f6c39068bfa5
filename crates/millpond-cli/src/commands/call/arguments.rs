//! The command line of `call`.

use std::{ffi::OsString, num::NonZeroUsize, time::Duration};

use crate::{
    commands::tls::TlsFlags,
    text::{count, parse_heartbeat, parse_size, parse_span_above_zero},
};

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond call --to 127.0.0.1:7070 '{\"a\":1}' -v
  millpond call --to tls://db.example.com:7070 \\
    --ca ca.pem - < requests.jsonl > replies.jsonl

With -, Ctrl-C ends it early: each reply that has come is a whole line, an error is in place of each that hasn't, and stderr says how many \
are missing; a second one ends it at once.

Exit codes: 0 there was a reply; 1 an error reply, the connection was lost, or a line of many failed; 2 wrong flags or no JSON; \
3 nobody could be connected to; 4 it took too long; 5 what came was not of the protocol; \
130 it was stopped before its end.")]
pub(crate) struct Arguments {
    /// Where: host:port, tcp://host:port, tls://host:port or unix:///path
    #[arg(long, value_name = "ENDPOINT", env = "MILLPOND_TO")]
    pub(super) to: String,
    /// The request, a JSON value; or - for one on each line of stdin, which are sent in parallel
    ///
    /// With `-` there is one reply a line, in the order of the requests; a failure is
    /// {"error":{"code":…,"message":…}}, our own too: -32000 unavailable, -32002 timed out,
    /// -32700 not JSON. Blank lines are skipped.
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(super) request: OsString,
    /// How long a request may take, connecting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span_above_zero, env = "MILLPOND_CALL_DEADLINE")]
    pub(super) deadline: Duration,
    /// The request may be executed twice: send it again if an old connection turns out to be dead
    #[arg(long)]
    pub(super) idempotent: bool,
    /// Send the request as it is, and print the reply as it is: neither need be JSON
    #[arg(long)]
    pub(super) raw: bool,
    /// Take a reply {"error":{"code":…,"message":…}} for a reply like any other, not for a failure
    #[arg(long)]
    pub(super) accept_errors: bool,
    /// Print one JSON document with the reply or the error, and what it took; with - each line is
    /// JSON in any case
    #[arg(long)]
    pub(super) json: bool,
    /// Say on stderr what each phase took; with -, how many requests there were
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// With -: over how many connections at most
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = count::<u32>(1..=100_000))]
    pub(super) connections: u32,
    /// With -: how many requests are read ahead of the reply that is printed next
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = count::<u32>(1..=100_000))]
    pub(super) in_flight: u32,
    /// With -: keep many requests in flight on each connection, for servers that answer in order
    /// and look for frames in what they read
    #[arg(long)]
    pub(super) pipelined: bool,
    /// The longest body, in either direction
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    pub(super) max_frame: NonZeroUsize,
    /// After how long without sending anything a heartbeat is sent; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    pub(super) heartbeat: Duration,
    #[command(flatten)]
    pub(super) tls: TlsFlags,
}
