//! Sentences that several forms share: how it was measured, what failed, how the modes compare.
//! Text from elsewhere is escaped for terminals; each form escapes what it needs beyond that.

use super::super::results::{Comparison, ErrorKind, Mode, ModeResults, Results};
use crate::{
    framing,
    numbers::{counted, rate, thousands},
    text::escaped,
};

/// What was measured, and against which endpoint.
pub(super) fn title(results: &Results) -> String {
    format!("Benchmark of {}", escaped(&results.endpoint))
}

/// How it was measured.
pub(super) fn settings(results: &Results) -> String {
    let paced = match results.rate {
        Some(intended) => format!(
            "open loop: {} requests a second were to be sent, whether or not replies had come",
            rate(intended)
        ),
        None => String::from("closed loop: each caller sends when it has its reply"),
    };
    let judged = match results.expected {
        true => "",
        // Only this framing tells which replies are errors.
        false if results.framing == framing::default_name() => {
            " Any reply that isn't an error counts as right: --expect says what it must be."
        }
        false => {
            " Any whole reply counts as right, whatever it says: --expect says what it must be."
        }
    };
    format!(
        "{}, at most {} from a pool, bodies of {} in {} frames; {paced}. {} here for the callers.{judged}",
        counted(results.callers.into(), "caller", "callers"),
        counted(results.max_connections.into(), "connection", "connections"),
        counted(results.body_bytes as u64, "byte", "bytes"),
        results.framing,
        counted(results.threads as u64, "thread", "threads"),
    )
}

/// What the latency of an open loop means; nothing in a closed loop.
pub(super) fn reading(results: &Results) -> Option<&'static str> {
    results.rate.map(|_| {
        "Latency counts from when a request was intended to be sent; service time from when it was sent, which is all that a closed \
         loop shows."
    })
}

/// A sentence that says that it was stopped.
pub(super) fn ending(results: &Results) -> Option<&'static str> {
    results
        .interrupted
        .then_some("Stopped early: this is what was done until then.")
}

/// Requests without a right reply.
pub(super) fn failed(mode: &ModeResults) -> u64 {
    mode.errors
        .values()
        .fold(0, |sum, &times| sum.saturating_add(times))
}

/// Requests that failed in the same way, with the text of the first error.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FailedRequests {
    /// `1,200 could not connect`.
    pub(super) what: String,
    pub(super) example: Option<String>,
}

/// What failed in a mode, the most frequent first.
pub(super) fn failures(mode: &ModeResults) -> Vec<FailedRequests> {
    let mut errors: Vec<_> = mode
        .errors
        .iter()
        .filter(|&(_, &times)| times > 0)
        .collect();
    errors.sort_by_key(|&(_, &times)| std::cmp::Reverse(times));
    let failure = |(kind, &times): (&ErrorKind, &u64)| FailedRequests {
        what: format!("{} {}", thousands(times), kind.words()),
        example: mode
            .error_examples
            .get(kind)
            .map(|example| escaped(example)),
    };
    errors.into_iter().map(failure).collect()
}

/// How much faster a mode was than others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Factors {
    pub(super) mode: Mode,
    pub(super) factors: Vec<Factor>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Factor {
    /// `6.92 ± 0.35`.
    pub(super) number: String,
    /// The words after the number.
    pub(super) words: String,
}

/// The comparisons, grouped by the faster mode, in their order. None if a factor can't be computed.
pub(super) fn factors(results: &Results) -> Vec<Factors> {
    let mut all: Vec<Factors> = Vec::new();
    for comparison in results
        .comparisons
        .iter()
        .filter(|one| one.ratio.is_finite())
    {
        let found = all
            .iter()
            .position(|factors| factors.mode == comparison.mode);
        let at = found.unwrap_or_else(|| {
            all.push(Factors {
                mode: comparison.mode,
                factors: Vec::new(),
            });
            all.len() - 1
        });
        all[at].factors.push(factor(comparison));
    }
    all
}

fn factor(comparison: &Comparison) -> Factor {
    let (ratio, than) = (comparison.ratio, comparison.than.name());
    let deviation = comparison
        .deviation
        .filter(|deviation| deviation.is_finite());
    let number = match deviation {
        Some(deviation) => format!("{} ± {}", factored(ratio), factored(deviation)),
        None => factored(ratio),
    };
    let doubt = match deviation {
        Some(deviation) if ratio - deviation <= 1.0 => ", which may be chance",
        Some(_) => "",
        None => ", by a single round",
    };
    Factor {
        number,
        words: format!("times the throughput of {than}{doubt}"),
    }
}

/// `6.92`; for factors beyond any benchmark only the magnitude.
fn factored(number: f64) -> String {
    match number.abs() < 1e6 {
        true => format!("{number:.2}"),
        false => format!("{number:.1e}"),
    }
}
