//! What a thread needs that waits by blocking: a waker that unparks it, and whether it may block at
//! all.

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

use tokio::task::coop;

/// A waker that unparks this thread.
pub(crate) fn unparks_this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Whether this thread is in the middle of running asynchronous tasks.
///
/// Tokio gives a cooperative budget to whatever it polls, and none to blocking code: a budget that
/// can be used up tells them apart. What was taken from it is given back.
pub(crate) fn runs_tasks() -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken = Vec::new();
    let finite = (0..=u8::MAX).any(|_| match coop::poll_proceed(&mut cx) {
        Poll::Ready(unit) => {
            taken.push(unit);
            false
        }
        Poll::Pending => true,
    });
    while let Some(unit) = taken.pop() {
        drop(unit); // Each restores the budget as it found it: the first taken must be the last.
    }
    finite
}
