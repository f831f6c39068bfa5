//! What a route keeps for one of its clients: whose turn it is, and the upstream connection that it
//! has to itself.

use std::{fmt, sync::Arc, task::Waker};

use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as Turns, Semaphore},
    task::AbortHandle,
    time::Instant,
};

use super::{pins::PinPlace, users::Guest};
use crate::{
    client::{Flow, Pinned},
    framing::Framing,
};

/// One client of a [`Route`](super::Route), from its connection to its end.
pub struct Downstream<F: Framing> {
    /// Locked by the request whose turn it is: until it is begun if it shares a pipeline, and else
    /// until it is over. It is fair: requests are served in the order in which they came.
    pub(super) lent: Arc<Turns<Lent<F>>>,
    /// Those that share a pipeline, where the upstream's connections are: of each lane.
    pub(super) flows: Vec<Option<Flow<F>>>,
    /// Who waits for what the upstream sends on its own.
    pub(super) watcher: Arc<Mutex<Option<Waker>>>,
    /// Requests of the flow hold one each, and whoever waits until it is empty takes them all.
    pub(super) under_way: Semaphore,
    /// Who it is to those who check logins.
    pub(super) guest: Guest,
}

/// More than a client can have under way.
pub(super) const ALL: u32 = 1 << 28;

/// What a client is lent beyond one exchange.
pub(super) enum Lent<F: Framing> {
    Nothing,
    /// A connection of its own.
    Pin(Box<Pin<F>>),
    /// It had one, whose state is lost: nothing can be done for this client any more.
    Gone,
}

/// An upstream connection that one client has to itself.
pub(super) struct Pin<F: Framing> {
    pub(super) upstream: Pinned<F>,
    /// When it is too old.
    pub(super) until: Option<Instant>,
    /// Takes it away when it is too old.
    pub(super) _expiry: Option<Expiry>,
    pub(super) _place: PinPlace,
}

/// A task that ends a pin, unless the pin has ended before.
pub(super) struct Expiry(pub(super) AbortHandle);

impl Drop for Expiry {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<F: Framing> Downstream<F> {
    pub(super) fn new(guest: Guest, flows: Vec<Option<Flow<F>>>) -> Self {
        Downstream {
            lent: Arc::new(Turns::new(Lent::Nothing)),
            flows,
            watcher: Arc::default(),
            under_way: Semaphore::new(ALL as usize),
            guest,
        }
    }

    /// Those of a lane.
    pub(super) fn flow(&self, lane: u16) -> Option<&Flow<F>> {
        self.flows.get(usize::from(lane))?.as_ref()
    }
}

impl<F: Framing> fmt::Debug for Downstream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downstream").finish_non_exhaustive()
    }
}
