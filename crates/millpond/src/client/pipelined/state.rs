//! Which exchange goes on which connection, who waits, and whose reply comes next. Pure: it knows no sockets and no tasks, asks no
//! clock, and carries replies, wires and wakers without looking at them. Whatever leaves it is woken, told and dropped by its caller, outside
//! the lock.
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
//! 1. Replies are expected in the order in which requests were appended; one that comes before its request was written is nobody's.
//! 2. While somebody waits nobody overtakes him, but for one who is more urgent.
//! 3. What is outgoing is attended to: a caller is about to write it, or the driver has been told.
//! 4. A pipeline has at most `depth` exchanges in flight, and at most `max_bytes` of them, but for a longer one that is alone.
//! 5. Until the peer is known to read frames, nothing follows an unanswered exchange but the one that was written together with it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    task::Waker,
};

use tokio::time::Instant;

use crate::{
    client::session::Progress,
    pool::{Priority, Recall, Refusal, Slot},
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
}

/// A pipeline, also when another has taken its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    at: usize,
    serial: u64,
}

/// A caller's place among those who wait: the most urgent first, then the first to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    level: usize,
    arrival: u64,
}

/// A request that waits.
pub(super) struct Request<K: Kinds> {
    frame: Vec<u8>,
    deadline: Instant,
    reply: K::Reply,
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
    waiting: BTreeMap<Rank, Request<K>>,
    arrivals: u64,
    /// Connections being leased.
    leasing: usize,
    /// The peer has answered two requests that came together: it reads frames.
    proven: bool,
}

struct Pipeline<K: Kinds> {
    serial: u64,
    slot: Slot,
    wire: K::Wire,
    driver: Waker,
    /// When the driver will look by itself.
    looks_at: Instant,
    recall: Recall,
    expected: VecDeque<Expected<K>>,
    /// The requests' bytes that have not been answered.
    bytes: usize,
    /// Appended, and not yet taken to be written.
    outgoing: Vec<u8>,
    /// How long the stream of all that was appended is.
    appended: u64,
    /// How much of it has been taken to be written.
    handed: u64,
    attended: Attended,
    /// The driver has been asked to look at the clock.
    hurry: bool,
    /// Something was begun since the last tick.
    used: bool,
    trial: Option<Trial<K>>,
}

/// Who will write what is outgoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attended {
    /// Nobody: there is nothing.
    Nobody,
    /// A caller, at once.
    Caller,
    Driver,
}

struct Expected<K: Kinds> {
    /// Gone, if the caller has been told otherwise.
    reply: Option<K::Reply>,
    deadline: Option<Instant>,
    begins: u64,
    length: usize,
}

/// Two requests that were written together. The first one's reply is held back until the second's is there: a peer that takes a read for a
/// request answers once, with something that is no reply to either.
struct Trial<K: Kinds> {
    held: Option<(K::Reply, K::Body)>,
    /// Until when the first one's caller can be kept waiting.
    until: Option<Instant>,
    answered: usize,
}

/// What became of a caller who begins.
pub(super) enum Entry<K: Kinds> {
    /// Appended. The caller has to write if it is told to whom, and to wake the driver if it is given.
    Begun {
        write: Option<(Id, K::Wire)>,
        wake: Option<Waker>,
    },
    /// Waits; so many more connections are to be leased.
    Waits { rank: Rank, leases: usize },
    /// Isn't taken.
    Refused(Refusal),
}

/// What a reply was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Somebody's.
    Expected,
    /// Somebody's who hasn't been written as a whole: what follows can't be told.
    Early,
    /// Nobody's.
    Unasked,
}

/// What the driver finds when it looks by itself.
pub(super) struct Overdue<K: Kinds> {
    /// Who must be told that the time is up.
    pub(super) expired: Vec<K::Reply>,
    /// The exchange whose reply is next is among them: the connection has to go.
    pub(super) head: bool,
    /// The earliest deadline that is left.
    pub(super) next: Option<Instant>,
}

/// What a pipeline leaves behind.
pub(super) struct Ended<K: Kinds> {
    /// In the order of the requests.
    pub(super) unanswered: Vec<(K::Reply, Progress)>,
    /// Two requests were written together to a peer that isn't known to read frames, and so many were answered.
    pub(super) trial: Option<usize>,
    /// So many connections are to be leased.
    pub(super) leases: usize,
}

/// A request that isn't sent, to be dropped; and the drivers that may serve those behind it.
pub(super) struct GivenUp<K: Kinds> {
    pub(super) request: Request<K>,
    pub(super) wakes: Vec<Waker>,
}

/// What a change of the pool brings about.
pub(super) struct Reconsidered<K: Kinds> {
    pub(super) refused: Vec<K::Reply>,
    pub(super) wakes: Vec<Waker>,
    pub(super) leases: usize,
}

/// A pipeline at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) slot: Slot,
    pub(super) in_flight: usize,
}

impl<K: Kinds> State<K> {
    pub(super) fn new(limits: Limits, max_pipelines: usize) -> Self {
        State {
            limits,
            max_pipelines,
            refusal: None,
            pipelines: Vec::new(),
            serials: 0,
            waiting: BTreeMap::new(),
            arrivals: 0,
            leasing: 0,
            // Where nothing ever follows an unanswered exchange there is nothing to be proven.
            proven: limits.depth == 1,
        }
    }

    // ---- callers --------------------------------------------------------------------------------------------------

    /// A caller brings a request. `alone`: no caller has a reply that it hasn't picked up, so nobody is about to bring another.
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
        // Those who will be served by what is under way don't count.
        let soon = (self.leasing + usize::from(self.may_lease())).saturating_mul(self.limits.depth);
        if self.waiting.len() >= self.limits.max_waiting.saturating_add(soon) {
            return Entry::Refused(Refusal::Full);
        }
        let rank = Rank {
            level: priority.level(),
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        let request = Request {
            frame: frame.to_vec(),
            deadline,
            reply,
        };
        self.waiting.insert(rank, request);
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
        let hurry = deadline < pipeline.looks_at && !pipeline.hurry;
        pipeline.hurry |= hurry;
        let mut wake = hurry;
        let mut write = None;
        if pipeline.attended == Attended::Nobody {
            if alone {
                pipeline.attended = Attended::Caller;
                let serial = pipeline.serial;
                write = Some((Id { at, serial }, pipeline.wire.clone()));
            } else {
                pipeline.attended = Attended::Driver;
                wake = true;
            }
        }
        let wake = wake.then(|| pipeline.driver.clone());
        Entry::Begun { write, wake }
    }

    /// A caller who waits has given up. Nothing, if its request is under way already.
    pub(super) fn give_up(&mut self, rank: Rank) -> Option<GivenUp<K>> {
        let request = self.waiting.remove(&rank)?;
        // It may have been too long for the room that there is, and the next isn't.
        let was_first = self
            .waiting
            .first_key_value()
            .is_some_and(|(&next, _)| rank < next);
        let pipelines = self.pipelines.iter().flatten().filter(|_| was_first);
        Some(GivenUp {
            request,
            wakes: pipelines.map(|pipeline| pipeline.driver.clone()).collect(),
        })
    }

    // ---- connections ----------------------------------------------------------------------------------------------

    /// A connection has been leased, and serves those who wait.
    pub(super) fn started(&mut self, slot: Slot, wire: K::Wire, driver: Waker, now: Instant) -> Id {
        self.leasing -= 1;
        let serial = self.serials;
        self.serials += 1;
        let pipeline = Pipeline {
            serial,
            slot,
            wire,
            driver,
            looks_at: now,
            recall: Recall::No,
            expected: VecDeque::new(),
            bytes: 0,
            outgoing: Vec::new(),
            appended: 0,
            handed: 0,
            attended: Attended::Nobody,
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

    /// Serves those who wait, as far as there is room. Those whose time is up are left out: they are `late`.
    pub(super) fn serve(&mut self, id: Id, now: Instant, late: &mut Vec<Request<K>>) {
        let (limits, proven) = (self.limits, self.proven);
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return;
        };
        let was_empty = pipeline.expected.is_empty();
        while let Some(first) = self.waiting.first_entry() {
            if first.get().deadline <= now {
                late.push(first.remove());
                continue;
            }
            // The peer is tried with two that are written together.
            let may_follow = proven || (was_empty && pipeline.expected.len() < 2);
            let fits = may_follow && pipeline.has_room(first.get().frame.len(), &limits);
            if !fits || pipeline.recall == Recall::Now {
                break;
            }
            let request = first.remove();
            pipeline.hurry |= request.deadline < pipeline.looks_at;
            pipeline.append(&request.frame, request.deadline, request.reply);
            pipeline.attended = Attended::Driver;
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
        tell: &mut Vec<(K::Reply, K::Body)>,
    ) -> Came {
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return Came::Unasked;
        };
        let written = pipeline.handed - unwritten as u64;
        let expected = match pipeline.expected.front() {
            Some(next) if next.begins < written => pipeline.expected.pop_front(),
            _ => None,
        };
        let Some(expected) = expected else {
            return Came::Unasked;
        };
        pipeline.bytes -= expected.length;
        let ends = expected.begins + expected.length as u64;
        let told = expected.reply.map(|reply| (reply, body));
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

    /// The driver looks by itself: whose time is up. It will look again at `next`, or earlier. A reply whose caller has gone has until
    /// `grace` from when it is next, if it hasn't less.
    pub(super) fn overdue(
        &mut self,
        id: Id,
        now: Instant,
        grace: Instant,
        gone: impl Fn(&K::Reply) -> bool,
    ) -> Overdue<K> {
        let mut overdue = Overdue {
            expired: Vec::new(),
            head: false,
            next: None,
        };
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return overdue;
        };
        pipeline.hurry = false;
        if let Some(until) = pipeline.trial.as_ref().and_then(|trial| trial.until) {
            overdue.head = until <= now;
            overdue.next = Some(until);
        }
        let half_answered = overdue.next.is_some();
        for (position, expected) in pipeline.expected.iter_mut().enumerate() {
            // Who was told while others were before it, or has left: its reply has from when it is next.
            if position == 0 && expected.reply.as_ref().is_some_and(&gone) {
                overdue.expired.extend(expected.reply.take());
                expected.deadline = Some(expected.deadline.map_or(grace, |deadline| deadline.min(grace)));
            }
            if position == 0 && expected.deadline.is_none() {
                expected.deadline = Some(grace);
            }
            match expected.deadline {
                Some(deadline) if deadline <= now => {
                    overdue.head |= position == 0;
                    if position == 0 && half_answered {
                        // The other of a trial: both are told the same, at the pipeline's end.
                        continue;
                    }
                    expected.deadline = None;
                    overdue.expired.extend(expected.reply.take());
                }
                Some(deadline) => {
                    overdue.next = Some(overdue.next.map_or(deadline, |next| next.min(deadline)))
                }
                None => {}
            }
        }
        overdue
    }

    /// When the driver will look by itself: who can't wait that long must wake it.
    pub(super) fn will_look(&mut self, id: Id, at: Instant) {
        if let Some(pipeline) = of(&mut self.pipelines, id) {
            pipeline.looks_at = at;
        }
    }

    /// Whether the pipeline may end, since nothing was begun on it since the last time; then it has.
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

    /// Connections to lease for those who wait, after a pipeline has ended, or when they have waited for long.
    pub(super) fn lease_for_waiting(&mut self) -> usize {
        let impatient = !self.proven && self.leasing == 0 && self.live() < self.max_pipelines;
        if impatient && self.live() > 0 && !self.waiting.is_empty() {
            // The exchange before them takes its time, and nothing may follow it.
            self.leasing += 1;
            return 1;
        }
        self.lease_more()
    }

    /// A pipeline breaks off, while so many bytes lay unwritten. `partial`: a part of the next reply has come.
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
        let written = pipeline.handed - unwritten as u64;
        if let Some(trial) = &mut pipeline.trial {
            // Only two that were written together say anything of how the peer reads.
            let second = pipeline.expected.get(1 - trial.answered);
            let both = second.is_some_and(|second| second.begins < written);
            ended.trial = both.then_some(trial.answered);
            let held = trial.held.take().map(|(reply, _)| (reply, Progress::Answered));
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
            ended
                .unanswered
                .extend(expected.reply.map(|reply| (reply, progress)));
        }
        ended.leases = self.lease_more();
        ended
    }

    /// The pool has been told something: who may come, how many connections there may be, which are wanted back.
    pub(super) fn reconsider(
        &mut self,
        refusal: Option<Refusal>,
        max_pipelines: usize,
        recall: impl Fn(Slot) -> Recall,
    ) -> Reconsidered<K> {
        self.refusal = refusal;
        self.max_pipelines = max_pipelines;
        let mut wakes = Vec::new();
        for pipeline in self.pipelines.iter_mut().flatten() {
            let recall = recall(pipeline.slot);
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

    // ---- writing --------------------------------------------------------------------------------------------------

    /// Swaps what is outgoing for the empty buffer `rest`. Whether there was anything.
    pub(super) fn take(&mut self, id: Id, rest: &mut Vec<u8>) -> bool {
        debug_assert!(rest.is_empty(), "what came before must go before");
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return false;
        };
        pipeline.attended = Attended::Nobody;
        std::mem::swap(&mut pipeline.outgoing, rest);
        pipeline.handed = pipeline.appended;
        !rest.is_empty()
    }

    /// A caller who was to write can't. The driver, who has to be woken.
    pub(super) fn leave_to_driver(&mut self, id: Id) -> Option<Waker> {
        let pipeline = of(&mut self.pipelines, id)?;
        if pipeline.attended == Attended::Caller {
            pipeline.attended = Attended::Driver;
        }
        Some(pipeline.driver.clone())
    }

    /// What the driver has been told.
    pub(super) fn told(&mut self, id: Id) -> Told {
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return Told::default();
        };
        Told {
            serve: !self.waiting.is_empty() && pipeline.recall != Recall::Now,
            write: pipeline.attended == Attended::Driver,
            look: pipeline.hurry,
        }
    }

    /// The driver sends a heartbeat, unless something is on its way out anyhow.
    pub(super) fn beat(&mut self, id: Id, heartbeat: &[u8]) -> bool {
        let Some(pipeline) = of(&mut self.pipelines, id) else {
            return false;
        };
        let sends = pipeline.outgoing.is_empty();
        if sends {
            pipeline.outgoing.extend_from_slice(heartbeat);
            pipeline.appended += heartbeat.len() as u64;
            pipeline.attended = Attended::Driver;
        }
        sends
    }

    // ---- what can be read -----------------------------------------------------------------------------------------

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn leasing(&self) -> usize {
        self.leasing
    }

    pub(super) fn max_waiting(&self) -> usize {
        self.limits.max_waiting
    }

    pub(super) fn loads(&self) -> Vec<Load> {
        let pipelines = self.pipelines.iter().flatten();
        let loads = pipelines.map(|pipeline| Load {
            slot: pipeline.slot,
            in_flight: pipeline.expected.len(),
        });
        loads.collect()
    }

    // ---- below ----------------------------------------------------------------------------------------------------

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

    /// Whether one more connection may be leased. Before the peer is known to read frames one will do.
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
        while self.waiting.len() > self.leasing.saturating_mul(self.limits.depth) && self.may_lease() {
            self.leasing += 1;
            more += 1;
        }
        more
    }

    fn refuse_waiting(&mut self) -> Vec<K::Reply> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().map(|request| request.reply).collect()
    }
}

/// What a driver has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Somebody waits.
    pub(super) serve: bool,
    /// Something is outgoing.
    pub(super) write: bool,
    /// Somebody's time is up before it would have looked.
    pub(super) look: bool,
}

impl<K: Kinds> Pipeline<K> {
    fn has_room(&self, length: usize, limits: &Limits) -> bool {
        self.expected.is_empty()
            || (self.expected.len() < limits.depth && self.bytes + length <= limits.max_bytes)
    }

    fn append(&mut self, frame: &[u8], deadline: Instant, reply: K::Reply) {
        self.outgoing.extend_from_slice(frame);
        self.expected.push_back(Expected {
            reply: Some(reply),
            deadline: Some(deadline),
            begins: self.appended,
            length: frame.len(),
        });
        self.appended += frame.len() as u64;
        self.bytes += frame.len();
        self.used = true;
    }
}

fn of<K: Kinds>(pipelines: &mut [Option<Pipeline<K>>], id: Id) -> Option<&mut Pipeline<K>> {
    let pipeline = pipelines.get_mut(id.at)?.as_mut()?;
    (pipeline.serial == id.serial).then_some(pipeline)
}

impl<K: Kinds> fmt::Debug for State<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("pipelines", &self.live())
            .field("waiting", &self.waiting.len())
            .field("leasing", &self.leasing)
            .finish_non_exhaustive()
    }
}
