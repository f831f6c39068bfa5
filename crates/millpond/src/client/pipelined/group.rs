//! What the callers of requests that were begun together share: one place for all that they are
//! told, and one wake-up for what one read of a driver has brought.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use parking_lot::Mutex;

use super::reply::PipelineResult;

/// What one of the requests is told; nothing, if it was left out.
pub(super) type Told = (usize, Option<PipelineResult>);

/// See the module.
#[derive(Default)]
pub(super) struct Group {
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    told: Vec<Told>,
    /// Of whoever waits for it.
    waker: Option<Waker>,
    /// Nobody does any more.
    is_gone: bool,
}

impl Group {
    /// Adds what several are told, and wakes whoever waits for it. What nobody waits for any more is
    /// left.
    pub(super) fn tell(&self, told: &mut Vec<Told>) {
        let waker = {
            let mut inbox = self.inbox.lock();
            if inbox.is_gone {
                return;
            }
            match inbox.told.is_empty() {
                true => mem::swap(&mut inbox.told, told),
                false => inbox.told.append(told),
            }
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_gone(&self) -> bool {
        self.inbox.lock().is_gone
    }

    /// What has been told since the last time. If nothing has, the task is woken when something is.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Vec<Told> {
        let told = mem::take(&mut self.inbox.lock().told);
        if !told.is_empty() {
            return told;
        }
        // Not under the lock: wakers are foreign code.
        let mut waker = Some(cx.waker().clone());
        let mut inbox = self.inbox.lock();
        mem::swap(&mut inbox.waker, &mut waker);
        let told = mem::take(&mut inbox.told);
        drop(inbox);
        told
    }

    /// Nobody waits any more. What was told and not picked up.
    pub(super) fn leave(&self) -> Vec<Told> {
        let mut inbox = self.inbox.lock();
        inbox.is_gone = true;
        let (waker, told) = (inbox.waker.take(), mem::take(&mut inbox.told));
        drop(inbox);
        drop(waker);
        told
    }
}

/// By which one of the requests is told. Dropped before, it was left out.
pub(super) struct Member {
    group: Option<Arc<Group>>,
    index: usize,
}

impl Member {
    pub(super) fn new(group: &Arc<Group>, index: usize) -> Self {
        Member {
            group: Some(Arc::clone(group)),
            index,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.is_gone())
    }

    /// Tells it alone. What it would have been told, if nobody waits for it.
    pub(super) fn send(mut self, told: PipelineResult) -> Result<(), PipelineResult> {
        let Some(group) = self.group.take() else {
            return Err(told);
        };
        let mut told = vec![(self.index, Some(told))];
        group.tell(&mut told);
        match told.pop() {
            Some((_, Some(told))) => Err(told),
            _ => Ok(()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            group.tell(&mut vec![(self.index, None)]);
        }
    }
}

/// What one delivery has for the requests of one group.
#[derive(Default)]
pub(super) struct Delivery {
    group: Option<Arc<Group>>,
    told: Vec<Told>,
}

impl Delivery {
    /// Adds what one is told. Those of another group are told before.
    pub(super) fn add(&mut self, mut member: Member, told: PipelineResult, unread: &AtomicUsize) {
        let Some(group) = member.group.take() else {
            return;
        };
        let is_same = |other: &Arc<Group>| Arc::ptr_eq(other, &group);
        if !self.group.as_ref().is_some_and(is_same) {
            self.finish(unread);
            self.group = Some(group);
        }
        self.told.push((member.index, Some(told)));
    }

    /// Tells them. `unread` counts no reply that nobody waits for.
    pub(super) fn finish(&mut self, unread: &AtomicUsize) {
        if let Some(group) = self.group.take() {
            group.tell(&mut self.told);
            unread.fetch_sub(self.told.len(), Ordering::Relaxed);
            self.told.clear();
        }
    }
}
