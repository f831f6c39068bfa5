//! What connections and dials say of the endpoint: who is to blame for a lost connection, when the
//! endpoint counts as back, and who is told that it is not.

use super::{Effects, Payload, Refusal, State, outage::LostDial};
use crate::eviction::Eviction;

impl<P: Payload> State<P> {
    /// The connection in this slot has served, so the endpoint works. Returns whether that ends an
    /// outage.
    #[inline]
    pub(super) fn prove(&mut self, at: u32, fx: &mut Effects<P>) -> bool {
        let slot = self.slots.at_mut(at);
        let news = !slot.proven && self.outage.failing();
        slot.proven = true;
        if news {
            fx.outage.push(self.outage.proven(self.now));
        }
        news
    }

    pub(super) fn is_to_blame(&self, at: u32, reason: Eviction) -> bool {
        reason.is_the_endpoints_doing() && !self.slots.at(at).proven
    }

    /// The dial in this slot failed, or its connection died before it was proven. The slot is
    /// closing or vacant by now.
    pub(super) fn endpoint_failed(
        &mut self,
        at: u32,
        cause: P::Cause,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        let any_live = self.slots.live() > 0;
        let slot = self.slots.at(at);
        let dial = LostDial {
            number: slot.number,
            began: slot.dialled,
        };
        let next = self.slots.next_number();
        let earlier = self
            .outage
            .failed(dial, cause, next, self.now, any_live, random);
        fx.causes_to_drop.extend(earlier);
        fx.outage.extend(self.outage.news(self.now));
        fx.changed = true;
        self.refuse_if_unavailable(fx);
    }

    /// The connection in this slot died before it was proven, with a request on it: that may be the
    /// request's doing.
    pub(super) fn failed_in_exchange(
        &mut self,
        at: u32,
        cause: P::Cause,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        let number = self.slots.at(at).number;
        let next = self.slots.next_number();
        let earlier = self
            .outage
            .failed_in_exchange(number, cause, next, self.now, random);
        fx.causes_to_drop.extend(earlier);
        fx.outage.extend(self.outage.news(self.now));
        fx.changed = true;
    }

    /// A connection has left.
    pub(super) fn note_departure(&mut self) {
        if self.slots.live() == 0 {
            self.outage.last_one_left(self.now);
        }
    }

    /// While the endpoint is unavailable, refuses the waiters that don't want to wait through an
    /// outage; not while the pool is paused, for then nobody is served anyway.
    pub(super) fn refuse_if_unavailable(&mut self, fx: &mut Effects<P>) {
        if !self.outage.unavailable() || self.paused {
            return;
        }
        for waiter in self.waiters.failing_fast() {
            self.refuse(waiter, Refusal::Unavailable, fx);
        }
    }
}
