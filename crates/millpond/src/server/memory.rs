//! The bytes that a server holds for its clients, and each connection's share of them: what has arrived of a request, requests that are handled,
//! replies that aren't written yet. Decides who may receive more; reads and writes nothing.
//!
//! # Who may go on
//!
//! A connection's first [`FREE`] bytes are nobody's business, so small requests pass whatever others hold, and touch nothing that is shared. Beyond
//! that a connection takes blocks of the server's bytes before it receives:
//!
//! - One that owes nothing takes what its next request needs as soon as there is room, in the order in which they came. That is a whole request,
//!   as far as its length is known: what was let in can be finished, so requests that have half arrived never block each other.
//! - One that owes replies takes more only within `max_bytes_per_connection`, while nobody waits, and at most an eighth of what is left. The more
//!   is held, the less a client that sends and doesn't read can add, and some room is left for whoever comes.
//!
//! A reply that is larger than its request is counted without being asked for: it is there already.

use std::{
    collections::VecDeque,
    sync::atomic::{
        AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    task::{Context, Waker},
};

use parking_lot::Mutex;

/// What a connection holds without being counted, and the unit in which the rest is counted.
pub(super) const FREE: usize = 16 << 10;

/// Of what is left a connection that owes replies may hold one part in so many.
const PARTS: usize = 8;

/// The bytes of a whole server.
#[derive(Debug)]
pub(super) struct Memory {
    max: usize,
    pub(super) max_each: usize,
    held: AtomicUsize,
    /// How many are in line: read without the lock.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

/// Connections that owe nothing and wait for room, in the order in which they came.
#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<(u64, Waker)>,
    numbers: u64,
}

impl Memory {
    pub(super) fn new(max: usize, max_each: usize) -> Self {
        Memory {
            max,
            max_each,
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line::default()),
        }
    }

    /// How many bytes are held, in whole blocks.
    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// How many connections that owe nothing wait for room.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Takes `more` if that leaves it within the limit, or if `alone` is all that is held.
    fn try_take(&self, alone: Option<usize>, more: usize) -> bool {
        let within = |held: usize| {
            let after = held.checked_add(more)?;
            (after <= self.max || alone == Some(held)).then_some(after)
        };
        self.held.fetch_update(SeqCst, Relaxed, within).is_ok()
    }

    /// Calls whoever is the first in line.
    fn call(&self) {
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        let first = self.line.lock().waiters.front().map(|(_, waker)| waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }
}

/// Whether the end of a request is known. One that is larger than the limit is then received when nobody else holds anything; otherwise it might go on for
/// ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Known,
    Unknown,
}

/// What one connection holds; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share<'m> {
    memory: &'m Memory,
    taken: usize,
    /// Its number in line; 0 while it isn't there.
    number: u64,
    is_paused: bool,
}

impl<'m> Share<'m> {
    pub(super) fn new(memory: &'m Memory) -> Self {
        Share {
            memory,
            taken: 0,
            number: 0,
            is_paused: false,
        }
    }

    /// Whether it waits for room, and isn't read.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Takes room for `need` bytes in all, `owed` of them for what was received before. Without room it answers no; then the task is woken in its
    /// turn if nothing is owed. Otherwise it asks again when something it owes is done.
    pub(super) fn cover(&mut self, need: usize, owed: usize, ends: Ends, cx: &mut Context<'_>) -> bool {
        let more = blocks(need).saturating_sub(self.taken);
        let is_covered = match (more, owed) {
            (0, _) => true,
            (_, 0) => self.take_in_turn(more, ends, cx),
            _ => self.take_beside_what_is_owed(need, more),
        };
        self.is_paused = !is_covered;
        if is_covered {
            self.taken += more;
            self.leave_line();
        }
        is_covered
    }

    fn take_in_turn(&mut self, more: usize, ends: Ends, cx: &Context<'_>) -> bool {
        let memory = self.memory;
        let alone = (ends == Ends::Known).then_some(self.taken);
        if memory.waiting.load(SeqCst) == 0 && memory.try_take(alone, more) {
            return true;
        }
        // It is in line before it looks: room that is made behind the look calls it.
        let mut line = memory.line.lock();
        match line.waiters.iter_mut().find(|(number, _)| *number == self.number) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => {
                line.numbers += 1;
                self.number = line.numbers;
                line.waiters.push_back((self.number, cx.waker().clone()));
                memory.waiting.fetch_add(1, SeqCst);
            }
        }
        let is_first = line
            .waiters
            .front()
            .is_some_and(|&(number, _)| number == self.number);
        is_first && memory.try_take(alone, more)
    }

    fn take_beside_what_is_owed(&self, need: usize, more: usize) -> bool {
        let memory = self.memory;
        let left = memory.max.saturating_sub(memory.held());
        need <= memory.max_each
            && need <= left / PARTS
            && memory.waiting.load(SeqCst) == 0
            && memory.try_take(None, more)
    }

    /// This is what it holds: what it has taken beyond that goes back, what it lacks is taken whether there is room or not.
    pub(super) fn settle(&mut self, held: usize) {
        let (taken, now) = (self.taken, blocks(held));
        self.taken = now;
        if now > taken {
            self.memory.held.fetch_add(now - taken, SeqCst);
        } else if now < taken {
            self.memory.held.fetch_sub(taken - now, SeqCst);
            self.memory.call();
        }
    }

    fn leave_line(&mut self) {
        if self.number == 0 {
            return;
        }
        let left = {
            let mut line = self.memory.line.lock();
            let at = line.waiters.iter().position(|&(number, _)| number == self.number);
            self.memory.waiting.fetch_sub(1, SeqCst);
            at.and_then(|at| line.waiters.remove(at))
        };
        self.number = 0;
        drop(left);
        // There may be room for the next one as well.
        self.memory.call();
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.settle(0);
        self.leave_line();
    }
}

/// What is counted of so many bytes.
fn blocks(bytes: usize) -> usize {
    bytes.saturating_sub(FREE).div_ceil(FREE).saturating_mul(FREE)
}
