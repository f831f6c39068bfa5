//! What leaves the machine: the answers to those who asked, and what is to be done after unlocking.

use std::task::Waker;

use tokio::time::Instant;

use super::{
    carried::{Carried, Id},
    line::{Rank, Request},
};
use crate::{
    client::failure::Progress,
    pool::unstable::{Refusal, SlotId},
};

/// What became of a caller who begins.
pub(in crate::client::pipelined) enum Entry<K: Carried> {
    /// Appended. The caller has to write if it is told to whom, and to wake the driver if it is
    /// given.
    Begun {
        write: Option<(Id, K::Writer)>,
        wake: Option<Waker>,
    },
    /// Waits; so many more connections are to be leased.
    Waits { rank: Rank, leases: usize },
    /// Isn't taken.
    Refused(Refusal),
    /// Isn't taken: those who wait hold too many bytes for this request to join them.
    FullOfBytes {
        waiting_bytes: usize,
        request: usize,
        max_waiting_bytes: usize,
    },
}

/// What a reply was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client::pipelined) enum Came {
    /// Somebody's.
    Expected,
    /// That of a request that hasn't been written as a whole: it is delivered if it came alone, and
    /// its connection ends.
    Early,
    /// Nobody's.
    Unasked,
}

/// Who is told of a reply.
pub(in crate::client::pipelined) struct Answered<K: Carried> {
    pub(in crate::client::pipelined) reply: K::Reply,
    pub(in crate::client::pipelined) body: K::Body,
}

/// What the driver finds when it looks by itself.
pub(in crate::client::pipelined) struct Overdue<K: Carried> {
    /// Who must be told that the time is up.
    pub(in crate::client::pipelined) expired: Vec<K::Reply>,
    /// The exchange whose reply is next is among them: the connection has to go.
    pub(in crate::client::pipelined) head: bool,
    /// The earliest deadline that is left.
    pub(in crate::client::pipelined) next: Option<Instant>,
}

/// An exchange of a pipeline that has broken off.
pub(in crate::client::pipelined) struct Unanswered<K: Carried> {
    pub(in crate::client::pipelined) reply: K::Reply,
    pub(in crate::client::pipelined) progress: Progress,
}

/// What a pipeline leaves behind.
pub(in crate::client::pipelined) struct Ended<K: Carried> {
    /// In the order of the requests.
    pub(in crate::client::pipelined) unanswered: Vec<Unanswered<K>>,
    /// Two requests were written together to a peer that isn't known to read frames, and so many
    /// were answered.
    pub(in crate::client::pipelined) trial: Option<usize>,
    /// So many connections are to be leased.
    pub(in crate::client::pipelined) leases: usize,
}

/// A request that isn't sent, to be dropped; and the drivers that may serve those behind it.
pub(in crate::client::pipelined) struct GivenUp<K: Carried> {
    pub(in crate::client::pipelined) request: Request<K>,
    pub(in crate::client::pipelined) wakes: Vec<Waker>,
}

/// What a change of the pool brings about.
pub(in crate::client::pipelined) struct Reconsidered<K: Carried> {
    pub(in crate::client::pipelined) refused: Vec<K::Reply>,
    pub(in crate::client::pipelined) wakes: Vec<Waker>,
    pub(in crate::client::pipelined) leases: usize,
}

/// A pipeline at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client::pipelined) struct PipelineLoad {
    pub(in crate::client::pipelined) slot: SlotId,
    pub(in crate::client::pipelined) in_flight: usize,
}
/// What a driver has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client::pipelined) struct Duties {
    /// Somebody waits.
    pub(in crate::client::pipelined) serve: bool,
    /// Something is outgoing.
    pub(in crate::client::pipelined) write: bool,
    /// Somebody's time is up before it would have looked.
    pub(in crate::client::pipelined) look: bool,
}
