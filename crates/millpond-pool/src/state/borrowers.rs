//! What becomes of a connection that the machine has handed out: lent, checked, or being closed.

use super::{
    Checking, ConnectionNumber, Effects, Lifecycle, Moment, Payload, Recall, Returned, SlotKey,
    Stage, StageName, State, Unreleased,
};
use crate::{eviction::Eviction, totals::PoolTotals};

/// From so many unreleased connections on, if they are at least half of all that came back, the
/// reason is code that never releases, not calls that are cancelled now and then.
const UNRELEASED_IS_A_HABIT: u64 = 8;

impl<P: Payload> State<P> {
    /// The fast path of [`State::release`]: the connection is idle, or the first in line is granted
    /// it, and nothing else changes.
    #[inline]
    pub(crate) fn serve_at_once(&mut self, key: SlotKey, connection: P::Connection) -> Returned<P> {
        let at = key.index();
        let usual = self.lifecycle == Lifecycle::Open
            && !self.outage.failing()
            && self.must_go(at).is_none();
        let first = self.waiters.first();
        // It must be probed, or somebody may have waited too long.
        let not_at_once = first.is_some() && (self.probe.is_always() || self.waiters.are_shed());
        if !usual || not_at_once {
            return Returned::NotYet(key, connection);
        }
        self.totals.released += 1;
        self.slots.at_mut(at).proven = true;
        let Some(to) = first.filter(|_| !self.paused) else {
            self.slots.shift(at, Stage::Idle(connection), self.now);
            return Returned::Idle;
        };
        let waker = self.grant_quietly(at, connection, to);
        let mut kick = false;
        if self.somebody_waits()
            && let Some(oldest) = self.slots.front(StageName::Granted)
        {
            kick = self.wake_by(self.grant_ends(oldest));
        }
        Returned::HandedOver { waker, kick }
    }

    /// A clean connection comes back. The coarse clock ([`State::now`]) will do.
    pub(crate) fn release(
        &mut self,
        key: SlotKey,
        connection: P::Connection,
        now: Moment,
        fx: &mut Effects<P>,
    ) {
        self.advance(now);
        let (key, connection) = match self.serve_at_once(key, connection) {
            Returned::Idle => return,
            Returned::HandedOver { waker, kick } => {
                fx.wakes.extend(waker);
                fx.kick |= kick;
                return;
            }
            Returned::NotYet(key, connection) => (key, connection),
        };
        let at = key.index();
        self.totals.released += 1;
        let endpoint_is_back = self.prove(at, fx);
        self.return_to_service(at, connection, fx);
        if endpoint_is_back || self.lifecycle == Lifecycle::Draining {
            self.settle(fx);
        } else if self.somebody_waits() {
            self.plan_wake(fx);
        }
    }

    /// A connection comes back that must be reset before it serves again; the caller starts the
    /// reset with it and the key that this returns, unless the connection had to go.
    pub(crate) fn release_to_reset(
        &mut self,
        key: SlotKey,
        connection: P::Connection,
        now: Moment,
        fx: &mut Effects<P>,
    ) -> Option<(SlotKey, P::Connection)> {
        self.advance(now);
        let at = key.index();
        self.totals.released += 1;
        if let Some(reason) = self.must_go(at) {
            self.evict(at, connection, reason, fx);
            self.settle(fx);
            return None;
        }
        self.slots
            .shift(at, Stage::Checking(Checking::Reset), self.now);
        Some((key, connection))
    }

    /// A connection comes back that must not be lent again.
    pub(crate) fn discard(
        &mut self,
        key: SlotKey,
        connection: P::Connection,
        reason: Eviction,
        now: Moment,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        self.advance(now);
        self.totals.released += 1;
        self.evict_unfit(key.index(), connection, reason, random, fx);
        self.settle(fx);
    }

    /// As [`State::discard`], for a connection that died with a request on it: if it never served,
    /// that may be the request's doing.
    pub(crate) fn died_in_exchange(
        &mut self,
        key: SlotKey,
        connection: P::Connection,
        reason: Eviction,
        now: Moment,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        self.advance(now);
        self.totals.released += 1;
        let at = key.index();
        let blamed = self.is_to_blame(at, reason);
        self.evict(at, connection, reason, fx);
        if blamed {
            self.failed_in_exchange(at, P::Cause::from(reason), random, fx);
        }
        self.settle(fx);
    }

    /// As [`State::discard`], for a connection that was used and then merely dropped: its borrower
    /// didn't say that its exchange is complete.
    ///
    /// Reports that once, when it happens so often that cancelled calls can't be the reason.
    #[must_use]
    pub(crate) fn drop_unreleased(
        &mut self,
        key: SlotKey,
        connection: P::Connection,
        now: Moment,
        random: u64,
        fx: &mut Effects<P>,
    ) -> Option<Unreleased<P::Tag>> {
        let tag = match self.slots.of(&key).stage {
            Stage::Active { tag, .. } => Some(tag),
            _ => None,
        };
        self.discard(
            key,
            connection,
            Eviction::UnfinishedExchange,
            now,
            random,
            fx,
        );
        self.totals.unreleased += 1;
        let PoolTotals {
            unreleased,
            released,
            ..
        } = self.totals;
        let is_a_habit = unreleased >= UNRELEASED_IS_A_HABIT && unreleased >= released.div_ceil(2);
        if !is_a_habit || std::mem::replace(&mut self.told_of_unreleased, true) {
            return None;
        }
        tag.map(|tag| Unreleased {
            tag,
            unreleased,
            released,
        })
    }

    /// What [`State::acquire`] or [`State::poll`] lent didn't pass its check, so the caller never
    /// got it. Where it had never served, that counts as a failed dial, whatever the reason: a
    /// connector that refuses all it opens would be dialled without end.
    pub(crate) fn reject(
        &mut self,
        key: SlotKey,
        connection: P::Connection,
        reason: Eviction,
        now: Moment,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        self.advance(now);
        let at = key.index();
        self.totals.lent -= 1;
        let slot = self.slots.at_mut(at);
        slot.uses -= 1;
        let never_served = !slot.proven;
        self.evict(at, connection, reason, fx);
        if never_served {
            self.endpoint_failed(at, P::Cause::from(reason), random, fx);
        }
        self.settle(fx);
    }

    /// A connection leaves the pool and its count, open, for good.
    pub(crate) fn detach(&mut self, key: SlotKey, now: Moment, fx: &mut Effects<P>) {
        self.advance(now);
        self.totals.detached += 1;
        self.vacate(key.index(), fx);
        self.note_departure();
        self.settle(fx);
    }

    /// A lent connection has served, though it hasn't come back yet. Its end doesn't count as a
    /// failed dial any more.
    pub(crate) fn served(&mut self, key: &SlotKey, fx: &mut Effects<P>) {
        if self.prove(key.index(), fx) {
            self.settle(fx);
        }
    }

    /// Whether the pool wants this connection back from a borrower that holds it for long.
    pub(crate) fn recall(&self, at: u32, number: ConnectionNumber) -> Recall {
        match self.lifecycle {
            _ if self.slots.same(at, number).is_none() => Recall::Now,
            Lifecycle::Draining => Recall::AfterWaiters,
            Lifecycle::Open if !self.paused && self.must_go(at).is_none() => Recall::No,
            Lifecycle::Open | Lifecycle::Closed | Lifecycle::RuntimeEnded => Recall::Now,
        }
    }

    /// A probe or a reset has ended.
    pub(crate) fn checked(
        &mut self,
        key: SlotKey,
        connection: P::Connection,
        verdict: Result<(), Eviction>,
        now: Moment,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        self.advance(now);
        let at = key.index();
        match verdict {
            Ok(()) => {
                self.prove(at, fx);
                self.return_to_service(at, connection, fx);
            }
            Err(reason) => self.evict_unfit(at, connection, reason, random, fx),
        }
        self.settle(fx);
    }

    /// An evicted connection has been closed.
    pub(crate) fn closed(&mut self, key: SlotKey, fx: &mut Effects<P>) {
        self.totals.closed += 1;
        self.vacate(key.index(), fx);
        self.settle(fx);
    }
}
