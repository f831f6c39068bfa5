//! Looks at idle connections: one is taken out for the connector to look at, and goes back to where
//! it was, or out of the pool.

use super::{ConnectionNumber, Effects, Look, Moment, Payload, Stage, StageName, State, TICK};
use crate::eviction::Eviction;

impl<P: Payload> State<P> {
    /// The next idle connection that has been so for a tick and isn't watched yet, taken out for
    /// the connector to watch.
    ///
    /// `after` is the one that this round of looks has just been at, or `None` to begin a round. It
    /// went back where it was, so a round goes through the list once, however many there are;
    /// only one that had to go makes it begin again.
    pub(crate) fn look_at_unwatched(
        &mut self,
        after: Option<(u32, ConnectionNumber)>,
    ) -> Option<Look<P>> {
        let resumed = after.filter(|&(at, number)| {
            let slot = self.slots.same(at, number);
            slot.is_some_and(|slot| matches!(slot.stage, Stage::Idle(_)))
        });
        let mut candidate = match resumed {
            Some((at, _)) => self.slots.next(at),
            None => self.slots.front(StageName::Idle),
        };
        while let Some(at) = candidate {
            let slot = self.slots.at(at);
            if self.now < slot.since.after(TICK) {
                return None;
            }
            if !slot.watched {
                return Some(self.take_for_look(at));
            }
            candidate = self.slots.next(at);
        }
        None
    }

    /// The connection that reported an event, taken out to be looked at, if it is still idle.
    pub(crate) fn look_at(&mut self, at: u32, number: ConnectionNumber) -> Option<Look<P>> {
        let slot = self.slots.same(at, number)?;
        matches!(slot.stage, Stage::Idle(_)).then(|| self.take_for_look(at))
    }

    fn take_for_look(&mut self, at: u32) -> Look<P> {
        let since = self.slots.at(at).since;
        let before = self.slots.next(at);
        let before = before.map(|next| (next, self.slots.at(next).number));
        let connection = self.take_held(at);
        Look {
            number: self.slots.at(at).number,
            key: self.slots.hand_out(at),
            connection,
            since,
            before,
        }
    }

    /// A look has ended: the connection goes back to where it was, or out.
    pub(crate) fn looked(
        &mut self,
        look: Look<P>,
        verdict: Result<(), Eviction>,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        let Look {
            key,
            connection,
            number: _,
            since,
            before,
        } = look;
        let at = key.index();
        match verdict.and_then(|()| self.must_go(at).map_or(Ok(()), Err)) {
            Ok(()) => {
                if since.after(TICK) <= self.now {
                    // Idle for a tick, and found alive: the endpoint serves. Not before the look,
                    // or a listener that accepts and hangs up would be proven
                    // by whatever nobody has looked at yet.
                    self.prove(at, fx);
                }
                self.slots.at_mut(at).watched = true;
                let next = self.idle_successor(since, before);
                let idle = Stage::Idle(connection);
                self.slots.shift_before(at, idle, since, next);
            }
            Err(reason) => self.evict_unfit(at, connection, reason, random, fx),
        }
        self.settle(fx);
    }

    /// Before which idle connection one belongs that is idle since `since`: where it was, if that
    /// can still be told.
    fn idle_successor(
        &self,
        since: Moment,
        before: Option<(u32, ConnectionNumber)>,
    ) -> Option<u32> {
        let fits = |at: u32| {
            let older = self.slots.prev(at).map(|prev| self.slots.at(prev).since);
            self.slots.at(at).since >= since && older.is_none_or(|older| older <= since)
        };
        let neighbour = before
            .and_then(|(at, number)| self.slots.same(at, number).map(|slot| (at, slot)))
            .filter(|(at, slot)| matches!(slot.stage, Stage::Idle(_)) && fits(*at));
        if let Some((at, _)) = neighbour {
            return Some(at);
        }
        let mut successor = None;
        let mut candidate = self.slots.back(StageName::Idle);
        while let Some(at) = candidate.filter(|&at| self.slots.at(at).since > since) {
            successor = Some(at);
            candidate = self.slots.prev(at);
        }
        successor
    }
}

impl<P: Payload> Look<P> {
    /// The slot, as a watch will name it.
    pub(crate) fn index(&self) -> u32 {
        self.key.index()
    }
}
