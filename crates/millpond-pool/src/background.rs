//! What the connector does and says for as long as the pool is open: its own work in the
//! background, and whether connections still lead where one would be dialled now.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use tokio::time::sleep;

use super::{connector::Connector, shared::SharedPool, state::TICK};

/// How long a connector that has panicked in the background is left alone.
const AFTER_PANIC: Duration = Duration::from_secs(1);

impl<C: Connector> SharedPool<C> {
    /// Runs what the connector does in the background, until it ends. Called again after a panic.
    pub(crate) async fn run_connector(self: Arc<Self>) {
        while caught(self.connector.run()).await.is_none() {
            tracing::error!(target: "millpond::pool", pool = self.name, "the connector panicked in run");
            sleep(AFTER_PANIC).await;
        }
    }

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
                    AFTER_PANIC
                }
            };
            sleep(pause).await;
        }
    }
}

/// Runs a future that may panic; `None` if it did.
async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
            .map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}
