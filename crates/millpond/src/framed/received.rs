//! The bytes that a connection has received beyond its last item. They lie in a buffer that grows
//! with what arrives, never with what was announced, and shrinks with what is taken away. Knows
//! nothing of frames.
//!
//! # What holds
//!
//! - Where nothing is held there is no buffer.
//! - The buffer is at most four times as long as what it holds, plus [`SLACK`].
//! - Bytes taken away cost copies in proportion to them, whatever is held behind them. Bytes that
//!   arrive cost nothing in proportion to those that came before, but for a buffer that has to
//!   grow, and then it doubles.

use std::{
    future::Future,
    io,
    pin::pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use tokio::io::AsyncReadExt;

use crate::net::Stream;

/// Frames up to this length are copied out of the connection's buffer, so that none pins a larger
/// one.
pub(super) const SMALL_FRAME: usize = 4 << 10;

/// A buffer that is longer than needed by less than this isn't exchanged for a shorter one.
const SLACK: usize = 512;

#[cfg(test)]
thread_local! {
    /// How many bytes were copied in order to take others away, or to keep the buffer short.
    pub(super) static COPIED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Received {
    buffer: Vec<u8>,
    /// Where what is held begins. What lies before it has been taken away.
    start: usize,
}

impl Received {
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// How many bytes its buffer takes up.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Adds bytes behind those that are held.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.close_ranks(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// Reads once, at most `most` bytes, and adds them behind those that are held. Nothing is
    /// cleared for it beforehand, so a read costs what it brings. The buffer is made longer by
    /// as much again as is held, at most.
    pub(super) fn poll_fill(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.len() == self.buffer.capacity() {
            let room = most.min(self.len());
            self.close_ranks(room);
            self.buffer.reserve_exact(room);
        }
        let mut room = (&mut self.buffer).limit(most);
        pin!(stream.read_buf(&mut room)).poll(cx)
    }

    /// Moves what is held to the buffer's beginning, if it lacks room for `more` at its end and the
    /// move costs no more than what was taken away since the last one.
    fn close_ranks(&mut self, more: usize) {
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < more && self.start >= self.len() {
            count_copied(self.len());
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    /// Takes the first bytes away. Short ones are copied, so that they pin no larger buffer; long
    /// ones keep theirs, and what is behind them moves to one of its own.
    pub(super) fn take(&mut self, length: usize) -> Bytes {
        let behind = self.len() - length;
        if length <= SMALL_FRAME || length <= behind || self.buffer.capacity() > 2 * length {
            count_copied(length);
            let copy = Bytes::copy_from_slice(&self.as_slice()[..length]);
            self.forget(length);
            return copy;
        }
        count_copied(behind);
        let behind = self.as_slice()[length..].to_vec();
        let start = std::mem::take(&mut self.start);
        let mut whole = std::mem::replace(&mut self.buffer, behind);
        whole.truncate(start + length);
        let mut whole = Bytes::from(whole);
        whole.advance(start);
        whole
    }

    /// Forgets the first bytes, and the buffer with the last of them.
    #[inline]
    pub(super) fn forget(&mut self, length: usize) {
        self.start += length;
        let held = self.len();
        if held == 0 {
            *self = Received::default();
        } else if self.buffer.capacity() > 4 * held + SLACK {
            count_copied(held);
            *self = Received {
                buffer: self.as_slice().to_vec(),
                start: 0,
            };
        }
    }
}

/// Counts, for tests.
#[inline]
fn count_copied(bytes: usize) {
    #[cfg(test)]
    COPIED.set(COPIED.get() + bytes);
    let _ = bytes;
}
