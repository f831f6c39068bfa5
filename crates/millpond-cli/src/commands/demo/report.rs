//! The summary in words, for people who see all this for the first time. Everything in it comes from the [`Summary`].

use textwrap::Options;

use super::{
    numbers::{rate, span, thousands},
    summary::{Side, Summary},
};

/// Where the words begin that stand beside a label.
const LABEL: usize = 13;

/// The summary as lines of at most `width` columns.
pub(super) fn report(summary: &Summary, width: usize) -> Vec<String> {
    let mut report = Report {
        lines: Vec::new(),
        width,
    };
    if summary.requests > 0 {
        load(summary, &mut report);
    }
    if let (Some(pooled), Some(short)) = (&summary.pooled_connections, &summary.short_connections) {
        comparison(summary, pooled, short, &mut report);
    }
    verdict(summary, &mut report);
    report.lines
}

struct Report {
    lines: Vec<String>,
    width: usize,
}

impl Report {
    fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.wrapped("", "", text);
    }

    /// Words, broken between them.
    fn text(&mut self, text: &str) {
        self.wrapped("  ", "  ", text);
    }

    /// A label, and words beside it.
    fn item(&mut self, label: &str, text: &str) {
        let label = format!("  {label:<width$}", width = LABEL - 2);
        self.wrapped(&label, &" ".repeat(LABEL), text);
    }

    fn wrapped(&mut self, first: &str, later: &str, text: &str) {
        let options = Options::new(self.width)
            .initial_indent(first)
            .subsequent_indent(later);
        let lines = textwrap::wrap(text, options);
        self.lines.extend(lines.into_iter().map(|line| line.into_owned()));
    }

    /// A name and a value for each side.
    fn row(&mut self, name: &str, pooled: &str, short: &str) {
        self.lines.push(format!("  {name:<20}{pooled:>14}{short:>22}"));
    }
}

fn load(summary: &Summary, report: &mut Report) {
    report.heading("What became of the load, with bad manners on purpose");
    let (callers, connections) = (summary.callers, summary.max_connections);
    report.item(
        "requests",
        &format!(
            "{} in {:.1} s, by {} callers over at most {} sockets at once",
            thousands(summary.requests),
            summary.load_seconds,
            thousands(callers.into()),
            thousands(connections.into()),
        ),
    );
    report.item(
        "replies",
        &format!(
            "{} right, {} wrong (each was compared with its own request)",
            thousands(summary.replies_ok),
            thousands(summary.replies_wrong)
        ),
    );
    let failed = summary
        .errors
        .iter()
        .map(|(failing, &times)| format!("{} {}", thousands(times), failing.words()));
    report.item("no reply", &listed(failed));
    report.item(
        "sockets",
        &format!(
            "{} opened, {} replies over each on average; a socket with an unfinished exchange is closed, never \
             lent again",
            thousands(summary.connections_opened),
            rate(summary.requests_per_connection)
        ),
    );
    let evicted = summary
        .evicted
        .iter()
        .map(|(reason, &times)| format!("{} {}", thousands(times), reason.replace('_', " ")));
    report.item("evicted", &listed(evicted));
    if summary.restarts > 0 {
        report.item("restart", "the server went away in the middle, and came back");
    }
    let heartbeats = summary.heartbeats;
    report.item(
        "heartbeats",
        &format!("{} sent, {} received", heartbeats.sent, heartbeats.received),
    );
    let latency = summary.latency_us;
    report.item(
        "latency",
        &format!(
            "half within {}, 99 % within {}",
            span(latency.p50),
            span(latency.p99)
        ),
    );
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    match items.is_empty() {
        true => String::from("none"),
        false => items.join(", "),
    }
}

fn comparison(summary: &Summary, pooled: &Side, short: &Side, report: &mut Report) {
    report.heading(&format!(
        "The same callers, all behaving well, for {:.1} s each",
        pooled.seconds
    ));
    report.row("", "over the pool", "a socket per request");
    let both = |of: fn(&Side) -> String| (of(pooled), of(short));
    let time_wait = |side: &Side| {
        side.time_wait
            .map_or(String::from("unknown"), |left| thousands(left.into()))
    };
    let rows = [
        ("replies a second", both(|side| rate(side.throughput))),
        ("half within", both(|side| span(side.latency_us.p50))),
        ("99 % within", both(|side| span(side.latency_us.p99))),
        ("sockets opened", both(|side| thousands(side.connections_opened))),
        ("left in TIME_WAIT", both(time_wait)),
    ];
    for (name, (pooled, short)) in rows {
        report.row(name, &pooled, &short);
    }
    let ratio = match summary.throughput_ratio {
        Some(ratio) => format!("The pool did {ratio:.1} times as many. "),
        None => String::new(),
    };
    let stopped = match short.stopped_early {
        true => format!(
            " It was stopped after {:.1} s here, with four fifths of this machine's ports towards its server in use.",
            short.seconds
        ),
        false => String::new(),
    };
    report.text(&format!(
        "{ratio}A socket in TIME_WAIT is closed, but keeps its port for a minute: a client that opens one per \
         request runs out of ports.{stopped}"
    ));
}

fn verdict(summary: &Summary, report: &mut Report) {
    if summary.interrupted {
        report.heading("Stopped early: this is what was done until then.");
    }
    match summary.is_well() {
        true => report.heading("Every reply was that of its own request, and nothing unexpected happened."),
        false => {
            report.heading("This should not have happened:");
            for what in &summary.unexpected {
                report.text(what);
            }
        }
    }
}
