//! By which a caller of a pipeline is told.

use tokio::sync::oneshot;

use super::{group::Member, reply::PipelineResult};

/// By which a caller is told.
pub(super) enum Sender {
    /// A request that came alone.
    Alone(oneshot::Sender<PipelineResult>),
    /// One of several that came together.
    Together(Member),
}

impl Sender {
    /// Tells it. What it would have been told, if its caller has gone.
    pub(super) fn send(self, told: PipelineResult) -> Result<(), PipelineResult> {
        match self {
            Sender::Alone(sender) => sender.send(told),
            Sender::Together(member) => member.send(told),
        }
    }

    /// Its caller has gone.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Sender::Alone(sender) => sender.is_closed(),
            Sender::Together(member) => member.is_gone(),
        }
    }
}
