//! The pool's own tasks: dials, checks and closings. Each is a token that owns a slot's key, and
//! whose drop gives the slot back whatever happened: the task ended, panicked, or was dropped with
//! its runtime.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use tokio::time::timeout;

use super::{
    boxed::Boxed,
    connector::Connector,
    dial_error::DialError,
    eviction::Eviction,
    pooled::Judged,
    shared::SharedPool,
    state::{Lifecycle, SlotKey},
};
use millpond_words::Chain;

tokio::task_local! {
    /// What the dial in this task is doing, in words.
    static PHASE: Cell<Option<&'static str>>;
}

/// A connector says what its dial is doing from now on, in words that go on after "while":
/// *resolving the name*. If the dial runs out of time, its error says so. Outside a dial this does
/// nothing.
pub fn dial_phase(phase: &'static str) {
    let _ = PHASE.try_with(|current| current.set(Some(phase)));
}

/// The right to dial for one slot.
pub(crate) struct DialToken<C: Connector> {
    shared: Arc<SharedPool<C>>,
    key: Option<SlotKey>,
    /// How often the endpoint had changed when this began.
    endpoint_changes: u64,
}

impl<C: Connector> DialToken<C> {
    pub(crate) fn new(shared: &Arc<SharedPool<C>>, key: SlotKey) -> Self {
        DialToken {
            endpoint_changes: shared.endpoint_changes.load(Ordering::Relaxed),
            shared: Arc::clone(shared),
            key: Some(key),
        }
    }

    pub(crate) async fn dial(mut self) {
        let limit = self.shared.lock().settings().connect_timeout;
        #[cfg(feature = "metrics")]
        let begun = self.shared.clock.now();
        let connector = &self.shared.connector;
        let dialled = PHASE.scope(Cell::new(None), async {
            let dialled = timeout(limit, async {
                let mut connection = connector.connect().await?;
                connector.on_connect(&mut connection).await?;
                Ok::<_, C::Error>(connection)
            });
            match dialled.await {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(DialError::Failed(Arc::from(error.into()))),
                Err(_) => {
                    let phase = PHASE.with(Cell::get);
                    Err(DialError::TimedOut { limit, phase })
                }
            }
        });
        let outcome = dialled.await;
        #[cfg(feature = "metrics")]
        self.shared
            .metrics
            .dialled(begun, self.shared.clock.now(), outcome.is_ok());
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Result<C::Connection, DialError>) {
        let connector = &self.shared.connector;
        let mut outdated = false;
        let outcome = outcome.map(|connection| {
            let ends = connector.ends(&connection);
            // Asked only where the endpoint has changed since the dial began: a connector whose
            // `connect` and `is_current` disagree would be dialled without end.
            outdated = self.endpoint_changes
                != self.shared.endpoint_changes.load(Ordering::Relaxed)
                && !connector.is_current(&ends);
            (Boxed::new(connection), ends)
        });
        // Not under the lock: it is the connector's code.
        let outcome = outcome.map_err(|error| Judged {
            refused: matches!(&error, DialError::Failed(cause) if connector.refused(&**cause)),
            error,
        });
        if let Err(Judged { error, .. }) = &outcome {
            tracing::debug!(target: "millpond::pool", pool = self.shared.name, cause = %error.cause(), "dial failed");
        }
        let key = self.key.take().expect("a dial finishes once");
        let now = self.shared.clock.now();
        let random = fastrand::u64(..);
        self.shared
            .transition(|state, fx| state.dial_finished(key, outcome, now, random, fx));
        if outdated {
            self.shared.retire_outdated();
        }
    }
}

impl<C: Connector> Drop for DialToken<C> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else {
            return;
        };
        if std::thread::panicking() {
            self.key = Some(key);
            return self.finish(Err(DialError::Panicked));
        }
        // Dropped before its end: the pool has been closed, or the runtime is ending, and then
        // every other dial ends as well.
        self.shared.transition(|state, fx| {
            state.close(Lifecycle::RuntimeEnded, fx);
            state.dial_abandoned(key, fx);
        });
    }
}

/// Why a connection is being checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Probe,
    Reset,
}

/// A connection being probed or reset.
pub(crate) struct CheckToken<C: Connector> {
    shared: Arc<SharedPool<C>>,
    purpose: Purpose,
    held: Option<(SlotKey, Boxed<C::Connection>)>,
}

impl<C: Connector> CheckToken<C> {
    pub(crate) fn new(
        shared: &Arc<SharedPool<C>>,
        key: SlotKey,
        connection: Boxed<C::Connection>,
        purpose: Purpose,
    ) -> Self {
        CheckToken {
            shared: Arc::clone(shared),
            purpose,
            held: Some((key, connection)),
        }
    }

    pub(crate) async fn run(mut self) {
        let limit = self.shared.lock().settings().check_timeout;
        let connector = &self.shared.connector;
        let (_, connection) = self.held.as_mut().expect("held until finished");
        let connection = &mut **connection;
        let (passed, reason) = match self.purpose {
            Purpose::Probe => (
                timeout(limit, connector.probe(connection)).await,
                Eviction::ProbeFailed,
            ),
            Purpose::Reset => (
                timeout(limit, connector.reset(connection)).await,
                Eviction::ResetFailed,
            ),
        };
        let verdict = match passed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let error: Box<dyn std::error::Error + Send + Sync> = error.into();
                tracing::debug!(target: "millpond::pool", pool = self.shared.name, error = %Chain(&*error), reason = reason.name(), "check failed");
                Err(reason)
            }
            Err(_) => Err(reason),
        };
        self.finish(verdict);
    }

    fn finish(&mut self, verdict: Result<(), Eviction>) {
        let Some((key, connection)) = self.held.take() else {
            return;
        };
        let now = self.shared.clock.now();
        let random = fastrand::u64(..);
        self.shared
            .transition(|state, fx| state.checked(key, connection, verdict, now, random, fx));
    }
}

impl<C: Connector> Drop for CheckToken<C> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        let reason = if panicked {
            Eviction::Panicked
        } else {
            Eviction::Closed
        };
        self.finish(Err(reason));
    }
}

/// An evicted connection that is saying farewell.
pub(crate) struct CloseToken<C: Connector> {
    shared: Arc<SharedPool<C>>,
    key: Option<SlotKey>,
}

impl<C: Connector> CloseToken<C> {
    pub(crate) fn new(shared: &Arc<SharedPool<C>>, key: SlotKey) -> Self {
        CloseToken {
            shared: Arc::clone(shared),
            key: Some(key),
        }
    }

    /// Waits for the farewell, within `close_timeout`; then it is dropped, and its connection with
    /// it.
    pub(crate) async fn close(self, farewell: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let limit = self.shared.lock().settings().close_timeout;
        let ended = timeout(limit, farewell).await;
        if ended.is_err() {
            tracing::debug!(target: "millpond::pool", pool = self.shared.name, "closed by force: the farewell took longer than close_timeout");
        }
    }
}

impl<C: Connector> Drop for CloseToken<C> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.transition(|state, fx| state.closed(key, fx));
        }
    }
}
