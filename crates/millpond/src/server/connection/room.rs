//! How much a connection holds, and how much more it may receive. What all connections may hold
//! together, its [`Share`](super::Share) knows.

use std::{future::Future, task::Context};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Connection, HEAD, Stop, long::Long};
use crate::{
    framing::{Failure, Framing},
    server::{
        handler::Handler,
        ledger::Ledger,
        memory::{Ends, FREE, Share},
        snapshot::count,
    },
};

/// What a connection has only while it holds much.
pub(super) struct Much<'s> {
    /// What all of it takes up of the server's bytes.
    share: Share<'s>,
    pub(super) long: Option<Long<'s>>,
}

impl<'s> Much<'s> {
    pub(super) fn new(ledger: &'s Ledger) -> Box<Self> {
        Box::new(Much {
            share: Share::new(&ledger.memory),
            long: None,
        })
    }

    fn is_nothing(&self) -> bool {
        self.share.is_empty() && self.long.is_none()
    }
}

impl<F: Framing, H: Handler, A: Future<Output = Result<Bytes, Failure>>> Connection<'_, F, H, A> {
    /// How many bytes of requests and replies it holds, what is arriving left aside.
    pub(super) fn owed(&self) -> usize {
        self.exchanges.bytes() + self.outgoing.held() + self.waiting_bytes()
    }

    /// Makes room for what is arriving: for all of it, as far as its length is known; otherwise for
    /// as much again as has come. Of a very long request no more than that either, so that
    /// nobody takes the others' room by a few bytes that announce it.
    pub(super) fn make_room(&mut self, cx: &mut Context<'_>) -> bool {
        let arrived = self.framed.left_over().len();
        let step = (2 * arrived).max(HEAD);
        let (room, ends) = match self.framed.announced() {
            Some(length) => {
                let most = step.max(self.settings().max_bytes_per_connection);
                (length.min(most), Ends::Known)
            }
            None => (step, Ends::Unknown),
        };
        let owed = self.owed();
        let (room, was_paused) = (room.max(self.room), self.is_paused());
        let need = owed.saturating_add(room.max(self.framed.held()));
        let is_covered = match &mut self.much {
            None if need <= FREE => true,
            much => {
                let much = much.get_or_insert_with(|| Much::new(&self.service.ledger));
                much.share.cover(need, owed, ends, cx)
            }
        };
        match is_covered {
            true => self.room = room,
            false if !was_paused => count(&self.service.ledger.counters.paused_for_bytes),
            false => {}
        }
        is_covered
    }

    /// While it is us who don't read, the client's silence means nothing. But a request that has
    /// used its room up in part, and can't be let in as a whole, doesn't keep that for ever.
    pub(super) fn no_room(&mut self, now: Instant) -> Stop {
        self.caught_up = false;
        match self.room > HEAD {
            true => self.note_progress(now),
            false => self.unfinished = None,
        }
        Stop::NoRoom
    }

    /// Whether it waits for room, and isn't read.
    pub(super) fn is_paused(&self) -> bool {
        self.much
            .as_ref()
            .is_some_and(|much| much.share.is_paused())
    }

    /// Gives back what it doesn't hold any more, and counts what it holds beyond what it asked for.
    pub(super) fn settle(&mut self) {
        let room = match self.room > HEAD {
            true => self.room,
            false => 0,
        };
        let held = self.owed() + room.max(self.framed.held());
        if held > FREE {
            self.much
                .get_or_insert_with(|| Much::new(&self.service.ledger));
        }
        if let Some(much) = &mut self.much {
            much.share.settle(held);
        }
        self.forget_nothing();
    }

    /// Where there isn't much, nothing is kept for it.
    pub(super) fn forget_nothing(&mut self) {
        if self.much.as_ref().is_some_and(|much| much.is_nothing()) {
            self.much = None;
        }
    }
}
