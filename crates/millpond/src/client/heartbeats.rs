//! One timer for the heartbeats of all idle sessions of a client: each has a slot for the waker by
//! which it wants to be asked again, and when. It keeps that for as long as it lives, however often
//! it is lent and comes back.
//!
//! The slots are looked through from end to end, ten times a second at most and only while
//! something is due. Ten thousand of them are 320 KB in one piece, read in a few microseconds; and
//! sessions are woken in the order of their slots, which is that of their memory more or less,
//! rather than in the order of their moments, which is none.

use std::{sync::Arc, task::Waker, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Sessions are woken together, ten times a second: one turn of the reactor and of upkeep for many
/// of them.
const STEP: Duration = Duration::from_millis(100);

/// Longer than any interval: only a notice ends such a wait.
const FAR: Duration = Duration::from_secs(3_600);

/// See the module.
#[derive(Default)]
pub(super) struct Heartbeats {
    moments: Mutex<Moments>,
    earlier: Notify,
}

#[derive(Default)]
struct Moments {
    slots: Vec<AlarmSlot>,
    /// Slots that are free.
    vacant: Vec<u32>,
    /// The earliest moment of all that wait, or one before it.
    next: Option<Instant>,
}

struct AlarmSlot {
    at: Instant,
    /// Until its moment has come.
    waker: Option<Waker>,
}

/// A session's slot, given back when this is dropped.
pub(super) struct Alarm {
    heartbeats: Arc<Heartbeats>,
    slot: u32,
}

impl Heartbeats {
    /// Wakes `waker` at this moment, or a step later; no longer at the moment that was set before.
    pub(super) fn wake_at(self: &Arc<Self>, at: Instant, alarm: &mut Option<Alarm>, waker: &Waker) {
        let set = AlarmSlot {
            at,
            waker: Some(waker.clone()),
        };
        let mut moments = self.moments.lock();
        let replaced = match alarm {
            Some(alarm) => Some(std::mem::replace(
                &mut moments.slots[alarm.slot as usize],
                set,
            )),
            None => {
                let slot = moments.occupy(set);
                *alarm = Some(Alarm {
                    heartbeats: Arc::clone(self),
                    slot,
                });
                None
            }
        };
        let is_earliest = moments.next.is_none_or(|next| at < next);
        if is_earliest {
            moments.next = Some(at);
        }
        drop(moments);
        drop(replaced);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    /// Wakes them, for as long as it is polled. Cancel safe.
    pub(super) async fn run(&self) {
        let mut not_before = Instant::now();
        loop {
            let next = self.moments.lock().next;
            let next = next.map_or_else(|| Instant::now() + FAR, |next| next.max(not_before));
            let is_time = timeout_at(next, self.earlier.notified()).await.is_err();
            if is_time {
                let now = Instant::now();
                for waker in self.take_due(now) {
                    waker.wake();
                }
                not_before = now + STEP;
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// How many slots are in use.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let moments = self.moments.lock();
        moments.slots.len() - moments.vacant.len()
    }

    /// Those whose time has come.
    fn take_due(&self, now: Instant) -> Vec<Waker> {
        let (mut woken, mut next) = (Vec::new(), None::<Instant>);
        let mut moments = self.moments.lock();
        for slot in &mut moments.slots {
            if slot.at <= now {
                woken.extend(slot.waker.take());
            } else if slot.waker.is_some() && next.is_none_or(|next| slot.at < next) {
                next = Some(slot.at);
            }
        }
        moments.next = next;
        woken
    }
}

impl Moments {
    fn occupy(&mut self, slot: AlarmSlot) -> u32 {
        match self.vacant.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("fewer sessions than a pool can hold")
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut moments = self.heartbeats.moments.lock();
        let forgotten = moments.slots[self.slot as usize].waker.take();
        moments.vacant.push(self.slot);
        if moments.vacant.len() == moments.slots.len() {
            *moments = Moments::default();
        }
        drop(moments);
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_woken_once_at_its_last_moment_and_not_when_it_has_gone() {
        let heartbeats: Arc<Heartbeats> = Arc::default();
        let counts: [Arc<Count>; 3] = Default::default();
        let (began, mut alarms) = (Instant::now(), [None, None, None]);
        for (seconds, count, alarm) in [(2, 0, 0), (1, 1, 1), (1, 2, 2), (3, 1, 1)] {
            let waker = Waker::from(Arc::clone(&counts[count]));
            heartbeats.wake_at(began + seconds * SECOND, &mut alarms[alarm], &waker);
        }
        alarms[2] = None;
        assert_eq!(heartbeats.kept(), 2);
        let mut seen = Vec::new();
        for seconds in 1..=5 {
            let until = began + seconds * SECOND + STEP;
            let _ = timeout_at(until, heartbeats.run()).await;
            seen.push(
                counts
                    .each_ref()
                    .map(|count| count.0.load(Ordering::Relaxed)),
            );
        }
        assert_eq!(
            seen,
            [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0]]
        );
        // The vacant slot is taken before there is another.
        heartbeats.wake_at(began, &mut alarms[2], Waker::noop());
        assert_eq!(heartbeats.moments.lock().slots.len(), 3);
        drop(alarms);
        assert_eq!(heartbeats.kept(), 0);
    }
}
