//! Several kinds of events, a [`Storm`] each, and the time at which their sums are told. The lines
//! are their owner's business.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    task::Poll,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{Storm, Sum};

/// See the module. `K` are the kinds.
#[derive(Debug)]
pub struct Storms<K, const N: usize> {
    storms: Mutex<[(K, Storm); N]>,
    began: Notify,
}

impl<K: Copy + PartialEq, const N: usize> Storms<K, N> {
    /// One storm for each kind, all quiet.
    pub fn new(kinds: [K; N]) -> Self {
        Storms {
            storms: Mutex::new(kinds.map(|kind| (kind, Storm::default()))),
            began: Notify::new(),
        }
    }

    /// One more has happened. Answers whether it gets a line of its own.
    pub fn happened(&self, kind: K) -> bool {
        let now = Instant::now();
        let is_told = {
            let mut storms = self.storms.lock();
            let storm = storms.iter_mut().find(|(other, _)| *other == kind);
            storm.is_some_and(|(_, storm)| storm.happened(now))
        };
        if is_told {
            self.began.notify_one();
        }
        is_told
    }

    /// Has the sums told as they are due. Never ends; dropped, it has told what is left.
    pub async fn tell_sums(&self, tell: impl Fn(K, Sum)) {
        let rest = Rest { storms: self, tell };
        loop {
            let due = self
                .storms
                .lock()
                .iter()
                .filter_map(|(_, storm)| storm.due())
                .min();
            let mut due = pin!(async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            });
            // A storm that begins may have its first sum before that of one that lasts.
            let mut began = pin!(self.began.notified());
            poll_fn(|cx| match due.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => began.as_mut().poll(cx),
            })
            .await;
            self.tell(Storm::sum_up, &rest.tell);
        }
    }

    fn tell(&self, sum: fn(&mut Storm, Instant) -> Option<Sum>, tell: &impl Fn(K, Sum)) {
        let now = Instant::now();
        // Who logs may take its time: the lock is free by then.
        let sums = {
            let mut storms = self.storms.lock();
            storms
                .each_mut()
                .map(|(kind, storm)| (*kind, sum(storm, now)))
        };
        for (kind, sum) in sums {
            if let Some(sum) = sum {
                tell(kind, sum);
            }
        }
    }
}

/// There will be no later sum.
struct Rest<'s, K: Copy + PartialEq, T: Fn(K, Sum), const N: usize> {
    storms: &'s Storms<K, N>,
    tell: T,
}

impl<K: Copy + PartialEq, T: Fn(K, Sum), const N: usize> Drop for Rest<'_, K, T, N> {
    fn drop(&mut self) {
        self.storms.tell(Storm::rest, &self.tell);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_has_its_sums_and_what_is_left_is_told_as_it_is_dropped() {
        let storms = Storms::new(['a', 'b']);
        let told = RefCell::new(Vec::new());
        let tell = |kind, Sum { events, .. }: Sum| told.borrow_mut().push((kind, events));
        {
            let mut sums = pin!(storms.tell_sums(tell));
            let mut go_on = async |time| {
                let _ = tokio::time::timeout(time, sums.as_mut()).await;
            };
            go_on(Duration::ZERO).await;
            for kind in ['a', 'b'] {
                assert!(storms.happened(kind), "{kind}");
                assert!(!storms.happened(kind), "{kind}");
            }
            go_on(Duration::from_secs(2)).await;
            assert_eq!(*told.borrow(), [('a', 1), ('b', 1)]);
            for _ in 0..3 {
                assert!(!storms.happened('b'));
            }
        }
        assert_eq!(*told.borrow(), [('a', 1), ('b', 1), ('b', 3)]);
    }
}
