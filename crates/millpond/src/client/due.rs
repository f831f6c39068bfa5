//! Until when there must be a reply, and who looks at the clock for it.

use std::time::Duration;

use tokio::time::Instant;

/// From which on nobody minds some milliseconds more.
const PATIENT: Duration = Duration::from_secs(1);

/// Until when there must be a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    At(Instant),
    /// Nobody has looked at the clock: counted from when somebody does who comes by, within 25 ms. Never early, and as late as that.
    Within(Duration),
}

impl Due {
    /// Within this time from now. To ask what the time is costs a good part of what an exchange does beside its system calls: whoever has
    /// seconds doesn't.
    pub(super) fn within(time: Duration) -> Self {
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
