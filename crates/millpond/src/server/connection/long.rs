//! Long requests and replies, and when a connection may go on with one.
//!
//! To check, handle and copy a megabyte takes milliseconds, and can't be interrupted. If every
//! connection did that whenever it came by, a client with a small request would wait for all of
//! them. So it takes a *long turn*. There are as many of these as the runtime has workers, given in
//! the order in which they were asked for, and each ends only after the runtime has looked at the
//! sockets again: between two of them on the same worker everybody who has something to do had a
//! short turn.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    sync::{AcquireError, Semaphore, SemaphorePermit},
    task::yield_now,
};

use super::{Connection, room::Much};
use crate::{
    framed::Frame,
    framing::{Failure, Framing},
    server::handler::Handler,
};

/// Longer requests and replies need a long turn. To check so much takes a tenth of a millisecond.
pub(super) const LONG: usize = 32 << 10;

/// A long request that waits for its turn, and the turn.
pub(super) struct Long<'s> {
    frame: Option<Frame>,
    turn: Turn<'s>,
}

enum Turn<'s> {
    Awaited {
        permit:
            Pin<Box<dyn Future<Output = Result<SemaphorePermit<'s>, AcquireError>> + Send + 's>>,
        /// Whether it was asked for in this turn of the task.
        is_wanted: bool,
    },
    Given {
        /// Dropped, it is given back.
        _permit: SemaphorePermit<'s>,
    },
}

impl<'s> Long<'s> {
    fn new(turns: &'s Semaphore) -> Self {
        Long {
            frame: None,
            turn: Turn::Awaited {
                permit: Box::pin(turns.acquire()),
                is_wanted: true,
            },
        }
    }

    /// Whether the turn is there.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Turn::Awaited { permit, is_wanted } = &mut self.turn {
            *is_wanted = true;
            match permit.as_mut().poll(cx) {
                Poll::Ready(Ok(_permit)) => self.turn = Turn::Given { _permit },
                // It is never closed.
                Poll::Ready(Err(_)) | Poll::Pending => return false,
            }
        }
        true
    }
}

impl<'s, F: Framing, H: Handler, A: Future<Output = Result<Bytes, Failure>>>
    Connection<'s, F, H, A>
{
    /// Whether the connection has its long turn; otherwise its task is woken when it has.
    pub(super) fn has_long_turn(&mut self, cx: &mut Context<'_>) -> bool {
        self.want_long_turn().poll(cx)
    }

    /// Keeps a request until its long turn comes. Nothing is read meanwhile.
    pub(super) fn keep_for_long_turn(&mut self, frame: Frame) {
        self.want_long_turn().frame = Some(frame);
    }

    fn want_long_turn(&mut self) -> &mut Long<'s> {
        let ledger = &self.service.ledger;
        let much = self.much.get_or_insert_with(|| Much::new(ledger));
        much.long
            .get_or_insert_with(|| Long::new(&ledger.long_turns))
    }

    fn long(&self) -> Option<&Long<'s>> {
        self.much.as_ref()?.long.as_ref()
    }

    fn long_mut(&mut self) -> Option<&mut Long<'s>> {
        self.much.as_mut()?.long.as_mut()
    }

    /// Whether this is a long turn.
    pub(super) fn is_long_turn(&self) -> bool {
        self.long()
            .is_some_and(|long| matches!(long.turn, Turn::Given { .. }))
    }

    /// The length of the request that waits for its long turn.
    pub(super) fn waiting_bytes(&self) -> usize {
        let frame = self.long().and_then(|long| long.frame.as_ref());
        frame.map_or(0, Frame::length)
    }

    /// Whether there is one.
    pub(super) fn waits_for_long_turn(&self) -> bool {
        self.long().is_some_and(|long| long.frame.is_some())
    }

    /// The request that has waited, if there is one.
    pub(super) fn take_waiting(&mut self) -> Option<Frame> {
        self.long_mut()?.frame.take()
    }

    /// The task has its turn again: others have had theirs since its long one.
    pub(super) fn end_long_turn(&mut self) {
        let Some(long) = self.long_mut() else { return };
        if let Turn::Awaited { is_wanted, .. } = &mut long.turn {
            *is_wanted = false;
            return;
        }
        // The turn may have come after reading had stopped for it: then it is that request's, now.
        if long.frame.is_none() {
            self.forget_long_turn();
        }
    }

    /// The end of a turn of the task. After a long one the task comes again, to give it back. A
    /// long turn that isn't wanted any more isn't waited for.
    pub(super) fn leave_long_turn(&mut self, cx: &mut Context<'_>) {
        match self.long().map(|long| &long.turn) {
            Some(Turn::Given { .. }) => {
                let _ = pin!(yield_now()).poll(cx);
            }
            Some(Turn::Awaited {
                is_wanted: false, ..
            }) => {
                self.forget_long_turn();
                self.forget_nothing();
            }
            _ => {}
        }
    }

    fn forget_long_turn(&mut self) {
        if let Some(much) = &mut self.much {
            much.long = None;
        }
    }
}
