//! How many requests may be sent a second time: a budget, so that a service in trouble isn't given
//! twice the load. Pure: it is told the time.
//!
//! A token bucket after Finagle's `RetryBudget` (twitter/finagle,
//! `com.twitter.finagle.service.RetryBudget`): each request pays a fifth of a token in, a retry
//! takes a whole one, and a few a second are there for clients with few requests.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// What a retry takes, in millionths of a token: whole numbers, or a hundred fifths would make 19.
const RETRY: u64 = 1_000_000;

/// What each request pays in: one retry for five requests.
const PAID_IN: u64 = RETRY / 5;

/// Retries a second that need no requests before them.
const PER_SECOND: u64 = 3;

/// How much is saved up: what ten seconds without requests bring.
const MOST: u64 = 10 * PER_SECOND * RETRY;

/// What became of the requests of a client that might have been sent a second time, since it was
/// made. Those that might not aren't counted: see [`Client`](super::Client#what-it-promises).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RetryTotals {
    /// Those for which the budget paid a second attempt. It is made as soon as there is a
    /// connection, so this includes the few that had none before their deadline.
    pub granted: u64,
    /// Those that failed though they might have been sent again: the budget was used up. Many of
    /// them mean that the server is in trouble, not single connections.
    pub refused: u64,
    /// How often a request was sent again since a server had turned it away
    /// ([`NOT_TAKEN`](crate::framing::json::NOT_TAKEN)), as one that drains does. The budget
    /// isn't asked for that.
    pub turned_away: u64,
}

/// The budget of a client. Requests that need no second attempt take no lock: they are counted, and
/// paid in when somebody asks.
#[derive(Debug)]
pub(super) struct Retries {
    requests: AtomicU64,
    turned_away: AtomicU64,
    budget: Mutex<RetryBudget>,
}

impl Retries {
    pub(super) fn new(now: Instant) -> Self {
        Retries {
            requests: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            budget: Mutex::new(RetryBudget::new(now)),
        }
    }

    /// So many requests are sent for the first time.
    #[inline]
    pub(super) fn pay_in(&self, requests: u64) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    /// Whether one may be sent again; if so that is paid for.
    pub(super) fn withdraw(&self, now: Instant) -> Withdrawal {
        let mut budget = self.budget.lock();
        budget.pay_in(self.requests.swap(0, Ordering::Relaxed));
        budget.withdraw(now)
    }

    /// A request is sent again that was turned away.
    pub(super) fn count_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// What was asked so far.
    pub(super) fn totals(&self) -> RetryTotals {
        RetryTotals {
            turned_away: self.turned_away.load(Ordering::Relaxed),
            ..self.budget.lock().totals()
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug)]
struct RetryBudget {
    /// Millionths of a token.
    saved: u64,
    at: Instant,
    totals: RetryTotals,
}

impl RetryBudget {
    fn new(now: Instant) -> Self {
        RetryBudget {
            saved: PER_SECOND * RETRY,
            at: now,
            totals: RetryTotals::default(),
        }
    }

    /// So many requests were sent for the first time.
    fn pay_in(&mut self, requests: u64) {
        self.saved = self
            .saved
            .saturating_add(requests.saturating_mul(PAID_IN))
            .min(MOST);
    }

    /// Whether one may be sent again; if so that is paid for.
    fn withdraw(&mut self, now: Instant) -> Withdrawal {
        let passed = now
            .saturating_duration_since(self.at)
            .min(Duration::from_secs(60));
        self.at = self.at.max(now);
        let earned = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        self.saved = MOST.min(self.saved + earned * PER_SECOND);
        match self.saved.checked_sub(RETRY) {
            None => {
                self.totals.refused += 1;
                Withdrawal::Refused
            }
            Some(rest) => {
                self.totals.granted += 1;
                self.saved = rest;
                Withdrawal::Granted
            }
        }
    }

    /// What was asked of it so far.
    fn totals(&self) -> RetryTotals {
        self.totals
    }
}

/// The budget's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawal {
    Granted,
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(budget: &mut RetryBudget, now: Instant) -> usize {
        (0..10_000)
            .take_while(|_| budget.withdraw(now) == Withdrawal::Granted)
            .count()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_sent_again() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(now);
        assert_eq!(granted(&mut budget, now), 3);
        (0..100).for_each(|_| budget.pay_in(1));
        assert_eq!(granted(&mut budget, now), 20);
        assert_eq!(granted(&mut budget, now), 0);
    }

    #[test]
    fn three_a_second_need_no_requests_and_ten_seconds_of_them_are_saved_up() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(now);
        assert_eq!(granted(&mut budget, now), 3);
        assert_eq!(granted(&mut budget, now + Duration::from_secs(1)), 3);
        assert_eq!(granted(&mut budget, now + Duration::from_secs(3_600)), 30);
        budget.pay_in(1_000_000);
        assert_eq!(granted(&mut budget, now + Duration::from_secs(3_600)), 30);
    }
}
