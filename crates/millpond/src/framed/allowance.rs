//! How many heartbeats a peer may send: a rate with a burst. Pure: it is told the time.

use std::{ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

use millpond_words::InvalidSetting;

/// How many heartbeats a peer may send: so many at once, and so many a second on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct HeartbeatLimit {
    /// How many at once, at least 1. Default 100: as many as an honest peer sends in a quarter of
    /// an hour, should the network deliver them together. What may have come since the
    /// connection was last looked at, by the rate, is allowed as well: heartbeats pile up while a
    /// process stands still.
    pub burst: u32,
    /// How many a second, at least 1. Default 20: two hundred times as many as a peer sends that
    /// keeps to the interval, and still nothing to read.
    pub per_second: u32,
}

impl Default for HeartbeatLimit {
    fn default() -> Self {
        HeartbeatLimit {
            burst: 100,
            per_second: 20,
        }
    }
}

/// The shortest and the longest time between two heartbeats: with less a connection would do
/// nothing else, and no middlebox waits for more.
const INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 60 * 60);

/// What may be set of heartbeats, on both sides: how often they are sent, and how many are borne.
pub(crate) fn validate_heartbeats(
    interval: Duration,
    limit: HeartbeatLimit,
) -> Result<(), InvalidSetting> {
    let refuse = |setting, value, allowed| Err(InvalidSetting::new(setting, value, allowed));
    if !interval.is_zero() && !INTERVALS.contains(&interval) {
        return refuse(
            "heartbeat_interval",
            format!("{interval:?}"),
            "0, or 1 ms to a year",
        );
    }
    if limit.burst == 0 {
        return refuse("heartbeat_limit.burst", "0".into(), "at least 1");
    }
    if limit.per_second == 0 {
        return refuse("heartbeat_limit.per_second", "0".into(), "at least 1");
    }
    Ok(())
}

/// What a peer has left of a [`HeartbeatLimit`]: GCRA, the token bucket that needs a single moment.
///
/// The bucket fills while the connection isn't read, and is cut to a burst only when a read has
/// found nothing more. What was sent while the reader stood still arrives all at once when it goes
/// on, but was sent over that time: on average it is no more than the rate allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// When the bucket will be full again, or has been since.
    full_at: Instant,
}

impl Allowance {
    pub(crate) fn full(now: Instant) -> Self {
        Allowance { full_at: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, limit: HeartbeatLimit, now: Instant) -> bool {
        let each = Duration::from_secs(1) / limit.per_second;
        let full_at = self.full_at + each;
        if full_at.saturating_duration_since(now) > each * limit.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// By then all had been taken that had arrived.
    #[inline]
    pub(crate) fn caught_up(&mut self, by: Instant) {
        self.full_at = self.full_at.max(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let limit = HeartbeatLimit {
            burst: 10,
            per_second: 2,
        };
        let mut now = Instant::now();
        let mut allowance = Allowance::full(now);
        let mut taken = |now: Instant| {
            allowance.caught_up(now);
            (0..100).take_while(|_| allowance.take(limit, now)).count()
        };
        assert_eq!(taken(now), 10);
        now += Duration::from_millis(499);
        assert_eq!(taken(now), 0);
        now += Duration::from_millis(1);
        assert_eq!(taken(now), 1);
        now += Duration::from_secs(2);
        assert_eq!(taken(now), 4);
        now += Duration::from_secs(3_600);
        assert_eq!(taken(now), 10, "no more than a burst is saved up");
    }

    #[test]
    fn what_was_sent_while_nobody_read_has_had_that_time() {
        let limit = HeartbeatLimit {
            burst: 10,
            per_second: 2,
        };
        let began = Instant::now();
        let now = began + Duration::from_secs(30);
        let mut allowance = Allowance::full(began);
        let mut taken = |now: Instant| (0..100).take_while(|_| allowance.take(limit, now)).count();
        assert_eq!(taken(now), 10 + 60);
        assert_eq!(taken(now + Duration::from_secs(1)), 2, "it is spent");
        // The next half minute isn't over before somebody has looked and found nothing.
        allowance.caught_up(now + Duration::from_secs(11));
        let mut taken = |now: Instant| (0..100).take_while(|_| allowance.take(limit, now)).count();
        assert_eq!(taken(now + Duration::from_secs(41)), 10 + 60);
    }
}
