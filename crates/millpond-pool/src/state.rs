//! The pure machine: which connection is where, who waits, and what has to be done next.
//!
//! It knows no sockets, no tasks and no clock. Every method is one transition: it is told what
//! happened and at what time, changes the state, and leaves in [`Effects`] what the caller must do
//! once it has released the lock. Time and randomness are passed in; connections, wakers and causes
//! are carried without being looked at ([`Payload`]), and are always handed back rather than dropped
//! here, for dropping them may run foreign code.
//!
//! A connection's stages (`granted` counts as active: a waiter has been offered the connection and hasn't
//! picked it up yet):
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
mod borrowers;
mod callers;
mod dialling;
mod effects;
mod endpoint;
mod evicting;
mod few;
mod granting;
mod lease;
mod lifecycle;
mod list;
mod looks;
mod moment;
mod outage;
mod payload;
mod queues;
mod serving;
mod slots;
mod verbs;
mod waiters;

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use self::queues::ServingOrder;
#[cfg(test)]
pub(crate) use self::waiters::Standing;
pub(crate) use self::{
    effects::{
        AcquireOutcome, Effects, Evicted, Leak, Look, OutageNews, Polled, Returned, Unreleased,
    },
    lease::Lease,
    lifecycle::Lifecycle,
    moment::Moment,
    outage::Outage,
    payload::{DialCause, Payload},
    slots::{Checking, ConnectionNumber, Slot, SlotKey, Slots, Stage, StageName},
    waiters::{OutagePolicy, QueueTicket, WaitTerms, Waiters},
};
pub use self::{lease::Recall, lifecycle::Refusal};
use super::{
    eviction::Eviction,
    settings::{PoolSettings, Probe},
    totals::PoolTotals,
};

/// Upkeep's step.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Upkeep's step while somebody waits. A deadline that was set without reading the clock may be
/// late by this much.
pub(crate) const WAITING_TICK: Duration = Duration::from_millis(25);

/// How long a grant may wait to be picked up. It counts from the next transition that is told the
/// time, and upkeep brings one within as long again. A running task picks its grant up within
/// microseconds.
pub(crate) const GRANT_LIFETIME: Duration = Duration::from_millis(5);

/// How many evictions are remembered.
pub(crate) const REMEMBERED_EVICTIONS: usize = 64;

/// The machine.
#[derive(Debug)]
pub(crate) struct State<P: Payload> {
    settings: PoolSettings,
    /// The setting.
    probe: Probe,
    lifecycle: Lifecycle,
    /// Set also where the pool had been closed before.
    runtime_ended: bool,
    paused: bool,
    generation: u32,
    slots: Slots<P>,
    waiters: Waiters<P>,
    outage: Outage<P::Cause>,
    /// Until then a drain waits for the waiters that were last called to come back.
    answers_until: Moment,
    /// No waiter is called before this. Those that were called last may still come back, and each
    /// that does moves this later.
    next_call: Moment,
    /// The coarse clock: the latest time that a transition was told.
    now: Moment,
    /// When upkeep will come by itself.
    planned_wake: Moment,
    /// No idle connection's lifetime ends before this.
    next_expiry: Moment,
    evictions: VecDeque<EvictionRecord>,
    totals: PoolTotals,
    /// The warning about connections that are never released has been given.
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
            waiters: Waiters::new(ServingOrder::Arrival, settings.shed_waiting),
            outage: Outage::new(settings.backoff, settings.outage_grace),
            answers_until: Moment::default(),
            next_call: Moment::default(),
            now: Moment::default(),
            planned_wake: Moment::default(),
            next_expiry: Moment::NEVER,
            evictions: VecDeque::with_capacity(REMEMBERED_EVICTIONS),
            totals: PoolTotals::default(),
            told_of_unreleased: false,
            probe: settings.probe.unwrap_or_default(),
            settings,
        }
    }

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

    /// Why nobody is served now, whatever the circumstances.
    #[inline]
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self.lifecycle {
            Lifecycle::Open => None,
            Lifecycle::Draining => Some(Refusal::Draining),
            Lifecycle::Closed => Some(Refusal::Closed),
            Lifecycle::RuntimeEnded => Some(Refusal::RuntimeEnded),
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Closed | Lifecycle::RuntimeEnded)
    }

    /// Upkeep means to come within [`WAITING_TICK`]: soon enough to begin to count a long patience.
    #[inline]
    pub(crate) fn expects_upkeep_soon(&self) -> bool {
        self.planned_wake <= self.now.after(WAITING_TICK)
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
    fn room(&self) -> usize {
        let max_size = self.settings.max_size as usize;
        max_size.saturating_sub(self.slots.occupied())
    }

    /// Shrunk, and not yet down to the new size.
    #[inline]
    fn over_size(&self) -> bool {
        let staying = self.slots.occupied() - self.slots.count(StageName::Closing);
        staying > self.settings.max_size as usize
    }

    #[inline]
    pub(crate) fn advance(&mut self, now: Moment) {
        self.now = self.now.max(now);
    }
}
