//! How many bytes a connection holds, and how many more it may receive. What all connections may
//! hold together is decided by its [`Share`](crate::server::memory::Share).

use std::{future::Future, task::Context};

use super::{Connection, FIRST_ROOM};
use crate::{
    framing::{Failure, Framing},
    server::{
        handler::ConnectionHandler,
        memory::{Ends, FREE},
        reply::Reply,
        snapshot::count,
    },
};

impl<F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'_, F, H, A>
{
    /// How many bytes of requests and replies are held, without the request that is arriving.
    pub(super) fn owed(&self) -> usize {
        self.exchanges.bytes() + self.outgoing.held() + self.excess.waiting_bytes()
    }

    /// Makes room for the request that is arriving. If its length is known, for all of it; else
    /// for as much again as has arrived. A request longer than `max_bytes_per_connection` gets no
    /// more than that at a time either, so that nobody takes the others' room with the few bytes
    /// that announce it.
    pub(super) fn make_room(&mut self, cx: &mut Context<'_>) -> bool {
        let arrived = self.framed.left_over().len();
        let step = (2 * arrived).max(FIRST_ROOM);
        let (room, ends) = match self.framed.announced() {
            Some(length) => {
                let most = step.max(self.settings().max_bytes_per_connection);
                (length.min(most), Ends::Known)
            }
            None => (step, Ends::Unknown),
        };
        let owed = self.owed();
        let (room, was_paused) = (room.max(self.room), self.excess.is_paused());
        let need = owed.saturating_add(room.max(self.framed.held()));
        let is_small = need <= FREE && self.excess.existing_share().is_none();
        let is_covered = is_small || self.excess.share(self.ledger()).cover(need, owed, ends, cx);
        match is_covered {
            true => self.room = room,
            false if !was_paused => count(&self.ledger().counters.paused_for_bytes),
            false => {}
        }
        is_covered
    }

    /// Gives back what the connection doesn't hold any more, and counts what it holds beyond what
    /// it asked for.
    pub(super) fn settle(&mut self) {
        let room = match self.room > FIRST_ROOM {
            true => self.room,
            false => 0,
        };
        let held = self.owed() + room.max(self.framed.held());
        if held > FREE {
            self.excess.share(self.ledger());
        }
        if let Some(share) = self.excess.existing_share() {
            share.settle(held);
        }
        self.excess.drop_if_empty();
    }
}
