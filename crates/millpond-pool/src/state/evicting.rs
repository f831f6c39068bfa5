//! Connections that leave: why one has to go, and the one way out.

use super::{
    Checking, Effects, Evicted, EvictionRecord, Lifecycle, Payload, REMEMBERED_EVICTIONS, Stage,
    StageName, State,
};
use crate::eviction::Eviction;

impl<P: Payload> State<P> {
    /// Why the connection in this slot must be closed although it is fit, if so.
    #[inline]
    pub(super) fn must_go(&self, at: u32) -> Option<Eviction> {
        let slot = self.slots.at(at);
        let already_idle = matches!(slot.stage, Stage::Idle(_));
        match self.lifecycle {
            Lifecycle::Closed | Lifecycle::RuntimeEnded => Some(Eviction::Closed),
            Lifecycle::Draining if self.is_drained() => Some(Eviction::Closed),
            _ if slot.generation != self.generation => Some(Eviction::Retired),
            _ if slot.expires <= self.now => Some(Eviction::Lifetime),
            _ if !already_idle && self.over_size() => Some(Eviction::Shrunk),
            _ => None,
        }
    }

    /// Takes the connection out of an idle or granted slot, which is *checking* from here on.
    pub(super) fn take_held(&mut self, at: u32) -> P::Connection {
        self.slots.at_mut(at).watched = false; // Reports of its watch are ignored from here on.
        let checking = Stage::Checking(Checking::Look);
        match self.slots.shift(at, checking, self.now) {
            Stage::Idle(connection) | Stage::Granted { connection, .. } => connection,
            other => unreachable!("nothing is held in {:?}", other.name()),
        }
    }

    /// Evicts a connection that the machine holds: idle or granted.
    pub(super) fn evict_held(&mut self, at: u32, reason: Eviction, fx: &mut Effects<P>) {
        let connection = self.take_held(at);
        self.evict(at, connection, reason, fx);
    }

    pub(super) fn evict_all_idle(&mut self, reason: Eviction, fx: &mut Effects<P>) {
        while let Some(at) = self.slots.front(StageName::Idle) {
            self.evict_held(at, reason, fx);
        }
    }

    pub(super) fn evict(
        &mut self,
        at: u32,
        connection: P::Connection,
        reason: Eviction,
        fx: &mut Effects<P>,
    ) {
        self.record(at, reason);
        self.slots.shift(at, Stage::Closing, self.now);
        self.note_departure();
        fx.changed = true;
        fx.evicted.push(Evicted {
            number: self.slots.at(at).number,
            key: self.slots.hand_out(at),
            connection,
            reason,
        });
    }

    /// As [`State::evict`]. Where the endpoint ended the connection before it first served, that
    /// counts as a failed dial.
    pub(super) fn evict_unfit(
        &mut self,
        at: u32,
        connection: P::Connection,
        reason: Eviction,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        let blamed = self.is_to_blame(at, reason);
        self.evict(at, connection, reason, fx);
        if blamed {
            self.endpoint_failed(at, P::Cause::from(reason), random, fx);
        }
    }

    /// Counts an eviction, and remembers it.
    fn record(&mut self, at: u32, reason: Eviction) {
        let slot = self.slots.at(at);
        let record = EvictionRecord {
            number: slot.number,
            reason,
            at: self.now,
            age: self.now.since(slot.opened),
            uses: slot.uses,
        };
        self.totals.count_eviction(reason);
        if self.evictions.len() == REMEMBERED_EVICTIONS {
            self.evictions.pop_front();
        }
        self.evictions.push_back(record);
    }

    /// The slot is free again: its connection has been closed or detached, or its dial has failed.
    pub(super) fn vacate(&mut self, at: u32, fx: &mut Effects<P>) {
        self.slots.shift(at, Stage::Vacant, self.now);
        fx.changed = true;
    }
}
