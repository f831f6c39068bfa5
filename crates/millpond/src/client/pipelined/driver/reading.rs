//! What a driver reads: replies, heartbeats, and unasked bytes.

use std::{
    ops::ControlFlow,
    task::{Context, Poll},
};

use tokio::time::Instant;

use super::Driver;
use crate::{
    client::{
        failure::ExchangeFailure,
        pipelined::{
            machine::{Answered, Came, Id},
            shared::{Pipelined, Shared},
        },
        session::after_the_reactor,
        sessions::Sessions,
    },
    framed::{Doubt, Item, Items, Outstanding, READ_AT_ONCE, ReadError, Replied},
    framing::{self, Framing},
    pool::unstable::Served,
};

/// How often one poll of a driver reads, 16 KiB each, unless there was [`READ_AT_ONCE`] of a long
/// reply before. Then it looks at the clock, and everybody else has a turn.
const READS_AT_ONCE: usize = 16;

/// What one read has brought.
struct Batch<'r, F> {
    framing: &'r F,
    outstanding: Option<&'r mut Outstanding>,
    replies: &'r mut Vec<Replied>,
    beats: usize,
    /// Why nothing behind the replies is delivered.
    doubt: Option<Doubt>,
}

impl<F: Framing> Items for Batch<'_, F> {
    #[inline]
    fn context(&self) -> framing::Context<'_> {
        Outstanding::reply_context(self.outstanding.as_deref())
    }

    #[inline]
    fn item(&mut self, item: Item) -> ControlFlow<()> {
        let frame = match item {
            Item::Frame(frame) => frame,
            Item::Heartbeat => {
                self.beats += 1;
                return ControlFlow::Continue(());
            }
        };
        let Some(outstanding) = self.outstanding.as_deref_mut() else {
            self.replies.push(frame.into());
            return ControlFlow::Continue(());
        };
        match outstanding.collect(self.framing, frame) {
            Ok(None) => {}
            // Those behind one that has changed the connection are nobody's.
            Ok(Some(_)) if self.doubt.is_some() => return ControlFlow::Break(()),
            Ok(Some(replied)) => {
                self.replies.push(replied);
                // Nothing that shares a connection may leave it changed. The reply itself is its
                // request's, unless something comes with it that nobody asked for.
                self.doubt = outstanding.is_changed().then_some(Doubt::Changed);
            }
            Err(doubt) => {
                self.doubt = Some(doubt);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

impl<F: Framing> Driver<F> {
    /// Reads what has arrived, up to the limit of one poll.
    pub(super) fn read(&mut self, id: Id, cx: &mut Context<'_>) -> Result<(), ExchangeFailure> {
        let mut served = None;
        let read = self.read_from_wire(id, cx, &mut served);
        // What the pool does because this has served, it does now that the wire is free: it may
        // wake whoever takes it.
        drop(served);
        read
    }

    /// As [`read`](Driver::read), and `served` is to be dropped after it.
    fn read_from_wire(
        &mut self,
        id: Id,
        cx: &mut Context<'_>,
        served: &mut Option<Served<Sessions<F>>>,
    ) -> Result<(), ExchangeFailure> {
        let shared = &*self.shared;
        let mut wire = self.wire.lock();
        if let Some(found) = wire.found.take() {
            return Err(found);
        }
        self.is_cut = false;
        let mut long = 0;
        for _ in 0..READS_AT_ONCE {
            let unwritten = wire.unwritten();
            let Some(connection) = wire.socket.as_mut() else {
                return Ok(());
            };
            let session = &mut **connection;
            let framing = shared.leases.connector().framing();
            let before = session.framed.left_over().len();
            let mut batch = Batch {
                framing,
                outstanding: session.outstanding.as_deref_mut(),
                replies: &mut self.replies,
                beats: 0,
                doubt: None,
            };
            let read = session.framed.poll_batch(framing, cx, &mut batch);
            let Batch { beats, doubt, .. } = batch;
            let replies = &mut self.replies;
            let is_unfit = !replies.is_empty() && session.note_unfit();
            // Replies that came with too many heartbeats are delivered all the same.
            let flooded = (0..beats).any(|_| !session.heard_beat(Instant::now()));
            self.received |= read.is_ready();
            self.looked_again &= read.is_pending();
            let is_doubtful = !matches!(doubt, None | Some(Doubt::Changed));
            let breaks_off = is_doubtful
                || session.begins_a_frame(framing)
                || session.has_collected()
                || matches!(read, Poll::Ready(Err(ReadError::Frame(_))));
            if !replies.is_empty() && session.note_served() {
                *served = Some(connection.note_served());
            }
            // Which other protocol this is says more than that it was unasked.
            if let Poll::Ready(Err(ReadError::Frame(error))) = &read
                && replies.is_empty()
                && error.is_stranger()
            {
                return Err(ExchangeFailure::NoFrame(error.clone()));
            }
            if !replies.is_empty() || breaks_off {
                match shared.came(id, replies, breaks_off, unwritten, &mut self.tell) {
                    Came::Expected => {}
                    Came::Early => return Err(ExchangeFailure::Unasked),
                    Came::Unasked => {
                        let doubted = self.tell.extract_if(.., |told| !told.is_silent);
                        self.doubted.extend(doubted.map(|told| told.reply));
                        return Err(ExchangeFailure::Unasked);
                    }
                }
            }
            if let Some(doubt) = doubt {
                return Err(doubt.into());
            }
            if is_unfit && let Some(driver) = shared.state.lock().retire(id) {
                driver.wake();
            }
            if flooded {
                return Err(ExchangeFailure::HeartbeatFlood);
            }
            match read {
                Poll::Pending => {
                    self.is_cut = !connection.framed.is_caught_up();
                    return Ok(());
                }
                Poll::Ready(Ok(())) => {
                    long += connection.framed.left_over().len().saturating_sub(before);
                    if long >= READ_AT_ONCE {
                        break;
                    }
                }
                Poll::Ready(Err(ReadError::Closed | ReadError::Truncated)) => {
                    return Err(ExchangeFailure::Closed);
                }
                Poll::Ready(Err(ReadError::Io(error))) => return Err(ExchangeFailure::Io(error)),
                Poll::Ready(Err(ReadError::Frame(error))) => {
                    return Err(ExchangeFailure::NoFrame(error));
                }
            }
        }
        self.is_cut = true;
        let _: Poll<()> = after_the_reactor(cx);
        Ok(())
    }
}

impl<F: Framing> Shared<F> {
    /// One read has brought these replies, while so many bytes were unwritten. `breaks_off`: behind
    /// them is something that isn't a whole reply.
    fn came(
        &self,
        id: Id,
        replies: &mut Vec<Replied>,
        breaks_off: bool,
        unwritten: usize,
        tell: &mut Vec<Answered<Pipelined<F>>>,
    ) -> Came {
        let mut state = self.state.lock();
        let mut replies = replies.drain(..);
        while let Some(reply) = replies.next() {
            match state.came(id, reply, unwritten, tell) {
                Came::Expected => {}
                // What is behind it can't be the reply to any request.
                Came::Early if breaks_off || replies.len() > 0 => return Came::Unasked,
                came => return came,
            }
        }
        match breaks_off && !state.owes(id, unwritten) {
            true => Came::Unasked,
            false => Came::Expected,
        }
    }
}
