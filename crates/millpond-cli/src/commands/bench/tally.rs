//! What became of requests, and how long they took: written by many callers at once, in batches.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;

use super::results::ErrorKind;

/// A caller keeps so many times to itself before it hands them over.
const BATCH: usize = 64;

/// A request that brought no right reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Miss {
    pub(super) kind: ErrorKind,
    /// In words.
    pub(super) said: String,
}

/// How long a right reply took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Took {
    /// From when the request was meant to be sent.
    pub(super) latency: Duration,
    /// From when it was sent.
    pub(super) service: Duration,
}

/// What became of requests. Each is counted in exactly one place, so that their sum is the number
/// of requests.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) replies_ok: u64,
    pub(super) errors: BTreeMap<ErrorKind, u64>,
    /// What the first error of each kind said.
    pub(super) said: BTreeMap<ErrorKind, String>,
    /// Of right replies, in ns, to 1 ‰.
    pub(super) latency: Histogram<u64>,
    pub(super) service: Histogram<u64>,
}

impl Tally {
    pub(super) fn requests(&self) -> u64 {
        self.replies_ok + self.errors.values().sum::<u64>()
    }

    fn replied(&mut self, took: Took) {
        self.replies_ok += 1;
        for (histogram, time) in [
            (&mut self.latency, took.latency),
            (&mut self.service, took.service),
        ] {
            // It grows as it must: only memory could be short.
            let _ = histogram.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    fn missed(&mut self, times: u64, miss: Miss) {
        *self.errors.entry(miss.kind).or_default() += times;
        self.said.entry(miss.kind).or_insert(miss.said);
    }

    pub(super) fn merge(&mut self, other: &Tally) {
        self.replies_ok += other.replies_ok;
        for (&kind, times) in &other.errors {
            *self.errors.entry(kind).or_default() += times;
        }
        for (&kind, said) in &other.said {
            self.said.entry(kind).or_insert_with(|| said.clone());
        }
        // As above.
        let _ = self.latency.add(&other.latency);
        let _ = self.service.add(&other.service);
    }
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        Tally {
            replies_ok: 0,
            errors: BTreeMap::new(),
            said: BTreeMap::new(),
            latency: histogram(),
            service: histogram(),
        }
    }
}

/// Where the callers of a round write.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    tally: Mutex<Tally>,
    replied: AtomicU64,
}

impl Recorder {
    /// Right replies so far.
    pub(super) fn replied(&self) -> u64 {
        self.replied.load(Ordering::Relaxed)
    }

    /// What was written; what a caller still has in its batch is missing.
    pub(super) fn tally(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A caller's own batch. Dropped, it hands over what it has, and a request that is still under way
/// counts as one without a reply.
#[derive(Debug)]
pub(super) struct Batch<'r> {
    recorder: &'r Recorder,
    replied: Vec<Took>,
    under_way: bool,
}

impl<'r> Batch<'r> {
    pub(super) fn of(recorder: &'r Recorder) -> Self {
        Batch {
            recorder,
            replied: Vec::with_capacity(BATCH),
            under_way: false,
        }
    }

    /// A request is sent, of which the end will be told.
    pub(super) fn begun(&mut self) {
        self.under_way = true;
    }

    pub(super) fn replied(&mut self, took: Took) {
        self.under_way = false;
        self.replied.push(took);
        self.recorder.replied.fetch_add(1, Ordering::Relaxed);
        if self.replied.len() == BATCH {
            self.hand_over();
        }
    }

    /// So many requests ended like this.
    pub(super) fn missed(&mut self, times: u64, miss: Miss) {
        self.under_way = false;
        let mut tally = self
            .recorder
            .tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tally.missed(times, miss);
    }

    fn hand_over(&mut self) {
        let mut tally = self
            .recorder
            .tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for took in self.replied.drain(..) {
            tally.replied(took);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.under_way {
            self.missed(
                1,
                Miss {
                    kind: ErrorKind::TimedOut,
                    said: String::from("there was no reply when the benchmark was stopped"),
                },
            );
        }
        self.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once_and_times_are_kept_to_a_thousandth() {
        let recorder = Recorder::default();
        let mut batch = Batch::of(&recorder);
        for us in 1..=1_000 {
            batch.replied(Took {
                latency: Duration::from_micros(us),
                service: Duration::from_micros(1),
            });
        }
        for said in ["first", "second"] {
            let miss = Miss {
                kind: ErrorKind::Lost,
                said: String::from(said),
            };
            batch.begun();
            batch.missed(1, miss);
        }
        assert_eq!(recorder.replied(), 1_000);
        batch.begun();
        drop(batch);
        let tally = recorder.tally();
        assert_eq!(tally.errors[&ErrorKind::TimedOut], 1, "still under way");
        let mut total = Tally::default();
        total.merge(&recorder.tally());
        total.merge(&recorder.tally());
        assert_eq!((total.requests(), total.replies_ok), (2_006, 2_000));
        assert_eq!(total.said[&ErrorKind::Lost], "first");
        let median = total.latency.value_at_quantile(0.5);
        assert!((499_000..=501_000).contains(&median), "{median}");
        assert!(total.service.max() < 1_002);
    }
}
