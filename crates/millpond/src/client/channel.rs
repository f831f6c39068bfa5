//! What a client, its clones and its requests share: the pool, the settings of requests, the budget
//! of retries, and in that mode the pipelines.

use std::sync::Arc;

use super::{
    metrics::Metrics,
    pipelined::Pipelines,
    retry::Retries,
    sessions::Sessions,
    settings::{ClientSettings, ErrorReplies},
};
use crate::{
    framing::{Framing, LengthJson},
    pool::Pool,
};

/// See the module.
pub(super) struct Channel<F: Framing = LengthJson> {
    pub(super) pool: Pool<Sessions<F>>,
    pub(super) settings: ClientSettings,
    pub(super) retries: Arc<Retries>,
    /// In the mode of that name.
    pub(super) pipelines: Option<Arc<Pipelines<F>>>,
}

impl<F: Framing> Channel<F> {
    /// None without the feature `metrics`.
    pub(super) fn metrics(&self) -> Option<&Metrics> {
        self.pool.connector().reports().metrics()
    }

    /// Whether replies that are error objects are errors.
    pub(super) fn reads_errors(&self) -> bool {
        self.settings.error_replies == ErrorReplies::AreErrors
    }
}

impl<F: Framing> Clone for Channel<F> {
    fn clone(&self) -> Self {
        Channel {
            pool: self.pool.clone(),
            settings: self.settings.clone(),
            retries: Arc::clone(&self.retries),
            pipelines: self.pipelines.clone(),
        }
    }
}
