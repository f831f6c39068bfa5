//! What the connector is asked for as long as the pool is open: whether connections still lead where
//! one would be dialled now.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use super::{connector::Connector, shared::SharedPool, state::TICK};

impl<C: Connector> SharedPool<C> {
    /// Retires the connections that don't lead any more where one would be dialled now.
    pub(crate) fn retire_outdated(self: &Arc<Self>) -> usize {
        let open = {
            let room = self.lock().slots().all().len();
            let mut open = Vec::with_capacity(room);
            let state = self.lock();
            let open_now = state.slots().open_ones().take(room);
            open.extend(open_now.map(|(at, slot)| (at, slot.number, slot.label.clone())));
            open
        };
        let mut retired = 0;
        for (at, number, ends) in open {
            if !self.connector.is_current(&ends) {
                self.transition(|state, fx| state.retire_one(at, number, fx));
                retired += 1;
            }
        }
        retired
    }

    /// For as long as the pool is open: whenever what connections lead to changes, retires those
    /// that lead elsewhere. At most once a tick, and once a second after a panic of the
    /// connector's.
    pub(crate) async fn follow_endpoint(self: Arc<Self>) {
        loop {
            let changed = AssertUnwindSafe(async {
                self.connector.endpoint_changed().await;
                self.endpoint_changes.fetch_add(1, Ordering::Relaxed);
                self.retire_outdated()
            });
            let pause = match caught(changed).await {
                Some(0) => TICK,
                Some(retired) => {
                    tracing::info!(target: "millpond::pool", pool = self.name, retired, "connections lead where none would be dialled now");
                    TICK
                }
                None => {
                    tracing::error!(target: "millpond::pool", pool = self.name, "the connector panicked in endpoint_changed or is_current");
                    10 * TICK
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Runs a future that may panic; `None`: it has.
async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
            .map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}
