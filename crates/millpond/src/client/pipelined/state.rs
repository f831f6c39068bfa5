//! Which exchange goes on which connection, who waits, and whose reply comes next. Pure: it knows
//! no sockets and no tasks, asks no clock, and carries replies, wires and wakers without looking at
//! them. Whatever leaves it is woken, told and dropped by its caller, outside the lock.
//!
//! An exchange's way:
//!
//! ```text
//!   begin ──▶ waiting ──▶ outgoing ──▶ on the wire ──▶ answered
//!     │                      ▲
//!     └──────────────────────┘  there is room, and nobody waits
//! ```
//!
//! What must hold:
//!
//! 1. Replies are expected in the order in which requests were appended; one that comes before its
//!    request was written is nobody's.
//! 2. While somebody waits nobody overtakes him, but for one who is more urgent.
//! 3. What is outgoing is attended to: a caller is about to write it, or the driver has been told.
//! 4. A pipeline has at most `depth` exchanges in flight, and at most `max_bytes` of them, but for
//!    a longer one that is alone.
//! 5. Those who wait hold at most `max_waiting_bytes`, but for one that found nobody waiting, or
//!    two before the peer is known to read frames.
//! 6. Nothing is begun on a connection whose server takes no more requests.
//! 7. Until the peer is known to read frames, nothing follows an unanswered exchange but the one
//!    that was written together with it.

#[cfg(test)]
mod check;
mod deadlines;
mod line;
mod outcomes;
mod pipeline;
#[cfg(test)]
mod tests;
mod view;
mod writing;

use std::{collections::VecDeque, task::Waker};

use tokio::time::Instant;

use self::{
    line::Line,
    pipeline::{AttendedBy, Pipeline, Trial},
};
pub(super) use self::{
    line::{Rank, Request},
    outcomes::{Answered, Came, Ended, Entry, GivenUp, Reconsidered, Told, Unanswered},
};
use crate::{
    client::failure::Progress,
    pool::{
        Priority,
        unstable::{Recall, Refusal, SlotId},
    },
};

/// What the machine carries.
pub(super) trait Kinds {
    /// By which a caller is told.
    type Reply;
    /// What he is told.
    type Body;
    /// What a pipeline is written to.
    type Wire: Clone;
}

/// The settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) depth: usize,
    pub(super) max_bytes: usize,
    pub(super) max_waiting: usize,
    pub(super) max_waiting_bytes: usize,
}

/// A pipeline, also when another has taken its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    at: usize,
    serial: u64,
}

/// See the module.
pub(super) struct State<K: Kinds> {
    limits: Limits,
    /// The pool's `max_size`.
    max_pipelines: usize,
    /// Why no new callers are taken.
    refusal: Option<Refusal>,
    pipelines: Vec<Option<Pipeline<K>>>,
    serials: u64,
    waiting: Line<K>,
    /// Connections being leased.
    leasing: usize,
    /// The peer has answered two requests that came together: it reads frames.
    proven: bool,
}

impl<K: Kinds> State<K> {
    pub(super) fn new(limits: Limits, max_pipelines: usize) -> Self {
        State {
            limits,
            max_pipelines,
            refusal: None,
            pipelines: Vec::new(),
            serials: 0,
            waiting: Line::new(),
            leasing: 0,
            // Where nothing ever follows an unanswered exchange there is nothing to be proven.
            proven: limits.depth == 1,
        }
    }

    // ---- callers
    // --------------------------------------------------------------------------------------------------

    /// A caller brings a request. `alone`: no caller has a reply that it hasn't picked up, so
    /// nobody is about to bring another.
    pub(super) fn begin(
        &mut self,
        frame: &[u8],
        deadline: Instant,
        priority: Priority,
        alone: bool,
        reply: K::Reply,
    ) -> Entry<K> {
        if let Some(refusal) = self.refusal {
            return Entry::Refused(refusal);
        }
        if self.waiting.is_empty()
            && let Some(at) = self.with_room(frame.len())
        {
            return self.append_for_caller(at, frame, deadline, alone, reply);
        }
        // Those who will be served by what is under way don't count; nor do those with whom the
        // peer can be tried.
        let soon = self.leasing + usize::from(self.may_lease() || !self.proven);
        let soon = soon.saturating_mul(self.limits.depth);
        if self.waiting.len() >= self.limits.max_waiting.saturating_add(soon) {
            return Entry::Refused(Refusal::Full);
        }
        // One that finds nobody may be as long as it likes; so may the second of two with whom the
        // peer can be tried.
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
        };
        let rank = self.waiting.push(priority, request);
        let leases = self.lease_more();
        Entry::Waits { rank, leases }
    }

    fn append_for_caller(
        &mut self,
        at: usize,
        frame: &[u8],
        deadline: Instant,
        alone: bool,
        reply: K::Reply,
    ) -> Entry<K> {
        let pipeline = self.pipelines[at].as_mut().expect("it has room");
        pipeline.append(frame, deadline, reply);
        let hurry = !pipeline.looks_by(deadline) && !pipeline.hurry;
        pipeline.hurry |= hurry;
        let mut wake = hurry;
        let mut write = None;
        if pipeline.attended == AttendedBy::Nobody {
            if alone {
                pipeline.attended = AttendedBy::Caller;
                let serial = pipeline.serial;
                write = Some((Id { at, serial }, pipeline.wire.clone()));
            } else {
                pipeline.attended = AttendedBy::Driver;
                wake = true;
            }
        }
        let wake = wake.then(|| pipeline.driver.clone());
        Entry::Begun { write, wake }
    }

    /// A caller who waits has given up. Nothing, if its request is under way already.
    pub(super) fn give_up(&mut self, rank: Rank) -> Option<GivenUp<K>> {
        let request = self.waiting.remove(rank)?;
        // It may have been too long for the room that there is, and the next isn't.
        let was_first = self.waiting.first().is_some_and(|(next, _)| rank < next);
        let pipelines = self.pipelines.iter().flatten().filter(|_| was_first);
        Some(GivenUp {
            request,
            wakes: pipelines.map(|pipeline| pipeline.driver.clone()).collect(),
        })
    }

    // ---- connections
    // ----------------------------------------------------------------------------------------------

    /// A connection has been leased, and serves those who wait.
    pub(super) fn started(
        &mut self,
        slot: SlotId,
        wire: K::Wire,
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
            bytes: 0,
            outgoing: Vec::new(),
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

    /// A connection couldn't be leased. With none left, and none to come, this is who must be told.
    pub(super) fn lease_failed(&mut self) -> Vec<K::Reply> {
        self.leasing -= 1;
        if self.leasing > 0 || self.live() > 0 {
            return Vec::new();
        }
        self.refuse_waiting()
    }

    /// Serves those who wait, as far as there is room. Those whose time is up are left out: they
    /// are `late`.
    pub(super) fn serve(&mut self, id: Id, now: Instant, late: &mut Vec<Request<K>>) {
        let (limits, proven) = (self.limits, self.proven);
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return;
        };
        let was_empty = pipeline.expected.is_empty();
        while let Some((_, first)) = self.waiting.first() {
            if first.deadline <= now {
                late.extend(self.waiting.pop());
                continue;
            }
            // The peer is tried with two that are written together.
            let may_follow = proven || (was_empty && pipeline.expected.len() < 2);
            let fits = may_follow && pipeline.has_room(first.frame.len(), &limits);
            if !fits || pipeline.recall == Recall::Now {
                break;
            }
            let request = self.waiting.pop().expect("it is first");
            pipeline.hurry |= !pipeline.looks_by(request.deadline);
            pipeline.append(&request.frame, request.deadline, request.reply);
            pipeline.attended = AttendedBy::Driver;
            if !proven && pipeline.expected.len() == 2 {
                pipeline.trial = Some(Trial {
                    held: None,
                    until: None,
                    answered: 0,
                });
            }
        }
    }

    /// A reply has come, while so many bytes lay unwritten. `tell` is given what can be told now.
    pub(super) fn came(
        &mut self,
        id: Id,
        body: K::Body,
        unwritten: usize,
        tell: &mut Vec<Answered<K>>,
    ) -> Came {
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return Came::Unasked;
        };
        if !pipeline.owes(unwritten) {
            return Came::Unasked;
        }
        let written = pipeline.written(unwritten);
        let expected = pipeline.expected.pop_front().expect("its reply is owed");
        pipeline.bytes -= expected.length;
        // Whoever is told has a tick to say that the server takes no more.
        pipeline.used = true;
        let ends = expected.begins + expected.length as u64;
        let told = expected.reply.map(|reply| Answered { reply, body });
        match &mut pipeline.trial {
            Some(trial) if trial.answered == 0 => {
                trial.answered = 1;
                trial.until = expected.deadline;
                trial.held = told;
            }
            Some(trial) => {
                tell.extend(trial.held.take());
                tell.extend(told);
                pipeline.trial = None;
                self.proven = true;
            }
            None => tell.extend(told),
        }
        match ends <= written {
            true => Came::Expected,
            false => Came::Early,
        }
    }

    /// Whether a reply may come, while so many bytes that were taken lie unwritten.
    pub(super) fn owes(&mut self, id: Id, unwritten: usize) -> bool {
        of(&mut self.pipelines, id).is_some_and(|pipeline| pipeline.owes(unwritten))
    }

    /// Whether the pipeline may end, since nothing was begun on it nor answered since the last
    /// time; then it has.
    pub(super) fn end_if_quiet(&mut self, id: Id) -> bool {
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return false;
        };
        let idle = pipeline.expected.is_empty() && pipeline.outgoing.is_empty();
        let wanted_back = match pipeline.recall {
            Recall::Now => true,
            Recall::AfterWaiters => self.waiting.is_empty(),
            Recall::No => false,
        };
        let quiet = idle && (wanted_back || !pipeline.used);
        pipeline.used = false;
        if quiet {
            self.pipelines[id.at] = None;
        }
        quiet
    }

    /// The server takes no more requests on this connection: nothing more is begun on it, and it
    /// ends when all that is in flight has been answered. The driver, who has to be woken.
    pub(super) fn retire(&mut self, id: Id) -> Option<Waker> {
        let pipeline = of(&mut self.pipelines, id)?;
        pipeline.retired = true;
        let is_news = std::mem::replace(&mut pipeline.recall, Recall::Now) != Recall::Now;
        is_news.then(|| pipeline.driver.clone())
    }

    pub(super) fn is_retired(&mut self, id: Id) -> bool {
        of(&mut self.pipelines, id).is_some_and(|pipeline| pipeline.retired)
    }

    /// Connections to lease for those who wait, after a pipeline has ended, or when they have
    /// waited for long.
    pub(super) fn lease_for_waiting(&mut self) -> usize {
        let impatient = !self.proven && self.leasing == 0 && self.live() < self.max_pipelines;
        if impatient && self.live() > 0 && !self.waiting.is_empty() {
            // The exchange before them takes its time, and nothing may follow it.
            self.leasing += 1;
            return 1;
        }
        self.lease_more()
    }

    /// A pipeline breaks off, while so many bytes lay unwritten. `partial`: a part of the next
    /// reply has come.
    pub(super) fn end(&mut self, id: Id, unwritten: usize, partial: bool) -> Ended<K> {
        let mut ended = Ended {
            unanswered: Vec::new(),
            trial: None,
            leases: 0,
        };
        if of(&mut self.pipelines, id).is_none() {
            return ended;
        }
        let mut pipeline = self.pipelines[id.at].take().expect("just seen");
        let written = pipeline.written(unwritten);
        if let Some(trial) = &mut pipeline.trial {
            // Only two that were written together say anything of how the peer reads.
            let second = pipeline.expected.get(1 - trial.answered);
            let both = second.is_some_and(|second| second.begins < written);
            ended.trial = both.then_some(trial.answered);
            let held = trial.held.take().map(|held| Unanswered {
                reply: held.reply,
                progress: Progress::Answered,
            });
            ended.unanswered.extend(held);
        }
        let mut next = true;
        for expected in pipeline.expected.drain(..) {
            let progress = match expected.begins < written {
                false => Progress::Unsent,
                true if partial && next => Progress::Answered,
                true => Progress::Unanswered,
            };
            next = false;
            let unanswered = expected.reply.map(|reply| Unanswered { reply, progress });
            ended.unanswered.extend(unanswered);
        }
        ended.leases = self.lease_more();
        ended
    }

    /// The pool has been told something: who may come, how many connections there may be, which are
    /// wanted back.
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

    // ---- below
    // ----------------------------------------------------------------------------------------------------

    fn live(&self) -> usize {
        self.pipelines.iter().flatten().count()
    }

    /// The first with room: the later ones fall quiet, and are given back.
    fn with_room(&self, length: usize) -> Option<usize> {
        self.pipelines.iter().position(|pipeline| {
            pipeline.as_ref().is_some_and(|pipeline| {
                let room = match self.proven {
                    true => pipeline.has_room(length, &self.limits),
                    false => pipeline.expected.is_empty(),
                };
                room && pipeline.recall == Recall::No
            })
        })
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
        while self.waiting.len() > self.leasing.saturating_mul(self.limits.depth)
            && self.may_lease()
        {
            self.leasing += 1;
            more += 1;
        }
        more
    }

    fn refuse_waiting(&mut self) -> Vec<K::Reply> {
        self.waiting
            .take_all()
            .map(|request| request.reply)
            .collect()
    }
}

fn of<K: Kinds>(pipelines: &mut [Option<Pipeline<K>>], id: Id) -> Option<&mut Pipeline<K>> {
    let pipeline = pipelines.get_mut(id.at)?.as_mut()?;
    (pipeline.serial == id.serial).then_some(pipeline)
}
