//! The results as CSV: a header with units, then a row for each mode. The columns are always the
//! same, so that rows of several benchmarks can be put together; a field is empty where there is no
//! value. Distributions and timelines are only in the JSON.

use super::super::results::{ErrorKind, Latency, ModeResults, Results};
use crate::text::escaped;

/// The columns of the kinds of errors, and their names.
const ERRORS: [(ErrorKind, &str); 9] = [
    (ErrorKind::Connect, "errors_connect"),
    (ErrorKind::PortsUsedUp, "errors_ports_used_up"),
    (ErrorKind::DescriptorsUsedUp, "errors_descriptors_used_up"),
    (ErrorKind::TimedOut, "errors_timed_out"),
    (ErrorKind::Lost, "errors_lost"),
    (ErrorKind::ErrorReply, "errors_error_reply"),
    (ErrorKind::Protocol, "errors_protocol"),
    (ErrorKind::NotSent, "errors_not_sent"),
    (ErrorKind::Other, "errors_other"),
];

/// Lines end as RFC 4180 demands.
pub(in super::super) fn csv(results: &Results) -> String {
    let mut csv = String::new();
    let rows: Vec<_> = results
        .modes
        .iter()
        .map(|mode| fields(results, mode))
        .collect();
    match rows.first() {
        Some(first) => line(&mut csv, first.iter().map(|(name, _)| name.as_str())),
        None => return csv,
    }
    for row in &rows {
        line(&mut csv, row.iter().map(|(_, field)| field.as_str()));
    }
    csv
}

fn line<'a>(csv: &mut String, fields: impl Iterator<Item = &'a str>) {
    let fields: Vec<_> = fields.map(quoted).collect();
    csv.push_str(&fields.join(","));
    csv.push_str("\r\n");
}

/// In quotes, if necessary.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => String::from(field),
    }
}

/// A column's name and its field.
type Field = (String, String);

fn fields(results: &Results, mode: &ModeResults) -> Vec<Field> {
    let named = |name: &str, field: String| (String::from(name), field);
    let mut fields = vec![
        named("mode", String::from(mode.mode.name())),
        named("endpoint", escaped(&results.endpoint)),
        named("framing", String::from(results.framing)),
        named("callers", results.callers.to_string()),
        named("max_connections", results.max_connections.to_string()),
        named("body_bytes", results.body_bytes.to_string()),
        named("intended_requests_per_second", number(results.rate, 3)),
        named("threads", results.threads.to_string()),
        named("interrupted", results.interrupted.to_string()),
        named("seconds", number(Some(mode.seconds), 3)),
        named("rounds", mode.rounds.len().to_string()),
        named("requests", mode.requests.to_string()),
        named("replies_ok", mode.replies_ok.to_string()),
    ];
    for (kind, name) in ERRORS {
        let times = mode.errors.get(&kind).copied().unwrap_or(0);
        fields.push(named(name, times.to_string()));
    }
    fields.push(named(
        "throughput_replies_per_second",
        number(Some(mode.throughput), 1),
    ));
    let has_replies = mode.replies_ok > 0;
    latency(
        &mut fields,
        "latency",
        Some(mode.latency_us).filter(|_| has_replies),
    );
    latency(
        &mut fields,
        "service",
        mode.service_us.filter(|_| has_replies),
    );
    fields.extend([
        named("connections_opened", mode.connections_opened.to_string()),
        named(
            "client_cpu_us_per_request",
            number(mode.client_cpu_us_per_request, 2),
        ),
        named(
            "time_wait",
            mode.time_wait
                .map_or(String::new(), |left| left.to_string()),
        ),
        named(
            "ports_nearly_used_up",
            mode.ports_nearly_used_up.to_string(),
        ),
    ]);
    fields
}

fn latency(fields: &mut Vec<Field>, of: &str, latency: Option<Latency>) {
    let whole = |us: fn(&Latency) -> u64| {
        latency
            .as_ref()
            .map_or(String::new(), |latency| us(latency).to_string())
    };
    fields.extend([
        (
            format!("{of}_mean_us"),
            number(latency.map(|latency| latency.mean), 1),
        ),
        (format!("{of}_p50_us"), whole(|latency| latency.p50)),
        (format!("{of}_p90_us"), whole(|latency| latency.p90)),
        (format!("{of}_p99_us"), whole(|latency| latency.p99)),
        (format!("{of}_p99_9_us"), whole(|latency| latency.p99_9)),
        (format!("{of}_max_us"), whole(|latency| latency.max)),
    ]);
}

fn number(value: Option<f64>, decimals: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.decimals$}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_comma_or_a_quote_is_quoted() {
        assert_eq!(quoted("tcp://a:1"), "tcp://a:1");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn every_kind_of_error_has_its_column() {
        for (nth, (kind, name)) in ERRORS.into_iter().enumerate() {
            // As the JSON calls it.
            let expected = serde_json::to_value(kind).expect("a name");
            assert_eq!(name.strip_prefix("errors_"), expected.as_str());
            let expected = match kind {
                ErrorKind::Connect => 0,
                ErrorKind::PortsUsedUp => 1,
                ErrorKind::DescriptorsUsedUp => 2,
                ErrorKind::TimedOut => 3,
                ErrorKind::Lost => 4,
                ErrorKind::ErrorReply => 5,
                ErrorKind::Protocol => 6,
                ErrorKind::NotSent => 7,
                // Whoever adds one adds its column.
                ErrorKind::Other => ERRORS.len() - 1,
            };
            assert_eq!(nth, expected);
        }
    }
}
