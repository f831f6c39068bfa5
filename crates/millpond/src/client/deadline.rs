//! How long a request may take, as a moment.

use std::time::Duration;

/// A time that can't be expressed as a moment is this: longer than anybody waits.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What counts of a time that somebody has asked for.
pub(super) fn expressible(time: Duration) -> Duration {
    time.min(FAR)
}
