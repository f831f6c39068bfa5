//! What became of requests: each ends in exactly one place here, so that their sum is the number of
//! requests.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use millpond::{client::RequestError, framing::json::NOT_TAKEN, pool::AcquireError};
use serde::Serialize;

use super::question::Verdict;

/// How one request ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A reply came, after this time.
    Replied(Verdict, Duration),
    /// Its caller dropped it.
    Cancelled,
    /// It failed, as the text says.
    Failed(Failing, String),
}

/// Why a request brought no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failing {
    /// Its caller dropped it.
    Cancelled,
    /// Its connection ended, and it may be executed twice.
    LostIdempotent,
    /// Its connection ended, and it may not be executed twice.
    LostNotIdempotent,
    /// Nothing listened for longer than a restart takes.
    Connect,
    /// No reply, or no connection, before the deadline.
    TimedOut,
    /// The server was about to end, and said that it hasn't executed the request.
    NotTaken,
    /// The server answered with an error.
    ErrorReply,
    /// Any other: what came was no frame, the pool was closed, …
    Other,
}

/// Whether a request may be executed twice without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repetition {
    Harmless,
    Harmful,
}

impl Failing {
    pub(super) fn of(error: &RequestError, repetition: Repetition) -> Failing {
        match error {
            RequestError::Lost { .. } if repetition == Repetition::Harmless => {
                Failing::LostIdempotent
            }
            RequestError::Lost { .. } => Failing::LostNotIdempotent,
            RequestError::Acquire(AcquireError::Unavailable { .. }) => Failing::Connect,
            RequestError::TimedOut { .. } | RequestError::Acquire(AcquireError::TimedOut(_)) => {
                Failing::TimedOut
            }
            RequestError::Refused(error) if error.code == NOT_TAKEN => Failing::NotTaken,
            RequestError::Refused(_) => Failing::ErrorReply,
            _ => Failing::Other,
        }
    }

    /// Whether a load with bad manners brings it about by itself.
    pub(super) fn is_part_of_the_load(self) -> bool {
        matches!(
            self,
            Failing::Cancelled
                | Failing::LostIdempotent
                | Failing::LostNotIdempotent
                | Failing::NotTaken
                | Failing::Connect
        )
    }

    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Failing::Cancelled => "cancelled by the caller",
            Failing::LostIdempotent => "lost with the socket (idempotent)",
            Failing::LostNotIdempotent => "lost with the socket (not idempotent)",
            Failing::Connect => "told that nothing listens",
            Failing::TimedOut => "timed out",
            Failing::NotTaken => "turned away, not executed, by a server about to end",
            Failing::ErrorReply => "answered with an error",
            Failing::Other => "failed otherwise",
        }
    }
}

/// What became of requests.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) right: u64,
    pub(super) wrong: u64,
    pub(super) failed: BTreeMap<Failing, u64>,
    /// What the first failure of each kind said.
    pub(super) said: BTreeMap<Failing, String>,
    /// Of right replies, in µs, to 1 %.
    latency: Histogram<u32>,
}

impl Tally {
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.requests += 1;
        match outcome {
            Outcome::Replied(Verdict::Right, after) => {
                self.right += 1;
                // It grows as it must: only memory could be short.
                let _ = self
                    .latency
                    .record(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
            }
            Outcome::Replied(Verdict::Wrong, _) => self.wrong += 1,
            Outcome::Cancelled => *self.failed.entry(Failing::Cancelled).or_default() += 1,
            Outcome::Failed(failing, text) => {
                *self.failed.entry(failing).or_default() += 1;
                self.said.entry(failing).or_insert(text);
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.right += other.right;
        self.wrong += other.wrong;
        for (&failing, times) in &other.failed {
            *self.failed.entry(failing).or_default() += times;
        }
        for (&failing, text) in &other.said {
            self.said.entry(failing).or_insert_with(|| text.clone());
        }
        // As above.
        let _ = self.latency.add(&other.latency);
    }

    /// The latency in µs that this share of the right replies (0.5, 0.99) kept to; 0 if there was
    /// none.
    pub(super) fn latency_us(&self, share: f64) -> u64 {
        match self.latency.is_empty() {
            true => 0,
            false => self.latency.value_at_quantile(share),
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            requests: 0,
            right: 0,
            wrong: 0,
            failed: BTreeMap::new(),
            said: BTreeMap::new(),
            latency: Histogram::new(2).expect("two digits are allowed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_reply_is_counted_as_one_and_the_sum_is_the_number_of_requests() {
        let after = Duration::from_micros(100);
        let mut tally = Tally::default();
        tally.add(Outcome::Replied(Verdict::Right, after));
        tally.add(Outcome::Replied(Verdict::Wrong, after));
        tally.add(Outcome::Cancelled);
        tally.add(Outcome::Failed(Failing::Other, String::from("no frame")));
        let mut total = Tally::default();
        total.merge(&tally);
        total.merge(&tally);
        assert_eq!((total.requests, total.right, total.wrong), (8, 2, 2));
        assert_eq!(total.failed[&Failing::Cancelled], 2);
        assert_eq!(total.failed[&Failing::Other], 2);
        assert_eq!(total.said[&Failing::Other], "no frame");
        assert_eq!(total.latency_us(0.5), 100);
    }

    #[test]
    fn latencies_of_every_length_are_kept_to_a_hundredth() {
        let mut tally = Tally::default();
        for after in [1, 1_000_000, 3_600_000_000] {
            tally.add(Outcome::Replied(
                Verdict::Right,
                Duration::from_micros(after),
            ));
        }
        assert_eq!(tally.latency_us(0.01), 1);
        assert!((990_000..=1_010_000).contains(&tally.latency_us(0.5)));
        assert!(tally.latency_us(1.0) >= 3_560_000_000);
        assert_eq!(Tally::default().latency_us(0.5), 0);
    }
}
