//! Which pipeline a flow is bound to, and when its requests that wait are free again.

use super::{
    Machine,
    carried::{Carried, FlowId, Id},
    live,
    outcomes::Released,
};

impl<K: Carried> Machine<K> {
    /// Requests that keep their order from now on.
    pub(in crate::client::pipelined) fn open_flow(&mut self) -> FlowId {
        self.flows.open()
    }

    /// No more requests of this flow come, and none of them waits.
    pub(in crate::client::pipelined) fn close_flow(&mut self, flow: FlowId) {
        self.flows.close(flow);
    }

    /// How many requests of this flow have come.
    pub(in crate::client::pipelined) fn brought(&self, flow: FlowId) -> u64 {
        self.flows.of(flow).brought
    }

    /// The pipeline that has unanswered requests of this flow, or that alone may serve those of it
    /// that wait: there its next one goes as well.
    pub(super) fn bound(&self, flow: FlowId) -> Option<Id> {
        let flow = self.flows.of(flow);
        let (id, begins) = flow.last?;
        let pipeline = live(&self.pipelines, id)?;
        let is_bound = !flow.waiting.is_empty() || pipeline.owes_since(begins);
        is_bound.then_some(id)
    }

    /// A pipeline takes no more requests, or is gone. Those that wait for it alone, and whose flows
    /// have nothing unanswered on it, may be served by any.
    pub(super) fn release(&mut self, id: Id) -> Released {
        let pipeline = live(&self.pipelines, id);
        let mut released = Vec::new();
        for (rank, request) in self.waiting.bound_to(id.serial) {
            let flow = request.flow.expect("bound by its flow");
            let last = self.flows.of(flow).last;
            let owes = pipeline
                .zip(last)
                .is_some_and(|(pipeline, (_, begins))| pipeline.owes_since(begins));
            if !owes {
                released.push((rank, flow));
            }
        }
        if released.is_empty() {
            return Released::default();
        }
        for (rank, flow) in released {
            self.waiting.release(rank, id.serial);
            self.flows.of_mut(flow).last = None;
        }
        let others = self.pipelines.iter().flatten();
        let wakes = others.map(|pipeline| pipeline.driver.clone()).collect();
        Released {
            wakes,
            leases: self.lease_more(),
        }
    }
}
