//! An exchange as metrics count it, from its beginning to its end.

use super::{error::RequestError, metrics::Metrics, outcome::Outcome};

/// An exchange that goes on. Dropped before its end, it was cancelled.
pub(super) struct Ongoing<'m> {
    metrics: Option<&'m Metrics>,
}

impl<'m> Ongoing<'m> {
    pub(super) fn begin(metrics: Option<&'m Metrics>) -> Self {
        if let Some(metrics) = metrics {
            metrics.began();
        }
        Ongoing { metrics }
    }

    /// One that was begun with others, and goes on alone.
    pub(super) fn resume(metrics: Option<&'m Metrics>) -> Self {
        Ongoing { metrics }
    }

    pub(super) fn ended<T>(mut self, result: Result<T, RequestError>) -> Result<T, RequestError> {
        if let Some(metrics) = self.metrics.take() {
            metrics.ended(Outcome::of(&result));
        }
        result
    }
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics {
            metrics.ended(Outcome::Cancelled);
        }
    }
}
