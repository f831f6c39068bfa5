//! The events that a server prints while it runs. Each event is a struct; its text and its JSON are
//! made from it.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use millpond::{
    net::{Endpoint, Host, HostPort},
    server::{Ended, Failures, ServerSnapshot},
};
use serde::Serialize;

use super::{certificates::Files, fitness, form::Form, plan::Plan};
use crate::{
    descriptors::{Shortage, for_programs},
    lossy::Lossy,
    numbers::{counted, thousands},
    text::{escaped, long_span},
};

/// The version of the JSON: fields are added without a new one, renamed or removed only with one.
const VERSION: u32 = 1;

/// Prints events on stdout. A missing or slow reader neither stops nor delays the server.
pub(super) struct Events {
    form: Form,
    stdout: Lossy,
}

impl Events {
    pub(super) fn new(form: Form) -> io::Result<Self> {
        let missing = match form {
            Form::Text => |events| Form::Text.line(&Dropped::new(events)),
            Form::Json => |events| Form::Json.line(&Dropped::new(events)),
        };
        let stdout = Lossy::to(io::stdout(), missing)?;
        Ok(Events { form, stdout })
    }

    pub(super) fn tell(&self, event: &(impl fmt::Display + Serialize)) {
        self.stdout
            .push(format!("{}\n", self.form.line(event)).as_bytes());
    }

    /// At the end: waits up to a second for what hasn't been written yet.
    pub(super) fn finish(&self) {
        self.stdout.finish();
    }
}

/// This many events are missing, since nobody read stdout.
#[derive(Serialize)]
#[serde(tag = "event", rename = "dropped")]
struct Dropped {
    version: u32,
    events: u64,
}

impl Dropped {
    fn new(events: u64) -> Self {
        Dropped {
            version: VERSION,
            events,
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = counted(self.events, "event", "events");
        write!(f, "{events} dropped here: nobody read stdout")
    }
}

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

/// Clients will refuse the certificate.
#[derive(Serialize)]
#[serde(tag = "event", rename = "doubtful_certificate")]
pub(super) struct DoubtfulCertificate {
    version: u32,
    certificate: String,
    reason: String,
}

impl DoubtfulCertificate {
    pub(super) fn of(files: &Files) -> Option<Self> {
        Some(DoubtfulCertificate {
            version: VERSION,
            certificate: files.certificate.to_string_lossy().into_owned(),
            reason: fitness::doubt(files)?,
        })
    }
}

impl fmt::Display for DoubtfulCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.reason))
    }
}

/// The certificates were read again.
#[derive(Serialize)]
#[serde(tag = "event", rename = "reloaded")]
pub(super) struct Reloaded {
    version: u32,
    certificate: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ca: Option<String>,
}

impl Reloaded {
    pub(super) fn new(files: &Files) -> Self {
        let name = |path: &PathBuf| path.to_string_lossy().into_owned();
        Reloaded {
            version: VERSION,
            certificate: name(&files.certificate),
            key: name(&files.key),
            client_ca: files.client_ca.as_ref().map(name),
        }
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (certificate, key) = (escaped(&self.certificate), escaped(&self.key));
        write!(f, "reloaded: certificate {certificate}, key {key}")?;
        if let Some(client_ca) = &self.client_ca {
            write!(f, ", client CA {}", escaped(client_ca))?;
        }
        f.write_str("; open connections keep what they began with")
    }
}

/// The certificates could not be read again; the old ones stay in use.
#[derive(Serialize)]
#[serde(tag = "event", rename = "not_reloaded")]
pub(super) struct NotReloaded {
    version: u32,
    reason: String,
}

impl NotReloaded {
    pub(super) fn new(reason: &str) -> Self {
        NotReloaded {
            version: VERSION,
            reason: reason.to_owned(),
        }
    }
}

impl fmt::Display for NotReloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not reloaded: {}", escaped(&self.reason))
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
        if (self.forced, self.unanswered) == (0, 0) {
            return f.write_str("; all was finished");
        }
        if self.unanswered > 0 {
            let unanswered = counted(self.unanswered, "request", "requests");
            write!(f, "; {unanswered} left unanswered")?;
        }
        if self.forced > 0 {
            let forced = counted(self.forced as u64, "connection", "connections");
            write!(f, "; {forced} closed with something under way")?;
        }
        Ok(())
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

/// The endpoint that a client on this machine can dial: loopback in place of the unspecified
/// address.
fn reachable(endpoint: &Endpoint) -> Endpoint {
    let local = |at: &HostPort| HostPort {
        host: match &at.host {
            Host::Address(IpAddr::V4(all)) if all.is_unspecified() => {
                Host::Address(Ipv4Addr::LOCALHOST.into())
            }
            Host::Address(IpAddr::V6(all)) if all.is_unspecified() => {
                Host::Address(Ipv6Addr::LOCALHOST.into())
            }
            host => host.clone(),
        },
        port: at.port,
    };
    match endpoint {
        Endpoint::Tcp(at) => Endpoint::Tcp(local(at)),
        Endpoint::Tls(at) => Endpoint::Tls(local(at)),
        other => other.clone(),
    }
}

/// Quoted for a shell.
fn quoted(text: &str) -> String {
    shell_words::quote(text).into_owned()
}
