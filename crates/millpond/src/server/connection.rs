//! One client's connection: its state, and the questions that every part of its work asks. What
//! bytes mean is the framing's to say, what requests mean the handler's.
//!
//! Its work is in one file each: `serving.rs` (the loop), `reading.rs`, `requests.rs`,
//! `writing.rs`, `pushes.rs`, `room.rs` (memory), `deadlines.rs`, `ending.rs` (the drain). These know the
//! connection; `frame_due.rs`, `draining.rs`, `long_turn.rs` and `excess.rs` don't, and hold the
//! parts of its state that decide something by themselves.
//!
//! # A turn
//!
//! Whatever wakes the task, it reads what has arrived, polls the handlers that run, and writes the
//! replies that are ready, as one batch. It repeats that while it makes room for more requests. A
//! turn takes a bounded number of items and of bytes, so that a client that floods delays nobody
//! but itself. A long request or reply waits for a long turn (`long_turn.rs`).
//!
//! # What an idle connection costs
//!
//! A connection on which nothing is under way owns no buffer and no handler. It has one timer,
//! which is moved only when something is due *earlier*: a busy connection lets the timer fire in
//! vain once per heartbeat interval rather than move it with every request.

mod deadlines;
mod draining;
mod ending;
mod excess;
mod frame_due;
mod long_turn;
mod pushes;
mod reading;
mod replies;
mod requests;
mod room;
mod serving;
mod writing;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::{draining::Draining, excess::Excess, frame_due::FrameDue};
use super::{
    exchanges::Exchanges,
    handler::ConnectionHandler,
    ledger::{Ledger, Service},
    limits::Allowance,
    reply::Reply,
    settings::ServerSettings,
    snapshot::Closed,
};
use crate::{
    framed::{Framed, Outgoing, Pulse},
    framing::{Failure, Frame, Framing, Note},
    net::Stream,
};

/// How many items one turn takes: as many as four connections may have in flight.
const TURN: usize = 64;

/// How many bytes of requests and replies one turn takes; the item that exceeds it is the last one.
/// To receive, check and write this much takes a fraction of a millisecond.
const TURN_BYTES: usize = 64 << 10;

/// How many bytes are received before memory is asked for: enough for a small request.
const FIRST_ROOM: usize = 4 << 10;

/// After how long without a request the memory of the queue of exchanges is freed.
const REST: Duration = Duration::from_secs(10);

/// While a connection isn't read, how often the kernel is asked whether its client is still there.
/// This is a system call; a connection that is stuck for less time than this makes none.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// See the module. `A` is the future of an answer.
struct Connection<'s, F, H: ConnectionHandler, A> {
    service: &'s Arc<Service<F, H>>,
    /// What the handler keeps for this connection.
    kept: Arc<H::Connection>,
    peer: Option<SocketAddr>,
    framed: Framed,
    exchanges: Exchanges<A>,
    /// The last of them, which came together and aren't begun yet. Empty, but for a moment.
    gathered: Vec<Frame>,
    /// Its state, which the framing keeps.
    state: Note,
    outgoing: Outgoing,
    excess: Excess<'s>,
    /// The largest request, in bytes, that memory is reserved for; [`FIRST_ROOM`] needs none.
    room: usize,
    /// How many replies are in the batch that is being written.
    leaving: u32,
    pulse: Pulse,
    heartbeats: Allowance,
    /// When the last request came, or the last reply went.
    used: Instant,
    /// The frame that has arrived in part; boxed, because most arrive whole.
    unfinished: Option<Box<Unfinished>>,
    /// The deadline for the rest of the batch that is being written.
    write_due: Option<Instant>,
    /// When to ask the kernel whether the client is still there, while nothing is read.
    look_due: Option<Instant>,
    /// The last read found nothing more: only then does the client's silence mean something.
    caught_up: bool,
    /// Set once the server drains; boxed, because most of the time it doesn't.
    draining: Option<Box<Draining>>,
    /// Why nothing is read any more. The connection ends when what is owed has been answered.
    ending: Option<Closed>,
}

/// A frame that hasn't arrived whole.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    /// How many of its bytes had arrived at the last look.
    arrived: usize,
    /// The deadline for the rest.
    due: FrameDue,
}

impl<'s, F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'s, F, H, A>
{
    fn new(service: &'s Arc<Service<F, H>>, stream: Stream, peer: Option<SocketAddr>) -> Self {
        let now = Instant::now();
        let interval = match service.framing.heartbeat() {
            Some(_) => service.ledger.settings.heartbeat_interval,
            None => Duration::ZERO,
        };
        Connection {
            service,
            kept: Arc::new(service.handler.connected(peer)),
            peer,
            framed: Framed::new(stream),
            exchanges: Exchanges::new(),
            gathered: Vec::new(),
            state: match service.framing.looks_at_requests() {
                true => service.framing.accepted(service.ledger.next_number()),
                false => Note::default(),
            },
            outgoing: Outgoing::default(),
            excess: Excess::default(),
            room: FIRST_ROOM,
            leaving: 0,
            pulse: Pulse::new(interval, fastrand::f64(), now),
            heartbeats: Allowance::full(now),
            used: now,
            unfinished: None,
            write_due: None,
            look_due: None,
            caught_up: false,
            draining: None,
            ending: None,
        }
    }

    fn ledger(&self) -> &'s Ledger {
        &self.service.ledger
    }

    fn settings(&self) -> &'s ServerSettings {
        &self.ledger().settings
    }

    /// Whether another request may be read: `max_in_flight` allows it, and nothing of it depends on one
    /// that isn't answered.
    fn may_take_another(&self) -> bool {
        self.exchanges.len() < self.settings().max_in_flight && !self.exchanges.ends_reading()
    }

    fn owes_nothing(&self) -> bool {
        self.exchanges.is_empty() && self.outgoing.is_empty() && !self.excess.waits_for_long_turn()
    }

    /// Whether the client's silence means something: all that has come was read, and more would be.
    fn listens(&self) -> bool {
        self.caught_up && self.ending.is_none()
    }
}

#[cfg(test)]
mod tests;
