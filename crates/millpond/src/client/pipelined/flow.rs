//! Requests that keep their order, and the turn of each request.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::{
    machine::{FlowId, Order},
    shared::Shared,
};
use crate::{framing::Framing, pool::Priority};

/// Requests of a pipelined client that are executed in the order in which they are begun, and each
/// of them while those before it are in flight: [`Client::flow`](crate::client::Client). Those of
/// different flows don't wait for each other.
///
/// All of them are on one pipeline until they are answered. Then the next may take another.
pub(crate) struct Flow<F: Framing> {
    shared: Arc<Shared<F>>,
    /// Once it has brought a request: until then it costs nothing.
    id: OnceLock<FlowId>,
}

impl<F: Framing> Flow<F> {
    pub(super) fn new(shared: Arc<Shared<F>>) -> Self {
        let id = OnceLock::new();
        Flow { shared, id }
    }

    pub(super) fn id(&self) -> FlowId {
        *self.id.get_or_init(|| self.shared.state.lock().open_flow())
    }
}

impl<F: Framing> Drop for Flow<F> {
    fn drop(&mut self) {
        if let Some(&id) = self.id.get() {
            self.shared.state.lock().close_flow(id);
        }
    }
}

impl<F: Framing> fmt::Debug for Flow<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

/// How a request stands to others, in all of its attempts.
pub(in crate::client) struct Turn<'f, F: Framing> {
    priority: Priority,
    flow: Option<&'f Flow<F>>,
    /// Which one of its flow it is, once it was begun.
    pub(super) number: Option<u64>,
}

impl<'f, F: Framing> Turn<'f, F> {
    /// A flow's requests are all equally urgent, whatever this priority is.
    pub(in crate::client) fn new(priority: Priority, flow: Option<&'f Flow<F>>) -> Self {
        Turn {
            priority,
            flow,
            number: None,
        }
    }

    /// It was begun already, as this one of its flow.
    pub(in crate::client) fn begun_as(&mut self, number: u64) {
        self.number = Some(number);
    }

    pub(super) fn order(&self) -> Order {
        match self.flow {
            None => Order::Any(self.priority),
            Some(flow) => Order::Of {
                flow: flow.id(),
                again: self.number,
            },
        }
    }
}
