//! What the machine shows of itself.

use std::fmt;

use super::{Machine, carried::Carried, outcomes::PipelineLoad};

impl<K: Carried> Machine<K> {
    pub(in crate::client::pipelined) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The bytes of the requests that wait.
    pub(in crate::client::pipelined) fn waiting_bytes(&self) -> usize {
        self.waiting.bytes()
    }

    pub(in crate::client::pipelined) fn leasing(&self) -> usize {
        self.leasing
    }

    pub(in crate::client::pipelined) fn max_waiting(&self) -> usize {
        self.limits.max_waiting
    }

    pub(in crate::client::pipelined) fn loads(&self) -> Vec<PipelineLoad> {
        let pipelines = self.pipelines.iter().flatten();
        let loads = pipelines.map(|pipeline| PipelineLoad {
            slot: pipeline.slot,
            in_flight: pipeline.expected.len(),
        });
        loads.collect()
    }
}

impl<K: Carried> fmt::Debug for Machine<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("pipelines", &self.live())
            .field("waiting", &self.waiting.len())
            .field("leasing", &self.leasing)
            .finish_non_exhaustive()
    }
}
