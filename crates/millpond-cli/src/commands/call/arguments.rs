//! The command line of `call`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::{
    commands::{DEFAULT_ENDPOINT, tls::TlsFlags},
    framing::FramingFlags,
    text::{count, parse_heartbeat, parse_span_above_zero},
};

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond call '{\"a\":1}' -v
  millpond call --to tls://db.example.com:7070 \\
    --ca ca.pem - < requests.jsonl > replies.jsonl

With -, Ctrl-C ends it early: every reply that has come is printed, with an error in place of each that hasn't, and stderr says \
how many are missing. A second Ctrl-C ends it at once.

Exit codes: 0 a reply, or none is due; 1 an error reply, a lost connection, or with - any failure; 2 wrong flags, or no request of the framing; 3 no connection; \
4 timed out; 5 an invalid reply; 130 stopped before the end.")]
pub(crate) struct Arguments {
    /// The server: host:port, tls://host:port, tcp://host:port or unix:///path
    #[arg(
        long,
        value_name = "ENDPOINT",
        default_value = DEFAULT_ENDPOINT,
        env = "MILLPOND_TO"
    )]
    pub(super) to: String,
    /// The request: a JSON value, or the body of another --framing; or - to read one request from
    /// each line of stdin
    ///
    /// With `-` the requests are sent in parallel, and the replies are printed in the order of the
    /// requests, one on each line. A failure is printed as {"error":{"code":…,"message":…}}. Codes of
    /// millpond itself are -32000 (unavailable), -32002 (timed out) and -32700 (not JSON). Blank lines
    /// are skipped.
    #[arg(
        value_name = "REQUEST",
        allow_negative_numbers = true,
        required_unless_present = "request_file",
        conflicts_with = "request_file"
    )]
    pub(super) request: Option<OsString>,
    /// Read the request from this file, all of it as it is; - is stdin
    #[arg(long, value_name = "FILE")]
    pub(super) request_file: Option<PathBuf>,
    /// The request, or with - each line, is in hex digits, and so are the replies; --request-file
    /// is read as it is all the same
    #[arg(long)]
    pub(super) hex: bool,
    #[command(flatten)]
    pub(super) framing: FramingFlags,
    /// How long a request may take, connecting included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span_above_zero, env = "MILLPOND_CALL_DEADLINE")]
    pub(super) deadline: Duration,
    /// The request may be executed twice: send it again if its connection turns out to be dead
    #[arg(long)]
    pub(super) idempotent: bool,
    /// Send the request and print the reply as they are: neither need be JSON, as with any framing
    /// but length-json
    #[arg(long)]
    pub(super) raw: bool,
    /// Print a reply {"error":{"code":…,"message":…}} like any other, instead of failing
    #[arg(long)]
    pub(super) accept_errors: bool,
    /// Print one JSON document with the reply or the error, and the times; with - a JSON value on
    /// each line, as replies that are JSON have anyway
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
    /// Send a heartbeat after this long without sending anything; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    pub(super) heartbeat: Duration,
    #[command(flatten)]
    pub(super) tls: TlsFlags,
}
