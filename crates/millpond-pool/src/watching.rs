//! Waiting until a pool has come to a state: ready, empty.

use std::{ops::ControlFlow, pin::pin, sync::Arc, time::Duration};

use super::{
    connector::Connector,
    pooled::Pooled,
    runtime::Runtime,
    shared::SharedPool,
    state::{Moment, State},
};

impl<C: Connector> SharedPool<C> {
    /// Calls `look` now and whenever something changes, until it breaks or `within` has passed;
    /// then the error is what it said last. It is given the time, and how long this has gone on.
    pub(crate) async fn watch<R, E>(
        self: &Arc<Self>,
        within: Duration,
        look: impl Fn(&State<Pooled<C>>, Moment, Duration) -> ControlFlow<R, E>,
    ) -> Result<R, E> {
        let begun = self.clock.now();
        let deadline = self.clock.instant(begun.after(within));
        let mut over = false;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let (seen, nothing_to_wait_on) = {
                let now = self.clock.now();
                let state = self.lock();
                let seen = look(&state, now, now.since(begun));
                // Outside a runtime the timer would be that of the pool's own, which has ended.
                (seen, state.runtime_ended() && !Runtime::is_here())
            };
            match seen {
                ControlFlow::Break(answer) => return Ok(answer),
                ControlFlow::Continue(last) if over || nothing_to_wait_on => return Err(last),
                ControlFlow::Continue(_) => {}
            }
            over = self.runtime.timeout_at(deadline, changed).await.is_err();
        }
    }
}
