//! Upkeep: the task that tells the machine the time, and looks at idle connections.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use tokio::time::{Instant, timeout_at};

use super::{
    connector::Connector,
    eviction::Eviction,
    pooled::Pooled,
    runtime::{Bell, Watch},
    shared::SharedPool,
    state::{ConnectionNumber, Lifecycle, Look, State},
};

/// Runs until the pool is closed and empty, or gone. It doesn't keep the pool open.
///
/// The watchdog exists before the first poll, for a runtime may end without ever having run.
pub(crate) fn run<C: Connector>(
    shared: Weak<SharedPool<C>>,
    bell: Arc<Bell>,
) -> impl Future<Output = ()> + Send {
    let watchdog = EndsWithRuntime {
        shared,
        ended: false,
    };
    async move {
        let mut watchdog = watchdog;
        while let Some(shared) = watchdog.shared.upgrade() {
            let Some(wake_at) = round(&shared).await else {
                break;
            };
            drop(shared);
            // Woken or timed out: either way another round is due.
            let _ = timeout_at(wake_at, bell.rung()).await;
            // A connection that reports at every look must not starve the other tasks of this thread.
            tokio::task::coop::consume_budget().await;
        }
        watchdog.ended = true;
    }
}

/// How many idle connections are taken out at once to be looked at. Each batch takes the lock
/// twice; a caller that finds nothing idle meanwhile waits some microseconds for each of it.
const LOOKS_TOGETHER: usize = 16;

/// After so many batches upkeep yields to the other tasks of its thread.
const LOOKS_IN_A_ROW: usize = 4;

/// One round. Returns when the next is due; `None`: there is nothing left to keep.
async fn round<C: Connector>(shared: &Arc<SharedPool<C>>) -> Option<Instant> {
    let now = shared.clock.now();
    shared.transition(|state, fx| state.tick(now, fx));
    let mut looks = Looks {
        shared,
        out: Vec::new(),
        in_a_row: 0,
    };
    for spoken in shared.bell.take_spoken().chunks(LOOKS_TOGETHER) {
        let mut spoken = spoken.iter();
        looks.some(|state| spoken.find_map(|&(at, number)| state.look_at(at, number)));
        looks.breathe().await;
    }
    let mut last = None;
    // Those that are out aren't in the list: what follows the last that went back is always one
    // that hasn't been looked at.
    while let Some(latest) = looks.some(|state| state.look_at_unwatched(last)) {
        last = Some(latest);
        looks.breathe().await;
    }
    #[cfg(feature = "metrics")]
    {
        let counts = super::metrics::Counts::read(&shared.lock());
        shared.metrics.gauge(&counts);
    }
    let state = shared.lock();
    let over = state.lifecycle() == Lifecycle::Closed && state.slots().occupied() == 0;
    (!over).then(|| shared.clock.instant(state.planned_wake()))
}

/// A connection that is out, and what the connector says of it.
type Seen<C> = (Look<Pooled<C>>, Result<(), Eviction>);

/// Idle connections that are out to be looked at, and what the connector says of them.
struct Looks<'l, C: Connector> {
    shared: &'l Arc<SharedPool<C>>,
    out: Vec<Seen<C>>,
    in_a_row: usize,
}

impl<C: Connector> Looks<'_, C> {
    /// Takes some out, lets the connector look at them, and puts them back. Returns the last of
    /// them, if there was any.
    fn some(
        &mut self,
        mut next: impl FnMut(&mut State<Pooled<C>>) -> Option<Look<Pooled<C>>>,
    ) -> Option<(u32, ConnectionNumber)> {
        self.out.reserve(LOOKS_TOGETHER);
        let mut state = self.shared.lock();
        while self.out.len() < LOOKS_TOGETHER
            && let Some(look) = next(&mut state)
        {
            self.out.push((look, Ok(())));
        }
        drop(state);
        let latest = self.out.last().map(|(look, _)| (look.index(), look.number));
        for (look, verdict) in &mut self.out {
            *verdict = judge(self.shared, look);
        }
        self.put_back();
        latest
    }

    /// The last first, so that each finds its neighbour where it was.
    fn put_back(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let out = &mut self.out;
        self.shared.transition(|state, fx| {
            for (look, verdict) in out.drain(..).rev() {
                state.looked(look, verdict, fastrand::u64(..), fx);
            }
        });
    }

    async fn breathe(&mut self) {
        self.in_a_row += 1;
        if self.in_a_row.is_multiple_of(LOOKS_IN_A_ROW) {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets the connector look at one.
fn judge<C: Connector>(
    shared: &Arc<SharedPool<C>>,
    look: &mut Look<Pooled<C>>,
) -> Result<(), Eviction> {
    let (at, number) = (look.index(), look.number);
    let connection = &mut look.connection;
    let waker = connection.listen(|| Watch::new(&shared.bell, at, number));
    let mut cx = Context::from_waker(&waker);
    // Without tokio's budget, which all looks of a round would share: where it is used up a socket
    // seems not to be ready.
    let look_at_it = poll_fn(|cx| shared.connector.poll_idle(connection, cx));
    let look_at_it = pin!(tokio::task::coop::unconstrained(look_at_it));
    let seen = catch_unwind(AssertUnwindSafe(|| look_at_it.poll(&mut cx)));
    match seen {
        Ok(Poll::Pending) => Ok(()),
        Ok(Poll::Ready(reason)) => Err(reason),
        Err(_) => Err(Eviction::Panicked),
    }
}

/// Dropped before upkeep has ended, the runtime is ending, and with it all dials: callers must be
/// told.
struct EndsWithRuntime<C: Connector> {
    shared: Weak<SharedPool<C>>,
    ended: bool,
}

impl<C: Connector> Drop for EndsWithRuntime<C> {
    fn drop(&mut self) {
        if !self.ended
            && let Some(shared) = self.shared.upgrade()
        {
            shared.close_now(Lifecycle::RuntimeEnded);
        }
    }
}
