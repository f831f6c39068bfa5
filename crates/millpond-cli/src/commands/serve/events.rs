//! The events that a server prints while it runs. Each event is a struct; its text and its JSON are
//! made from it.

use std::{fmt, time::Duration};

use millpond::{
    net::Endpoint,
    server::{Ended, Failures, ServerSnapshot},
};
use serde::Serialize;

use super::plan::Plan;
use crate::{
    commands::{
        events::{VERSION, write_unfinished},
        listening::{quoted, reachable},
    },
    descriptors::{Shortage, for_programs},
    numbers::{counted, thousands},
    text::{escaped, long_span},
};

/// It listens.
#[derive(Serialize)]
#[serde(tag = "event", rename = "listening")]
pub(super) struct Listening {
    version: u32,
    endpoint: String,
    framing: &'static str,
    handler: &'static str,
    max_connections: usize,
    /// A command that shows that it answers.
    example: String,
}

impl Listening {
    pub(super) fn new(endpoint: &Endpoint, plan: &Plan) -> Self {
        let tls = match endpoint {
            Endpoint::Tls(_) if plan.demands_certificates => " --ca FILE --cert FILE --key FILE",
            Endpoint::Tls(_) => " --ca FILE",
            _ => "",
        };
        let request = match plan.spoken.carries_json() {
            true => "'{\"a\":1}'",
            false => "--request-file FILE",
        };
        Listening {
            version: VERSION,
            endpoint: endpoint.to_string(),
            framing: plan.spoken.name(),
            handler: plan.handler.name(),
            max_connections: plan.max_connections,
            example: format!(
                "millpond call --to {}{tls}{} {request}",
                quoted(&reachable(endpoint).to_string()),
                plan.spoken.flag(),
            ),
        }
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listening {
            endpoint,
            framing,
            handler,
            example,
            ..
        } = self;
        write!(
            f,
            "listening on {endpoint}, framing {framing}, handler {handler}; try: {}",
            escaped(example)
        )
    }
}

/// The descriptors don't suffice for the connections and programs that were asked for.
#[derive(Serialize)]
#[serde(tag = "event", rename = "few_descriptors")]
pub(super) struct FewDescriptors {
    version: u32,
    max_connections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_processes: Option<usize>,
    descriptors_needed: u64,
    descriptors_limit: u64,
}

impl FewDescriptors {
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let for_programs = plan.programs.map_or(0, for_programs);
        let wanted = for_programs.saturating_add(plan.max_connections as u64);
        let Shortage { needed, limit } = Shortage::of(wanted)?;
        Some(FewDescriptors {
            version: VERSION,
            max_connections: plan.max_connections,
            max_processes: plan.programs,
            descriptors_needed: needed,
            descriptors_limit: limit,
        })
    }
}

impl fmt::Display for FewDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, limit) = (self.descriptors_needed, self.descriptors_limit);
        let shortage = Shortage { needed, limit };
        let programs = self.max_processes.map_or_else(String::new, |programs| {
            format!(" and {}", counted(programs as u64, "program", "programs"))
        });
        write!(
            f,
            "{}{programs} need {} descriptors, and {shortage}: until then, those beyond wait until others have gone",
            counted(self.max_connections as u64, "connection", "connections"),
            thousands(needed),
        )
    }
}

/// The drain has begun.
#[derive(Serialize)]
#[serde(tag = "event", rename = "draining")]
pub(super) struct Draining {
    version: u32,
    within_seconds: f64,
    connections: usize,
    handled: usize,
}

impl Draining {
    pub(super) fn new(within: Duration, server: &ServerSnapshot) -> Self {
        Draining {
            version: VERSION,
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
            "draining for {} at most: {}, {} under way; the same signal again closes at once",
            long_span(Duration::from_secs_f64(self.within_seconds)),
            counted(self.connections as u64, "connection", "connections"),
            counted(self.handled as u64, "request", "requests"),
        )
    }
}

/// The server has ended.
#[derive(Serialize)]
#[serde(tag = "event", rename = "drained")]
pub(super) struct Drained {
    version: u32,
    /// Connections closed with something under way.
    forced: usize,
    /// Requests that arrived and got no answer.
    unanswered: u64,
    server: ServerSnapshot,
}

impl Drained {
    pub(super) fn new(ended: &Ended, server: ServerSnapshot) -> Self {
        Drained {
            version: VERSION,
            forced: ended.forced,
            unanswered: ended.unanswered,
            server,
        }
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.server.totals;
        write!(
            f,
            "ended after {}: {}, {}, {}",
            long_span(self.server.up),
            counted(totals.requests, "request", "requests"),
            counted(totals.replies, "reply", "replies"),
            counted(
                error_replies(&totals.failures),
                "error reply",
                "error replies"
            ),
        )?;
        write_unfinished(
            f,
            self.unanswered,
            self.forced,
            ["connection", "connections"],
        )
    }
}

fn error_replies(failures: &Failures) -> u64 {
    let Failures {
        malformed,
        refused,
        handler_failed,
        unavailable,
        overloaded,
        timed_out,
        draining,
        application,
        ..
    } = failures;
    malformed
        + refused
        + handler_failed
        + unavailable
        + overloaded
        + timed_out
        + draining
        + application
}
