//! What the machine shows of itself.

use std::fmt;

use super::{Id, Kinds, State, outcomes::Load};

impl<K: Kinds> State<K> {
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

    /// Whether a reply may come, while so many bytes that were taken lie unwritten: something was written of a request that isn't answered.
    pub(in crate::client::pipelined) fn owes(&self, id: Id, unwritten: usize) -> bool {
        let pipeline = self.pipelines.get(id.at).and_then(Option::as_ref);
        pipeline
            .filter(|one| one.serial == id.serial)
            .is_some_and(|pipeline| {
                let written = pipeline.handed - unwritten as u64;
                pipeline
                    .expected
                    .front()
                    .is_some_and(|next| next.begins < written)
            })
    }

    pub(in crate::client::pipelined) fn loads(&self) -> Vec<Load> {
        let pipelines = self.pipelines.iter().flatten();
        let loads = pipelines.map(|pipeline| Load {
            slot: pipeline.slot,
            in_flight: pipeline.expected.len(),
        });
        loads.collect()
    }
}

impl<K: Kinds> fmt::Debug for State<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("pipelines", &self.live())
            .field("waiting", &self.waiting.len())
            .field("leasing", &self.leasing)
            .finish_non_exhaustive()
    }
}
