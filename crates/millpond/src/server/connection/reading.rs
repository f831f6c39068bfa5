//! Takes items off the stream as long as there are any and there is room for them, and notes what
//! the client's silence or a partial frame means for its deadlines.

use std::{
    future::Future,
    task::{Context, Poll},
};

use tokio::time::Instant;

use super::{
    Connection, FIRST_ROOM, TURN, TURN_BYTES, Unfinished,
    frame_due::{FrameDue, Partial},
    long_turn::LONG,
};
use crate::{
    framed::{Item, ReadError},
    framing::{Context as FrameContext, Failure, Framing},
    server::{
        handler::ConnectionHandler,
        ledger::RequestPermit,
        reply::Reply,
        request::Request,
        snapshot::{Closed, count},
        storms::Event,
    },
};

/// Why reading has stopped.
pub(super) enum Stop {
    /// Nothing more has arrived.
    Nothing,
    /// `max_in_flight` is reached.
    Full,
    /// `max_bytes` or `max_bytes_per_connection` is reached.
    NoRoom,
    /// The turn has taken enough.
    Turn,
    /// What comes next needs a long turn.
    Long,
    /// Nothing is read any more.
    Ending,
}

impl<F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'_, F, H, A>
{
    /// Takes requests as long as there are any and room for them. `taken` counts what this turn has
    /// taken.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        taken: &mut usize,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> Result<Stop, Closed> {
        loop {
            if let Some(stop) = self.must_stop(*taken) {
                return Ok(stop);
            }
            if self.excess.waits_for_long_turn() {
                if !self.excess.has_long_turn(self.ledger(), cx) {
                    return Ok(Stop::Long);
                }
                if let Some(frame) = self.excess.take_waiting() {
                    *taken += weight(frame.length());
                    self.accept(frame, now, answer);
                }
                continue;
            }
            if self.owed() > FIRST_ROOM && !self.make_room(cx) {
                return Ok(self.no_room(now));
            }
            let framing = &self.service.framing;
            let context = FrameContext::request(&self.state);
            match self
                .framed
                .poll_next_within(framing, context, self.room, cx)
            {
                Poll::Pending => {
                    self.wait_for_more(now);
                    return Ok(match self.ending {
                        Some(_) => Stop::Ending,
                        None => Stop::Nothing,
                    });
                }
                Poll::Ready(Ok(Some(item))) => self.take(item, now, taken, answer)?,
                Poll::Ready(Ok(None)) => {
                    if !self.make_room(cx) {
                        return Ok(self.no_room(now));
                    }
                }
                Poll::Ready(Err(ReadError::Closed)) => self.ending = Some(Closed::ByPeer),
                Poll::Ready(Err(ReadError::Truncated)) => self.ending = Some(Closed::Truncated),
                Poll::Ready(Err(ReadError::Io(_))) => return Err(Closed::Broken),
                Poll::Ready(Err(ReadError::Frame(error))) => {
                    self.ending = Some(self.refuse(&error));
                }
            }
        }
    }

    /// Why nothing more is taken, whatever has arrived.
    fn must_stop(&mut self, taken: usize) -> Option<Stop> {
        if self
            .draining
            .as_ref()
            .is_some_and(|draining| draining.is_flooded())
        {
            self.ending.get_or_insert(Closed::Drained);
        }
        if self.ending.is_some() {
            self.excess.take_waiting();
            return Some(Stop::Ending);
        }
        if !self.may_take_another() {
            // It is the server that doesn't read, so the client's silence means nothing.
            self.caught_up = false;
            self.unfinished = None;
            return Some(Stop::Full);
        }
        if taken >= TURN {
            self.caught_up = false;
            return Some(Stop::Turn);
        }
        None
    }

    /// Takes an item that has arrived whole.
    fn take(
        &mut self,
        item: Item,
        now: Instant,
        taken: &mut usize,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> Result<(), Closed> {
        self.room = FIRST_ROOM;
        self.unfinished = None;
        match item {
            Item::Heartbeat => {
                *taken += 1;
                self.heard_heartbeat(now)?;
            }
            Item::Frame(frame) if frame.length() > LONG => {
                self.caught_up = false;
                self.excess.keep_for_long_turn(self.ledger(), frame);
            }
            Item::Frame(frame) => {
                *taken += weight(frame.length());
                self.accept(frame, now, answer);
            }
        }
        Ok(())
    }

    fn heard_heartbeat(&mut self, now: Instant) -> Result<(), Closed> {
        let ledger = self.ledger();
        count(&ledger.counters.heartbeats_received);
        self.pulse.beat(now);
        if self.heartbeats.take(ledger.settings.heartbeat_limit, now) {
            return Ok(());
        }
        if ledger.storms.happened(Event::HeartbeatFlood) {
            tracing::warn!(target: "millpond::server", peer = self.peer.map(tracing::field::display), "connection closed: more heartbeats than heartbeat_limit allows");
        }
        Err(Closed::HeartbeatFlood)
    }

    /// There is no room for more bytes. It is the server that doesn't read, so the client's silence
    /// means nothing. But a request that has used a part of its room keeps its deadline: it can't
    /// hold that room for ever.
    fn no_room(&mut self, now: Instant) -> Stop {
        self.caught_up = false;
        match self.room > FIRST_ROOM {
            true => self.note_progress(now),
            false => self.unfinished = None,
        }
        Stop::NoRoom
    }

    /// Nothing more can be read in this turn.
    fn wait_for_more(&mut self, now: Instant) {
        self.caught_up = self.framed.is_caught_up();
        if !self.caught_up {
            // The task's budget was used up before the socket was read. The task is polled again at
            // once, and only then knows what has arrived.
            return;
        }
        self.heartbeats.caught_up(now);
        self.note_progress(now);
    }

    /// If more of a partial frame has arrived, sets the deadline for the rest.
    fn note_progress(&mut self, now: Instant) {
        let arrived = self.framed.left_over().len();
        let earlier = self.unfinished.as_deref().copied();
        let before = earlier.map_or(0, |earlier| earlier.arrived);
        if arrived == before {
            return;
        }
        let partial = Partial {
            announced: self.framed.announced(),
            arrived,
            before,
        };
        self.pulse.heard(now);
        // A client that writes a frame in two parts sends the second, by Nagle's algorithm, when
        // the first is acknowledged, and the kernel may delay that by 40 ms. This is a system call,
        // so it is made only while a part is missing.
        self.framed.stream().acknowledge();
        let due = FrameDue::of(
            partial,
            earlier.map(|earlier| earlier.due),
            self.settings(),
            now,
        );
        let unfinished = Unfinished { arrived, due };
        match &mut self.unfinished {
            Some(before) => **before = unfinished,
            None => self.unfinished = Some(Box::new(unfinished)),
        }
    }
}

/// How many items of a turn a frame of this many bytes counts for.
fn weight(length: usize) -> usize {
    1 + length / (TURN_BYTES / TURN)
}
