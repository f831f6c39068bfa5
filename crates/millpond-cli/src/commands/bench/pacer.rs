//! Sends requests off at a constant rate, whatever becomes of them: an open loop. Each has a moment
//! at which it is meant to be sent, and its latency counts from there, so that what a stalled
//! server holds up counts in full ("coordinated omission", as Gil Tene calls its absence).
//!
//! A thread of its own keeps the time: the runtime's timer knows milliseconds only, and waits for
//! tasks that are busy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// It wakes up no more often than this: what is due in between is sent off together, and counts
/// from when each was due.
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);

/// And no less often, so that it ends soon when it is told to.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Requests to be sent, one after the other, at a constant rate.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: Schedule,
    due: Arc<Semaphore>,
    /// The next one that nobody has taken.
    next: AtomicU64,
    given_up: Arc<AtomicBool>,
}

/// When each is meant to be sent.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    began: Instant,
    per_second: f64,
    requests: u64,
}

impl Schedule {
    fn intended(&self, number: u64) -> Instant {
        self.began + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How many are due.
    fn due(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.began).as_secs_f64();
        // The first is due at once.
        let due = (passed * self.per_second) as u64 + 1;
        due.min(self.requests)
    }
}

impl Pacer {
    /// Begins at once. `callers` will ask for requests.
    pub(super) fn start(per_second: f64, requests: u64, callers: u32) -> Pacer {
        let schedule = Schedule {
            began: Instant::now(),
            per_second,
            requests,
        };
        let due = Arc::new(Semaphore::new(0));
        let given_up = Arc::new(AtomicBool::new(false));
        let pacing = Pacing {
            schedule,
            due: Arc::clone(&due),
            callers,
            given_up: Arc::clone(&given_up),
        };
        thread::spawn(move || pacing.keep_time());
        Pacer {
            schedule,
            due,
            next: AtomicU64::new(0),
            given_up,
        }
    }

    /// When the next request is due: when it was meant to be sent, once that time has come. `None`:
    /// there are no more.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.schedule.requests).then(|| self.schedule.intended(number))
    }

    /// No more requests for anybody; how many nobody had taken.
    pub(super) fn abandon(&self) -> u64 {
        let taken = self.next.swap(self.schedule.requests, Ordering::Relaxed);
        self.give_up();
        self.schedule.requests.saturating_sub(taken)
    }

    /// No more requests for anybody.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.due.close();
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The thread's part.
struct Pacing {
    schedule: Schedule,
    due: Arc<Semaphore>,
    callers: u32,
    given_up: Arc<AtomicBool>,
}

impl Pacing {
    fn keep_time(self) {
        exact_sleep();
        let mut sent = 0;
        while !self.given_up.load(Ordering::Relaxed) {
            let due = self.schedule.due(Instant::now());
            self.due.add_permits((due - sent) as usize);
            sent = due;
            if sent == self.schedule.requests {
                // One for each caller, which tells it that there are no more.
                self.due.add_permits(self.callers as usize);
                return;
            }
            let until = self
                .schedule
                .intended(sent)
                .saturating_duration_since(Instant::now());
            thread::sleep(until.clamp(SHORTEST_SLEEP, LONGEST_SLEEP));
        }
    }
}

/// The kernel adds up to 50 µs to each sleep of a thread that doesn't ask it not to.
#[cfg(target_os = "linux")]
fn exact_sleep() {
    // Refused, it sleeps a little longer, which the latency shows.
    let _ = nix::sys::prctl::set_timerslack(1);
}

#[cfg(not(target_os = "linux"))]
fn exact_sleep() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_equal_intervals_from_the_beginning_on() {
        let began = Instant::now();
        let schedule = Schedule {
            began,
            per_second: 1_000.0,
            requests: 10,
        };
        let after = |us| schedule.due(began + Duration::from_micros(us));
        assert_eq!(
            [0, 999, 1_001, 8_999, 9_001, 60_000_000].map(after),
            [1, 1, 2, 9, 10, 10]
        );
        assert_eq!(schedule.intended(9), began + Duration::from_millis(9));
        assert_eq!(schedule.due(began - Duration::from_secs(1)), 1);
    }

    #[tokio::test]
    async fn each_request_is_given_once_and_never_too_early_and_every_caller_is_told_of_the_end() {
        let pacer = Pacer::start(2_000.0, 100, 2);
        let began = pacer.schedule.began;
        let call = async || {
            let mut intended = Vec::new();
            while let Some(at) = pacer.next().await {
                assert!(at <= Instant::now(), "too early");
                intended.push(at - began);
            }
            intended
        };
        let (first, second) = tokio::join!(call(), call());
        let mut all = [first, second].concat();
        all.sort();
        let expected: Vec<_> = (0..100)
            .map(|number| Duration::from_micros(500 * number))
            .collect();
        assert_eq!(all, expected);
    }

    #[tokio::test]
    async fn what_is_abandoned_is_told_once() {
        let pacer = Pacer::start(1.0e6, 100, 1);
        for _ in 0..30 {
            assert!(pacer.next().await.is_some());
        }
        assert_eq!((pacer.abandon(), pacer.abandon()), (70, 0));
        assert!(pacer.next().await.is_none());
    }

    #[tokio::test]
    async fn given_up_it_has_no_more_for_anybody() {
        let pacer = Pacer::start(0.001, 100, 1);
        assert!(pacer.next().await.is_some());
        let waiting = pacer.next();
        pacer.give_up();
        assert!(waiting.await.is_none());
    }
}
