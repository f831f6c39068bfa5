//! What the machine's transitions answer, and what is to be done after its lock is released.

use std::task::Waker;

use tokio::time::Instant;

use super::{
    carried::{Carried, FlowId, Id},
    line::{Rank, Request},
};
use crate::{
    client::failure::Progress,
    pool::{
        Priority,
        unstable::{Refusal, SlotId},
    },
};

/// Which requests a request may overtake, and which may overtake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client::pipelined) enum Order {
    /// Any that are as urgent, for it may take any pipeline.
    Any(Priority),
    /// None of its flow. All flows are equally urgent.
    Of {
        flow: FlowId,
        /// It was the flow's request of this number, and it is begun once more.
        again: Option<u64>,
    },
}

/// Where a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client::pipelined) struct Place {
    pub(super) rank: Rank,
    pub(super) flow: Option<FlowId>,
}

/// What became of a request that was begun.
pub(in crate::client::pipelined) enum Entry<K: Carried> {
    /// Appended to a pipeline. So many more connections are to be leased.
    Begun { begun: Begun<K>, leases: usize },
    /// Waits for a place. So many more connections are to be leased.
    Waits { place: Place, leases: usize },
    /// It was to be begun once more, and its flow has brought others since.
    Overtaken,
    /// The request isn't taken.
    Refused(Refusal),
    /// The request isn't taken: with it, those that wait would hold too many bytes.
    FullOfBytes {
        waiting_bytes: usize,
        request: usize,
        max_waiting_bytes: usize,
    },
}

/// A request was appended to a pipeline. The caller has to write if it is given a writer, and to
/// wake the driver if it is given a waker.
pub(in crate::client::pipelined) struct Begun<K: Carried> {
    pub(in crate::client::pipelined) write: Option<(Id, K::Writer)>,
    pub(in crate::client::pipelined) wake: Option<Waker>,
}

/// What a reply was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client::pipelined) enum Came {
    /// The reply to the next request.
    Expected,
    /// That of a request that hasn't been written as a whole: it is delivered if it came alone, and
    /// its connection ends.
    Early,
    /// No request was owed a reply.
    Unasked,
}

/// A reply, and the caller that is told of it.
pub(in crate::client::pipelined) struct Answered<K: Carried> {
    pub(in crate::client::pipelined) reply: K::Reply,
    pub(in crate::client::pipelined) body: K::Body,
    /// Its request gets no reply, and has been written.
    pub(in crate::client::pipelined) is_silent: bool,
}

/// What the driver finds when it looks at the clock.
pub(in crate::client::pipelined) struct Overdue<K: Carried> {
    /// Callers whose deadline has passed.
    pub(in crate::client::pipelined) expired: Vec<K::Reply>,
    /// One of them waits for the next reply, so the connection has to end.
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
    /// Those that get no reply and had been written.
    pub(in crate::client::pipelined) silent: Vec<Answered<K>>,
    /// In the order of the requests.
    pub(in crate::client::pipelined) unanswered: Vec<Unanswered<K>>,
    /// How many were answered of two requests that were written together, to a peer that isn't
    /// known to read frames.
    pub(in crate::client::pipelined) trial: Option<usize>,
    pub(in crate::client::pipelined) released: Released,
}

/// Requests that waited for one pipeline alone may be served by any.
#[derive(Default)]
pub(in crate::client::pipelined) struct Released {
    /// The drivers that may serve them.
    pub(in crate::client::pipelined) wakes: Vec<Waker>,
    /// So many connections are to be leased.
    pub(in crate::client::pipelined) leases: usize,
}

/// Those who waited, and aren't served though there is room.
pub(in crate::client::pipelined) struct LeftOut<K: Carried> {
    /// Their time was up.
    pub(in crate::client::pipelined) late: Vec<Request<K>>,
    /// They have waited for too long, as all have.
    pub(in crate::client::pipelined) shed: Vec<Request<K>>,
}

impl<K: Carried> LeftOut<K> {
    pub(in crate::client::pipelined) fn nobody() -> Self {
        LeftOut {
            late: Vec::new(),
            shed: Vec::new(),
        }
    }
}

/// A request that is given up before it was sent, and the drivers that may serve those behind it.
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
/// What a driver has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client::pipelined) struct Duties {
    /// Requests wait for a place.
    pub(in crate::client::pipelined) serve: bool,
    /// Bytes are outgoing.
    pub(in crate::client::pipelined) write: bool,
    /// A deadline passes before it would have looked at the clock.
    pub(in crate::client::pipelined) look: bool,
}
