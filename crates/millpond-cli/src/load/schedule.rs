//! When each request of an open loop is due: at equal intervals from the beginning on. Pure.

use std::time::{Duration, Instant};

/// So many requests, at a constant rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) began: Instant,
    pub(super) per_second: f64,
    pub(super) requests: u64,
}

impl Schedule {
    /// When the request of this number, counted from 0, is meant to be sent.
    pub(super) fn intended(&self, number: u64) -> Instant {
        self.began + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How many requests are due by now.
    pub(super) fn due(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.began).as_secs_f64();
        // The first is due at once.
        let due = (passed * self.per_second) as u64 + 1;
        due.min(self.requests)
    }
}

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
}
