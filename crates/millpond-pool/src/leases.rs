//! For millpond's own clients: how to hold connections for long without keeping the pool open, and
//! to learn when the pool wants them back.

use std::{panic::Location, sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::sync::futures::Notified;

use crate::{
    acquire::Acquire,
    connection::SlotId,
    connector::Connector,
    error::AcquireError,
    runtime::Runtime,
    shared::SharedPool,
    state::{Recall, Refusal},
};

/// Leases connections, and doesn't keep the pool open.
pub struct LeaseHandle<C: Connector>(Arc<SharedPool<C>>);

/// What the pool asks of those who hold its connections.
#[derive(Debug)]
pub struct LeaseTerms {
    /// Why nobody new is served, if so.
    pub refusal: Option<Refusal>,
    /// The setting, as last resized.
    pub max_size: u32,
    /// Whether it wants each of the connections back, in the order of the question.
    pub recalls: Vec<Recall>,
}

impl<C: Connector> LeaseHandle<C> {
    pub(crate) fn new(shared: &Arc<SharedPool<C>>) -> Self {
        LeaseHandle(Arc::clone(shared))
    }

    /// The pool's connector.
    #[inline]
    pub fn connector(&self) -> &C {
        &self.0.connector
    }

    /// Where the pool's tasks run.
    #[inline]
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// An acquire on behalf of this call.
    pub fn acquire(&self, acquired_at: &'static Location<'static>) -> Acquire<'_, C> {
        Acquire::new(&self.0, acquired_at)
    }

    /// How many verbs there have been: those who hold connections for long compare it with an
    /// earlier value.
    #[inline]
    pub fn verbs(&self) -> u64 {
        self.0.verbs.load(Ordering::Acquire)
    }

    /// Ends with the next verb.
    pub fn verb_spoken(&self) -> Notified<'_> {
        self.0.verb_spoken.notified()
    }

    /// Why nobody new is served, if so.
    pub fn refusal(&self) -> Option<Refusal> {
        self.0.lock().refusal()
    }

    /// What the pool asks, all of it at one moment.
    pub fn terms(&self, slots: impl Iterator<Item = SlotId>) -> LeaseTerms {
        let pool = self.0.lock();
        LeaseTerms {
            refusal: pool.refusal(),
            max_size: pool.settings().max_size,
            recalls: slots
                .map(|slot| pool.recall(slot.at, slot.number))
                .collect(),
        }
    }

    /// The error of a caller who isn't served.
    pub fn explain(&self, refusal: Refusal, waited: Duration) -> AcquireError {
        self.0.explain(refusal, waited, None)
    }
}

impl<C: Connector> std::fmt::Debug for LeaseHandle<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LeaseHandle").field(&self.0.name).finish()
    }
}
