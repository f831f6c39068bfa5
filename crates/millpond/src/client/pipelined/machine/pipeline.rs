//! One pipeline: what was appended to its connection, who will write it, and which replies are
//! expected. Knows nothing of the other pipelines, nor of the requests that wait.

use std::{collections::VecDeque, task::Waker};

use tokio::time::Instant;

use super::{
    carried::{Carried, Limits},
    outcomes::Answered,
};
use crate::pool::unstable::{Recall, SlotId};

/// See the module.
pub(super) struct Pipeline<K: Carried> {
    pub(super) serial: u64,
    pub(super) slot: SlotId,
    pub(super) wire: K::Writer,
    pub(super) driver: Waker,
    /// When the driver will look at the clock. `None` while it is looking: a request that is begun
    /// meanwhile asks it to look again.
    pub(super) looks_at: Option<Instant>,
    pub(super) recall: Recall,
    /// Its server takes no more requests on it: it stays recalled, whatever the pool says.
    pub(super) retired: bool,
    pub(super) expected: VecDeque<Expected<K>>,
    /// How many of them get no reply.
    pub(super) silent: usize,
    /// The requests' bytes that have not been answered.
    pub(super) bytes: usize,
    /// Appended, and not yet taken to be written.
    pub(super) outgoing: Vec<u8>,
    /// What is to be kept of the requests in it.
    pub(super) asked: Vec<K::Asked>,
    /// How long the stream of all that was appended is.
    pub(super) appended: u64,
    /// How much of it has been taken to be written.
    pub(super) handed: u64,
    pub(super) attended: AttendedBy,
    /// The driver has been asked to look at the clock.
    pub(super) hurry: bool,
    /// Something was begun, or answered, since the last tick.
    pub(super) used: bool,
    pub(super) trial: Option<Trial<K>>,
}

/// Who will write what is outgoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttendedBy {
    /// Nobody: there is nothing.
    Nobody,
    /// A caller, at once.
    Caller,
    Driver,
}

pub(super) struct Expected<K: Carried> {
    /// `None` once the caller has been told that the deadline has passed.
    pub(super) reply: Option<K::Reply>,
    /// `None` once the caller has been told that it has passed.
    pub(super) deadline: Option<Instant>,
    pub(super) begins: u64,
    pub(super) length: usize,
    /// No reply comes to it: it is answered when it has been written.
    pub(super) silent: bool,
}

/// Two requests that were written together. The first one's reply is held back until the second's
/// is there: a peer that takes a read for a request answers once, with something that is no reply
/// to either.
pub(super) struct Trial<K: Carried> {
    pub(super) held: Option<Answered<K>>,
    /// Until when the first one's caller can be kept waiting.
    pub(super) until: Option<Instant>,
    pub(super) answered: usize,
}

impl<K: Carried> Pipeline<K> {
    /// How much of the stream has been written, if so many of the bytes taken are still unwritten.
    pub(super) fn written(&self, unwritten: usize) -> u64 {
        self.handed - unwritten as u64
    }

    /// Whether a reply may come: something was written of a request that isn't answered.
    pub(super) fn owes(&self, unwritten: usize) -> bool {
        let next = self.expected.iter().find(|next| !next.silent);
        next.is_some_and(|next| next.begins < self.written(unwritten))
    }

    /// Requests that get no reply are answered when they have been written, in their turn.
    #[inline]
    pub(super) fn settle_silent(&mut self, unwritten: usize, tell: &mut Vec<Answered<K>>) {
        if self.silent == 0 {
            return;
        }
        let written = self.written(unwritten);
        let is_answered =
            |first: &Expected<K>| first.silent && first.begins + first.length as u64 <= written;
        while self.expected.front().is_some_and(is_answered)
            && let Some(first) = self.expected.pop_front()
        {
            self.silent -= 1;
            self.bytes -= first.length;
            self.used = true;
            tell.extend(first.reply.map(|reply| Answered {
                reply,
                body: K::Body::default(),
                is_silent: true,
            }));
        }
    }

    /// Whether a request that begins here, or one before it, is unanswered.
    pub(super) fn owes_since(&self, begins: u64) -> bool {
        self.expected
            .front()
            .is_some_and(|next| next.begins <= begins)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.expected.len()
    }

    pub(super) fn has_room(&self, length: usize, limits: &Limits) -> bool {
        self.expected.is_empty()
            || (self.expected.len() < limits.depth && self.bytes + length <= limits.max_bytes)
    }

    /// Whether the driver looks at the clock by this moment, without being asked.
    pub(super) fn looks_by(&self, deadline: Instant) -> bool {
        self.looks_at.is_some_and(|at| at <= deadline)
    }

    /// Where it begins in the stream.
    #[inline]
    pub(super) fn append(
        &mut self,
        frame: &[u8],
        deadline: Instant,
        reply: K::Reply,
        asked: Option<K::Asked>,
    ) -> u64 {
        let begins = self.appended;
        self.outgoing.extend_from_slice(frame);
        let silent = asked.as_ref().is_some_and(K::is_silent);
        self.silent += usize::from(silent);
        self.asked.extend(asked);
        self.expected.push_back(Expected {
            reply: Some(reply),
            deadline: Some(deadline),
            begins,
            length: frame.len(),
            silent,
        });
        self.appended += frame.len() as u64;
        self.bytes += frame.len();
        self.used = true;
        begins
    }
}
