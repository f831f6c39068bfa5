//! `millpond serve`: a server of any framing, from its start to the end of its drain.

mod arguments;
mod events;
mod exec;
mod handlers;
mod plan;

use std::time::Duration;

use millpond::{
    Chain,
    net::Listener,
    server::{Ended, Running, Server},
};

pub(crate) use self::arguments::Arguments;
use self::{
    events::{Drained, Draining, FewDescriptors, Listening},
    plan::Plan,
};
use super::{
    events::Events,
    listening::{
        check_exposure,
        reload::{DoubtfulCertificate, reload},
    },
    signals::{Signalled, Signals},
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
    check_exposure(&endpoint, plan.demands_certificates, plan.insecure_bind)?;

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
                Signalled::Reload => reload(certificates.as_ref(), events).await,
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
