//! Upkeep: the task that brings time into a pool, watches its idle connections, and ends with it.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, timeout_at};

use super::{
    Connector, Eviction,
    lender::{Lender, Pooled},
    runtime::{Bell, Watch},
    state::{Look, Phase},
};

/// Runs until the pool is closed and empty, or gone. It holds no pool alive.
///
/// The watchdog is there before the first poll: a runtime may end without ever having run.
pub(crate) fn run<C: Connector>(lender: Weak<Lender<C>>, bell: Arc<Bell>) -> impl Future<Output = ()> + Send {
    let watchdog = EndsWithRuntime { lender, ended: false };
    async move {
        let mut watchdog = watchdog;
        while let Some(lender) = watchdog.lender.upgrade() {
            let Some(wake_at) = round(&lender).await else {
                break;
            };
            drop(lender);
            // Either way it is time to look.
            let _ = timeout_at(wake_at, bell.rung()).await;
            // A connection that reports something at every look must not keep the others on this thread from running.
            tokio::task::coop::consume_budget().await;
        }
        watchdog.ended = true;
    }
}

/// How many idle connections are looked at before others on this thread get their turn.
const LOOKS_IN_A_ROW: usize = 64;

/// One round; says when the next is due, or that there is nothing left to keep.
async fn round<C: Connector>(lender: &Arc<Lender<C>>) -> Option<Instant> {
    let mut looks = 0_usize;
    let now = lender.clock.now();
    lender.transition(|state, fx| state.tick(now, fx));
    for (at, number) in lender.bell.take_spoken() {
        let look = lender.lock().look_at(at, number);
        if let Some(look) = look {
            look_at(lender, look);
            breathe(&mut looks).await;
        }
    }
    let mut last = None;
    loop {
        let look = lender.lock().look_at_unwatched(last);
        let Some(look) = look else { break };
        last = Some((look.index(), look.number));
        look_at(lender, look);
        breathe(&mut looks).await;
    }
    #[cfg(feature = "metrics")]
    {
        let counts = super::metrics::Counts::read(&lender.lock());
        lender.metrics.gauge(&counts);
    }
    let state = lender.lock();
    let over = state.phase() == Phase::Closed && state.slots().occupied() == 0;
    (!over).then(|| lender.clock.instant(state.planned_wake()))
}

async fn breathe(looks: &mut usize) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS_IN_A_ROW) {
        tokio::task::yield_now().await;
    }
}

/// Lets the connector look at an idle connection that is nobody's for this instant.
fn look_at<C: Connector>(lender: &Arc<Lender<C>>, mut look: Look<Pooled<C>>) {
    let watch = Watch::new(&lender.bell, look.index(), look.number);
    let waker = Waker::from(watch);
    let mut cx = Context::from_waker(&waker);
    let connection = &mut look.connection.0;
    // Not on this task's budget, which all of a round's looks would share: to a connector its end looks like a socket that isn't ready.
    let look_at_it = poll_fn(|cx| lender.connector.poll_idle(connection, cx));
    let look_at_it = pin!(tokio::task::coop::unconstrained(look_at_it));
    let seen = catch_unwind(AssertUnwindSafe(|| look_at_it.poll(&mut cx)));
    let verdict = match seen {
        Ok(Poll::Pending) => Ok(()),
        Ok(Poll::Ready(reason)) => Err(reason),
        Err(_) => Err(Eviction::Panicked),
    };
    let random = fastrand::u64(..);
    lender.transition(|state, fx| state.looked(look, verdict, random, fx));
}

/// When upkeep is dropped before its end its runtime is ending, and with it all that dials: callers must be told.
struct EndsWithRuntime<C: Connector> {
    lender: Weak<Lender<C>>,
    ended: bool,
}

impl<C: Connector> Drop for EndsWithRuntime<C> {
    fn drop(&mut self) {
        if !self.ended
            && let Some(lender) = self.lender.upgrade()
        {
            lender.close_now(Phase::RuntimeEnded);
        }
    }
}
