//! Time as the machine sees it: nanoseconds since the pool was built, always passed in.

use std::{ops::Sub, time::Duration};

/// A point in time, counted from the moment the pool was built.
///
/// Eight bytes where an `Instant` takes sixteen, and a test can write one down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Later than everything: a deadline that never comes.
    pub(crate) const NEVER: Moment = Moment(u64::MAX);

    /// The moment this long after the pool was built.
    #[inline]
    pub(crate) fn at(since_built: Duration) -> Moment {
        let nanos = since_built.as_secs().saturating_mul(1_000_000_000);
        Moment(nanos.saturating_add(u64::from(since_built.subsec_nanos())))
    }

    /// This long after `self`; [`Moment::NEVER`] where that is out of range.
    #[inline]
    pub(crate) fn after(self, wait: Duration) -> Moment {
        Moment(self.0.saturating_add(Moment::at(wait).0))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[inline]
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time from the building of the pool to this moment.
    pub(crate) fn since_built(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Sub for Moment {
    type Output = Duration;

    /// As [`Moment::since`].
    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}
