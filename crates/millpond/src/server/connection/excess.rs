//! What a connection has only while it holds much: its share of the server's bytes, and its long
//! turn. Both live in one box, which most connections never allocate.

use std::{future::Future, pin::pin, task::Context};

use tokio::task::yield_now;

use super::long_turn::LongTurn;
use crate::{
    framing::Frame,
    server::{ledger::Ledger, memory::Share},
};

/// See the module. Empty, until something is asked of it.
#[derive(Default)]
pub(super) struct Excess<'s>(Option<Box<Parts<'s>>>);

struct Parts<'s> {
    share: Share<'s>,
    long_turn: Option<LongTurn<'s>>,
}

impl<'s> Excess<'s> {
    fn parts(&mut self, ledger: &'s Ledger) -> &mut Parts<'s> {
        self.0.get_or_insert_with(|| {
            Box::new(Parts {
                share: Share::new(&ledger.memory),
                long_turn: None,
            })
        })
    }

    /// The connection's share of the server's bytes; an empty one, if there was none.
    pub(super) fn share(&mut self, ledger: &'s Ledger) -> &mut Share<'s> {
        &mut self.parts(ledger).share
    }

    /// The share, if there is one.
    pub(super) fn existing_share(&mut self) -> Option<&mut Share<'s>> {
        self.0.as_mut().map(|parts| &mut parts.share)
    }

    /// Whether the connection waits for room, and isn't read.
    pub(super) fn is_paused(&self) -> bool {
        self.0.as_ref().is_some_and(|parts| parts.share.is_paused())
    }

    /// Whether the connection has its long turn; otherwise its task is woken when it has.
    pub(super) fn has_long_turn(&mut self, ledger: &'s Ledger, cx: &mut Context<'_>) -> bool {
        self.wanted_turn(ledger).poll(cx)
    }

    /// Keeps a request until its long turn comes. Nothing is read meanwhile.
    pub(super) fn keep_for_long_turn(&mut self, ledger: &'s Ledger, request: Frame) {
        *self.wanted_turn(ledger).request_mut() = Some(request);
    }

    fn wanted_turn(&mut self, ledger: &'s Ledger) -> &mut LongTurn<'s> {
        self.parts(ledger)
            .long_turn
            .get_or_insert_with(|| LongTurn::new(&ledger.long_turns))
    }

    fn long_turn(&self) -> Option<&LongTurn<'s>> {
        self.0.as_ref()?.long_turn.as_ref()
    }

    fn long_turn_mut(&mut self) -> Option<&mut LongTurn<'s>> {
        self.0.as_mut()?.long_turn.as_mut()
    }

    /// Whether this is a long turn.
    pub(super) fn is_long_turn(&self) -> bool {
        self.long_turn().is_some_and(LongTurn::is_given)
    }

    /// The length in bytes of the request that waits for its long turn; 0 without one.
    pub(super) fn waiting_bytes(&self) -> usize {
        let request = self.long_turn().and_then(LongTurn::request);
        request.map_or(0, Frame::length)
    }

    /// Whether a request waits for its long turn.
    pub(super) fn waits_for_long_turn(&self) -> bool {
        self.long_turn()
            .is_some_and(|turn| turn.request().is_some())
    }

    /// The request that waits for its long turn, if there is one.
    pub(super) fn take_waiting(&mut self) -> Option<Frame> {
        self.long_turn_mut()?.request_mut().take()
    }

    /// A turn of the task begins: the long turn ends, if it was given before and nothing waits for
    /// it.
    pub(super) fn begin_turn(&mut self) {
        if self.long_turn_mut().is_some_and(LongTurn::is_over) {
            self.drop_long_turn();
        }
    }

    /// A turn of the task ends. After a long turn the task is woken again, to give it back. A long
    /// turn that nobody wants any more isn't waited for.
    pub(super) fn end_turn(&mut self, cx: &mut Context<'_>) {
        let Some(turn) = self.long_turn() else { return };
        if turn.is_given() {
            let _ = pin!(yield_now()).poll(cx);
        } else if turn.is_unwanted() {
            self.drop_long_turn();
            self.drop_if_empty();
        }
    }

    fn drop_long_turn(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.long_turn = None;
        }
    }

    /// Frees the box when neither part is in use.
    pub(super) fn drop_if_empty(&mut self) {
        let is_empty = |parts: &Parts<'_>| parts.share.is_empty() && parts.long_turn.is_none();
        if self.0.as_deref().is_some_and(is_empty) {
            self.0 = None;
        }
    }
}
