//! The one place where decisions become effects: lock, ask the state, unlock, carry out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use super::{
    connector::{Closing, Connector},
    dial::{CheckToken, CloseToken, Purpose},
    pooled::Pooled,
    shared::SharedPool,
    state::{Effects, Evicted, Lifecycle, SlotKey, State},
};

impl<C: Connector> SharedPool<C> {
    /// Makes one transition, and carries out its effects.
    pub(crate) fn transition<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State<Pooled<C>>, &mut Effects<Pooled<C>>) -> R,
    ) -> R {
        let mut fx = Effects::none();
        let answer = change(&mut self.lock(), &mut fx);
        self.carry_out(&mut fx);
        answer
    }

    /// A transition that those who hold connections for long must be told of.
    pub(crate) fn verb<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State<Pooled<C>>, &mut Effects<Pooled<C>>) -> R,
    ) -> R {
        let answer = self.transition(change);
        self.verbs.fetch_add(1, Ordering::Release);
        self.verb_spoken.notify_waiters();
        answer
    }

    /// Closes the pool, and stops its dials, its checks and what the connector runs.
    pub(crate) fn close_now(self: &Arc<Self>, lifecycle: Lifecycle) {
        self.verb(|state, fx| state.close(lifecycle, fx));
        self.runtime.stop();
    }

    /// Carries out what a transition left to do, and what that brings about in turn. What is left
    /// in `fx` is to be dropped.
    #[inline]
    pub(crate) fn carry_out(self: &Arc<Self>, fx: &mut Effects<Pooled<C>>) {
        if fx.is_more_than_a_wake() {
            self.carry_out_slowly(std::mem::replace(fx, Effects::none()));
        } else if !fx.wakes.is_empty() {
            for waker in fx.wakes.take() {
                waker.wake();
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn carry_out_slowly(self: &Arc<Self>, mut fx: Effects<Pooled<C>>) {
        loop {
            let mut stoppable = false;
            if fx.kick {
                self.bell.ring();
            }
            if fx.changed {
                self.changed.notify_waiters();
            }
            for key in fx.dials.drain(..) {
                self.start_dial(key);
                stoppable = true;
            }
            for (key, connection) in fx.probes.drain(..) {
                let check = CheckToken::new(self, key, connection, Purpose::Probe);
                self.runtime.spawn_stoppable(check.run());
                stoppable = true;
            }
            if stoppable {
                self.stop_if_closed();
            }
            for leak in fx.leaks.drain(..) {
                self.report_leak(&leak);
            }
            for news in fx.outage.drain(..) {
                self.report_outage(news);
            }
            for waker in fx.wakes.take() {
                // Foreign code. One that panics must not stop upkeep, nor keep the others from
                // being called.
                if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                    tracing::error!(target: "millpond::pool", pool = self.name, "a waker panicked");
                }
            }
            let mut next = Effects::none();
            for evicted in fx.evicted.drain(..) {
                self.close(evicted, &mut next);
            }
            if next.is_nothing() {
                return;
            }
            fx = next;
        }
    }

    #[cfg(not(millpond_loom))]
    fn start_dial(self: &Arc<Self>, key: SlotKey) {
        let dial = super::dial::DialToken::new(self, key).dial();
        self.runtime.spawn_stoppable(dial);
    }

    #[cfg(millpond_loom)]
    fn start_dial(self: &Arc<Self>, key: SlotKey) {
        self.dials_begun.lock().push(key);
    }

    fn close(self: &Arc<Self>, evicted: Evicted<Pooled<C>>, fx: &mut Effects<Pooled<C>>) {
        let Evicted {
            key,
            connection,
            number,
            reason,
        } = evicted;
        tracing::debug!(target: "millpond::pool", pool = self.name, connection = number, reason = reason.name(), "evicted");
        #[cfg(feature = "metrics")]
        self.metrics.evicted(reason);
        let ended = self.lock().lifecycle() == Lifecycle::RuntimeEnded;
        // The connector's code. If it panics the other effects must still be carried out.
        let closing = catch_unwind(AssertUnwindSafe(|| {
            if ended {
                drop(connection);
                return Closing::Done;
            }
            self.connector.close(connection.into_connection())
        }));
        match closing {
            Ok(Closing::After(farewell)) if !ended => {
                let token = CloseToken::new(self, key);
                self.runtime.spawn(token.close(farewell));
            }
            Ok(_) => self.lock().closed(key, fx),
            Err(_) => {
                tracing::error!(target: "millpond::pool", pool = self.name, connection = number, "the connector panicked in close");
                self.lock().closed(key, fx);
            }
        }
    }

    /// Stops tasks that were decided on before the pool was closed, and spawned after that.
    pub(crate) fn stop_if_closed(&self) {
        let closed = self.lock().is_closed();
        if closed {
            self.runtime.stop();
        }
    }
}
