//! The pool's own tasks: dials, checks and closings. Each is a token that owns a place, and whose
//! drop gives the place back whatever happened: the task ended, panicked, or was dropped with its
//! runtime.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use tokio::time::timeout;

use super::{
    Connector, DialError, Eviction,
    boxed::Boxed,
    error::Judged,
    lender::Lender,
    state::{Phase, Place},
};
use millpond_words::Chain;

tokio::task_local! {
    /// What the dial in this task is doing.
    static PHASE: Cell<Option<&'static str>>;
}

/// A connector says what its dial is doing from now on, in words that go on after "while":
/// *resolving the name*. Should the dial run out of time, its error says so. Outside a dial this
/// does nothing.
pub fn dial_phase(phase: &'static str) {
    let _ = PHASE.try_with(|current| current.set(Some(phase)));
}

/// The right to dial for one place.
pub(crate) struct DialToken<C: Connector> {
    lender: Arc<Lender<C>>,
    place: Option<Place>,
    /// How often the endpoint had changed when this began.
    endpoint_changes: u64,
}

impl<C: Connector> DialToken<C> {
    pub(crate) fn new(lender: &Arc<Lender<C>>, place: Place) -> Self {
        DialToken {
            endpoint_changes: lender.endpoint_changes.load(Ordering::Relaxed),
            lender: Arc::clone(lender),
            place: Some(place),
        }
    }

    pub(crate) async fn dial(mut self) {
        let limit = self.lender.lock().config().connect_timeout;
        #[cfg(feature = "metrics")]
        let begun = self.lender.clock.now();
        let connector = &self.lender.connector;
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
        self.lender
            .metrics
            .dialled(begun, self.lender.clock.now(), outcome.is_ok());
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Result<C::Connection, DialError>) {
        let connector = &self.lender.connector;
        let mut outdated = false;
        let outcome = outcome.map(|connection| {
            let ends = connector.ends(&connection);
            // What it leads to may have changed since the dial began. Only then: a connector that
            // is of two minds about where it dials and what is current would have its
            // pool dial without end.
            outdated = self.endpoint_changes
                != self.lender.endpoint_changes.load(Ordering::Relaxed)
                && !connector.is_current(&ends);
            (Boxed::new(connection), ends)
        });
        // Here, and not under the lock: it is the connector's code.
        let outcome = outcome.map_err(|error| Judged {
            refused: matches!(&error, DialError::Failed(cause) if connector.refused(&**cause)),
            error,
        });
        if let Err(Judged { error, .. }) = &outcome {
            tracing::debug!(target: "millpond::pool", pool = self.lender.name, cause = %error.cause(), "dial failed");
        }
        let place = self.place.take().expect("a dial finishes once");
        let now = self.lender.clock.now();
        let random = fastrand::u64(..);
        self.lender
            .transition(|state, fx| state.dial_finished(place, outcome, now, random, fx));
        if outdated {
            self.lender.retire_outdated();
        }
    }
}

impl<C: Connector> Drop for DialToken<C> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        if std::thread::panicking() {
            self.place = Some(place);
            return self.finish(Err(DialError::Panicked));
        }
        // Dropped before its end: the pool has been closed, or else the runtime is ending, and then
        // no other dial will do better.
        self.lender.transition(|state, fx| {
            state.close(Phase::RuntimeEnded, fx);
            state.dial_abandoned(place, fx);
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
    lender: Arc<Lender<C>>,
    purpose: Purpose,
    held: Option<(Place, Boxed<C::Connection>)>,
}

impl<C: Connector> CheckToken<C> {
    pub(crate) fn new(
        lender: &Arc<Lender<C>>,
        place: Place,
        connection: Boxed<C::Connection>,
        purpose: Purpose,
    ) -> Self {
        CheckToken {
            lender: Arc::clone(lender),
            purpose,
            held: Some((place, connection)),
        }
    }

    pub(crate) async fn run(mut self) {
        let limit = self.lender.lock().config().check_timeout;
        let connector = &self.lender.connector;
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
                tracing::debug!(target: "millpond::pool", pool = self.lender.name, error = %Chain(&*error), reason = reason.name(), "check failed");
                Err(reason)
            }
            Err(_) => Err(reason),
        };
        self.finish(verdict);
    }

    fn finish(&mut self, verdict: Result<(), Eviction>) {
        let Some((place, connection)) = self.held.take() else {
            return;
        };
        let now = self.lender.clock.now();
        let random = fastrand::u64(..);
        self.lender
            .transition(|state, fx| state.checked(place, connection, verdict, now, random, fx));
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
    lender: Arc<Lender<C>>,
    place: Option<Place>,
}

impl<C: Connector> CloseToken<C> {
    pub(crate) fn new(lender: &Arc<Lender<C>>, place: Place) -> Self {
        CloseToken {
            lender: Arc::clone(lender),
            place: Some(place),
        }
    }

    /// Waits for the farewell, within `close_timeout`; then it is dropped, and its connection with
    /// it.
    pub(crate) async fn close(self, farewell: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let limit = self.lender.lock().config().close_timeout;
        let ended = timeout(limit, farewell).await;
        if ended.is_err() {
            tracing::debug!(target: "millpond::pool", pool = self.lender.name, "closed by force: the farewell took longer than close_timeout");
        }
    }
}

impl<C: Connector> Drop for CloseToken<C> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.lender.transition(|state, fx| state.closed(place, fx));
        }
    }
}
