//! The requests that wait for a place, in order, and their bytes.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::carried::Carried;
use crate::pool::Priority;

/// A caller's place among those who wait: the most urgent first, then the first to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::client::pipelined) struct Rank {
    level: usize,
    arrival: u64,
}

/// A request that waits.
pub(in crate::client::pipelined) struct Request<K: Carried> {
    pub(super) frame: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) reply: K::Reply,
    pub(super) asked: Option<K::Asked>,
}

impl<K: Carried> Request<K> {
    pub(super) fn is_silent(&self) -> bool {
        self.asked.as_ref().is_some_and(K::is_silent)
    }
}

/// See the module.
pub(super) struct Line<K: Carried> {
    requests: BTreeMap<Rank, Request<K>>,
    /// The sum of all frames in `requests`.
    bytes: usize,
    arrivals: u64,
}

impl<K: Carried> Line<K> {
    pub(super) fn new() -> Self {
        Line {
            requests: BTreeMap::new(),
            bytes: 0,
            arrivals: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first(&self) -> Option<(Rank, &Request<K>)> {
        let first = self.requests.first_key_value();
        first.map(|(&rank, request)| (rank, request))
    }

    pub(super) fn push(&mut self, priority: Priority, request: Request<K>) -> Rank {
        let rank = Rank {
            level: priority.level(),
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        self.bytes += request.frame.len();
        self.requests.insert(rank, request);
        rank
    }

    pub(super) fn pop(&mut self) -> Option<Request<K>> {
        let (_, request) = self.requests.pop_first()?;
        self.bytes -= request.frame.len();
        Some(request)
    }

    pub(super) fn remove(&mut self, rank: Rank) -> Option<Request<K>> {
        let request = self.requests.remove(&rank)?;
        self.bytes -= request.frame.len();
        Some(request)
    }

    /// All of them, in their order. Nobody waits any more.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Request<K>> + use<K> {
        self.bytes = 0;
        std::mem::take(&mut self.requests).into_values()
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &Request<K>> {
        self.requests.values()
    }
}
