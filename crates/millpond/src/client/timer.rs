//! The timer of a session's exchanges, kept from one to the next: a timer that is made, registered
//! and removed each time costs more than the rest of an exchange's bookkeeping, and hardly any is
//! ever to fire.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    runtime::Id,
    time::{Instant, Sleep},
};

use crate::pool::unstable::Runtime;

/// See the module. Until it is [released](Timer::release) it may hold the waker of the task that
/// polled it last.
#[derive(Default)]
pub(super) struct Timer(Option<Kept>);

struct Kept {
    sleep: Pin<Box<Sleep>>,
    /// The runtime that drives it: on another, which may go on when that one stands still, it
    /// would be of no use.
    runtime: Id,
}

impl Timer {
    /// Ready at this moment, by a timer of the runtime in this context; where there is none, of the
    /// pool's.
    pub(super) fn poll_at(
        &mut self,
        due: Instant,
        runtime: &Runtime,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let here = runtime.here().id();
        let Kept { sleep, .. } = match &mut self.0 {
            Some(kept) if kept.runtime == here => kept,
            other => other.insert(Kept {
                sleep: Box::pin(runtime.sleep_until(due)),
                runtime: here,
            }),
        };
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() == due {
                return Poll::Ready(());
            }
            // It was set for an exchange before this one, or for another moment of this one.
            sleep.as_mut().reset(due);
        }
    }

    /// The session lies idle: no memory is kept for the exchanges that it may have one day.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::runtime::Handle;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long it took, and whether it took as long as it may.
    async fn fires(timer: &mut Timer, after: Duration) {
        let began = Instant::now();
        let runtime = Runtime::new(Handle::current());
        let fired = poll_fn(|cx| timer.poll_at(began + after, &runtime, cx));
        tokio::time::timeout(100 * SECOND, fired)
            .await
            .expect("it fires");
        assert_eq!(began.elapsed(), after);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_exact_whatever_it_was_set_to_before() {
        let mut timer = Timer::default();
        let now = Instant::now();
        let runtime = Runtime::new(Handle::current());
        let later = poll_fn(|cx| Poll::Ready(timer.poll_at(now + 10 * SECOND, &runtime, cx)));
        assert!(later.await.is_pending());
        fires(&mut timer, SECOND).await;
        fires(&mut timer, 20 * SECOND).await;
        fires(&mut timer, SECOND).await;
    }

    #[test]
    fn a_runtime_that_stands_still_keeps_none_waiting_on_another() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime")
        };
        let (first, second) = (runtime(), runtime());
        let mut timer = Timer::default();
        let pools = Runtime::new(first.handle().clone());
        let soon = first.block_on(async {
            poll_fn(|cx| Poll::Ready(timer.poll_at(Instant::now() + SECOND, &pools, cx))).await
        });
        assert!(soon.is_pending());
        second.block_on(fires(&mut timer, 2 * SECOND));
    }
}
