//! Coming to rest after a change: who gets what is free, what has to be probed first, and when
//! upkeep must come.

use super::{
    Checking, Effects, Lease, Lifecycle, Moment, Payload, SlotKey, Stage, StageName, State,
};
use crate::{eviction::Eviction, settings::Order};

/// What to do with the idle connection that is next to be lent.
pub(super) enum Candidate {
    Fit,
    NeedsProbe,
    MustGo(Eviction),
}

impl<P: Payload> State<P> {
    /// Brings everything to rest after a change: serves, dials, ends a drain, plans the next wake.
    #[inline]
    pub(super) fn settle(&mut self, fx: &mut Effects<P>) {
        self.come_to_rest(fx);
        self.plan_wake(fx);
    }

    #[inline]
    pub(super) fn come_to_rest(&mut self, fx: &mut Effects<P>) {
        self.serve(fx);
        self.start_dials(fx);
        if self.is_drained() {
            self.evict_all_idle(Eviction::Closed, fx);
        }
    }

    /// Gives idle connections to those in line.
    #[inline]
    fn serve(&mut self, fx: &mut Effects<P>) {
        if self.paused || self.is_closed() {
            return;
        }
        while self.somebody_waits()
            && let Some(at) = self.next_idle()
        {
            match self.judge(at) {
                Candidate::MustGo(reason) => self.evict_held(at, reason, fx),
                Candidate::Fit => {
                    let waiter = self.next_served(fx);
                    let connection = self.take_held(at);
                    self.grant(at, connection, waiter, fx);
                }
                Candidate::NeedsProbe => {
                    if self.waiters.queued() <= self.slots.count(StageName::Checking) {
                        return;
                    }
                    let connection = self.take_held(at);
                    self.probe(at, connection, fx);
                }
            }
        }
    }

    /// The pool drains, and nobody is left to be served.
    #[inline]
    pub(super) fn is_drained(&self) -> bool {
        self.lifecycle == Lifecycle::Draining
            && self.waiters.none_queued()
            && !self.answers_are_due()
    }

    /// Nobody is in line, but those who were called may be about to answer.
    #[inline]
    fn answers_are_due(&self) -> bool {
        self.now < self.answers_until && self.waiters.none_queued() && self.waiters.waiting() > 0
    }

    /// Has upkeep come as soon as something is due by time alone.
    #[inline]
    pub(super) fn plan_wake(&mut self, fx: &mut Effects<P>) {
        let mut wake = self.planned_wake;
        if self.waiters.waiting() > 0 {
            wake = wake.min(self.waiters.earliest_deadline());
            wake = wake.min(self.unavailable_from().unwrap_or(Moment::NEVER));
        }
        if self.somebody_waits()
            && let Some(oldest) = self.slots.front(StageName::Granted)
        {
            wake = wake.min(self.grant_ends(oldest));
        }
        if self.lifecycle == Lifecycle::Draining && self.answers_are_due() {
            wake = wake.min(self.answers_until);
        }
        // The next dial while failing starts when there is none to be counted on.
        if self.outage.failing() && self.connections_wanted() > 0 {
            wake = wake.min(self.dial_allowed_from().unwrap_or(Moment::NEVER));
        }
        fx.kick |= self.wake_by(wake);
    }

    /// Upkeep must come at `wake` at the latest. Returns whether that is earlier than planned, so
    /// that it has to be woken.
    #[inline]
    pub(super) fn wake_by(&mut self, wake: Moment) -> bool {
        let earlier = wake < self.planned_wake;
        self.planned_wake = self.planned_wake.min(wake);
        earlier
    }

    /// The idle connection to lend next.
    #[inline]
    pub(super) fn next_idle(&self) -> Option<u32> {
        match self.settings.order {
            Order::Lifo => self.slots.back(StageName::Idle),
            Order::Fifo => self.slots.front(StageName::Idle),
        }
    }

    #[inline]
    pub(super) fn judge(&self, at: u32) -> Candidate {
        let idle_for = || self.now.since(self.slots.at(at).since);
        match self.must_go(at) {
            Some(reason) => Candidate::MustGo(reason),
            None if self.probe.is_due(idle_for) => Candidate::NeedsProbe,
            None => Candidate::Fit,
        }
    }

    #[inline]
    pub(super) fn lend(&mut self, at: u32, tag: P::Tag, lease: Lease) -> (SlotKey, P::Connection) {
        let active = Stage::Active {
            tag,
            lease,
            reported: false,
        };
        let slot = self.slots.at_mut(at);
        slot.uses += 1;
        slot.watched = false;
        self.totals.lent += 1;
        match self.slots.shift(at, active, self.now) {
            Stage::Idle(connection) | Stage::Granted { connection, .. } => {
                (self.slots.hand_out(at), connection)
            }
            other => unreachable!(
                "only what is idle or granted is lent, not {:?}",
                other.name()
            ),
        }
    }

    /// A fit connection has come (back): to the first in line, else idle, unless it has to go.
    #[inline]
    pub(super) fn return_to_service(
        &mut self,
        at: u32,
        connection: P::Connection,
        fx: &mut Effects<P>,
    ) {
        if let Some(reason) = self.must_go(at) {
            self.evict(at, connection, reason, fx);
            self.settle(fx);
            return;
        }
        // Straight after a dial or a probe there is no need for another.
        let used = matches!(
            self.slots.at(at).stage,
            Stage::Active { .. } | Stage::Checking(Checking::Reset)
        );
        match self.waiters.first() {
            Some(_) if used && self.probe.is_always() && !self.paused => {
                self.probe(at, connection, fx);
            }
            Some(_) if !self.paused => {
                let waiter = self.next_served(fx);
                self.grant(at, connection, waiter, fx);
            }
            _ => {
                let idle = Stage::Idle(connection);
                self.slots.shift(at, idle, self.now);
            }
        }
    }

    fn probe(&mut self, at: u32, connection: P::Connection, fx: &mut Effects<P>) {
        let checking = Stage::Checking(Checking::Probe);
        self.slots.shift(at, checking, self.now);
        fx.probes.push((self.slots.hand_out(at), connection));
    }
}
