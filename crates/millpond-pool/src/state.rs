//! The pure machine: which connection is where, who waits, and what has to be done next.
//!
//! It knows no sockets, no tasks and no clock. Every method is one transition: it is told what
//! happened and at what time, changes the state, and leaves in [`Effects`] what the caller must do
//! once it has released the lock. Time and randomness are passed in; connections, wakers and causes
//! are carried without being looked at ([`Payload`]), and are always handed back rather than dropped
//! here, for dropping them may run foreign code.
//!
//! A connection's stages (`granted` is counted as active: it is somebody's, who hasn't come for it
//! yet):
//!
//! ```text
//!                dial ok, nobody waits                acquire
//!   connecting ───────────────────────────▶ idle ─────────────────────────▶ active ──▶ (detached)
//!    │    │                                 ▲ │ ▲                           │ │  ▲
//!    │    │ dial ok, someone waits    check │ │ │ release, nobody waits     │ │  │ picked up
//!    │    └──────────────┐               ok │ ▼ └───────────────────────────┘ │  │
//!    │                   │            checking ◀──── release, needs a reset ──┤  │
//!    │                   ▼                │ │                                 │  │
//!    │ dial failed    granted ◀───────────┘ │ unfit          release, someone │  │
//!    │                │ │ ▲   someone waits ▼                          waits  │  │
//!    │                │ │ └───────────────────────────────────────────────────┤  │
//!    │                │ └─────────────────────────────────────────────────────┼──┘
//!    ▼                ▼ revoked: idle, for the first who comes                │
//!   vacant ◀─────── closing ◀── evicted, from idle, checking, granted, active ┘
//!           closed
//! ```
//!
//! The invariants, held after every transition and checked there by every test (`check.rs`):
//!
//! 1. A dial starts only while connecting + idle + checking + active + closing < `max_size`.
//! 2. If somebody in line could be served, nothing is idle (one that needs a probe may be, while as
//!    many checks run as wait).
//! 3. A dial starts only for a waiter in line or for `min_idle`; at most `max_connecting` at once,
//!    one while failing. One exception, within 1 and `max_connecting`: while an outage's grace
//!    lasts and somebody waits, another starts beside those that have given no answer for a fifth
//!    of the grace, and at its end beside any that began before.
//! 4. Every connection has exactly one owner: the machine, or whoever holds the [`SlotKey`].
//! 5. After close no dial starts, nothing is idle, and whatever arrives late is closed.
//! 6. Only a clean release, a passed check or a finished dial makes a connection idle.
//! 7. Counts are lengths of lists; none is kept beside what it counts.

mod ageing;
mod effects;
mod few;
mod list;
mod moment;
mod outage;
mod serving;
mod slots;
mod waiters;

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

pub(crate) use self::{
    effects::{
        AcquireOutcome, Effects, Evicted, Leak, Look, OutageNews, Polled, Returned, Unreleased,
    },
    moment::Moment,
    outage::Outage,
    slots::{Checking, ConnectionNumber, Slot, SlotKey, Slots, Stage, StageName},
    waiters::{OutagePolicy, QueueTicket, Standing, WaitTerms, Waiters},
};
use self::{serving::Candidate, waiters::ServingOrder};
use super::{
    eviction::{Eviction, PoolTotals},
    settings::PoolSettings,
};

/// Upkeep's step.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Upkeep's step while somebody waits: as late may a deadline be that was asked for without a look
/// at the clock.
pub(crate) const WAITING_TICK: Duration = Duration::from_millis(25);

/// How long a grant may lie without being picked up, from when somebody who knows the time has come
/// by: upkeep comes within as long again. A running task picks it up within microseconds.
pub(crate) const GRANT_LIFETIME: Duration = Duration::from_millis(5);

/// The generation of a connection that was retired by itself: the pool's is never this.
const NO_GENERATION: u32 = u32::MAX;

/// So many connections dropped without a word, and at least half of all that came back, are no
/// cancelled calls any more.
const UNRELEASED_IS_A_HABIT: u64 = 8;

/// How many evictions are remembered.
pub(crate) const REMEMBERED_EVICTIONS: usize = 64;

/// What the machine carries without looking inside.
pub(crate) trait Payload: std::fmt::Debug {
    type Connection: std::fmt::Debug;
    type Waker: std::fmt::Debug;
    /// Who holds a connection: where it was acquired, by which task.
    type Tag: Copy + std::fmt::Debug;
    /// What a snapshot says of a connection: its ends.
    type Label: Default + Clone + std::fmt::Debug;
    type Cause: DialCause;
}

/// Why a dial failed, or what stands for a failed dial.
pub(crate) trait DialCause: From<Eviction> + std::fmt::Debug {
    /// Nothing listened: the dial cost nobody anything, nor will the next.
    fn refused(&self) -> bool;
}

/// Whether a lent connection carries one exchange at a time for one caller, or is held on purpose
/// for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    Exclusive,
    /// Never reported as a leak.
    Shared,
}

/// Whether a pool wants back what somebody holds for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// It doesn't.
    No,
    /// The pool drains: who waits is still served.
    AfterWaiters,
    /// Nothing new may be begun on it.
    Now,
}

/// Why a caller isn't served. The details are read from the state right after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// The pool is closed.
    Closed,
    /// The pool drains.
    Draining,
    /// The pool's runtime has ended.
    RuntimeEnded,
    /// `max_waiting` callers wait.
    Full,
    /// Its time is up.
    TimedOut,
    /// The endpoint can't be reached.
    Unavailable,
}

/// Whether the pool takes callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Open,
    Draining,
    Closed,
    /// Closed because the runtime that dials and keeps the pool has ended.
    RuntimeEnded,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct State<P: Payload> {
    settings: PoolSettings,
    lifecycle: Lifecycle,
    /// Even if the pool had been closed before.
    runtime_ended: bool,
    paused: bool,
    generation: u32,
    slots: Slots<P>,
    waiters: Waiters<P>,
    outage: Outage<P::Cause>,
    /// As long a drain waits for the answers of those who were last called.
    answers_until: Moment,
    /// Nobody is called before this: those who were called last may still answer, and each who
    /// does gives the others more time.
    next_call: Moment,
    /// The latest time that anybody told: the coarse clock.
    now: Moment,
    /// When upkeep will come by itself.
    planned_wake: Moment,
    /// No idle connection's lifetime ends before this.
    next_expiry: Moment,
    evictions: VecDeque<EvictionRecord>,
    totals: PoolTotals,
    /// That connections are dropped without a word has been said once.
    told_of_unreleased: bool,
}

/// An eviction, remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EvictionRecord {
    pub(crate) number: ConnectionNumber,
    pub(crate) reason: Eviction,
    pub(crate) at: Moment,
    pub(crate) age: Duration,
    pub(crate) uses: u64,
}

impl<P: Payload> State<P> {
    /// `settings` must have been validated.
    pub(crate) fn new(settings: PoolSettings) -> Self {
        State {
            lifecycle: Lifecycle::Open,
            runtime_ended: false,
            paused: false,
            generation: 0,
            slots: Slots::new(),
            waiters: Waiters::new(ServingOrder::Arrival),
            outage: Outage::new(settings.backoff, settings.outage_grace),
            answers_until: Moment::default(),
            next_call: Moment::default(),
            now: Moment::default(),
            planned_wake: Moment::default(),
            next_expiry: Moment::NEVER,
            evictions: VecDeque::with_capacity(REMEMBERED_EVICTIONS),
            totals: PoolTotals::default(),
            told_of_unreleased: false,
            settings,
        }
    }

    // ---- callers
    // ------------------------------------------------------------------------------------------------

    /// A caller wants a connection now. Uses the coarse clock.
    pub(crate) fn acquire(
        &mut self,
        tag: P::Tag,
        lease: Lease,
        fx: &mut Effects<P>,
    ) -> AcquireOutcome<P> {
        if let Some((key, connection)) = self.lend_at_once(tag, lease) {
            return AcquireOutcome::Lent(key, connection);
        }
        if let Some(refusal) = self.refusal() {
            return AcquireOutcome::Refused(refusal);
        }
        if self.paused {
            return AcquireOutcome::MustWait;
        }
        while let Some(at) = self.next_idle() {
            match self.judge(at) {
                Candidate::Fit => {
                    let (key, connection) = self.lend(at, tag, lease);
                    if !fx.evicted.is_empty() {
                        self.settle(fx);
                    }
                    return AcquireOutcome::Lent(key, connection);
                }
                Candidate::NeedsProbe => return AcquireOutcome::MustWait,
                Candidate::MustGo(reason) => self.evict_held(at, reason, fx),
            }
        }
        AcquireOutcome::MustWait
    }

    /// As [`State::acquire`] where nothing else is left to do: the connection to lend next is there
    /// and fit.
    #[inline]
    pub(crate) fn lend_at_once(
        &mut self,
        tag: P::Tag,
        lease: Lease,
    ) -> Option<(SlotKey, P::Connection)> {
        if self.lifecycle != Lifecycle::Open || self.paused {
            return None;
        }
        let at = self.next_idle()?;
        match self.judge(at) {
            Candidate::Fit => Some(self.lend(at, tag, lease)),
            Candidate::NeedsProbe | Candidate::MustGo(_) => None,
        }
    }

    /// A caller has found nothing and gets in line; `seniority` is that of one who was given an
    /// unfit connection.
    #[inline]
    pub(crate) fn wait(
        &mut self,
        now: Moment,
        terms: WaitTerms<P::Tag>,
        seniority: Option<u64>,
        waker: P::Waker,
        fx: &mut Effects<P>,
    ) -> Result<QueueTicket, Refusal> {
        let waker = match self.queue_at_once(Some(now), terms, seniority, waker) {
            Ok((ticket, kick)) => {
                fx.kick |= kick;
                return Ok(ticket);
            }
            Err(waker) => waker,
        };
        if self.revoke_overdue_grants(fx) {
            // As if upkeep had come in time, even if this caller is turned away.
            self.settle(fx);
        }
        // Who has been given an unfit connection was in line before a drain began.
        let refusal = self.refusal();
        let refusal = refusal.filter(|&why| why != Refusal::Draining || seniority.is_none());
        if let Some(refusal) = refusal.or_else(|| self.turns_away(terms.outage_policy, seniority)) {
            fx.wakers_to_drop.push(waker);
            self.count_refusal(refusal);
            return Err(refusal);
        }
        let ticket = self.enqueue(terms, seniority, waker);
        self.settle(fx);
        Ok(ticket)
    }

    /// A waiter picks up its answer, if it has been given one; the ticket comes back if not.
    #[inline]
    pub(crate) fn pick_up(&mut self, ticket: QueueTicket) -> Result<Polled<P>, QueueTicket> {
        let waiter = self.waiters.at(ticket.index());
        match waiter.standing {
            Standing::Granted(at) => {
                let (terms, arrival) = (waiter.terms, waiter.arrival);
                self.waiters.leave_answered(ticket);
                let (key, connection) = self.lend(at, terms.tag, terms.lease);
                Ok(Polled::Lent {
                    key,
                    connection,
                    arrival,
                    deadline: terms.deadline,
                })
            }
            Standing::Refused(refusal) => {
                self.waiters.leave_answered(ticket);
                Ok(Polled::Refused(refusal))
            }
            Standing::Queued | Standing::Parked | Standing::Called => Err(ticket),
            Standing::Vacant => unreachable!("a ticket's waiter has not left"),
        }
    }

    /// A waiter looks whether it has been answered, and gets back in line if it was parked. `now`
    /// decides about its own deadline. From here on `waker` is the one to call.
    pub(crate) fn poll(
        &mut self,
        ticket: QueueTicket,
        now: Moment,
        waker: P::Waker,
        fx: &mut Effects<P>,
    ) -> Polled<P> {
        match self.waiters.at(ticket.index()).standing {
            Standing::Called => self.answer_call(ticket.index(), now, fx),
            Standing::Parked => self.get_back_in_line(ticket.index(), fx),
            Standing::Queued | Standing::Granted(_) | Standing::Refused(_) | Standing::Vacant => {}
        }
        let ticket = match self.pick_up(ticket) {
            Ok(answer) => {
                fx.wakers_to_drop.push(waker);
                return answer;
            }
            Err(ticket) => ticket,
        };
        if self.waiters.at(ticket.index()).terms.deadline <= now {
            self.leave(ticket, fx);
            fx.wakers_to_drop.push(waker);
            self.count_refusal(Refusal::TimedOut);
            fx.changed = true;
            if self.lifecycle == Lifecycle::Draining {
                self.settle(fx);
            }
            return Polled::Refused(Refusal::TimedOut);
        }
        fx.wakers_to_drop
            .extend(self.waiters.rewake(&ticket, waker));
        Polled::Waiting(ticket)
    }

    /// A waiter gives up. A grant that it hadn't picked up goes to the next; a dial that it caused
    /// goes on.
    #[inline]
    pub(crate) fn cancel(&mut self, ticket: QueueTicket, now: Moment, fx: &mut Effects<P>) {
        self.advance(now);
        let standing = self.leave(ticket, fx);
        if let Standing::Refused(_) = standing {
            return;
        }
        self.totals.cancelled += 1;
        if let Standing::Granted(at) = standing {
            self.take_back(at, fx);
            self.settle(fx);
        } else if self.lifecycle == Lifecycle::Draining {
            fx.changed = true;
            self.settle(fx);
        }
    }

    // ---- borrowers
    // ----------------------------------------------------------------------------------------------

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

    /// As [`State::discard`], for a connection that was used and then merely dropped: its borrower
    /// didn't say that its exchange is complete.
    ///
    /// The first time that this is evidently how the pool is used, and no call that was cancelled
    /// now and then, the answer says so.
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

    /// What [`State::acquire`] or [`State::poll`] lent didn't pass its check: the caller never had
    /// it. The endpoint is blamed for one that never served, whatever the reason, or a
    /// connector that refuses all it opens would be asked to without end.
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
        self.look_for_light();
        self.settle(fx);
    }

    // ---- the pool's own work
    // ------------------------------------------------------------------------------------

    /// A dial has ended.
    pub(crate) fn dial_finished(
        &mut self,
        key: SlotKey,
        outcome: Result<(P::Connection, P::Label), P::Cause>,
        now: Moment,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        self.advance(now);
        let at = key.index();
        match outcome {
            Ok((connection, label)) => {
                self.totals.opened += 1;
                self.outage.connected(self.now);
                let expires = self.lifetime_end(random);
                self.next_expiry = self.next_expiry.min(expires);
                let slot = self.slots.at_mut(at);
                slot.opened = now;
                slot.expires = expires;
                slot.label = label;
                fx.changed = true;
                self.return_to_service(at, connection, fx);
            }
            Err(cause) => {
                self.totals.dials_failed += 1;
                self.vacate(at, fx);
                self.endpoint_failed(at, cause, random, fx);
            }
        }
        self.settle(fx);
    }

    /// A dial was dropped before it ended (its runtime is ending, or the pool closed): nobody's
    /// failure.
    pub(crate) fn dial_abandoned(&mut self, key: SlotKey, fx: &mut Effects<P>) {
        self.totals.dials_abandoned += 1;
        self.vacate(key.index(), fx);
        self.settle(fx);
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

    /// A lent connection has served, though it isn't given back yet: what ends it from now on is no
    /// failed dial.
    pub(crate) fn served(&mut self, key: &SlotKey, fx: &mut Effects<P>) {
        if self.prove(key.index(), fx) {
            self.settle(fx);
        }
    }

    /// An evicted connection has been closed.
    pub(crate) fn closed(&mut self, key: SlotKey, fx: &mut Effects<P>) {
        self.totals.closed += 1;
        self.vacate(key.index(), fx);
        self.settle(fx);
    }

    // ---- verbs
    // --------------------------------------------------------------------------------------------------

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

    // ---- what can be read
    // ---------------------------------------------------------------------------------------

    pub(crate) fn settings(&self) -> &PoolSettings {
        &self.settings
    }
    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }
    pub(crate) fn runtime_ended(&self) -> bool {
        self.runtime_ended
    }
    pub(crate) fn paused(&self) -> bool {
        self.paused
    }
    /// The coarse clock.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }
    pub(crate) fn planned_wake(&self) -> Moment {
        self.planned_wake
    }
    pub(crate) fn slots(&self) -> &Slots<P> {
        &self.slots
    }
    pub(crate) fn waiters(&self) -> &Waiters<P> {
        &self.waiters
    }
    pub(crate) fn outage(&self) -> &Outage<P::Cause> {
        &self.outage
    }
    pub(crate) fn totals(&self) -> &PoolTotals {
        &self.totals
    }
    pub(crate) fn evictions(&self) -> impl ExactSizeIterator<Item = &EvictionRecord> {
        self.evictions.iter()
    }
    /// Upkeep means to come within [`WAITING_TICK`]: soon enough to begin to count a long patience.
    #[inline]
    pub(crate) fn expects_upkeep_soon(&self) -> bool {
        self.planned_wake <= self.now.after(WAITING_TICK)
    }
    /// Whether a waiter can pick something up.
    #[inline]
    pub(crate) fn is_answered(&self, ticket: &QueueTicket) -> bool {
        let standing = &self.waiters.at(ticket.index()).standing;
        matches!(standing, Standing::Granted(_) | Standing::Refused(_))
    }
    /// Somebody is in line.
    #[inline]
    pub(crate) fn somebody_waits(&self) -> bool {
        !self.waiters.none_queued()
    }
    /// The setting, or `max_size` where a resize has made that the smaller one.
    pub(crate) fn min_idle(&self) -> usize {
        self.settings.min_idle.min(self.settings.max_size) as usize
    }
    /// How many more idle connections `min_idle` asks for.
    pub(crate) fn shortfall(&self) -> usize {
        if self.lifecycle != Lifecycle::Open {
            return 0;
        }
        let ready = self.slots.count(StageName::Idle) + self.slots.count(StageName::Checking);
        self.min_idle().saturating_sub(ready)
    }

    #[inline]
    pub(crate) fn advance(&mut self, now: Moment) {
        self.now = self.now.max(now);
    }

    /// Ends a waiter; says how it stood.
    #[inline]
    fn leave(&mut self, ticket: QueueTicket, fx: &mut Effects<P>) -> Standing {
        let (standing, waker) = self.waiters.leave(ticket);
        fx.wakers_to_drop.extend(waker);
        standing
    }
}
