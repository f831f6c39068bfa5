//! The verbs: close, drain, retire, pause, resume, resize.

use super::{ConnectionNumber, Effects, Lifecycle, Moment, Payload, Stage, StageName, State};
use crate::eviction::Eviction;

/// The generation of a connection that was retired by itself: the pool's is never this.
const NO_GENERATION: u32 = u32::MAX;

impl<P: Payload> State<P> {
    /// Closes what is idle or granted, refuses who waits; what is lent or under way is closed when
    /// it comes back.
    pub(crate) fn close(&mut self, lifecycle: Lifecycle, fx: &mut Effects<P>) {
        debug_assert!(matches!(
            lifecycle,
            Lifecycle::Closed | Lifecycle::RuntimeEnded
        ));
        if lifecycle == Lifecycle::RuntimeEnded && !self.runtime_ended {
            self.runtime_ended = true;
            fx.changed = true;
        }
        if self.is_closed() {
            return;
        }
        self.lifecycle = lifecycle;
        self.paused = false;
        fx.changed = true;
        let refusal = self.refusal().expect("closed");
        self.refuse_all(refusal, fx);
        while let Some(at) = self.slots.front(StageName::Granted) {
            if let Stage::Granted { to, .. } = self.slots.at(at).stage {
                self.refuse(to, refusal, fx);
            }
            self.evict_held(at, Eviction::Closed, fx);
        }
        self.evict_all_idle(Eviction::Closed, fx);
    }

    /// Takes no new callers; who waits is still served, then everything is closed. Lifts a pause.
    pub(crate) fn drain(&mut self, now: Moment, fx: &mut Effects<P>) {
        self.advance(now);
        if self.lifecycle == Lifecycle::Open {
            self.lifecycle = Lifecycle::Draining;
            self.paused = false;
            fx.changed = true;
            self.settle(fx);
        }
    }

    /// Replaces every connection there is: idle ones now, lent ones when they come back, dials
    /// under way when they end.
    pub(crate) fn retire(&mut self, fx: &mut Effects<P>) {
        self.generation += 1;
        self.evict_all_idle(Eviction::Retired, fx);
        self.settle(fx);
    }

    /// Replaces one connection, if the slot is still that one's.
    pub(crate) fn retire_one(&mut self, at: u32, number: ConnectionNumber, fx: &mut Effects<P>) {
        let current = self.slots.same(at, number);
        if current.is_none_or(|slot| matches!(slot.stage, Stage::Vacant | Stage::Closing)) {
            return;
        }
        let slot = self.slots.at_mut(at);
        slot.generation = NO_GENERATION;
        if matches!(slot.stage, Stage::Idle(_)) {
            self.evict_held(at, Eviction::Retired, fx);
        }
        self.settle(fx);
    }

    /// From now on callers wait, and nothing is dialled.
    pub(crate) fn pause(&mut self) {
        self.paused = self.lifecycle == Lifecycle::Open;
    }

    /// `now` is when its grants begin to age.
    pub(crate) fn resume(&mut self, now: Moment, fx: &mut Effects<P>) {
        self.advance(now);
        self.paused = false;
        self.settle(fx);
    }

    /// A new `max_size`, validated by the caller.
    pub(crate) fn resize(&mut self, max_size: u32, fx: &mut Effects<P>) {
        self.settings.max_size = max_size;
        while self.over_size()
            && let Some(oldest) = self.slots.front(StageName::Idle)
        {
            self.evict_held(oldest, Eviction::Shrunk, fx);
        }
        self.settle(fx);
    }
}
