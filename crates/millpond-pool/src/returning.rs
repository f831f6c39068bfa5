//! A lent connection comes back: it is judged, and then released, reset or discarded.

use std::sync::Arc;

use millpond_words::Chain;

use super::{
    boxed::Boxed,
    connector::{AfterRelease, Connector, LastExchange},
    dial::{CheckToken, Purpose},
    eviction::Eviction,
    shared::SharedPool,
    state::{Effects, Returned, SlotKey},
};

impl<C: Connector> SharedPool<C> {
    /// A lent connection comes back, by being dropped or released: judges it, and acts on the
    /// verdict.
    pub(crate) fn take_back(
        self: &Arc<Self>,
        key: SlotKey,
        connection: Boxed<C::Connection>,
        exchange: LastExchange,
    ) {
        let mut returning = Returning {
            shared: self,
            held: Some((key, connection)),
        };
        if std::thread::panicking() {
            return; // The borrower panics; `returning` discards.
        }
        let connection = returning.connection();
        if !self.connector.is_clean(connection, exchange) {
            // If the peer ended it, say so: that isn't a caller that gave up.
            if let Some(reason) = self.died_of(connection) {
                return returning.discard(reason);
            }
            return match exchange {
                // No exchange is open, so the connection itself is broken.
                LastExchange::None | LastExchange::Completed => returning.discard(Eviction::Broken),
                LastExchange::Open
                    if self.connector.is_clean(connection, LastExchange::Completed) =>
                {
                    returning.drop_unreleased();
                }
                // The connection itself knows that an exchange is unfinished on it.
                LastExchange::Open => returning.discard(Eviction::UnfinishedExchange),
            };
        }
        match self.connector.on_release(connection) {
            Ok(AfterRelease::Ready) => {
                let (key, connection) = returning.defuse();
                self.release(key, connection);
            }
            Ok(AfterRelease::NeedsReset) => {
                let (key, connection) = returning.defuse();
                let now = self.clock.now();
                #[cfg(feature = "metrics")]
                self.metrics.held(self.lock().slots().of(&key).since, now);
                let reset =
                    self.transition(|state, fx| state.release_to_reset(key, connection, now, fx));
                if let Some((key, connection)) = reset {
                    let check = CheckToken::new(self, key, connection, Purpose::Reset);
                    self.runtime.spawn_stoppable(check.run());
                    self.stop_if_closed();
                }
            }
            Err(error) => {
                let error: Box<dyn std::error::Error + Send + Sync> = error.into();
                tracing::debug!(target: "millpond::pool", pool = self.name, error = %Chain(&*error), "the release hook refused a connection");
                let reason = self.died_of(returning.connection());
                returning.discard(reason.unwrap_or(Eviction::HookFailed));
            }
        }
    }

    /// Why the peer ended a connection that comes back unfit, if it did. Bytes that have arrived
    /// don't count: they may be the reply that nobody waited for.
    pub(crate) fn died_of(&self, connection: &mut C::Connection) -> Option<Eviction> {
        let reason = self.connector.check(connection).err();
        reason.filter(|&reason| reason != Eviction::UnsolicitedBytes)
    }

    #[inline]
    fn release(self: &Arc<Self>, key: SlotKey, connection: Boxed<C::Connection>) {
        let mut state = self.lock();
        #[cfg(feature = "metrics")]
        let since = state.slots().of(&key).since;
        match state.serve_at_once(key, connection) {
            Returned::Idle => {
                drop(state);
                self.note_exhausted(false);
            }
            Returned::HandedOver { waker, kick } => {
                drop(state);
                if kick {
                    self.bell.ring();
                }
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Returned::NotYet(key, connection) => {
                let mut fx = Effects::none();
                let now = match state.settings().shed_waiting {
                    Some(_) => self.clock.now(),
                    None => state.now(),
                };
                state.release(key, connection, now, &mut fx);
                drop(state);
                self.carry_out(&mut fx);
            }
        }
        #[cfg(feature = "metrics")]
        self.metrics.held(since, self.clock.now());
    }

    /// A lent connection comes back that must not be lent again.
    pub(crate) fn discard(
        self: &Arc<Self>,
        key: SlotKey,
        connection: Boxed<C::Connection>,
        reason: Eviction,
    ) {
        let now = self.clock.now();
        let random = fastrand::u64(..);
        let is_asked = reason.is_the_endpoints_doing() && self.connector.was_asked(&connection);
        self.transition(|state, fx| match is_asked {
            true => state.died_in_exchange(key, connection, reason, now, random, fx),
            false => state.discard(key, connection, reason, now, random, fx),
        });
    }
}

/// A connection on its way back, while the connector judges it. A panic there discards it.
struct Returning<'l, C: Connector> {
    shared: &'l Arc<SharedPool<C>>,
    held: Option<(SlotKey, Boxed<C::Connection>)>,
}

impl<C: Connector> Returning<'_, C> {
    fn connection(&mut self) -> &mut C::Connection {
        &mut self.held.as_mut().expect("held until defused").1
    }

    fn defuse(mut self) -> (SlotKey, Boxed<C::Connection>) {
        self.held.take().expect("defused once")
    }

    fn discard(self, reason: Eviction) {
        let shared = self.shared;
        let (key, connection) = self.defuse();
        shared.discard(key, connection, reason);
    }

    fn drop_unreleased(self) {
        let shared = self.shared;
        let (key, connection) = self.defuse();
        let now = shared.clock.now();
        let random = fastrand::u64(..);
        let habit =
            shared.transition(|state, fx| state.drop_unreleased(key, connection, now, random, fx));
        if let Some(habit) = habit {
            shared.report_unreleased(&habit);
        }
    }
}

impl<C: Connector> Drop for Returning<'_, C> {
    fn drop(&mut self) {
        if let Some((key, connection)) = self.held.take() {
            self.shared.discard(key, connection, Eviction::Panicked);
        }
    }
}
