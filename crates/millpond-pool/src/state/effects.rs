//! What leaves the machine: the answers to those who ask it, and what they must do for it once they
//! have released the lock.

use std::time::Duration;

use super::{
    few::Few,
    lifecycle::Refusal,
    moment::Moment,
    payload::Payload,
    slots::{ConnectionNumber, SlotKey},
    waiters::QueueTicket,
};
use crate::eviction::Eviction;

/// A connection that has left the pool's hands for good, and must be closed and then reported by
/// [`State::closed`].
#[derive(Debug)]
pub(crate) struct Evicted<P: Payload> {
    pub(crate) key: SlotKey,
    pub(crate) connection: P::Connection,
    pub(crate) number: ConnectionNumber,
    pub(crate) reason: Eviction,
}

/// A connection lent for longer than the leak threshold.
#[derive(Debug)]
pub(crate) struct Leak<T> {
    pub(crate) number: ConnectionNumber,
    pub(crate) tag: T,
    pub(crate) lent_for: Duration,
}

/// Connections are used and then dropped without a release, as a habit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreleased<T> {
    /// Who dropped the last one.
    pub(crate) tag: T,
    /// How many were dropped like that.
    pub(crate) unreleased: u64,
    /// How many came back in all.
    pub(crate) released: u64,
}

/// What an operator is told of an endpoint that fails: once when it begins, now and then while it
/// lasts, and when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutageNews {
    Began,
    Lasts { since: Duration, failures: u32 },
    Ended { lasted: Duration, failures: u32 },
}

/// What the caller of a transition must do once it has released the lock.
///
/// One is made and dropped for every acquire and every release, so what these may bring about (a
/// wake, a waker to drop) lies in place, and all the rest in vectors that cost nothing while they
/// are empty.
#[derive(Debug)]
#[must_use]
pub(crate) struct Effects<P: Payload> {
    /// Start a dial for each; report it with [`State::dial_finished`].
    pub(crate) dials: Vec<SlotKey>,
    /// Probe each; report it with [`State::checked`].
    pub(crate) probes: Vec<(SlotKey, P::Connection)>,
    /// Close each; report it with [`State::closed`].
    pub(crate) evicted: Vec<Evicted<P>>,
    /// Wake each.
    pub(crate) wakes: Few<P::Waker>,
    /// Drop these. Not under the lock: a waker's or an error's drop may run anything.
    pub(crate) wakers_to_drop: Few<P::Waker>,
    pub(crate) causes_to_drop: Vec<P::Cause>,
    /// Report each.
    pub(crate) leaks: Vec<Leak<P::Tag>>,
    /// Report each.
    pub(crate) outage: Vec<OutageNews>,
    /// Upkeep sleeps for too long: tell it to look at [`State::planned_wake`] again.
    pub(crate) kick: bool,
    /// The number of connections or the lifecycle changed: those who watch for that should look again.
    pub(crate) changed: bool,
}

impl<P: Payload> Effects<P> {
    #[inline]
    pub(crate) fn none() -> Self {
        Effects {
            dials: Vec::new(),
            probes: Vec::new(),
            evicted: Vec::new(),
            wakes: Few::none(),
            wakers_to_drop: Few::none(),
            causes_to_drop: Vec::new(),
            leaks: Vec::new(),
            outage: Vec::new(),
            kick: false,
            changed: false,
        }
    }

    /// There is something to do besides waking one.
    #[inline]
    pub(crate) fn is_more_than_a_wake(&self) -> bool {
        self.kick
            || self.changed
            || self.wakes.are_several()
            || !self.dials.is_empty()
            || !self.probes.is_empty()
            || !self.evicted.is_empty()
            || !self.leaks.is_empty()
            || !self.outage.is_empty()
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.wakes.is_empty() && !self.is_more_than_a_wake()
    }
}

/// The answer to [`State::acquire`].
#[derive(Debug)]
pub(crate) enum AcquireOutcome<P: Payload> {
    Lent(SlotKey, P::Connection),
    Refused(Refusal),
    MustWait,
}

/// The answer to [`State::serve_at_once`].
#[derive(Debug)]
pub(crate) enum Returned<P: Payload> {
    /// Nobody waits: the connection is idle.
    Idle,
    /// The first in line has been granted it and is to be woken, and upkeep is to be kicked if so.
    HandedOver { waker: Option<P::Waker>, kick: bool },
    /// Neither: it must be given to [`State::release`].
    NotYet(SlotKey, P::Connection),
}

/// The answer to [`State::poll`].
#[derive(Debug)]
pub(crate) enum Polled<P: Payload> {
    /// `arrival` is the caller's seniority, should the connection turn out unfit. `deadline` is its
    /// own, or [`Moment::NEVER`] while its patience is no deadline yet.
    Lent {
        key: SlotKey,
        connection: P::Connection,
        arrival: u64,
        deadline: Moment,
    },
    Refused(Refusal),
    Waiting(QueueTicket),
}

/// An idle connection taken out to be looked at, and where it goes back.
#[derive(Debug)]
pub(crate) struct Look<P: Payload> {
    pub(super) key: SlotKey,
    pub(crate) connection: P::Connection,
    pub(crate) number: ConnectionNumber,
    pub(super) since: Moment,
    pub(super) before: Option<(u32, ConnectionNumber)>,
}
