//! One timer for the heartbeats of all idle sessions of a client: each leaves the waker by which it wants to be asked again, and when.

use std::{cmp::Ordering, collections::BinaryHeap, task::Waker, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Sessions are woken together, ten times a second: one turn of the reactor and of upkeep for many of them.
const STEP: Duration = Duration::from_millis(100);

/// A session that wants to be asked again.
struct Due {
    at: Instant,
    waker: Waker,
}

/// See the module.
#[derive(Default)]
pub(super) struct Heartbeats {
    /// The earliest first.
    due: Mutex<BinaryHeap<Due>>,
    earlier: Notify,
}

impl Heartbeats {
    /// Wakes `waker` at this moment, or a step later.
    pub(super) fn wake_at(&self, at: Instant, waker: &Waker) {
        let due = Due {
            at,
            waker: waker.clone(),
        };
        let mut all = self.due.lock();
        let is_earliest = all.peek().is_none_or(|earliest| at < earliest.at);
        all.push(due);
        drop(all);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    /// Wakes them, for as long as it is polled. Cancel safe.
    pub(super) async fn run(&self) {
        loop {
            let now = Instant::now();
            let (woken, next) = self.take_due(now);
            for waker in woken {
                waker.wake();
            }
            let next = next.map_or_else(
                || now + 3_600 * Duration::from_secs(1),
                |next| next.max(now + STEP),
            );
            // Either way it is time to look.
            let _ = timeout_at(next, self.earlier.notified()).await;
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Those whose time has come, and when the next one's comes.
    fn take_due(&self, now: Instant) -> (Vec<Waker>, Option<Instant>) {
        let mut all = self.due.lock();
        let mut woken = Vec::new();
        while all.peek().is_some_and(|earliest| earliest.at <= now) {
            woken.extend(all.pop().map(|due| due.waker));
        }
        (woken, all.peek().map(|earliest| earliest.at))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The earliest is the greatest: a heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}
