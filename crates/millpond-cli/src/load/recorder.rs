//! Where the callers of a load write what became of their requests: many at once, in batches.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::tally::{Miss, MissKind, Tally, Times};

/// A caller keeps so many replies to itself before it hands them over.
const BATCH: usize = 64;

/// Shared by the callers of a load.
#[derive(Debug)]
pub(crate) struct Recorder<K> {
    tally: Mutex<Tally<K>>,
    replied: AtomicU64,
    missed: AtomicU64,
}

impl<K: MissKind> Recorder<K> {
    /// Right replies so far.
    pub(crate) fn replied(&self) -> u64 {
        self.replied.load(Ordering::Relaxed)
    }

    /// Requests so far that are over, whatever became of them.
    pub(crate) fn ended(&self) -> u64 {
        self.replied() + self.missed.load(Ordering::Relaxed)
    }

    /// What was handed over so far.
    pub(crate) fn tally(&self) -> Tally<K> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Tally<K>> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Default for Recorder<K> {
    fn default() -> Self {
        Recorder {
            tally: Mutex::default(),
            replied: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }
}

/// A caller's own batch. Dropped, it hands over what it has, and a request that is still under way
/// counts as cut short.
#[derive(Debug)]
pub(crate) struct Batch<'r, K: MissKind> {
    recorder: &'r Recorder<K>,
    replies: Vec<Times>,
    is_under_way: bool,
}

impl<'r, K: MissKind> Batch<'r, K> {
    pub(crate) fn of(recorder: &'r Recorder<K>) -> Self {
        Batch {
            recorder,
            replies: Vec::with_capacity(BATCH),
            is_under_way: false,
        }
    }

    /// A request is about to be sent.
    pub(crate) fn begin(&mut self) {
        self.is_under_way = true;
    }

    /// It has brought a right reply.
    pub(crate) fn reply(&mut self, times: Times) {
        self.is_under_way = false;
        self.replies.push(times);
        self.recorder.replied.fetch_add(1, Ordering::Relaxed);
        if self.replies.len() == BATCH {
            self.hand_over();
        }
    }

    /// So many requests ended like this.
    pub(crate) fn miss(&mut self, requests: u64, miss: Miss<K>) {
        self.is_under_way = false;
        self.recorder.missed.fetch_add(requests, Ordering::Relaxed);
        self.recorder.lock().add_misses(requests, miss);
    }

    fn hand_over(&mut self) {
        let mut tally = self.recorder.lock();
        for times in self.replies.drain(..) {
            tally.add_reply(times);
        }
    }
}

impl<K: MissKind> Drop for Batch<'_, K> {
    fn drop(&mut self) {
        if self.is_under_way {
            self.miss(
                1,
                Miss {
                    kind: K::CUT_SHORT,
                    text: String::from("there was no reply when the load was stopped"),
                },
            );
        }
        self.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Kind {
        Lost,
        TimedOut,
        NotSent,
    }

    impl MissKind for Kind {
        const NOT_SENT: Kind = Kind::NotSent;
        const CUT_SHORT: Kind = Kind::TimedOut;

        fn calls_for_a_pause(self) -> bool {
            false
        }
    }

    fn lost(text: &str) -> Miss<Kind> {
        Miss {
            kind: Kind::Lost,
            text: String::from(text),
        }
    }

    #[test]
    fn every_request_is_counted_once_and_times_are_kept_to_a_thousandth() {
        let recorder = Recorder::default();
        let mut batch = Batch::of(&recorder);
        for us in 1..=1_000 {
            batch.reply(Times {
                latency: Duration::from_micros(us),
                service: Duration::from_micros(1),
            });
        }
        for text in ["first", "second"] {
            batch.begin();
            batch.miss(1, lost(text));
        }
        assert_eq!((recorder.replied(), recorder.ended()), (1_000, 1_002));
        batch.begin();
        drop(batch);
        let tally = recorder.tally();
        assert_eq!(tally.errors[&Kind::TimedOut], 1, "still under way");
        let mut total = Tally::default();
        total.merge(&recorder.tally());
        total.merge(&recorder.tally());
        assert_eq!((total.requests(), total.replies_ok), (2_006, 2_000));
        assert_eq!(total.examples[&Kind::Lost], "first");
        let median = total.latency.value_at_quantile(0.5);
        assert!((499_000..=501_000).contains(&median), "{median}");
        assert!(total.service.max() < 1_002);
    }

    #[test]
    fn latencies_of_every_length_are_kept_to_a_hundredth() {
        let recorder = Recorder::<Kind>::default();
        let mut batch = Batch::of(&recorder);
        for after in [1, 1_000_000, 3_600_000_000].map(Duration::from_micros) {
            batch.reply(Times {
                latency: after,
                service: after,
            });
        }
        drop(batch);
        let tally = recorder.tally();
        assert_eq!(tally.latency_us(0.01), 1);
        assert!((990_000..=1_010_000).contains(&tally.latency_us(0.5)));
        assert!(tally.latency_us(1.0) >= 3_560_000_000);
        assert_eq!(Tally::<Kind>::default().latency_us(0.5), 0);
    }
}
