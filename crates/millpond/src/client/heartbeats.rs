//! One timer for the heartbeats of all idle sessions of a client: each leaves the waker by which it wants to be asked again, and when. It
//! keeps one moment for each session, however often that is lent and comes back.

use std::{collections::BTreeMap, task::Waker, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Sessions are woken together, ten times a second: one turn of the reactor and of upkeep for many of them.
const STEP: Duration = Duration::from_millis(100);

/// A session's moment: until it has come, or been replaced by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alarm {
    at: Instant,
    number: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Heartbeats {
    moments: Mutex<Moments>,
    earlier: Notify,
}

#[derive(Default)]
struct Moments {
    /// The earliest first.
    due: BTreeMap<Alarm, Waker>,
    next_number: u64,
}

impl Heartbeats {
    /// Wakes `waker` at this moment, or a step later; no longer at the moment `before`.
    pub(super) fn wake_at(&self, at: Instant, before: Option<Alarm>, waker: &Waker) -> Alarm {
        let waker = waker.clone();
        let mut moments = self.moments.lock();
        let replaced = before.and_then(|before| moments.due.remove(&before));
        let number = moments.next_number;
        moments.next_number += 1;
        let alarm = Alarm { at, number };
        moments.due.insert(alarm, waker);
        let is_earliest = moments
            .due
            .first_key_value()
            .is_some_and(|(&first, _)| first == alarm);
        drop(moments);
        drop(replaced);
        if is_earliest {
            self.earlier.notify_one();
        }
        alarm
    }

    /// A session has gone.
    pub(super) fn forget(&self, alarm: Option<Alarm>) {
        let forgotten = alarm.and_then(|alarm| self.moments.lock().due.remove(&alarm));
        drop(forgotten);
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

    /// How many moments are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.moments.lock().due.len()
    }

    /// Those whose time has come, and when the next one's comes.
    fn take_due(&self, now: Instant) -> (Vec<Waker>, Option<Instant>) {
        let mut moments = self.moments.lock();
        let mut woken = Vec::new();
        while let Some(first) = moments.due.first_entry()
            && first.key().at <= now
        {
            woken.push(first.remove());
        }
        (woken, moments.due.keys().next().map(|first| first.at))
    }
}
