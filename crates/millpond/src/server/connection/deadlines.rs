//! A connection's deadlines: which one is next, and what happens when it has passed.

use std::{convert::Infallible, future::Future, task::Context};

use tokio::time::Instant;

use super::{BETWEEN_LOOKS, Connection, REST, frame_due::FrameDue};
use crate::{
    framing::{Failure, Framing},
    server::{
        handler::ConnectionHandler,
        reply::Reply,
        snapshot::{Closed, count},
    },
};

impl<F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'_, F, H, A>
{
    /// Does what is due: sends a heartbeat, or ends the connection. Everything that has arrived was
    /// read before.
    pub(super) fn overdue(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Closed> {
        let passed = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if passed(self.write_due) {
            return Err(Closed::WriteTimeout);
        }
        if passed(self.look_due()) {
            self.look_due = Some(now + BETWEEN_LOOKS);
            let stream = self.framed.stream();
            if stream.is_gone() {
                return Err(Closed::Broken);
            }
            if self.exchanges.waits_for_client() && stream.has_hung_up() {
                return Err(Closed::ByPeer);
            }
        }
        if let Some(due) = self
            .frame_due()
            .filter(|due| self.waits_for_frame() && due.at() <= now)
        {
            self.ending = Some(due.reason());
        }
        if self.listens() && self.pulse.is_dead(now) {
            return Err(Closed::HeartbeatMissed);
        }
        if passed(self.idle_due()) {
            return Err(Closed::IdleTimeout);
        }
        if passed(self.rest_due()) {
            self.exchanges.clear();
        }
        if passed(self.beat_due()) {
            let heartbeat = self.service.framing.heartbeat().unwrap_or_default();
            let begun = self.outgoing.begin(self.framed.stream_mut(), cx, |batch| {
                batch.extend_from_slice(heartbeat);
                Ok::<_, Infallible>(())
            });
            if !matches!(begun, Ok(Ok(()))) {
                return Err(Closed::Broken);
            }
            count(&self.ledger().counters.heartbeats_sent);
            self.written(now);
        }
        Ok(())
    }

    /// When something is due next. [`Connection::overdue`] deals with each of these, but for the
    /// handlers' deadlines, which the exchanges keep, and the drain's.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let frame = self.frame_due().filter(|_| self.waits_for_frame());
        let dead = self.pulse.dead_at().filter(|_| self.listens());
        let deadline = self.exchanges.next_deadline();
        let due = [
            deadline,
            frame.map(FrameDue::at),
            dead,
            self.write_due,
            self.idle_due(),
            self.beat_due(),
            self.rest_due(),
            self.drained_due(),
            self.look_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// When to look whether the client has gone. Only while handlers run, or the connection waits
    /// for room, and nothing is read: otherwise the next read or write finds out.
    fn look_due(&self) -> Option<Instant> {
        let waits = self.excess.is_paused() || self.excess.waits_for_long_turn();
        let reads_and_writes = self.exchanges.are_answered() && !waits;
        self.look_due.filter(|_| !reads_and_writes)
    }

    /// Whether the deadline for the rest of a frame counts: the client is slow, or the server
    /// doesn't read but the part that has arrived takes the others' room.
    fn waits_for_frame(&self) -> bool {
        self.listens() || self.excess.is_paused() && self.ending.is_none()
    }

    fn frame_due(&self) -> Option<FrameDue> {
        self.unfinished.as_ref().map(|unfinished| unfinished.due)
    }

    /// When to send a heartbeat: only between two frames.
    fn beat_due(&self) -> Option<Instant> {
        self.pulse.beat_due().filter(|_| self.outgoing.is_empty())
    }

    /// When the memory of the queue of exchanges is freed.
    fn rest_due(&self) -> Option<Instant> {
        self.exchanges.keeps_room().then(|| self.used + REST)
    }

    fn idle_due(&self) -> Option<Instant> {
        let limit = self.settings().idle_timeout?;
        // A client that waits for what it doesn't ask for has nothing to say.
        let is_idle = self.owes_nothing() && self.unfinished.is_none() && !self.may_push();
        is_idle.then(|| self.used + limit)
    }
}
