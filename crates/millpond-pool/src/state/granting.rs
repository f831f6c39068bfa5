//! Grants: a connection is offered to a waiter, and offered to others if that one doesn't come.

use super::{
    Effects, GRANT_LIFETIME, Moment, Payload, Refusal, Stage, StageName, State,
    waiters::WaiterIndex,
};

impl<P: Payload> State<P> {
    /// The one who is served next: the first in line who hasn't waited too long. Those before it are
    /// refused. Somebody is in line.
    #[inline]
    pub(super) fn next_served(&mut self, fx: &mut Effects<P>) -> WaiterIndex {
        loop {
            let first = self.waiters.first().expect("the last in line isn't shed");
            if !self.waiters.sheds(first, self.now) {
                return first;
            }
            self.refuse(first, Refusal::Shed, fx);
        }
    }

    #[inline]
    pub(super) fn grant(
        &mut self,
        at: u32,
        connection: P::Connection,
        to: WaiterIndex,
        fx: &mut Effects<P>,
    ) {
        fx.wakes.extend(self.grant_quietly(at, connection, to));
    }

    /// Returns the waker, to be called after unlocking. The grant begins to age with the next
    /// transition that is told the time.
    #[inline]
    pub(super) fn grant_quietly(
        &mut self,
        at: u32,
        connection: P::Connection,
        to: WaiterIndex,
    ) -> Option<P::Waker> {
        let granted = Stage::Granted { connection, to };
        self.slots.shift(at, granted, Moment::NEVER);
        self.waiters.grant(to, at)
    }

    /// When upkeep must come to see to a grant: to let it begin to age, or to give it to the next
    /// in line.
    #[inline]
    pub(super) fn grant_ends(&self, at: u32) -> Moment {
        let aged_since = self.slots.at(at).since.min(self.now);
        aged_since.after(GRANT_LIFETIME)
    }

    /// A grant has lost its waiter: its connection is idle until someone in line gets it.
    pub(super) fn take_back(&mut self, at: u32, fx: &mut Effects<P>) {
        if let Some(reason) = self.must_go(at) {
            return self.evict_held(at, reason, fx);
        }
        let connection = self.take_held(at);
        let idle = Stage::Idle(connection);
        self.slots.shift(at, idle, self.now);
    }

    /// Lets new grants begin to age, and revokes those that nobody picked up in time: their waiters
    /// leave the line until they are polled again, and those in line may be called. Returns whether
    /// there were any.
    pub(super) fn revoke_overdue_grants(&mut self, fx: &mut Effects<P>) -> bool {
        self.age_new_grants();
        let revoked_before = self.totals.revoked;
        while let Some(at) = self.slots.front(StageName::Granted) {
            let slot = self.slots.at(at);
            let Stage::Granted { to, .. } = slot.stage else {
                unreachable!("in the list of the granted")
            };
            if slot.since.after(GRANT_LIFETIME) > self.now {
                break;
            }
            self.totals.revoked += 1;
            self.waiters.park(to, self.now);
            self.take_back(at, fx);
        }
        let revoked = self.totals.revoked > revoked_before;
        if revoked {
            self.call_the_line(fx);
        }
        revoked
    }

    /// A waiter didn't pick up its grant, so others in line may not be polled either; that can't be
    /// seen. The connection isn't granted to the next one, for each such waiter would hold up all
    /// behind it. Instead all are woken and leave the line until they are polled: the first that is
    /// polled gets the connection.
    ///
    /// Polling many waiters may take a thread longer than a grant lives, and then grants become
    /// overdue because of the call itself. So nobody is called while the waiters of the last call
    /// come back: the connection is granted to the next in line.
    fn call_the_line(&mut self, fx: &mut Effects<P>) {
        if !self.waiters.none_queued() && self.next_call <= self.now {
            self.answers_until = self.now.after(GRANT_LIFETIME);
            self.next_call = self.answers_until;
            fx.wakes.extend(self.waiters.call_all(self.now));
        }
    }

    /// A waiter that was called is polled.
    pub(super) fn answer_call(&mut self, waiter: WaiterIndex, now: Moment, fx: &mut Effects<P>) {
        let now = now.max(self.now);
        if now < self.next_call {
            self.next_call = now.after(GRANT_LIFETIME);
        }
        self.get_back_in_line(waiter, fx);
    }

    /// A waiter that was out of line is polled.
    pub(super) fn get_back_in_line(&mut self, waiter: WaiterIndex, fx: &mut Effects<P>) {
        self.waiters.requeue(waiter);
        self.settle(fx);
    }

    /// New grants begin to age now.
    #[inline]
    pub(super) fn age_new_grants(&mut self) {
        let mut newest = self.slots.back(StageName::Granted);
        while let Some(at) = newest.filter(|&at| self.slots.at(at).since == Moment::NEVER) {
            self.slots.at_mut(at).since = self.now;
            newest = self.slots.prev(at);
        }
    }
}
