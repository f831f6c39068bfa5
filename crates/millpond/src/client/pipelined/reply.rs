//! What a caller of a pipeline is told.

use super::machine::Id;
use crate::{
    client::{
        error::RequestError,
        failure::{ExchangeFailure, Progress},
    },
    framed::Replied,
    pool::AcquireError,
};

/// A reply, and on which pipeline it came.
#[derive(Debug)]
pub(in crate::client) struct Reply {
    pub(in crate::client) replied: Replied,
    pub(super) came_on: Id,
}

/// What a caller is told.
pub(in crate::client) type PipelineResult = Result<Reply, Box<PipelineError>>;

/// Why there is no reply.
#[derive(Debug)]
pub(in crate::client) enum PipelineError {
    /// There is no connection, and none to come.
    Acquire(AcquireError),
    /// The client takes no such request now.
    Refused(RequestError),
    /// It was to be sent once more, and others of its flow were begun since.
    Overtaken,
    Exchange {
        cause: ExchangeFailure,
        progress: Progress,
        /// The connection had served before, or had begun to.
        had_served: bool,
        /// The protocol says that the request may be executed twice without harm.
        idempotent: bool,
    },
}

impl PipelineError {
    pub(super) fn new(cause: ExchangeFailure, progress: Progress, had_served: bool) -> Box<Self> {
        Box::new(PipelineError::Exchange {
            cause,
            progress,
            had_served,
            idempotent: false,
        })
    }
}
