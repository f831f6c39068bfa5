//! `millpond serve`: a server of any framing, from its start to the end of its drain.

mod arguments;
mod certificates;
mod events;
mod exec;
mod fitness;
mod form;
mod handlers;
mod hangup;
mod plan;

use std::{io, time::Duration};

use millpond::{
    Chain,
    net::{Endpoint, Host, Listener},
    server::{Ended, Running, Server},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use self::arguments::Arguments;
use self::{
    events::{DoubtfulCertificate, Drained, Draining, Events, FewDescriptors, Listening},
    hangup::Terminal,
    plan::Plan,
};
use crate::{allocator, complaint::Complaint, exit::Exit, stderr};

/// How long tasks may take to end after the server has closed; killing programs takes longest.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

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
                Signalled::End => break None,
                Signalled::Reload => hangup::reload(certificates.as_ref(), events).await,
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
    let mut builder = Server::builder(plan.handler)
        .framing(plan.spoken.protocol)
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

/// Drains; a second signal closes everything at once.
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

/// Refuses to serve other machines without client certificates, unless that was asked for.
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

/// What a signal asks for.
enum Signalled {
    End,
    Reload,
}

/// The signals that the server handles.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    terminal: Terminal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            terminal: Terminal::at_start(),
        })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Signalled {
        tokio::select! {
            () = end(&mut self.terminate, &mut self.interrupt) => Signalled::End,
            _ = self.hangup.recv() => match self.terminal.has_gone() {
                true => Signalled::End,
                false => Signalled::Reload,
            },
        }
    }

    /// Waits for a second signal while draining. SIGHUP doesn't count: when a terminal closes, both
    /// the kernel and the shell send it. Cancel safe.
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
