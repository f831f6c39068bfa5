//! The events that routes print while they run.

use std::{fmt, time::Duration};

use millpond::{
    net::Endpoint,
    proxy::{Mode, RawTotals, RouteTotals},
    server::{Ended, ServerSnapshot},
};
use serde::Serialize;

use super::{
    passing::Passed,
    plan::{Plan, prefix},
};
use crate::{
    commands::{
        events::{VERSION, write_unfinished},
        listening::{quoted, reachable},
    },
    descriptors::Shortage,
    numbers::{counted, thousands},
    text::{escaped, long_span},
};

/// A route listens.
#[derive(Serialize)]
#[serde(tag = "event", rename = "listening")]
pub(super) struct Listening {
    version: u32,
    route: Option<String>,
    endpoint: String,
    to: String,
    framing: &'static str,
    mode: Mode,
    max_size: u32,
    max_connections: usize,
    /// A command that shows that it answers; for bytes there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<String>,
}

impl Listening {
    pub(super) fn new(endpoint: &Endpoint, plan: &Plan) -> Self {
        let tls = match endpoint {
            Endpoint::Tls(_) if plan.demands_certificates => " --ca FILE --cert FILE --key FILE",
            Endpoint::Tls(_) => " --ca FILE",
            _ => "",
        };
        let request = match plan.framing_flag.is_empty() {
            true => "'{\"a\":1}'",
            false => "--request-file FILE",
        };
        Listening {
            version: VERSION,
            route: plan.name.clone(),
            endpoint: endpoint.to_string(),
            to: plan.to(),
            framing: plan.framing(),
            mode: plan.mode,
            max_size: plan.pool.max_size,
            max_connections: plan.server.max_connections,
            example: plan.protocol.as_ref().map(|_| {
                format!(
                    "millpond call --to {}{tls}{} {request}",
                    quoted(&reachable(endpoint).to_string()),
                    plan.framing_flag,
                )
            }),
        }
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}listening on {}, passing on to {} over {}, framing {}, mode {}",
            escaped(&prefix(self.route.as_deref())),
            self.endpoint,
            self.to,
            counted(
                self.max_size.into(),
                "connection at most",
                "connections at most"
            ),
            self.framing,
            word(self.mode),
        )?;
        match &self.example {
            Some(example) => write!(f, "; try: {}", escaped(example)),
            None => Ok(()),
        }
    }
}

/// A mode as the command line has it.
fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Pipeline => "pipeline",
        Mode::Session => "session",
        _ => "exchange",
    }
}

/// The descriptors don't suffice for the connections of all routes.
#[derive(Serialize)]
#[serde(tag = "event", rename = "few_descriptors")]
pub(super) struct FewDescriptors {
    version: u32,
    connections: u64,
    descriptors_needed: u64,
    descriptors_limit: u64,
}

impl FewDescriptors {
    pub(super) fn of<'p>(plans: impl Iterator<Item = &'p Plan>) -> Option<Self> {
        let connections = plans
            .map(|plan| {
                (plan.server.max_connections as u64).saturating_add(plan.upstream_connections())
            })
            .fold(0, u64::saturating_add);
        let Shortage { needed, limit } = Shortage::of(connections)?;
        Some(FewDescriptors {
            version: VERSION,
            connections,
            descriptors_needed: needed,
            descriptors_limit: limit,
        })
    }
}

impl fmt::Display for FewDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, limit) = (self.descriptors_needed, self.descriptors_limit);
        write!(
            f,
            "{} need {} descriptors, and {}: until then, those beyond wait until others have gone",
            counted(self.connections, "connection", "connections"),
            thousands(needed),
            Shortage { needed, limit },
        )
    }
}

/// The drain of a route has begun.
#[derive(Serialize)]
#[serde(tag = "event", rename = "draining")]
pub(super) struct Draining {
    version: u32,
    route: Option<String>,
    within_seconds: f64,
    connections: usize,
    handled: usize,
}

impl Draining {
    pub(super) fn new(route: Option<&str>, within: Duration, server: &ServerSnapshot) -> Self {
        Draining {
            version: VERSION,
            route: route.map(str::to_owned),
            within_seconds: within.as_secs_f64(),
            connections: server.open,
            handled: server.handled,
        }
    }
}

impl fmt::Display for Draining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}draining for {} at most: {}, {} under way; the same signal again closes at once",
            escaped(&prefix(self.route.as_deref())),
            long_span(Duration::from_secs_f64(self.within_seconds)),
            counted(self.connections as u64, "client", "clients"),
            counted(self.handled as u64, "request", "requests"),
        )
    }
}

/// A route has ended.
#[derive(Serialize)]
#[serde(tag = "event", rename = "drained")]
pub(super) struct Drained {
    version: u32,
    route: Option<String>,
    /// Connections of clients closed with something under way.
    forced: usize,
    /// Requests that arrived and got no answer.
    unanswered: u64,
    /// The clients' side.
    server: ServerSnapshot,
    /// What has become of requests, or of sessions; and the upstream's side.
    proxy: Passed,
}

impl Drained {
    pub(super) fn new(
        route: Option<&str>,
        ended: &Ended,
        server: ServerSnapshot,
        proxy: Passed,
    ) -> Self {
        Drained {
            version: VERSION,
            route: route.map(str::to_owned),
            forced: ended.forced,
            unanswered: ended.unanswered,
            server,
            proxy,
        }
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}ended after {}: ",
            escaped(&prefix(self.route.as_deref())),
            long_span(self.server.up),
        )?;
        let opened = match &self.proxy {
            Passed::Requests(route) => {
                write_requests(f, &route.totals)?;
                let lanes = [&route.upstream].into_iter().chain(&route.other_lanes);
                lanes.map(|lane| lane.pool.totals.opened).sum()
            }
            Passed::Bytes(route) => {
                write_sessions(f, &route.totals)?;
                route.pool.totals.opened
            }
        };
        write!(
            f,
            "; {}, {}",
            counted(self.server.totals.accepted, "client", "clients"),
            counted(opened, "upstream connection", "upstream connections"),
        )?;
        write_unfinished(f, self.unanswered, self.forced, ["client", "clients"])
    }
}

fn write_requests(f: &mut fmt::Formatter<'_>, totals: &RouteTotals) -> fmt::Result {
    let answered = counted(totals.answered, "request", "requests");
    write!(f, "{answered} answered")?;
    write_counts(
        f,
        [
            (totals.refused, "refused"),
            (totals.unavailable, "unavailable"),
            (totals.overloaded, "overloaded"),
            (totals.timed_out, "timed out"),
            (totals.lost, "lost"),
            (totals.abandoned, "abandoned"),
        ],
    )
}

fn write_sessions(f: &mut fmt::Formatter<'_>, totals: &RawTotals) -> fmt::Result {
    write!(f, "{}", counted(totals.sessions, "session", "sessions"))?;
    write_counts(
        f,
        [
            (totals.left, "left by the client"),
            (totals.lost, "lost by the upstream"),
            (totals.silent, "silent for too long"),
            (totals.stalled, "stalled"),
            (totals.expired, "too old"),
            (totals.unavailable, "unavailable"),
            (totals.overloaded, "overloaded"),
            (totals.abandoned, "abandoned"),
        ],
    )
}

/// Those that aren't zero.
fn write_counts<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    counts: [(u64, &str); N],
) -> fmt::Result {
    for (number, what) in counts {
        if number > 0 {
            write!(f, ", {} {what}", thousands(number))?;
        }
    }
    Ok(())
}
