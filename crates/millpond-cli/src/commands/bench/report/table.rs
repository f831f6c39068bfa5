//! The table that every form for people shows: its rows and the text of each cell. The form decides
//! where the cells stand.

use super::{
    super::results::{Latency, ModeResults, Results},
    words::failed,
};
use crate::numbers::{rate, span, thousands};

/// No value.
const NOTHING: &str = "–";

/// A value that can't be measured on this system.
const UNKNOWN: &str = "unknown";

/// A name, and a cell for each mode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) cells: Vec<Cell>,
}

/// A mode's value in a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Whether the value is a bad sign.
    pub(super) is_bad: bool,
}

impl Cell {
    fn of(text: impl Into<String>) -> Cell {
        Cell {
            text: text.into(),
            is_bad: false,
        }
    }
}

/// The modes' names, which stand above the cells.
pub(super) fn names(results: &Results) -> Vec<&'static str> {
    results.modes.iter().map(|mode| mode.mode.name()).collect()
}

/// The rows, the most important first.
pub(super) fn rows(results: &Results) -> Vec<Row> {
    let row = |name, cell: &dyn Fn(&ModeResults) -> Cell| Row {
        name,
        cells: results.modes.iter().map(cell).collect(),
    };
    let mut rows = vec![row("right replies a second", &|mode| {
        Cell::of(throughput(mode))
    })];
    if let Some(intended) = results.rate {
        rows.push(row("of the intended rate", &|mode| {
            Cell::of(percent(mode.throughput / intended))
        }));
    }
    rows.push(row("spread of the rounds", &|mode| Cell::of(spread(mode))));
    for (name, of) in LATENCIES {
        rows.push(row(name, &|mode| {
            Cell::of(time(mode, Some(&mode.latency_us), of))
        }));
    }
    if results.modes.iter().any(|mode| mode.service_us.is_some()) {
        for (name, of) in SERVICE_TIMES {
            rows.push(row(name, &|mode| {
                Cell::of(time(mode, mode.service_us.as_ref(), of))
            }));
        }
    }
    rows.push(row("measured for", &|mode| Cell {
        text: seconds(mode.seconds),
        is_bad: mode.ports_nearly_used_up,
    }));
    rows.push(row("requests", &|mode| Cell::of(thousands(mode.requests))));
    rows.push(row("failed", &|mode| Cell {
        text: thousands(failed(mode)),
        is_bad: failed(mode) > 0,
    }));
    rows.push(row("connections opened", &|mode| {
        Cell::of(thousands(mode.connections_opened))
    }));
    rows.push(row("CPU here per request", &|mode| Cell::of(cpu(mode))));
    rows.push(row("left in TIME_WAIT", &|mode| {
        let left = mode.time_wait.map(|left| thousands(left.into()));
        Cell::of(left.unwrap_or_else(|| String::from(UNKNOWN)))
    }));
    rows
}

/// A percentile and its name; times are in µs.
type Figure = (&'static str, fn(&Latency) -> u64);

const LATENCIES: [Figure; 5] = [
    ("latency p50", |latency| latency.p50),
    ("latency p90", |latency| latency.p90),
    ("latency p99", |latency| latency.p99),
    ("latency p99.9", |latency| latency.p99_9),
    ("latency max", |latency| latency.max),
];

const SERVICE_TIMES: [Figure; 5] = [
    ("service p50", |service| service.p50),
    ("service p90", |service| service.p90),
    ("service p99", |service| service.p99),
    ("service p99.9", |service| service.p99_9),
    ("service max", |service| service.max),
];

fn time(mode: &ModeResults, latency: Option<&Latency>, of: fn(&Latency) -> u64) -> String {
    match latency {
        Some(latency) if mode.replies_ok > 0 => span(of(latency)),
        _ => String::from(NOTHING),
    }
}

/// Right replies a second.
fn throughput(mode: &ModeResults) -> String {
    match mode.throughput.is_finite() {
        true => rate(mode.throughput),
        false => String::from(NOTHING),
    }
}

/// The standard deviation of the rounds' throughput, as a share of its mean.
fn spread(mode: &ModeResults) -> String {
    let rounds = mode.rounds.len() as f64;
    let each = || mode.rounds.iter().map(|round| round.throughput);
    let mean = each().sum::<f64>() / rounds;
    let squares: f64 = each().map(|throughput| (throughput - mean).powi(2)).sum();
    match (squares / (rounds - 1.0)).sqrt() / mean {
        spread if mode.rounds.len() > 1 && spread.is_finite() => format!("± {}", percent(spread)),
        _ => String::from(NOTHING),
    }
}

fn percent(share: f64) -> String {
    match share.is_finite() {
        true => format!("{:.1} %", share * 100.0),
        false => String::from(NOTHING),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds.is_finite() {
        // Precise enough that the requests divided by it give the throughput shown.
        true if seconds < 100.0 => format!("{seconds:.3} s"),
        true => format!("{seconds:.1} s"),
        false => String::from(NOTHING),
    }
}

fn cpu(mode: &ModeResults) -> String {
    match mode.client_cpu_us_per_request {
        Some(us) if us.is_finite() && us < 99.95 => format!("{us:.1} µs"),
        Some(us) if us.is_finite() => span(us.round() as u64),
        Some(_) => String::from(NOTHING),
        None => String::from(UNKNOWN),
    }
}
