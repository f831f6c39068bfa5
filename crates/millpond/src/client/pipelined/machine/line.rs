//! The requests that wait for a place, in order, their bytes, and which of them are shed.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::carried::{Carried, FlowId};
use crate::pool::{Priority, Shedding, unstable::Codel};

/// A caller's place among those who wait: the most urgent first, then the first to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::client::pipelined) struct Rank {
    level: usize,
    arrival: u64,
}

impl Rank {
    const FIRST: Rank = Rank {
        level: 0,
        arrival: 0,
    };
}

/// A request that waits.
pub(in crate::client::pipelined) struct Request<K: Carried> {
    pub(super) frame: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) reply: K::Reply,
    pub(super) asked: Option<K::Asked>,
    pub(super) flow: Option<FlowId>,
    /// When it came.
    pub(super) since: Instant,
}

impl<K: Carried> Request<K> {
    pub(in crate::client::pipelined) fn since(&self) -> Instant {
        self.since
    }

    pub(in crate::client::pipelined) fn into_reply(self) -> K::Reply {
        self.reply
    }

    pub(super) fn is_silent(&self) -> bool {
        self.asked.as_ref().is_some_and(K::is_silent)
    }
}

/// See the module.
pub(super) struct Line<K: Carried> {
    /// Those that any pipeline may serve.
    common: BTreeMap<Rank, Request<K>>,
    /// Those that one pipeline alone may serve, by its serial number.
    bound: BTreeMap<(u64, Rank), Request<K>>,
    /// The sum of all frames in both.
    bytes: usize,
    arrivals: u64,
    /// Of each priority, where requests are shed.
    shedding: Option<Box<[Codel<Instant>; Priority::LEVELS]>>,
}

impl<K: Carried> Line<K> {
    pub(super) fn new(shedding: Option<Shedding>) -> Self {
        Line {
            common: BTreeMap::new(),
            bound: BTreeMap::new(),
            bytes: 0,
            arrivals: 0,
            shedding: shedding.map(|terms| Box::new([Codel::new(terms); Priority::LEVELS])),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.common.len() + self.bound.len()
    }

    /// How many any pipeline may serve.
    pub(super) fn common(&self) -> usize {
        self.common.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first of those that this pipeline may serve.
    pub(super) fn first(&self, serial: u64) -> Option<(Rank, &Request<K>)> {
        let common = self.common.first_key_value();
        let common = common.map(|(&rank, request)| (rank, request));
        if self.bound.is_empty() {
            return common;
        }
        let bound = self.bound_to(serial).next();
        match (common, bound) {
            (Some(common), Some(bound)) if bound.0 < common.0 => Some(bound),
            (common, bound) => common.or(bound),
        }
    }

    /// Those that this pipeline alone may serve.
    pub(super) fn bound_to(&self, serial: u64) -> impl Iterator<Item = (Rank, &Request<K>)> {
        let from = self.bound.range((serial, Rank::FIRST)..);
        let of_it = from.take_while(move |((to, _), _)| *to == serial);
        of_it.map(|(&(_, rank), request)| (rank, request))
    }

    /// Behind those that are as urgent; for this pipeline, or for any.
    pub(super) fn push(
        &mut self,
        priority: Priority,
        served_by: Option<u64>,
        request: Request<K>,
    ) -> Rank {
        let rank = Rank {
            level: priority.level(),
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        self.bytes += request.frame.len();
        if served_by.is_none()
            && self.is_empty_at(rank.level)
            && let Some(lines) = &mut self.shedding
        {
            lines[rank.level].line_begins();
        }
        match served_by {
            Some(serial) => self.bound.insert((serial, rank), request),
            None => self.common.insert(rank, request),
        };
        rank
    }

    /// The first of those that this pipeline may serve.
    pub(super) fn pop(&mut self, serial: u64) -> Option<(Rank, Request<K>)> {
        let (rank, _) = self.first(serial)?;
        let request = self.remove(rank, Some(serial));
        let request = request.or_else(|| self.remove(rank, None));
        request.map(|request| (rank, request))
    }

    /// It was for this pipeline, or for any.
    pub(super) fn remove(&mut self, rank: Rank, served_by: Option<u64>) -> Option<Request<K>> {
        let request = match served_by {
            Some(serial) => self.bound.remove(&(serial, rank)),
            None => self.common.remove(&rank),
        }?;
        self.bytes -= request.frame.len();
        Some(request)
    }

    /// Nobody of this priority waits who may be served by any pipeline.
    fn is_empty_at(&self, level: usize) -> bool {
        let first = Rank { level, arrival: 0 };
        let next = self.common.range(first..).next();
        next.is_none_or(|(next, _)| next.level != level)
    }

    /// Whether this request, which was the first for this pipeline and has just left the line, is
    /// refused for having waited too long. Never the last of its priority that this pipeline may
    /// serve: it would be left idle.
    pub(super) fn sheds(
        &mut self,
        serial: u64,
        rank: Rank,
        request: &Request<K>,
        now: Instant,
    ) -> bool {
        if self.shedding.is_none() {
            return false;
        }
        let next = self.first(serial);
        let is_last = next.is_none_or(|(next, _)| next.level != rank.level);
        (self.shedding.as_mut()).is_some_and(|lines| {
            lines[rank.level].refuses(now.saturating_duration_since(request.since), now, is_last)
        })
    }

    /// From now on this pipeline alone may serve it.
    pub(super) fn bind(&mut self, rank: Rank, serial: u64) {
        if let Some(request) = self.common.remove(&rank) {
            self.bound.insert((serial, rank), request);
        }
    }

    /// From now on any pipeline may serve it.
    pub(super) fn release(&mut self, rank: Rank, serial: u64) {
        if let Some(request) = self.bound.remove(&(serial, rank)) {
            self.common.insert(rank, request);
        }
    }

    /// All of them, in their order. Nobody waits any more.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Request<K>> + use<K> {
        self.bytes = 0;
        let mut all = std::mem::take(&mut self.common);
        let bound = std::mem::take(&mut self.bound).into_iter();
        all.extend(bound.map(|((_, rank), request)| (rank, request)));
        all.into_values()
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (Option<u64>, Rank, &Request<K>)> {
        let common = self.common.iter();
        let common = common.map(|(&rank, request)| (None, rank, request));
        let bound = self.bound.iter();
        common.chain(bound.map(|(&(serial, rank), request)| (Some(serial), rank, request)))
    }
}
