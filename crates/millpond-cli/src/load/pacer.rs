//! Keeps the time of an open loop: requests become due at a constant rate, whatever becomes of
//! those before them. Latency counts from when a request was due, so a server that stalls is
//! charged for every request that it held up (without that, Gil Tene's "coordinated omission").
//!
//! A thread of its own keeps the time: the runtime's timer is exact to milliseconds only, and it
//! waits for tasks that are busy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::schedule::Schedule;

/// The thread wakes up no more often than this. Requests that become due in between are released
/// together; each still counts from when it was due.
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);

/// And no less often than this, so that it ends soon when it is told to.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Releases requests, one after the other, at a constant rate.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: Schedule,
    /// A permit for each request that is due and not taken.
    due: Arc<Semaphore>,
    /// The number of the next request to be taken.
    next: AtomicU64,
    given_up: Arc<AtomicBool>,
}

impl Pacer {
    /// Begins at once, for so many callers.
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

    /// Waits until the next request is due, and returns when it was meant to be sent. `None` once
    /// there are no more.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.schedule.requests).then(|| self.schedule.intended(number))
    }

    /// Ends it, and returns how many requests had not been taken.
    pub(super) fn abandon(&self) -> u64 {
        let taken = self.next.swap(self.schedule.requests, Ordering::Relaxed);
        self.give_up();
        self.schedule.requests.saturating_sub(taken)
    }

    /// Ends it: nobody gets a request any more.
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

/// What the thread needs.
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
                // One more for each caller, which learns from it that there are no more.
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

/// Asks the kernel for exact sleeps: by default it adds up to 50 µs to each.
#[cfg(target_os = "linux")]
fn exact_sleep() {
    // If that is refused, sleeps are a little longer, and so are the latencies.
    let _ = nix::sys::prctl::set_timerslack(1);
}

#[cfg(not(target_os = "linux"))]
fn exact_sleep() {}

#[cfg(test)]
mod tests {
    use super::*;

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
