//! What became of requests, and how long they took. Each request is counted in exactly one place,
//! so that the sum is the number of requests. Pure.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;

/// Why a request brought no right reply, in the terms of a command.
pub(crate) trait MissKind: Copy + Ord + fmt::Debug + Send + Sync + 'static {
    /// In an open loop: all callers were busy for so long that it was never sent.
    const NOT_SENT: Self;
    /// It was still under way when the load was stopped.
    const CUT_SHORT: Self;

    /// Whether the next request would fail at once in the same way, so that the caller pauses
    /// first.
    fn calls_for_a_pause(self) -> bool;
}

/// A request that brought no right reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Miss<K> {
    pub(crate) kind: K,
    /// What went wrong, for people.
    pub(crate) text: String,
}

/// How long a right reply took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// From when the request was meant to be sent.
    pub(crate) latency: Duration,
    /// From when it was sent.
    pub(crate) service: Duration,
}

/// What became of requests.
#[derive(Clone, Debug)]
pub(crate) struct Tally<K> {
    pub(crate) replies_ok: u64,
    pub(crate) errors: BTreeMap<K, u64>,
    /// The text of the first error of each kind.
    pub(crate) examples: BTreeMap<K, String>,
    /// Of right replies, in ns, to 1 ‰.
    pub(crate) latency: Histogram<u64>,
    pub(crate) service: Histogram<u64>,
}

impl<K: MissKind> Tally<K> {
    /// All of them.
    pub(crate) fn requests(&self) -> u64 {
        self.replies_ok + self.errors.values().sum::<u64>()
    }

    /// How many ended with an error of this kind.
    pub(crate) fn missed(&self, kind: K) -> u64 {
        self.errors.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn add_reply(&mut self, times: Times) {
        self.replies_ok += 1;
        for (histogram, time) in [
            (&mut self.latency, times.latency),
            (&mut self.service, times.service),
        ] {
            // It grows as needed, so it takes every value.
            let _ = histogram.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// So many requests ended like this.
    pub(crate) fn add_misses(&mut self, requests: u64, miss: Miss<K>) {
        *self.errors.entry(miss.kind).or_default() += requests;
        self.examples.entry(miss.kind).or_insert(miss.text);
    }

    pub(crate) fn merge(&mut self, other: &Tally<K>) {
        self.replies_ok += other.replies_ok;
        for (&kind, requests) in &other.errors {
            *self.errors.entry(kind).or_default() += requests;
        }
        for (&kind, text) in &other.examples {
            self.examples.entry(kind).or_insert_with(|| text.clone());
        }
        // As above.
        let _ = self.latency.add(&other.latency);
        let _ = self.service.add(&other.service);
    }

    /// The latency in µs that this share of the right replies (0.5, 0.99) kept to; 0 if there was
    /// none.
    pub(crate) fn latency_us(&self, share: f64) -> u64 {
        match self.latency.is_empty() {
            true => 0,
            false => us(self.latency.value_at_quantile(share)),
        }
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        Tally {
            replies_ok: 0,
            errors: BTreeMap::new(),
            examples: BTreeMap::new(),
            latency: histogram(),
            service: histogram(),
        }
    }
}

/// A time in ns as µs, rounded.
pub(crate) fn us(ns: u64) -> u64 {
    (ns + 500) / 1_000
}
