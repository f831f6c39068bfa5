//! Flows: requests whose order is kept, such as those of one client of a route.
//!
//! A pipeline executes what is appended to it in that order; two pipelines execute in any. So a flow
//! that has unanswered requests on a pipeline is *bound* to it: its next ones go there, or wait for
//! it. A pipeline answers in order as well, so it is enough to know of each flow where its last
//! request was appended. Nothing is noted when a reply comes.

use std::collections::VecDeque;

use super::{
    carried::{FlowId, Id},
    line::Rank,
};

/// See the module.
#[derive(Default)]
pub(super) struct Flow {
    /// The pipeline to which its last request was appended, and where that begins there. While
    /// requests wait: nothing, if any pipeline may serve them.
    pub(super) last: Option<(Id, u64)>,
    /// Its requests that wait, in their order.
    pub(super) waiting: VecDeque<Rank>,
    /// How many requests it has brought.
    pub(super) brought: u64,
}

impl Flow {
    /// The pipeline that alone may serve those that wait.
    pub(super) fn served_by(&self) -> Option<u64> {
        self.last.map(|(id, _)| id.serial)
    }

    /// One of those that wait doesn't any more.
    pub(super) fn leaves(&mut self, rank: Rank) {
        match self.waiting.front() {
            Some(first) if *first == rank => drop(self.waiting.pop_front()),
            _ => self.waiting.retain(|other| *other != rank),
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

/// All flows there are.
#[derive(Default)]
pub(super) struct Flows {
    places: Vec<Flow>,
    vacant: Vec<usize>,
}

impl Flows {
    pub(super) fn open(&mut self) -> FlowId {
        FlowId(self.vacant.pop().unwrap_or_else(|| {
            self.places.push(Flow::default());
            self.places.len() - 1
        }))
    }

    /// None of its requests may wait any more. Those that were appended go their way.
    pub(super) fn close(&mut self, flow: FlowId) {
        debug_assert!(self.of(flow).waiting.is_empty(), "its requests wait");
        self.places[flow.0] = Flow::default();
        self.vacant.push(flow.0);
    }

    pub(super) fn of(&self, flow: FlowId) -> &Flow {
        &self.places[flow.0]
    }

    pub(super) fn of_mut(&mut self, flow: FlowId) -> &mut Flow {
        &mut self.places[flow.0]
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &Flow> {
        self.places.iter()
    }
}
