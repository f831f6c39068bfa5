//! Who acquires.

use std::{
    hash::{Hash, Hasher},
    num::NonZeroU64,
};

/// Who acquires, for what it holds already is what it may be waiting for in vain: a task, or
/// outside of tasks a thread. What a runtime blocks on, the body of `#[tokio::main]` for one, stays
/// on its thread, and so does blocking code.
///
/// The number of either, with a bit that says which: a word, for each connection has one. It is
/// only told to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker(NonZeroU64);

impl Asker {
    #[inline]
    pub(crate) fn here() -> Self {
        let (number, is_thread) = match tokio::task::try_id() {
            Some(task) => (Number::of(task), 0),
            None => (Number::of(std::thread::current().id()), 1),
        };
        Asker(NonZeroU64::new(number << 1 | is_thread).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) fn is_thread(self) -> bool {
        self.0.get() & 1 == 1
    }
}

/// The number in an id, of which only its `Hash` tells. Should that come to be more than one
/// number, another may seem the same.
struct Number(u64);

impl Number {
    fn of(id: impl Hash) -> u64 {
        let mut number = Number(0);
        id.hash(&mut number);
        number.0
    }
}

impl Hasher for Number {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
