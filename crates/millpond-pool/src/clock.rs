//! The pool's clock: the time since it was built.

use std::time::Duration;

use tokio::time::Instant;

use super::state::Moment;

/// Reads the monotonic clock as the time since the pool was built.
#[derive(Debug)]
pub(crate) struct Clock {
    built: Instant,
    /// Where every interleaving is explored time must be the same in each: it stands still until a
    /// test moves it.
    #[cfg(millpond_loom)]
    pub(crate) millis: std::sync::atomic::AtomicU64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Clock {
            built: Instant::now(),
            #[cfg(millpond_loom)]
            millis: std::sync::atomic::AtomicU64::new(0),
        }
    }

    #[cfg(not(millpond_loom))]
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    #[cfg(millpond_loom)]
    pub(crate) fn now(&self) -> Moment {
        let millis = self.millis.load(std::sync::atomic::Ordering::SeqCst);
        Moment::at(Duration::from_millis(millis))
    }

    #[inline]
    pub(crate) fn moment(&self, instant: Instant) -> Moment {
        Moment::at(instant.saturating_duration_since(self.built))
    }

    /// The instant of a moment; a far one where it can't be told.
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let far = self.built + 100 * year;
        self.built
            .checked_add(moment.since_built())
            .unwrap_or(far)
            .min(far)
    }
}
