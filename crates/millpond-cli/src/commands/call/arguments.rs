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

With -, Ctrl-C ends it early: every reply that has come is printed, with an error in place of each that hasn't, and stderr says \
how many are missing. A second Ctrl-C ends it at once.

Exit codes: 0 a reply; 1 an error reply, a lost connection, or with - any failure; 2 wrong flags, or no JSON; 3 no connection; \
4 timed out; 5 an invalid reply; 130 stopped before the end.")]
pub(crate) struct Arguments {
    /// The server: host:port, tls://host:port, tcp://host:port or unix:///path
    #[arg(long, value_name = "ENDPOINT", env = "MILLPOND_TO")]
    pub(super) to: String,
    /// The request, a JSON value; or - to read one request from each line of stdin
    ///
    /// With `-` the requests are sent in parallel, and the replies are printed in the order of the
    /// requests, one on each line. A failure is printed as {"error":{"code":…,"message":…}}. Codes of
    /// millpond itself are -32000 (unavailable), -32002 (timed out) and -32700 (not JSON). Blank lines
    /// are skipped.
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(super) request: OsString,
    /// How long a request may take, connecting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span_above_zero, env = "MILLPOND_CALL_DEADLINE")]
    pub(super) deadline: Duration,
    /// The request may be executed twice: send it again if its connection turns out to be dead
    #[arg(long)]
    pub(super) idempotent: bool,
    /// Send the request and print the reply as they are: neither need be JSON
    #[arg(long)]
    pub(super) raw: bool,
    /// Print a reply {"error":{"code":…,"message":…}} like any other, instead of failing
    #[arg(long)]
    pub(super) accept_errors: bool,
    /// Print one JSON document with the reply or the error, and the times; with - every line is
    /// JSON anyway
    #[arg(long)]
    pub(super) json: bool,
    /// Print on stderr how long each phase took; with -, the number of requests
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// With -: how many connections the pool may have
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = count::<u32>(1..=100_000))]
    pub(super) connections: u32,
    /// With -: how many requests may be sent ahead of the next reply to be printed
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = count::<u32>(1..=100_000))]
    pub(super) in_flight: u32,
    /// With -: keep many requests in flight on each connection; only for servers that answer in
    /// order, and that find all frames in what they read
    #[arg(long)]
    pub(super) pipelined: bool,
    /// The longest body of a request or a reply
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    pub(super) max_frame: NonZeroUsize,
    /// Send a heartbeat after this long without sending anything; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    pub(super) heartbeat: Duration,
    #[command(flatten)]
    pub(super) tls: TlsFlags,
}
