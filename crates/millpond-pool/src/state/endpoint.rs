//! What connections and dials say of the endpoint: who is to blame for a lost connection, when the
//! endpoint counts as back, and who is told that it is not.

use super::{Effects, Payload, Refusal, State, outage::LostDial};
use crate::eviction::Eviction;

impl<P: Payload> State<P> {
    /// The connection in this slot has served: the endpoint is as good as it looks. Says whether
    /// that was news.
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

    /// The dial in this slot failed, or its connection died before it was proven. Either is on its
    /// way out, or gone.
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
        self.tell_of_the_dark(fx);
    }

    /// A connection has left.
    pub(super) fn look_for_light(&mut self) {
        if self.slots.live() == 0 {
            self.outage.went_out(self.now);
        }
    }

    /// If it is dark, all who wait are told, but for those who would rather wait; not while nobody
    /// is served anyway.
    pub(super) fn tell_of_the_dark(&mut self, fx: &mut Effects<P>) {
        if !self.outage.dark() || self.paused {
            return;
        }
        for waiter in self.waiters.to_be_told_of_the_dark() {
            self.refuse(waiter, Refusal::Unavailable, fx);
        }
    }
}
