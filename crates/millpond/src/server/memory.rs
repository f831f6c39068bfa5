//! The bytes that a server holds for its clients, and each connection's share of them: partial
//! requests, requests that are handled, replies that aren't written yet. Decides which connection
//! may receive more; reads and writes no stream.
//!
//! # Which connection may receive
//!
//! A connection's first [`FREE`] bytes aren't counted, so small requests pass whatever others hold,
//! and touch nothing that is shared. Beyond that a connection takes blocks of the server's bytes
//! before it receives:
//!
//! - A connection that owes nothing takes what its next request needs as soon as there is room.
//!   Those that wait are served in order. If the request's length is known, it takes room for all
//!   of it: a request that was let in can be finished, so half-arrived requests never block each
//!   other.
//! - A connection that owes replies takes more only within `max_bytes_per_connection`, while nobody
//!   waits, and at most an eighth of what is left. So a client that sends and doesn't read can add
//!   less the more is held, and some room is left for others.
//!
//! A reply that is larger than its request is counted without a check: it is there already.

use std::{
    collections::VecDeque,
    sync::atomic::{
        AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    task::{Context, Waker},
};

use parking_lot::Mutex;

/// How many bytes a connection holds without being counted, and the unit in which the rest is
/// counted.
pub(super) const FREE: usize = 16 << 10;

/// A connection that owes replies may hold one part in so many of what is left.
const PARTS: usize = 8;

/// The bytes of a whole server.
#[derive(Debug)]
pub(super) struct Memory {
    max: usize,
    pub(super) max_each: usize,
    held: AtomicUsize,
    /// How many connections wait in line; read without the lock.
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
        // Sequentially consistent also where it finds no room. A connection that gets in line and
        // then looks either sees what was given back, or is seen in line by who gave it back.
        self.held.fetch_update(SeqCst, SeqCst, within).is_ok()
    }

    /// Wakes the first in line.
    fn call(&self) {
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        let first = self
            .line
            .lock()
            .waiters
            .front()
            .map(|(_, waker)| waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }
}

/// Whether the length of a request is known. If it is, a request larger than the limit is received
/// when nobody else holds anything. If not, the request might never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Known,
    Unknown,
}

/// The bytes that one connection holds; given back when it is dropped.
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

    /// Whether nothing of it is left: neither bytes nor a place in line.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0 && self.number == 0 && !self.is_paused
    }

    /// Whether it waits for room, and isn't read.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Takes room for `need` bytes in all, `owed` of them for what was received before. Returns
    /// whether there was room. If not, and nothing is owed, the task is woken in its turn; if
    /// something is owed, the connection asks again when a part of that is done.
    pub(super) fn cover(
        &mut self,
        need: usize,
        owed: usize,
        ends: Ends,
        cx: &mut Context<'_>,
    ) -> bool {
        let more = blocks(need).saturating_sub(self.taken);
        let is_covered = match more {
            0 => true,
            // A connection in line stays there, even if it owes something since: a heartbeat that
            // can't be written counts. Otherwise it would wait for itself, and all behind it.
            _ if owed == 0 || self.number != 0 => self.take_in_turn(more, ends, cx),
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
        // It gets in line before it looks again: room that is made after the look wakes it.
        let mut line = memory.line.lock();
        match line
            .waiters
            .iter_mut()
            .find(|(number, _)| *number == self.number)
        {
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

    /// The connection holds so many bytes. What it has taken beyond that goes back; what it lacks
    /// is taken, whether there is room or not.
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
            let at = line
                .waiters
                .iter()
                .position(|&(number, _)| number == self.number);
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

/// How many of so many bytes are counted.
fn blocks(bytes: usize) -> usize {
    bytes
        .saturating_sub(FREE)
        .div_ceil(FREE)
        .saturating_mul(FREE)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::{Context, Wake, Waker},
    };

    use super::*;

    const BLOCK: usize = FREE;

    /// Counts how often it is called.
    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A connection, and what the reference knows of it.
    struct Client<'m> {
        share: Share<'m>,
        calls: Arc<Calls>,
        name: usize,
        blocks: usize,
    }

    impl<'m> Client<'m> {
        fn new(memory: &'m Memory, name: usize) -> Self {
            Client {
                share: Share::new(memory),
                calls: Arc::default(),
                name,
                blocks: 0,
            }
        }

        fn cover(&mut self, need: usize, owed: usize, ends: Ends) -> bool {
            let waker = Waker::from(Arc::clone(&self.calls));
            self.share
                .cover(need, owed, ends, &mut Context::from_waker(&waker))
        }

        /// Whether it has been called since it was last asked.
        fn is_called(&self) -> bool {
            self.calls.0.swap(0, Relaxed) > 0
        }
    }

    /// In blocks, counted one by one.
    fn slow_blocks(bytes: usize) -> usize {
        (1..).take_while(|block| block * BLOCK < bytes).count()
    }

    /// What is decided, said slowly: all that is held is added up each time, and the line is a list
    /// of names.
    struct Reference {
        max: usize,
        max_each: usize,
        line: Vec<usize>,
    }

    impl Reference {
        fn covers(
            &mut self,
            clients: &[Client<'_>],
            at: usize,
            need: usize,
            owed: usize,
            ends: Ends,
        ) -> bool {
            let client = &clients[at];
            let all: usize = clients.iter().map(|client| client.blocks * BLOCK).sum();
            let more = slow_blocks(need).saturating_sub(client.blocks) * BLOCK;
            let fits = all + more <= self.max;
            let is_alone = all == client.blocks * BLOCK && ends == Ends::Known;
            let is_in_line = self.line.contains(&client.name);
            let is_covered = match more {
                0 => true,
                _ if owed > 0 && !is_in_line => {
                    let left = self.max.saturating_sub(all);
                    self.line.is_empty() && fits && need <= self.max_each && need <= left / 8
                }
                _ => {
                    if !is_in_line {
                        self.line.push(client.name);
                    }
                    self.line[0] == client.name && (fits || is_alone)
                }
            };
            if is_covered {
                self.line.retain(|&name| name != client.name);
            }
            is_covered
        }
    }

    #[test]
    fn it_decides_as_the_slow_reference_and_calls_whoever_is_first_when_there_is_room() {
        let (mut refused, mut in_line) = (0, 0);
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let max = random.usize(1..40) * BLOCK + random.usize(0..BLOCK);
            let memory = Memory::new(max, random.usize(1..max));
            let mut reference = Reference {
                max,
                max_each: memory.max_each,
                line: Vec::new(),
            };
            let mut clients: Vec<Client<'_>> =
                (0..6).map(|name| Client::new(&memory, name)).collect();
            for step in 0..100 {
                let at = random.usize(0..clients.len());
                let bytes = random.usize(0..max + 2 * BLOCK);
                let before = (memory.held(), reference.line.first().copied());
                clients.iter().for_each(|client| {
                    client.is_called();
                });
                match random.u8(0..10) {
                    0..6 => {
                        let owed = random.usize(0..2) * random.usize(0..=bytes);
                        let ends = [Ends::Known, Ends::Unknown][random.usize(0..2)];
                        let expected = reference.covers(&clients, at, bytes, owed, ends);
                        assert_eq!(
                            clients[at].cover(bytes, owed, ends),
                            expected,
                            "seed {seed}, step {step}"
                        );
                        assert_eq!(clients[at].share.is_paused(), !expected);
                        if expected {
                            clients[at].blocks = clients[at].blocks.max(slow_blocks(bytes));
                        }
                        refused += usize::from(!expected);
                    }
                    6..9 => {
                        clients[at].share.settle(bytes);
                        clients[at].blocks = slow_blocks(bytes);
                    }
                    _ => {
                        let gone = clients[at].name;
                        reference.line.retain(|&name| name != gone);
                        clients[at] = Client::new(&memory, 100 + step);
                    }
                }
                let all: usize = clients.iter().map(|client| client.blocks * BLOCK).sum();
                assert_eq!(memory.held(), all, "seed {seed}, step {step}");
                assert_eq!(
                    memory.waiting(),
                    reference.line.len(),
                    "seed {seed}, step {step}"
                );
                in_line += reference.line.len();
                let after = (all, reference.line.first().copied());
                let may_go_on = after.0 < before.0 || before.1.is_some_and(|_| after.1 != before.1);
                if let Some(first) = after.1.filter(|_| may_go_on) {
                    let first = clients
                        .iter()
                        .find(|client| client.name == first)
                        .expect("in line");
                    assert!(
                        first.is_called(),
                        "seed {seed}, step {step}: nobody calls the first"
                    );
                }
            }
            drop(clients);
            assert_eq!((memory.held(), memory.waiting()), (0, 0), "seed {seed}");
        }
        assert!(
            refused > 10_000 && in_line > 10_000,
            "{refused}, {in_line}: too little happens"
        );
    }

    /// Where a heartbeat gets stuck, for instance: it owed nothing when it got in line.
    #[test]
    fn who_is_in_line_keeps_its_turn_when_it_comes_to_owe_something() {
        let memory = Memory::new(4 * BLOCK, 4 * BLOCK);
        let mut holder = Client::new(&memory, 0);
        assert!(holder.cover(5 * BLOCK, 0, Ends::Known));
        let (mut first, mut second) = (Client::new(&memory, 1), Client::new(&memory, 2));
        assert!(
            !first.cover(3 * BLOCK, 0, Ends::Known) && !second.cover(3 * BLOCK, 0, Ends::Known)
        );
        drop(holder);
        assert!(first.is_called() && !second.is_called());
        assert!(
            first.cover(3 * BLOCK, 9, Ends::Known),
            "it is its turn, and there is room"
        );
        assert!(second.is_called() && second.cover(3 * BLOCK, 0, Ends::Known));
    }

    #[test]
    fn small_requests_touch_nothing_that_is_shared() {
        let memory = Memory::new(BLOCK, BLOCK);
        let mut holder = Client::new(&memory, 0);
        let mut waits = Client::new(&memory, 1);
        assert!(holder.cover(2 * BLOCK, 0, Ends::Known) && !waits.cover(2 * BLOCK, 0, Ends::Known));
        let mut small = Client::new(&memory, 2);
        assert!(small.cover(FREE, 0, Ends::Known) && small.cover(FREE, FREE, Ends::Unknown));
        small.share.settle(FREE);
        assert_eq!((memory.held(), memory.waiting()), (BLOCK, 1));
    }
}
