//! The connections that clients have to themselves: how many there may be, and which there are.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::snapshot::{PinReason, PinSnapshot};

/// See the module.
#[derive(Debug)]
pub(super) struct Pins {
    places: Arc<Semaphore>,
    held: Mutex<BTreeMap<u64, Held>>,
    number: AtomicU64,
}

/// A connection that a client has to itself.
#[derive(Clone, Copy, Debug)]
struct Held {
    reason: PinReason,
    since: Instant,
}

/// A place among the pins, from before the connection is lent until it is given back.
#[derive(Debug)]
pub(super) struct PinPlace {
    pins: Arc<Pins>,
    number: u64,
    _place: OwnedSemaphorePermit,
}

impl Pins {
    pub(super) fn new(max: u32) -> Arc<Self> {
        Arc::new(Pins {
            places: Arc::new(Semaphore::new((max as usize).min(Semaphore::MAX_PERMITS))),
            held: Mutex::default(),
            number: AtomicU64::new(0),
        })
    }

    /// Waits for a place. Cancel safe: dropped, it has taken none.
    pub(super) async fn place(self: &Arc<Self>, reason: PinReason) -> PinPlace {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        self.held.lock().insert(number, Held { reason, since });
        PinPlace {
            pins: Arc::clone(self),
            number,
            _place: place.expect("it is never closed"),
        }
    }

    /// All that are held, the oldest first.
    pub(super) fn snapshot(&self) -> Vec<PinSnapshot> {
        let now = Instant::now();
        let held = self.held.lock();
        let shown = |held: &Held| PinSnapshot {
            reason: held.reason,
            age: now.saturating_duration_since(held.since),
        };
        held.values().map(shown).collect()
    }
}

impl Drop for PinPlace {
    fn drop(&mut self) {
        self.pins.held.lock().remove(&self.number);
    }
}
