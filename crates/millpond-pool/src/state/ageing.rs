//! What only time brings: deadlines, the ends of idle times and lifetimes, leaks.

use super::{
    Effects, Leak, Lease, Moment, Payload, Refusal, Stage, StageName, State, TICK, WAITING_TICK,
};
use crate::eviction::Eviction;

impl<P: Payload> State<P> {
    /// Upkeep: whatever time has brought. Afterwards [`State::planned_wake`] says when to come
    /// again.
    pub(crate) fn tick(&mut self, now: Moment, fx: &mut Effects<P>) {
        self.advance(now);
        // First, for the deadline of one that loses its grant may have passed as well.
        self.revoke_overdue_grants(fx);
        self.waiters.count_patience(self.now);
        for overdue in self.waiters.overdue(self.now) {
            self.refuse(overdue, Refusal::TimedOut, fx);
        }
        self.evict_idle_too_long(fx);
        self.evict_expired(fx);
        self.report_leaks(fx);
        self.planned_wake = self.now.after(TICK);
        self.come_to_rest(fx);
        self.give_up_if_due(fx); // Last, for the last connection may just have left.
        self.plan_wake(fx);
        if self.waiters.waiting() > 0 {
            self.planned_wake = self.planned_wake.min(self.now.after(WAITING_TICK));
        }
        fx.kick = false; // Upkeep reads the plan after this; woken by its own tick it would never sleep.
    }

    /// The last dial of an outage's grace has given no answer for too long: those who wait are
    /// told.
    fn give_up_if_due(&mut self, fx: &mut Effects<P>) {
        if self.unavailable_from().is_some_and(|from| from <= self.now) {
            self.outage.give_up();
            self.refuse_if_unavailable(fx);
        }
    }

    /// The idle list is sorted by age. What `min_idle` asks for stays, or it would be closed and
    /// dialled for ever.
    fn evict_idle_too_long(&mut self, fx: &mut Effects<P>) {
        let Some(limit) = self.settings.idle_timeout else {
            return;
        };
        while self.slots.count(StageName::Idle) > self.min_idle()
            && let Some(oldest) = self.slots.front(StageName::Idle)
            && self.slots.at(oldest).since.after(limit) <= self.now
        {
            self.evict_held(oldest, Eviction::IdleTimeout, fx);
        }
    }

    /// Evicts idle connections at the end of their lifetime. Lent ones are evicted when they come
    /// back.
    fn evict_expired(&mut self, fx: &mut Effects<P>) {
        if self.now < self.next_expiry {
            return;
        }
        let mut next = self.slots.front(StageName::Idle);
        while let Some(at) = next {
            next = self.slots.next(at);
            if self.slots.at(at).expires <= self.now {
                self.evict_held(at, Eviction::Lifetime, fx);
            }
        }
        let alive = self.slots.all().iter().map(|slot| slot.expires);
        self.next_expiry = alive
            .filter(|&expires| expires > self.now)
            .min()
            .unwrap_or(Moment::NEVER);
    }

    /// Each lending is reported once.
    fn report_leaks(&mut self, fx: &mut Effects<P>) {
        let Some(threshold) = self.settings.leak_threshold else {
            return;
        };
        let mut next = self.slots.front(StageName::Active);
        while let Some(at) = next {
            next = self.slots.next(at);
            let slot = self.slots.at_mut(at);
            let lent_for = self.now.since(slot.since);
            if lent_for < threshold {
                return; // The list is sorted by age.
            }
            if let Stage::Active {
                tag,
                lease: Lease::Exclusive,
                reported: reported @ false,
            } = &mut slot.stage
            {
                *reported = true;
                fx.leaks.push(Leak {
                    number: slot.number,
                    tag: *tag,
                    lent_for,
                });
            }
        }
    }
}
