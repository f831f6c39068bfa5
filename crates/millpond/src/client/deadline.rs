//! The times of a request: when it began, and its deadline.

use std::time::Duration;

use tokio::time::Instant;

/// A time that can't be expressed as a moment is this: longer than anybody waits.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// This time, or the longest that can be added to a moment.
pub(super) fn expressible(time: Duration) -> Duration {
    time.min(FAR)
}

/// The times of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When this attempt began: read from the clock then, for it is compared with the deadline.
    pub(super) began: Instant,
    /// Until when there must be a reply.
    pub(super) deadline: Instant,
}

impl Times {
    #[inline]
    pub(super) fn within(time: Duration) -> Self {
        let began = Instant::now();
        Times {
            began,
            deadline: began + expressible(time),
        }
    }

    /// An attempt begins.
    pub(super) fn begins(&mut self, now: Instant) {
        self.began = now;
    }
}
