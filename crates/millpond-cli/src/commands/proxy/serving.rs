//! Binds all routes, serves them, and drains them together.

use std::{fmt, sync::Arc, time::Duration};

use millpond::{
    Chain,
    net::{Endpoint, Host, HostPort, Listener},
    server::{Ended, Running},
};
use tokio::{runtime::Runtime, sync::watch, task::JoinSet};

use super::{
    config::in_keys,
    events::{Drained, Draining, FewDescriptors, Listening},
    passing::Passing,
    plan::Plan,
};
use crate::{
    allocator,
    commands::{
        events::Events,
        listening::{
            certificates::Certificates,
            check_exposure,
            reload::{DoubtfulCertificate, reload},
        },
        signals::{Signalled, Signals},
    },
    complaint::{Complaint, say_error},
    exit::Exit,
};

/// How long the upstream's connections may take to close.
const CLOSING: Duration = Duration::from_secs(1);

/// A route that is right, and that listens nowhere yet.
pub(super) struct Ready {
    plan: Plan,
    route: Passing,
}

/// All of them, or what is wrong with the first that isn't right. Dials nothing.
pub(super) fn routes(plans: Vec<Plan>, runtime: &Runtime) -> Result<Vec<Ready>, Complaint> {
    let _entered = runtime.enter();
    for (at, plan) in plans.iter().enumerate() {
        let other = plans[..at]
            .iter()
            .find(|other| overlaps(&other.listen, &plan.listen));
        if let Some(other) = other.and_then(|other| other.name.as_deref()) {
            let text = format!("it listens on {}, and so does route {other}", plan.listen);
            return Err(plan.complaint(&text));
        }
    }
    let ready = plans.into_iter().map(|plan| {
        // What a name stands for is known once it is bound.
        if has_address(&plan.listen) {
            refuse_exposure(&plan, &plan.listen)?;
        }
        let checked = plan.server.validate();
        checked.map_err(|error| plan.complaint(&format!("server: {}", Chain(&error))))?;
        let route = plan.build()?;
        Ok(Ready { plan, route })
    });
    ready.collect()
}

fn refuse_exposure(plan: &Plan, endpoint: &Endpoint) -> Result<(), Complaint> {
    check_exposure(endpoint, plan.demands_certificates, plan.insecure_bind).map_err(|complaint| {
        match plan.name {
            // From a file, which has keys and no flags.
            Some(_) => plan.complaint(&in_keys(complaint.text())),
            None => complaint,
        }
    })
}

/// The host and the port of an endpoint that has some.
fn host_and_port(endpoint: &Endpoint) -> Option<&HostPort> {
    match endpoint {
        Endpoint::Tcp(at) | Endpoint::Tls(at) => Some(at),
        _ => None,
    }
}

fn has_address(endpoint: &Endpoint) -> bool {
    host_and_port(endpoint).is_some_and(|at| matches!(at.host, Host::Address(_)))
}

fn is_every_address(at: &HostPort) -> bool {
    matches!(at.host, Host::Address(address) if address.is_unspecified())
}

/// Whether only one of them can be bound. With port 0 each gets a port of its own.
fn overlaps(one: &Endpoint, other: &Endpoint) -> bool {
    match (host_and_port(one), host_and_port(other)) {
        (Some(one), Some(other)) => {
            let is_any = [one, other].into_iter().any(is_every_address);
            one.port == other.port && one.port != 0 && (one.host == other.host || is_any)
        }
        _ => one == other,
    }
}

/// What the routes do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Closing,
}

/// Serves until the end of the drain.
pub(super) async fn serve(
    ready: Vec<Ready>,
    drain: Duration,
    events: &Arc<Events>,
) -> Result<Exit, Complaint> {
    let cant_hear =
        |error| Complaint::of(Exit::Failure, &format!("signals can't be handled: {error}"));
    let mut signals = Signals::new().map_err(cant_hear)?;
    // All are bound before any serves.
    let mut bound = Vec::new();
    for Ready { plan, route } in ready {
        let failed = |error: &dyn fmt::Display| {
            Complaint::of(Exit::Failure, &format!("{}{error}", plan.prefix()))
        };
        let listener = Listener::bind(&plan.listen, plan.listen_options()).await;
        let listener = listener.map_err(|error| failed(&Chain(&error)))?;
        let endpoint = listener
            .endpoint()
            .map_err(|error| failed(&Chain(&error)))?;
        refuse_exposure(&plan, &endpoint)?;
        bound.push((plan, route, listener));
    }
    let certificates: Vec<_> = bound
        .iter()
        .filter_map(|(plan, ..)| plan.certificates.clone())
        .collect();
    let few_descriptors = FewDescriptors::of(bound.iter().map(|(plan, ..)| plan));
    let (phase, watched) = watch::channel(Phase::Serving);
    let mut serving = JoinSet::new();
    for (plan, route, listener) in bound {
        let server = route.serve(plan.server.clone(), listener);
        let server = server.map_err(|error| plan.complaint(&Chain(&error).to_string()))?;
        events.tell(&Listening::new(server.endpoint(), &plan));
        let served = Served {
            name: plan.name,
            route,
            server,
            drain,
            events: Arc::clone(events),
        };
        serving.spawn(served.serve_to_the_end(watched.clone()));
    }
    tokio::spawn(allocator::return_memory());
    if let Some(few_descriptors) = few_descriptors {
        events.tell(&few_descriptors);
    }
    for doubtful in certificates
        .iter()
        .filter_map(|Certificates { files, .. }| DoubtfulCertificate::of(files))
    {
        events.tell(&doubtful);
    }
    let mut exit = Exit::Ok;
    loop {
        tokio::select! {
            ended = serving.join_next() => match ended {
                Some(ended) => {
                    // A route ends by itself only if it fails; then the others end as well.
                    phase.send_if_modified(|phase| {
                        let served = *phase == Phase::Serving;
                        if served {
                            *phase = Phase::Draining;
                        }
                        served
                    });
                    if !matches!(ended, Ok(Exit::Ok)) {
                        exit = Exit::Failure;
                    }
                }
                None => return Ok(exit),
            },
            asked = signals.next() => match asked {
                Signalled::End => phase.send_modify(|phase| *phase = match *phase {
                    Phase::Serving => Phase::Draining,
                    Phase::Draining | Phase::Closing => Phase::Closing,
                }),
                Signalled::Reload if certificates.is_empty() => reload(None, events).await,
                Signalled::Reload => for certificates in &certificates {
                    reload(Some(certificates), events).await;
                },
            },
        }
    }
}

/// A route that is served.
struct Served {
    name: Option<String>,
    route: Passing,
    server: Running,
    drain: Duration,
    events: Arc<Events>,
}

impl Served {
    async fn serve_to_the_end(self, mut phase: watch::Receiver<Phase>) -> Exit {
        let ended = tokio::select! {
            ended = self.server.ended() => ended,
            () = reached(&mut phase, Phase::Draining) => self.drained(&mut phase).await,
        };
        self.route.close(CLOSING).await;
        let drained = Drained::new(
            self.name.as_deref(),
            &ended,
            self.server.snapshot(),
            self.route.snapshot(),
        );
        self.events.tell(&drained);
        if let Some(error) = &ended.failure {
            let name = super::plan::prefix(self.name.as_deref());
            say_error(&format!("{name}the listener failed: {}", Chain(&**error)));
            return Exit::Failure;
        }
        match ended.forced > 0 || ended.unanswered > 0 {
            true => Exit::Failure,
            false => Exit::Ok,
        }
    }

    async fn drained(&self, phase: &mut watch::Receiver<Phase>) -> Ended {
        let server = &self.server;
        let draining = Draining::new(self.name.as_deref(), self.drain, &server.snapshot());
        self.events.tell(&draining);
        tokio::select! {
            ended = server.drain(self.drain) => ended,
            () = reached(phase, Phase::Closing) => server.close().await,
        }
    }
}

/// Waits until the routes are in this phase, or one behind it.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let is_reached = |phase: &Phase| *phase == wanted || *phase == Phase::Closing;
    // The sender lives as long as any route.
    let _ = phase.wait_for(is_reached).await;
}
