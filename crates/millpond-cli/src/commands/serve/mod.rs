//! `millpond serve`: a server of the `length:` protocol, from the start to the end of its drain.

mod answering;
mod events;
mod exec;
mod fitness;
mod hangup;
mod plan;

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use millpond::{
    Chain,
    framing::LengthJson,
    net::{Endpoint, Host, Listener},
    server::{Ended, Running, Server},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{
    events::{DoubtfulCertificate, Drained, Draining, Events, FewDescriptors, Listening},
    hangup::Terminal,
    plan::Plan,
};
use crate::{
    allocator,
    complaint::Complaint,
    exit::Exit,
    stderr,
    text::{count, parse_heartbeat, parse_size, parse_span, parse_span_above_zero},
};

/// How long what is left of a closed server, the programs that it runs above all, may take to end.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

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
    listen: String,
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
    handler: String,
    /// Pass bodies on unread: neither requests nor replies need be JSON
    #[arg(long)]
    raw: bool,
    /// How long a request may take; then its program is killed, with all that it has started. 0:
    /// for ever
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_span)]
    deadline: Duration,
    /// How many programs run at once [default: two per CPU, at least 4]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..=MOST))]
    max_processes: Option<usize>,
    /// How many requests wait for a program to end; more are told that the server is overloaded
    #[arg(long, value_name = "COUNT", default_value = "256", value_parser = count::<usize>(0..=MOST))]
    max_waiting: usize,
    /// After how long without sending anything a heartbeat is sent; 0: never
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_heartbeat, env = "MILLPOND_HEARTBEAT")]
    heartbeat: Duration,
    /// How many connections at once [default: 10000, or what the limit of open files leaves]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>(1..=MOST))]
    max_connections: Option<usize>,
    /// How many of them from one address; 0: no such limit
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = count::<usize>(0..=MOST))]
    max_connections_per_address: usize,
    /// The longest body, in either direction
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    max_frame: NonZeroUsize,
    /// How much of requests and replies is held for all clients together; beyond it clients aren't
    /// read, and wait
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_size)]
    max_bytes: NonZeroUsize,
    /// How much of it for one connection, beside its first request
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = parse_size)]
    max_bytes_per_connection: NonZeroUsize,
    /// How long a connection may be without a request; 0: for ever
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_span)]
    idle_timeout: Duration,
    /// How long what is under way may take after SIGTERM or Ctrl-C
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_span_above_zero, env = "MILLPOND_DRAIN")]
    drain: Duration,
    /// For tls://: our certificate, and those that lead from it to its authority, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        env = "MILLPOND_TLS_CERT"
    )]
    tls_cert: Option<PathBuf>,
    /// For tls://: our certificate's private key, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "MILLPOND_TLS_KEY"
    )]
    tls_key: Option<PathBuf>,
    /// For tls://: clients must have a certificate of an authority in this file, as PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "MILLPOND_TLS_CLIENT_CA"
    )]
    tls_client_ca: Option<PathBuf>,
    /// Let other machines connect without TLS and client certificates
    #[arg(long)]
    insecure_bind: bool,
    /// Tell what happens as JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    let exit = carry_out(arguments).unwrap_or_else(Complaint::report);
    stderr::finish();
    exit
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Complaint> {
    let plan = plan::parse(arguments)?;
    let no_thread = |error| {
        Complaint::of(
            Exit::Failure,
            &format!("no thread could be started: {error}"),
        )
    };
    stderr::never_wait().map_err(no_thread)?;
    let events = Events::new(plan.form).map_err(no_thread)?;
    let runtime = super::runtime()?;
    let ended = runtime.block_on(serve(plan, &events));
    // Programs that still run are killed when their requests are dropped.
    runtime.shutdown_timeout(LAST_MOMENTS);
    events.finish();
    ended
}

async fn serve(plan: Plan, events: &Events) -> Result<Exit, Complaint> {
    let cant_hear =
        |error| Complaint::of(Exit::Failure, &format!("signals can't be handled: {error}"));
    let mut signals = Signals::new().map_err(cant_hear)?;
    let listener = Listener::bind(&plan.endpoint, plan.listen_options.clone()).await;
    let listener = listener.map_err(|error| Complaint::of(Exit::Failure, &Chain(&error)))?;
    let endpoint = listener
        .endpoint()
        .map_err(|error| Complaint::of(Exit::Failure, &Chain(&error)))?;
    check_exposure(&endpoint, &plan)?;

    let certificates = plan.certificates.clone();
    let (within, listening) = (plan.drain, Listening::new(&endpoint, &plan));
    let few_descriptors = FewDescriptors::of(&plan);
    let doubtful = certificates
        .as_ref()
        .and_then(|certificates| DoubtfulCertificate::of(&certificates.files));
    let server = start(plan, listener)?;
    tokio::spawn(allocator::return_memory());
    events.tell(&listening);
    if let Some(few_descriptors) = few_descriptors {
        events.tell(&few_descriptors);
    }
    if let Some(doubtful) = doubtful {
        events.tell(&doubtful);
    }
    let early_end = loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End => break None,
                Asked::Reload => hangup::reload(certificates.as_ref(), events).await,
            },
            ended = server.ended() => break Some(ended),
        }
    };
    let ended = match early_end {
        Some(ended) => ended,
        None => drain(&server, within, &mut signals, events).await,
    };
    events.tell(&Drained::new(&ended, server.snapshot()));
    match &ended.failure {
        Some(error) => Err(Complaint::of(
            Exit::Failure,
            &format!("the listener failed: {}", Chain(&**error)),
        )),
        None if ended.forced > 0 || ended.unanswered > 0 => Ok(Exit::Failure),
        None => Ok(Exit::Ok),
    }
}

fn start(plan: Plan, listener: Listener) -> Result<Running, Complaint> {
    let max_frame = plan.max_frame;
    let mut builder = Server::builder(plan.handler)
        .framing(LengthJson::with_max_body(max_frame).limit_named("--max-frame"))
        .max_connections(plan.max_connections)
        .max_connections_per_address(plan.max_connections_per_address)
        .max_bytes(plan.max_bytes)
        .max_bytes_per_connection(plan.max_bytes_per_connection)
        .idle_timeout(plan.idle_timeout)
        .handler_deadline(plan.deadline)
        .heartbeat_interval(plan.heartbeat);
    if let Some(max_handled) = plan.max_handled {
        builder = builder.max_handled(max_handled);
    }
    builder
        .serve(listener)
        .map_err(|error| Complaint::of(Exit::Usage, &Chain(&error)))
}

/// Drains; a second signal closes what is left.
async fn drain(
    server: &Running,
    within: Duration,
    signals: &mut Signals,
    events: &Events,
) -> Ended {
    events.tell(&Draining::new(within, &server.snapshot()));
    tokio::select! {
        ended = server.drain(within) => ended,
        () = signals.end() => server.close().await,
    }
}

/// Other machines may connect only with a certificate, unless that was asked for.
fn check_exposure(endpoint: &Endpoint, plan: &Plan) -> Result<(), Complaint> {
    let (at, is_guarded) = match endpoint {
        Endpoint::Tls(at) => (at, plan.demands_certificates),
        Endpoint::Tcp(at) => (at, false),
        _ => return Ok(()),
    };
    let is_local = match at.host {
        Host::Address(address) => address.to_canonical().is_loopback(),
        Host::Name(_) => false,
    };
    if is_local || is_guarded || plan.insecure_bind {
        return Ok(());
    }
    Err(Complaint::usage(format!(
        "{endpoint} can be reached from other machines, and anybody there could send requests\n\
         listen on tls:// with --tls-cert, --tls-key and --tls-client-ca, on 127.0.0.1, or on a Unix socket;\n\
         or say --insecure-bind, where the network itself lets in only whom you trust"
    )))
}

/// What somebody wants of the program.
enum Asked {
    End,
    Reload,
}

/// By which it is asked.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    terminal: Terminal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            terminal: Terminal::at_start(),
        })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            () = end(&mut self.terminate, &mut self.interrupt) => Asked::End,
            _ = self.hangup.recv() => match self.terminal.has_gone() {
                true => Asked::End,
                false => Asked::Reload,
            },
        }
    }

    /// As it drains: a terminal that goes says so twice, by the kernel and by the shell, and means
    /// it once. Cancel safe.
    async fn end(&mut self) {
        end(&mut self.terminate, &mut self.interrupt).await;
    }
}

async fn end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
