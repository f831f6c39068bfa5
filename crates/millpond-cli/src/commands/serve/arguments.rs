//! The command line of `serve`.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use crate::text::{count, parse_heartbeat, parse_size, parse_span, parse_span_above_zero};

/// More than that of anything is no limit: far beyond what a system has descriptors for.
const MOST: u64 = 1_000_000_000;

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond serve
  millpond serve --listen unix:///tmp/pond.sock \\
    --handler 'exec:jq -c .name' --deadline 5s

SIGTERM or Ctrl-C drains: what was begun is finished, within --drain; what isn't begun any more is refused as not executed \
(-32003); a second one closes at once.

Certificate files that have changed are read again for new connections, within a second; SIGHUP reads them at once and says \
what came of it. Files that can't be used leave the old certificates in use.

Exit codes: 0 all was finished; 1 it failed, or the drain closed what was under way or left requests unanswered; 2 wrong flags.")]
pub(crate) struct Arguments {
    /// Where: host:port, tcp://host:port, tls://host:port or unix:///path; port 0 lets the system
    /// choose
    #[arg(
        long,
        value_name = "ENDPOINT",
        default_value = "tcp://127.0.0.1:7070",
        env = "MILLPOND_LISTEN"
    )]
    pub(super) listen: String,
    /// Who answers: echo, reference (a fixed sentence in Chinese and the request), or exec:PROGRAM
    /// ARGS…
    ///
    /// `echo` answers with the request. `reference` answers as the server of the article in which
    /// this protocol was first published, a Node.js tutorial in Chinese: a JSON string of
    /// "服务端的数据数据:" ("the server's data:") and the request's text. `exec:PROGRAM ARGS…`
    /// starts the program for each request, without a shell: the request is its input, its output
    /// the reply. Quotes keep words together. A program that fails, or whose output
    /// isn't JSON, makes an error reply (-32603); what it writes to stderr goes to ours.
    #[arg(
        long,
        value_name = "HANDLER",
        default_value = "echo",
        env = "MILLPOND_HANDLER"
    )]
    pub(super) handler: String,
    /// Pass bodies on unread: neither requests nor replies need be JSON
    #[arg(long)]
    pub(super) raw: bool,
    /// How long a request may take; then its program is killed, with all that it has started. 0:
    /// for ever
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span)]
    pub(super) deadline: Duration,
    /// How many programs run at once [default: two per CPU, at least 4]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..=MOST))]
    pub(super) max_processes: Option<usize>,
    /// How many requests wait for a program to end; more are told that the server is overloaded
    #[arg(long, value_name = "COUNT", default_value = "256", value_parser = count::<usize>(0..=MOST))]
    pub(super) max_waiting: usize,
    /// After how long without sending anything a heartbeat is sent; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    pub(super) heartbeat: Duration,
    /// How many connections at once [default: 10000, or what the limit of open files leaves]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..=MOST))]
    pub(super) max_connections: Option<usize>,
    /// How many of them from one address; 0: no such limit
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = count::<usize>(0..=MOST))]
    pub(super) max_connections_per_address: usize,
    /// The longest body, in either direction
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    pub(super) max_frame: NonZeroUsize,
    /// How much of requests and replies is held for all clients together; beyond it clients aren't
    /// read, and wait
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_size)]
    pub(super) max_bytes: NonZeroUsize,
    /// How much of it for one connection, beside its first request
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = parse_size)]
    pub(super) max_bytes_per_connection: NonZeroUsize,
    /// How long a connection may be without a request; 0: for ever
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_span)]
    pub(super) idle_timeout: Duration,
    /// How long what is under way may take after SIGTERM or Ctrl-C
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span_above_zero, env = "MILLPOND_DRAIN")]
    pub(super) drain: Duration,
    /// For tls://: our certificate, and those that lead from it to its authority, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        env = "MILLPOND_TLS_CERT"
    )]
    pub(super) tls_cert: Option<PathBuf>,
    /// For tls://: our certificate's private key, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "MILLPOND_TLS_KEY"
    )]
    pub(super) tls_key: Option<PathBuf>,
    /// For tls://: clients must have a certificate of an authority in this file, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "MILLPOND_TLS_CLIENT_CA"
    )]
    pub(super) tls_client_ca: Option<PathBuf>,
    /// Let other machines connect without TLS and client certificates
    #[arg(long)]
    pub(super) insecure_bind: bool,
    /// Tell what happens as JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
}
