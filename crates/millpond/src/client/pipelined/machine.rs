//! Which exchange goes on which connection, which requests wait, and to which request the next
//! reply belongs. Pure: it knows no sockets and no tasks, and reads no clock. It carries replies,
//! writers and wakers without looking at them; its caller wakes, answers and drops what it gives
//! back, after the lock is released.
//!
//! The states of an exchange:
//!
//! ```text
//!   begin ──▶ waiting ──▶ outgoing ──▶ on the wire ──▶ answered
//!     │                      ▲
//!     └──────────────────────┘  there is room, and nobody waits
//! ```
//!
//! What must hold:
//!
//! 1. Replies are expected in the order in which requests were appended. A reply that comes before
//!    any byte of its request was written belongs to no request.
//! 2. No request overtakes one that waits and could take its place, unless it is more urgent.
//! 3. Outgoing bytes are attended to: a caller is about to write them, or the driver has been told.
//! 4. A pipeline has at most `depth` exchanges in flight, and at most `max_bytes` of them, but for
//!    a longer one that is alone.
//! 5. Requests that wait hold at most `max_waiting_bytes`, except for a single one, or for two
//!    before the peer is known to read frames.
//! 6. Nothing is begun on a connection whose server takes no more requests.
//! 7. Until the peer is known to read frames, nothing follows an unanswered exchange but the one
//!    that was written together with it.
//! 8. Requests of one flow are appended in the order in which they came, and never to a pipeline
//!    while others of the flow are unanswered on another one.

mod binding;
mod carried;
#[cfg(test)]
mod check;
mod deadlines;
mod flows;
mod line;
mod outcomes;
mod pipeline;
mod replies;
#[cfg(test)]
mod tests;
mod together;
mod view;
mod writing;

use std::{collections::VecDeque, task::Waker};

use tokio::time::Instant;

#[cfg(test)]
use self::outcomes::Unanswered;
pub(super) use self::{
    carried::{Carried, FlowId, Id, Limits},
    line::Request,
    outcomes::{
        Answered, Begun, Came, Duties, Entry, GivenUp, LeftOut, Order, Place, Reconsidered,
        Released,
    },
};
use self::{
    flows::Flows,
    line::Line,
    pipeline::{AttendedBy, Pipeline, Trial},
};
#[cfg(test)]
use crate::client::failure::Progress;
use crate::{
    client::deadline::Times,
    pool::{
        Priority,
        unstable::{Recall, Refusal, SlotId},
    },
};

/// See the module.
pub(super) struct Machine<K: Carried> {
    limits: Limits,
    /// The pool's `max_size`.
    max_pipelines: usize,
    /// Why no new callers are taken.
    refusal: Option<Refusal>,
    pipelines: Vec<Option<Pipeline<K>>>,
    serials: u64,
    waiting: Line<K>,
    flows: Flows,
    /// Connections being leased.
    leasing: usize,
    /// The peer has answered two requests that came together: it reads frames.
    proven: bool,
}

impl<K: Carried> Machine<K> {
    pub(super) fn new(limits: Limits, max_pipelines: usize) -> Self {
        Machine {
            limits,
            max_pipelines,
            refusal: None,
            pipelines: Vec::new(),
            serials: 0,
            waiting: Line::new(limits.shedding),
            flows: Flows::default(),
            leasing: 0,
            // Where nothing ever follows an unanswered exchange there is nothing to be proven.
            proven: limits.depth == 1,
        }
    }

    /// A caller brings a request. `alone`: every reply that was delivered has been picked up, so no
    /// other caller is about to bring a request.
    pub(super) fn begin(
        &mut self,
        frame: &[u8],
        times: &Times,
        order: Order,
        alone: bool,
        reply: K::Reply,
        asked: Option<K::Asked>,
    ) -> Entry<K> {
        if let Some(refusal) = self.refusal {
            return Entry::Refused(refusal);
        }
        let Times { began, deadline } = *times;
        let (priority, flow) = match order {
            Order::Any(priority) => (priority, None),
            Order::Of { flow, again } => {
                if again.is_some_and(|again| again != self.flows.of(flow).brought) {
                    return Entry::Overtaken;
                }
                (Priority::NORMAL, Some(flow))
            }
        };
        let bound = flow.and_then(|flow| self.bound(flow));
        let room = match bound {
            Some(id) => Some(id.at).filter(|&at| self.takes_now(at, frame.len())),
            None => self.with_room(frame.len()),
        };
        if let Some(at) = room {
            let leases = match bound {
                Some(_) => 0,
                None => self.lease_to_spread(at),
            };
            let begun = self.append_for_caller(at, frame, deadline, alone, flow, (reply, asked));
            return Entry::Begun { begun, leases };
        }
        // Requests that the leases under way will serve don't count. Nor do the two by which it is
        // found out whether the peer reads frames.
        let soon = self.leasing + usize::from(self.may_lease() || !self.proven);
        let soon = soon.saturating_mul(self.limits.depth);
        if self.waiting.len() >= self.limits.max_waiting.saturating_add(soon) {
            return Entry::Refused(Refusal::Full);
        }
        // The only request that waits may have any length. So may the second of the two by which it
        // is found out whether the peer reads frames.
        let passes = self.waiting.len() < 1 + usize::from(!self.proven);
        let waiting_bytes = self.waiting.bytes();
        if !passes && waiting_bytes.saturating_add(frame.len()) > self.limits.max_waiting_bytes {
            return Entry::FullOfBytes {
                waiting_bytes,
                request: frame.len(),
                max_waiting_bytes: self.limits.max_waiting_bytes,
            };
        }
        let request = Request {
            frame: frame.to_vec(),
            deadline,
            reply,
            asked,
            flow,
            since: began,
        };
        let served_by = bound.map(|id| id.serial);
        let rank = self.waiting.push(priority, served_by, request);
        if let Some(flow) = flow {
            let flow = self.flows.of_mut(flow);
            flow.brought += 1;
            flow.waiting.push_back(rank);
            // Wherever it was, it is free to go elsewhere.
            flow.last = flow.last.filter(|_| bound.is_some());
        }
        let leases = self.lease_more();
        let place = Place { rank, flow };
        Entry::Waits { place, leases }
    }

    fn append_for_caller(
        &mut self,
        at: usize,
        frame: &[u8],
        deadline: Instant,
        alone: bool,
        flow: Option<FlowId>,
        (reply, asked): (K::Reply, Option<K::Asked>),
    ) -> Begun<K> {
        let pipeline = self.pipelines[at].as_mut().expect("it has room");
        let serial = pipeline.serial;
        let begins = pipeline.append(frame, deadline, reply, asked);
        let hurry = !pipeline.looks_by(deadline) && !pipeline.hurry;
        pipeline.hurry |= hurry;
        let mut wake = hurry;
        let mut write = None;
        if pipeline.attended == AttendedBy::Nobody {
            if alone {
                pipeline.attended = AttendedBy::Caller;
                write = Some((Id { at, serial }, pipeline.wire.clone()));
            } else {
                pipeline.attended = AttendedBy::Driver;
                wake = true;
            }
        }
        let wake = wake.then(|| pipeline.driver.clone());
        if let Some(flow) = flow {
            let flow = self.flows.of_mut(flow);
            flow.brought += 1;
            flow.last = Some((Id { at, serial }, begins));
        }
        Begun { write, wake }
    }

    /// A caller who waits has given up. Nothing, if its request is under way already.
    pub(super) fn give_up(&mut self, place: Place) -> Option<GivenUp<K>> {
        let Place { rank, flow } = place;
        let served_by = flow.and_then(|flow| self.flows.of(flow).served_by());
        let request = self.waiting.remove(rank, served_by)?;
        if let Some(flow) = flow {
            self.flows.of_mut(flow).leaves(rank);
        }
        // It may have been too long for the room that there is, and the next isn't.
        let was_first = |pipeline: &&Pipeline<K>| {
            served_by.is_none_or(|serial| serial == pipeline.serial)
                && (self.waiting.first(pipeline.serial)).is_some_and(|(next, _)| rank < next)
        };
        let pipelines = self.pipelines.iter().flatten().filter(was_first);
        Some(GivenUp {
            request,
            wakes: pipelines.map(|pipeline| pipeline.driver.clone()).collect(),
        })
    }

    /// A connection has been leased, and serves those who wait.
    pub(super) fn started(
        &mut self,
        slot: SlotId,
        wire: K::Writer,
        driver: Waker,
        now: Instant,
    ) -> Id {
        self.leasing -= 1;
        let serial = self.serials;
        self.serials += 1;
        let pipeline = Pipeline {
            serial,
            slot,
            wire,
            driver,
            looks_at: Some(now),
            recall: Recall::No,
            retired: false,
            expected: VecDeque::new(),
            silent: 0,
            bytes: 0,
            outgoing: Vec::new(),
            asked: Vec::new(),
            appended: 0,
            handed: 0,
            attended: AttendedBy::Nobody,
            hurry: true,
            used: true,
            trial: None,
        };
        let vacant = self.pipelines.iter().position(Option::is_none);
        let at = vacant.unwrap_or(self.pipelines.len());
        if at == self.pipelines.len() {
            self.pipelines.push(None);
        }
        self.pipelines[at] = Some(pipeline);
        Id { at, serial }
    }

    /// A connection couldn't be leased. If there is no other, and none is on its way, these are the
    /// callers that must be told.
    pub(super) fn lease_failed(&mut self) -> Vec<K::Reply> {
        self.leasing -= 1;
        if self.leasing > 0 || self.live() > 0 {
            return Vec::new();
        }
        self.refuse_waiting()
    }

    /// Serves those who wait, as far as there is room. Those whose time is up are left out, and so
    /// are those who are shed.
    pub(super) fn serve(&mut self, id: Id, now: Instant, left_out: &mut LeftOut<K>) -> Released {
        let (limits, proven) = (self.limits, self.proven);
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return Released::default();
        };
        let serial = pipeline.serial;
        let was_empty = pipeline.expected.is_empty();
        while let Some((_, first)) = self.waiting.first(serial) {
            let is_late = first.deadline <= now;
            // The peer is tried with two that are written together, and that get replies.
            let both_get_replies = match pipeline.expected.front() {
                Some(one) => !one.silent && !first.is_silent(),
                None => true,
            };
            let may_be_tried = was_empty && pipeline.expected.len() < 2 && both_get_replies;
            let may_follow = proven || may_be_tried;
            let fits = may_follow && pipeline.has_room(first.frame.len(), &limits);
            if !is_late && (!fits || pipeline.recall == Recall::Now) {
                break;
            }
            let (rank, request) = self.waiting.pop(serial).expect("it is first");
            if let Some(flow) = request.flow {
                self.flows.of_mut(flow).leaves(rank);
            }
            if is_late {
                left_out.late.push(request);
                continue;
            }
            if self.waiting.sheds(serial, rank, &request, now) {
                left_out.shed.push(request);
                continue;
            }
            pipeline.hurry |= !pipeline.looks_by(request.deadline);
            let Request {
                frame,
                deadline,
                reply,
                asked,
                flow,
                since: _,
            } = request;
            let begins = pipeline.append(&frame, deadline, reply, asked);
            pipeline.attended = AttendedBy::Driver;
            if let Some(flow) = flow {
                let flow = self.flows.of_mut(flow);
                if flow.last.is_none() {
                    let others = flow.waiting.iter();
                    others.for_each(|&rank| self.waiting.bind(rank, serial));
                }
                flow.last = Some((id, begins));
            }
            if !proven && pipeline.expected.len() == 2 {
                pipeline.trial = Some(Trial {
                    held: None,
                    until: None,
                    answered: 0,
                });
            }
        }
        match pipeline.recall {
            Recall::Now => self.release(id),
            Recall::No | Recall::AfterWaiters => Released::default(),
        }
    }

    /// Connections to lease for those who wait, after a pipeline has ended, or when they have
    /// waited for long.
    pub(super) fn lease_for_waiting(&mut self) -> usize {
        let impatient = !self.proven && self.leasing == 0 && self.live() < self.max_pipelines;
        if impatient && self.live() > 0 && self.waiting.common() > 0 {
            // The exchange before them takes its time, and nothing may follow it.
            self.leasing += 1;
            return 1;
        }
        self.lease_more()
    }

    /// The pool's terms have changed: whether callers are taken, how many connections there may be,
    /// and which ones it wants back.
    pub(super) fn reconsider(
        &mut self,
        refusal: Option<Refusal>,
        max_pipelines: usize,
        recall: impl Fn(SlotId) -> Recall,
    ) -> Reconsidered<K> {
        self.refusal = refusal;
        self.max_pipelines = max_pipelines;
        let mut wakes = Vec::new();
        for pipeline in self.pipelines.iter_mut().flatten() {
            let recall = match pipeline.retired {
                true => Recall::Now,
                false => recall(pipeline.slot),
            };
            if std::mem::replace(&mut pipeline.recall, recall) != recall {
                wakes.push(pipeline.driver.clone());
            }
        }
        let refused = match refusal {
            Some(Refusal::Closed | Refusal::RuntimeEnded) => self.refuse_waiting(),
            _ => Vec::new(),
        };
        let leases = self.lease_more();
        Reconsidered {
            refused,
            wakes,
            leases,
        }
    }

    fn live(&self) -> usize {
        self.pipelines.iter().flatten().count()
    }

    /// The first with room, or the least loaded of several upstreams'.
    fn with_room(&self, length: usize) -> Option<usize> {
        let mut takes = (0..self.pipelines.len()).filter(|&at| self.takes_now(at, length));
        match self.limits.spread {
            1 => takes.next(),
            _ => takes.min_by_key(|&at| self.pipelines[at].as_ref().map(Pipeline::in_flight)),
        }
    }

    /// Whether a request that comes now is appended to this pipeline. Not if it would overtake one
    /// that waits.
    fn takes_now(&self, at: usize, length: usize) -> bool {
        let Some(pipeline) = &self.pipelines[at] else {
            return false;
        };
        let room = match self.proven {
            true => pipeline.has_room(length, &self.limits),
            false => pipeline.expected.is_empty(),
        };
        room && pipeline.recall == Recall::No && self.waiting.first(pipeline.serial).is_none()
    }

    /// Whether one more connection may be leased. Before the peer is known to read frames one will
    /// do.
    fn may_lease(&self) -> bool {
        let held = self.live() + self.leasing;
        held < self.max_pipelines && (self.proven || held == 0 || self.all_recalled())
    }

    fn all_recalled(&self) -> bool {
        self.leasing == 0
            && self
                .pipelines
                .iter()
                .flatten()
                .all(|one| one.recall == Recall::Now)
    }

    fn lease_more(&mut self) -> usize {
        let mut more = 0;
        while self.waiting.common() > self.leasing.saturating_mul(self.limits.depth)
            && self.may_lease()
        {
            self.leasing += 1;
            more += 1;
        }
        more
    }

    /// The least loaded pipeline is busy, and there are upstreams without any.
    fn lease_to_spread(&mut self, least_loaded: usize) -> usize {
        let least_loaded = self.pipelines[least_loaded].as_ref();
        let is_busy = least_loaded.is_some_and(|pipeline| pipeline.in_flight() > 0);
        let held = self.live() + self.leasing;
        let more = usize::from(is_busy && held < self.limits.spread && self.may_lease());
        self.leasing += more;
        more
    }

    fn refuse_waiting(&mut self) -> Vec<K::Reply> {
        let refused = self.waiting.take_all().map(|request| {
            if let Some(flow) = request.flow {
                self.flows.of_mut(flow).waiting = VecDeque::new();
            }
            request.reply
        });
        refused.collect()
    }
}

fn live<K: Carried>(pipelines: &[Option<Pipeline<K>>], id: Id) -> Option<&Pipeline<K>> {
    let pipeline = pipelines.get(id.at)?.as_ref()?;
    (pipeline.serial == id.serial).then_some(pipeline)
}

fn of<K: Carried>(pipelines: &mut [Option<Pipeline<K>>], id: Id) -> Option<&mut Pipeline<K>> {
    let pipeline = pipelines.get_mut(id.at)?.as_mut()?;
    (pipeline.serial == id.serial).then_some(pipeline)
}
