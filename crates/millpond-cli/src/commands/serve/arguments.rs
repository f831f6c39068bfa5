//! The command line of `serve`.

use std::{num::NonZeroUsize, time::Duration};

use crate::{
    commands::{DEFAULT_ENDPOINT, listening::ListenFlags},
    framing::FramingFlags,
    text::{count, parse_heartbeat, parse_size, parse_span, parse_span_above_zero},
};

/// The largest number that a limit may be: far beyond the descriptors of any system.
const MOST: u64 = 1_000_000_000;

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond serve
  millpond serve --listen unix:///tmp/pond.sock \\
    --handler 'exec:jq -c .name' --deadline 5s

SIGTERM or Ctrl-C drains: requests under way are finished, within --drain; new ones are refused as not executed (-32003). \
A second signal closes everything at once.

Certificate files that change are read again within a second, for new connections. SIGHUP reads them at once and prints the \
outcome. If they can't be used, the old certificates stay in use.

Exit codes: 0 everything was finished; 1 it failed, or the drain ended with requests unfinished; 2 wrong flags.")]
pub(crate) struct Arguments {
    /// Where to listen: host:port, tls://host:port, tcp://host:port or unix:///path; with port 0
    /// the system chooses one
    #[arg(
        long,
        value_name = "ENDPOINT",
        default_value = DEFAULT_ENDPOINT,
        env = "MILLPOND_LISTEN"
    )]
    pub(super) listen: String,
    #[command(flatten)]
    pub(super) framing: FramingFlags,
    /// The handler: echo, reference (a fixed Chinese sentence and the request), or exec:PROGRAM
    /// ARGS…
    ///
    /// `echo` answers with the request, or with the smallest reply that accepts it where replies have
    /// another form, as the acknowledgments of mllp have. `reference` is for length-json, and answers like the server in the article that
    /// published this protocol, a Node.js tutorial in Chinese: with a JSON string of "服务端的数据数据:"
    /// ("the server's data:") and the request's text. `exec:PROGRAM ARGS…` starts the program for
    /// each request, without a shell: the request is its stdin, its stdout is the reply. Quotes
    /// keep words together. If the program fails, or its output isn't JSON where it must be, the
    /// client gets an error reply (-32603); other framings tell a failure in their own way. Its
    /// stderr goes to the server's.
    #[arg(
        long,
        value_name = "HANDLER",
        default_value = "echo",
        env = "MILLPOND_HANDLER"
    )]
    pub(super) handler: String,
    /// Pass bodies on without looking at them: neither requests nor replies need be JSON, as with
    /// any framing but length-json
    #[arg(long)]
    pub(super) raw: bool,
    /// How long a request may take; then its program is killed with everything it has started; 0:
    /// without a limit
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span)]
    pub(super) deadline: Duration,
    /// How many programs may run at once [default: two per CPU, at least 4]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..=MOST))]
    pub(super) max_processes: Option<usize>,
    /// How many requests may wait for a program to end; others are refused as overloaded
    #[arg(long, value_name = "COUNT", default_value = "256", value_parser = count::<usize>(0..=MOST))]
    pub(super) max_waiting: usize,
    /// Send a heartbeat after this long without sending anything; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    pub(super) heartbeat: Duration,
    /// How many connections may be open [default: 10000, or what the limit of open files leaves]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..=MOST))]
    pub(super) max_connections: Option<usize>,
    /// How many connections may come from one address; 0: without a limit
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = count::<usize>(0..=MOST))]
    pub(super) max_connections_per_address: usize,
    /// How many bytes of requests and replies are held for all clients together; beyond it clients
    /// wait
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_size)]
    pub(super) max_bytes: NonZeroUsize,
    /// How many bytes are held for one connection, besides its first request
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = parse_size)]
    pub(super) max_bytes_per_connection: NonZeroUsize,
    /// How long a connection may stay open without a request; 0: without a limit
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_span)]
    pub(super) idle_timeout: Duration,
    /// How long requests under way may take after SIGTERM or Ctrl-C
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span_above_zero, env = "MILLPOND_DRAIN")]
    pub(super) drain: Duration,
    #[command(flatten)]
    pub(super) tls: ListenFlags,
    /// Print events as JSON, one object on each line
    #[arg(long)]
    pub(super) json: bool,
}
