//! Shows the summary as text, for people who see all this for the first time. Everything in it
//! comes from the [`Summary`].

use super::{
    setup::Mode,
    summary::{Side, Summary},
};
use crate::{
    color::{Paint, Tone},
    numbers::{counted, rate, span, thousands},
    page::Page,
};

/// The widths of the table's columns, and those for a narrow page.
const COLUMNS: [usize; 3] = [20, 14, 22];
const NARROW_COLUMNS: [usize; 3] = [17, 10, 11];

/// The summary as lines of at most `width` columns.
pub(super) fn report(summary: &Summary, width: usize, paint: Paint) -> Vec<String> {
    let mut page = Page::new(width, paint);
    if summary.requests > 0 {
        load(summary, &mut page);
    }
    if let (Some(pooled), Some(short)) = (&summary.pooled_connections, &summary.short_connections) {
        comparison(summary, pooled, short, &mut page);
    }
    verdict(summary, &mut page);
    page.into_lines()
}

/// A row of the table: a name, and a value for each side.
fn row(page: &mut Page, name: &str, pooled: &str, short: &str) {
    let [first, second, third] = match is_narrow(page) {
        true => NARROW_COLUMNS,
        false => COLUMNS,
    };
    page.line(format!("  {name:<first$}{pooled:>second$}{short:>third$}"));
}

fn is_narrow(page: &Page) -> bool {
    page.width() < 2 + COLUMNS.iter().sum::<usize>()
}

fn load(summary: &Summary, page: &mut Page) {
    page.heading("What became of the load, with bad manners on purpose");
    let (callers, connections) = (summary.callers, summary.max_connections);
    page.item(
        "requests",
        &format!(
            "{} in {:.1} s, by {} over at most {} at once, {} on each at a time",
            thousands(summary.requests),
            summary.seconds,
            counted(callers.into(), "caller", "callers"),
            counted(connections.into(), "socket", "sockets"),
            match summary.mode {
                Mode::Exclusive => "one",
                Mode::Pipelined => "many",
            }
        ),
    );
    page.item(
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
        .map(|(kind, &times)| format!("{} {}", thousands(times), kind.words()));
    page.item("no reply", &listed(failed));
    load_sockets(summary, page);
    let latency = summary.latency_us;
    page.item(
        "latency",
        &format!(
            "half within {}, 99 % within {}",
            span(latency.p50),
            span(latency.p99)
        ),
    );
}

/// The sockets under load, and what was sent over them again.
fn load_sockets(summary: &Summary, page: &mut Page) {
    page.item(
        "sockets",
        &format!(
            "{} opened, {} over each on average; a socket with an unfinished exchange is closed, never \
             lent again",
            thousands(summary.connections_opened),
            match rate(summary.requests_per_connection).as_str() {
                "1.0" => String::from("1 reply"),
                many => format!("{many} replies"),
            }
        ),
    );
    let evicted = summary
        .evicted
        .iter()
        .map(|(reason, &times)| format!("{} {}", thousands(times), reason.replace('_', " ")));
    page.item("evicted", &listed(evicted));
    if summary.restarts > 0 {
        page.item(
            "restart",
            "the server went away in the middle, and came back",
        );
    }
    let retries = summary.retries;
    page.item(
        "sent twice",
        &format!(
            "{} whose first socket had died; {} more that the budget refused",
            thousands(retries.granted),
            thousands(retries.refused)
        ),
    );
    if retries.turned_away > 0 {
        page.item(
            "sent again",
            &format!(
                "{}: a server that was about to go had turned the request away",
                counted(retries.turned_away, "time", "times")
            ),
        );
    }
    let heartbeats = summary.heartbeats;
    page.item(
        "heartbeats",
        &format!(
            "{} sent, {} received",
            thousands(heartbeats.sent),
            thousands(heartbeats.received)
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

fn comparison(summary: &Summary, pooled: &Side, short: &Side, page: &mut Page) {
    page.heading(&format!(
        "The same callers, all behaving well, for {:.1} s each",
        pooled.seconds
    ));
    match is_narrow(page) {
        true => row(page, "", "pool", "one each"),
        false => row(page, "", "over the pool", "a socket per request"),
    }
    let both = |of: fn(&Side) -> String| (of(pooled), of(short));
    let time_wait = |side: &Side| {
        side.time_wait
            .map_or(String::from("unknown"), |left| thousands(left.into()))
    };
    let rows = [
        ("replies a second", both(|side| rate(side.throughput))),
        ("half within", both(|side| span(side.latency_us.p50))),
        ("99 % within", both(|side| span(side.latency_us.p99))),
        (
            "sockets opened",
            both(|side| thousands(side.connections_opened)),
        ),
        ("left in TIME_WAIT", both(time_wait)),
    ];
    for (name, (pooled, short)) in rows {
        row(page, name, &pooled, &short);
    }
    let ratio = match summary.throughput_ratio {
        Some(ratio) => format!("The pool did {ratio:.1} times as many. "),
        None => String::new(),
    };
    let stopped = match short.ports_nearly_used_up {
        true => format!(
            " It was stopped after {:.1} s here, with four fifths of this machine's ports towards its server in use.",
            short.seconds
        ),
        false => String::new(),
    };
    page.text(&format!(
        "{ratio}A socket in TIME_WAIT is closed, but keeps its port for a minute: a client that opens one per \
         request runs out of ports.{stopped}"
    ));
}

fn verdict(summary: &Summary, page: &mut Page) {
    if summary.interrupted {
        page.heading("Stopped early: this is what was done until then.");
    }
    match summary.is_well() {
        true => page.verdict(
            Tone::Good,
            '✓',
            "Every reply was that of its own request, and nothing unexpected happened.",
        ),
        false => {
            page.verdict(Tone::Bad, '✗', "This should not have happened:");
            for what in &summary.unexpected {
                page.text(what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{
            error_kind::ErrorKind,
            summary::{Heartbeats, Latency},
        },
        *,
    };

    fn side(connections_opened: u64) -> Side {
        Side {
            seconds: 2.0,
            requests: 200_000,
            replies_ok: 200_000,
            replies_wrong: 0,
            errors: BTreeMap::new(),
            connections_opened,
            throughput: 100_000.0,
            latency_us: Latency {
                p50: 123_400,
                p99: 999_900,
            },
            time_wait: Some(22_585),
            ports_nearly_used_up: true,
        }
    }

    fn summary() -> Summary {
        let mut summary = Summary::new(1, Mode::Exclusive, 10_000, 10_000);
        summary.seconds = 3_600.0;
        summary.requests = 123_456_789;
        summary.replies_ok = 123_000_000;
        summary.errors = BTreeMap::from([
            (ErrorKind::Cancelled, 400_000),
            (ErrorKind::LostIdempotent, 20_000),
            (ErrorKind::LostNotIdempotent, 36_789),
        ]);
        summary.connections_opened = 456_789;
        summary.requests_per_connection = 269.3;
        summary.evicted =
            BTreeMap::from([("peer_closed", 200_000), ("unfinished_exchange", 256_789)]);
        summary.restarts = 1;
        summary.retries.turned_away = 123_456;
        summary.heartbeats = Heartbeats {
            sent: 1_000,
            received: 1_000,
        };
        summary.throughput_ratio = Some(6.5);
        summary.pooled_connections = Some(side(10_000));
        summary.short_connections = Some(side(200_000));
        summary
    }

    #[test]
    fn every_line_fits_the_width_even_with_the_largest_numbers() {
        for width in [40, 57, 58, 60, 80] {
            for line in report(&summary(), width, Paint::Plain) {
                assert!(
                    line.chars().count() <= width,
                    "too wide for {width}: {line}"
                );
            }
        }
    }

    #[test]
    fn what_was_not_reached_is_not_told() {
        let mut summary = summary();
        summary.short_connections = None;
        summary.interrupted = true;
        let text = report(&summary, 80, Paint::Plain).join("\n");
        assert!(text.contains("Stopped early"), "{text}");
        assert!(!text.contains("TIME_WAIT"), "{text}");
        let nothing = Summary::new(1, Mode::Exclusive, 64, 8);
        assert_eq!(
            report(&nothing, 80, Paint::Plain).len(),
            1,
            "a verdict alone"
        );
    }

    #[test]
    fn what_was_turned_away_is_told_where_anything_was() {
        let mut summary = summary();
        let text = |summary: &Summary| report(summary, 100, Paint::Plain).join("\n");
        let told = text(&summary);
        assert!(
            told.contains(
                "  sent again 123,456 times: a server that was about to go had turned the request away"
            ),
            "{told}"
        );
        summary.retries.turned_away = 0;
        let told = text(&summary);
        assert!(!told.contains("sent again"), "{told}");
    }

    #[test]
    fn what_should_not_have_happened_is_told() {
        let mut summary = summary();
        summary
            .unexpected
            .push(String::from("3 wrong replies under load"));
        let text = report(&summary, 80, Paint::Plain).join("\n");
        assert!(
            text.contains("This should not have happened:\n  3 wrong replies under load"),
            "{text}"
        );
        assert!(!text.contains("nothing unexpected"), "{text}");
    }
}
