//! Until when there must be a reply, and who looks at the clock for it.

use std::time::Duration;

use tokio::time::Instant;

/// From which on nobody minds some milliseconds more.
pub(super) const PATIENT: Duration = Duration::from_secs(1);

/// A time that can't be expressed as a moment is this: longer than anybody waits.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What counts of a time that somebody has asked for.
pub(super) fn expressible(time: Duration) -> Duration {
    time.min(FAR)
}

/// Until when there must be a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    At(Instant),
    /// Nobody has looked at the clock: counted from when somebody does who comes by, within 25 ms.
    /// Never early, and as late as that.
    Within(Duration),
}

impl Due {
    /// Within this time from now. To ask what the time is costs a good part of what an exchange
    /// does beside its system calls: whoever has seconds doesn't.
    pub(super) fn within(time: Duration) -> Self {
        let time = expressible(time);
        match time >= PATIENT {
            true => Due::Within(time),
            false => Due::At(Instant::now() + time),
        }
    }

    /// The moment, which is fixed now if it wasn't.
    pub(super) fn settle(&mut self, now: Instant) -> Instant {
        let deadline = match *self {
            Due::At(deadline) => deadline,
            Due::Within(time) => now + time,
        };
        *self = Due::At(deadline);
        deadline
    }

    /// Whether somebody who looks at this time only looks in time.
    pub(super) fn can_wait_until(self, at: Option<Instant>) -> bool {
        match self {
            Due::At(deadline) => at.is_some_and(|at| at <= deadline),
            Due::Within(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_second_or_more_counts_from_when_somebody_looks_and_less_from_the_beginning() {
        let now = Instant::now();
        let mut long = Due::within(PATIENT);
        assert_eq!(long, Due::Within(PATIENT));
        assert_eq!(long.settle(now + 20 * MS), now + PATIENT + 20 * MS);
        assert_eq!(long.settle(now + 40 * MS), now + PATIENT + 20 * MS, "once");
        let mut short = Due::within(PATIENT - MS);
        let deadline = short.settle(now + 20 * MS);
        assert!(deadline >= now + PATIENT - MS && short == Due::At(deadline));
    }

    #[test]
    fn a_moment_can_wait_for_who_comes_no_later() {
        let at = Instant::now() + 100 * MS;
        let can_wait_until = |looks| Due::At(at).can_wait_until(looks);
        assert!(can_wait_until(Some(at)) && !can_wait_until(Some(at + MS)));
        assert!(!can_wait_until(None), "nobody comes");
        assert!(
            Due::Within(PATIENT).can_wait_until(None),
            "somebody always does"
        );
    }
}
