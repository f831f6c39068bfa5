//! The machine once more, slow and obvious: what the fast one is compared with.
//!
//! Written from the rules and not from the machine. A pipeline is the stream of its bytes, each
//! with the name of its request; there are no offsets, no counters and no queues, and every
//! question is answered by looking at all exchanges and all bytes.

use super::{Came, Limits, Priority, Progress, Recall, Refusal};

/// Names a caller, its request and its reply.
pub(super) type Caller = u32;

/// Names a pipeline.
pub(super) type Serial = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Waiting,
    On(Serial),
    Over,
}

#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) caller: Caller,
    level: u8,
    /// When it came, in milliseconds.
    since: u64,
    /// Whose order is kept.
    pub(super) flow: Option<u32>,
    /// While it waits: the only pipeline that may serve it.
    pub(super) served_by: Option<Serial>,
    pub(super) length: usize,
    /// It gets no reply.
    pub(super) silent: bool,
    /// In milliseconds. Nothing: told, and its reply isn't next yet.
    pub(super) deadline: Option<u64>,
    pub(super) at: At,
    /// Its caller has been told, whatever it was.
    pub(super) told: bool,
}

/// Who writes what is outgoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    Nobody,
    Caller,
    Driver,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) serial: Serial,
    /// All that was appended; a heartbeat's bytes are nobody's.
    pub(super) stream: Vec<Option<Caller>>,
    pub(super) taken: usize,
    pub(super) writer: Writer,
    pub(super) recall: Recall,
    /// Its server takes no more.
    pub(super) retired: bool,
    used: bool,
    /// When the driver looks; nothing while it decides.
    pub(super) looks_at: Option<u64>,
    pub(super) hurried: bool,
    /// The two that were written together, and the first one's reply.
    pub(super) trial: Option<(Caller, Caller)>,
    pub(super) held: Option<u32>,
    held_until: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) limits: Limits,
    pub(super) max_pipelines: usize,
    pub(super) refusal: Option<Refusal>,
    pub(super) proven: bool,
    pub(super) leasing: usize,
    /// By their places; a new one takes the first that is vacant.
    pub(super) pipes: Vec<Option<Pipe>>,
    /// In the order in which they came.
    pub(super) exchanges: Vec<Exchange>,
    /// By priority: when each came up, since nobody waited, and whether that was late.
    turns: [Vec<(u64, bool)>; Priority::LEVELS],
}

/// What becomes of a caller who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Begun {
        on: Serial,
        write: bool,
        wake: bool,
        leases: usize,
    },
    Waits {
        leases: usize,
    },
    Overtaken,
    Refused(Refusal),
    FullOfBytes {
        waiting_bytes: usize,
        request: usize,
    },
}

/// What becomes of those who come together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Together {
    pub(super) count: usize,
    pub(super) on: Option<Serial>,
    pub(super) wake: bool,
    pub(super) leases: usize,
}

/// As urgent as all flows are.
pub(super) const NORMAL: u8 = 4;

/// Who is told of an end, and how far each had come; how many of a trial were answered; whose drivers
/// are woken, and how many are leased.
pub(super) type Ended = (Vec<(Caller, Progress)>, Option<usize>, (Vec<Serial>, usize));

impl Model {
    pub(super) fn new(limits: Limits, max_pipelines: usize) -> Self {
        Model {
            limits,
            max_pipelines,
            refusal: None,
            // With nothing in flight but one there is nothing to know.
            proven: limits.depth == 1,
            leasing: 0,
            pipes: Vec::new(),
            exchanges: Vec::new(),
            turns: Default::default(),
        }
    }

    // ---- questions
    // ------------------------------------------------------------------------------------------------

    pub(super) fn pipe(&self, serial: Serial) -> &Pipe {
        let mut pipes = self.pipes.iter().flatten();
        pipes.find(|pipe| pipe.serial == serial).expect("it lives")
    }

    pub(super) fn pipe_mut(&mut self, serial: Serial) -> &mut Pipe {
        let mut pipes = self.pipes.iter_mut().flatten();
        pipes.find(|pipe| pipe.serial == serial).expect("it lives")
    }

    pub(super) fn exchange(&mut self, caller: Caller) -> &mut Exchange {
        let mut exchanges = self.exchanges.iter_mut();
        exchanges.find(|one| one.caller == caller).expect("it came")
    }

    fn is_silent(&self, caller: Caller) -> bool {
        let mut exchanges = self.exchanges.iter();
        exchanges.any(|one| one.caller == caller && one.silent)
    }

    fn live(&self) -> usize {
        self.pipes.iter().flatten().count()
    }

    pub(super) fn waiting(&self) -> usize {
        self.exchanges
            .iter()
            .filter(|one| one.at == At::Waiting)
            .count()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        let waiting = self.exchanges.iter().filter(|one| one.at == At::Waiting);
        waiting.map(|one| one.length).sum()
    }

    /// How many any pipeline may serve.
    fn waiting_for_any(&self) -> usize {
        let waiting = self.exchanges.iter().filter(|one| one.at == At::Waiting);
        waiting.filter(|one| one.served_by.is_none()).count()
    }

    /// The most urgent, then the first to come.
    fn first_of_all(&self) -> Option<&Exchange> {
        let waiting = self.exchanges.iter().filter(|one| one.at == At::Waiting);
        waiting.min_by_key(|one| one.level)
    }

    /// The same, of those that this pipeline may serve.
    pub(super) fn first_in_line(&self, serial: Serial) -> Option<&Exchange> {
        let waiting = self.exchanges.iter().filter(|one| one.at == At::Waiting);
        let served = waiting.filter(|one| one.served_by.is_none_or(|only| only == serial));
        served.min_by_key(|one| one.level)
    }

    /// The requests that a flow has brought and that were taken.
    pub(super) fn of_flow(&self, flow: u32) -> impl Iterator<Item = &Exchange> {
        let exchanges = self.exchanges.iter();
        exchanges.filter(move |one| one.flow == Some(flow))
    }

    /// The pipeline on which the flow has unanswered requests.
    fn is_on(&self, flow: u32) -> Option<Serial> {
        self.of_flow(flow).find_map(|one| match one.at {
            At::On(serial) => Some(serial),
            At::Waiting | At::Over => None,
        })
    }

    /// Where the next request of a flow has to go.
    pub(super) fn bound(&self, flow: u32) -> Option<Serial> {
        let mut waiting = self.of_flow(flow).filter(|one| one.at == At::Waiting);
        let behind = waiting.find_map(|one| one.served_by);
        self.is_on(flow).or(behind)
    }

    /// The unanswered, in the order of their bytes.
    pub(super) fn in_flight(&self, serial: Serial) -> Vec<&Exchange> {
        let mut unanswered: Vec<&Exchange> = Vec::new();
        for bytes in self.pipe(serial).stream.chunk_by(|one, next| one == next) {
            let mut exchanges = self.exchanges.iter().rev();
            let exchange = exchanges.find(|one| bytes[0] == Some(one.caller));
            unanswered.extend(exchange.filter(|one| one.at == At::On(serial)));
        }
        unanswered
    }

    /// How many of its bytes the socket has.
    fn written(&self, serial: Serial, unwritten: usize, caller: Caller) -> usize {
        let pipe = self.pipe(serial);
        let sent = &pipe.stream[..pipe.taken - unwritten];
        sent.iter().filter(|byte| **byte == Some(caller)).count()
    }

    /// By count and bytes alone.
    pub(super) fn fits(&self, serial: Serial, length: usize) -> bool {
        let in_flight = self.in_flight(serial);
        let bytes: usize = in_flight.iter().map(|one| one.length).sum();
        in_flight.is_empty()
            || in_flight.len() < self.limits.depth && bytes + length <= self.limits.max_bytes
    }

    /// Where a caller goes who comes while nobody waits for it; a flow that is bound only there.
    fn with_room(&self, length: usize, bound: Option<Serial>) -> Option<Serial> {
        let pipes = self.pipes.iter().flatten();
        let pipes = pipes.filter(|pipe| bound.is_none_or(|bound| bound == pipe.serial));
        let mut pipes = pipes.filter(|pipe| {
            let alone = self.in_flight(pipe.serial).is_empty();
            let is_next = self.first_in_line(pipe.serial).is_none();
            let room = self.fits(pipe.serial, length) && (self.proven || alone);
            pipe.recall == Recall::No && room && is_next
        });
        let pipe = match self.limits.spread {
            1 => pipes.next(),
            _ => pipes.min_by_key(|pipe| self.in_flight(pipe.serial).len()),
        };
        pipe.map(|pipe| pipe.serial)
    }

    /// Those of idle flows that wait for this pipeline may take any, for it takes no more.
    pub(super) fn release(&mut self, serial: Serial) -> (Vec<Serial>, usize) {
        let released: Vec<Caller> = self
            .exchanges
            .iter()
            .filter(|one| one.at == At::Waiting && one.served_by == Some(serial))
            .filter(|one| self.is_on(one.flow.expect("bound by it")).is_none())
            .map(|one| one.caller)
            .collect();
        for &caller in &released {
            self.exchange(caller).served_by = None;
        }
        match released.is_empty() {
            true => (Vec::new(), 0),
            false => {
                let woken = self.pipes.iter().flatten().map(|pipe| pipe.serial);
                (woken.collect(), self.lease())
            }
        }
    }

    pub(super) fn may_lease(&self) -> bool {
        let all_go = self
            .pipes
            .iter()
            .flatten()
            .all(|pipe| pipe.recall == Recall::Now);
        let first_try = self.leasing == 0 && all_go;
        self.live() + self.leasing < self.max_pipelines && (self.proven || first_try)
    }

    // ---- events
    // ---------------------------------------------------------------------------------------------------

    pub(super) fn begin(
        &mut self,
        caller: Caller,
        (length, silent): (usize, bool),
        (level, flow): (u8, Option<(u32, Option<u64>)>),
        (now, deadline): (u64, u64),
        alone: bool,
    ) -> Fate {
        if let Some(refusal) = self.refusal {
            return Fate::Refused(refusal);
        }
        let mut bound = None;
        if let Some((flow, again)) = flow {
            let brought = self.of_flow(flow).count() as u64;
            if again.is_some_and(|again| again < brought) {
                return Fate::Overtaken;
            }
            bound = self.bound(flow);
        }
        let room = self.with_room(length, bound);
        if room.is_none() {
            // One more, or the untried peer's own pipeline.
            let soon = self.leasing + usize::from(self.may_lease() || !self.proven);
            if self.waiting() >= self.limits.max_waiting + soon * self.limits.depth {
                return Fate::Refused(Refusal::Full);
            }
            let waiting_bytes = self.waiting_bytes();
            let alone = self.waiting() == 0;
            let tried_together = self.waiting() == 1 && !self.proven;
            let fits = waiting_bytes + length <= self.limits.max_waiting_bytes;
            if !(fits || alone || tried_together) {
                return Fate::FullOfBytes {
                    waiting_bytes,
                    request: length,
                };
            }
        }
        if self.waiting_for_any_at(level) == 0 && room.is_none() && bound.is_none() {
            self.turns[usize::from(level)].clear();
        }
        self.exchanges.push(Exchange {
            caller,
            level,
            since: now,
            flow: flow.map(|(flow, _)| flow),
            served_by: bound.filter(|_| room.is_none()),
            length,
            silent,
            deadline: Some(deadline),
            at: At::Waiting,
            told: false,
        });
        let Some(on) = room else {
            return Fate::Waits {
                leases: self.lease(),
            };
        };
        // All are busy, and there may be one more for each upstream.
        let is_busy = !self.in_flight(on).is_empty();
        let one_more = self.live() + self.leasing < self.limits.spread && self.may_lease();
        let leases = usize::from(bound.is_none() && is_busy && one_more);
        self.leasing += leases;
        self.append(on, caller);
        let pipe = self.pipe_mut(on);
        let hurries = !pipe.hurried && pipe.looks_at.is_none_or(|at| deadline < at);
        pipe.hurried |= hurries;
        let writes = pipe.writer == Writer::Nobody;
        if writes {
            pipe.writer = if alone {
                Writer::Caller
            } else {
                Writer::Driver
            };
        }
        Fate::Begun {
            on,
            write: writes && alone,
            wake: hurries || writes && !alone,
            leases,
        }
    }

    /// Several of a flow come together: each is begun as if it came behind the one before, if
    /// there is room for it at once, to a peer that is known to read frames. None comes behind one
    /// that isn't.
    pub(super) fn begin_together(
        &mut self,
        members: &[(Caller, usize)],
        flow: u32,
        times: (u64, u64),
    ) -> Together {
        let mut together = Together::default();
        for &(caller, length) in members {
            let has_room = self.with_room(length, self.bound(flow)).is_some();
            if !has_room || !self.proven || self.refusal.is_some() {
                break;
            }
            let request = (length, false);
            let order = (NORMAL, Some((flow, None)));
            match self.begin(caller, request, order, times, false) {
                Fate::Begun {
                    on, wake, leases, ..
                } => {
                    together.on = Some(on);
                    together.wake |= wake;
                    together.leases += leases;
                    together.count += 1;
                }
                other => panic!("there is room, and it is {other:?}"),
            }
        }
        together
    }

    fn append(&mut self, serial: Serial, caller: Caller) {
        let exchange = self.exchange(caller);
        exchange.at = At::On(serial);
        let (length, flow) = (exchange.length, exchange.flow);
        for other in &mut self.exchanges {
            if flow.is_some() && other.flow == flow && other.at == At::Waiting {
                other.served_by = Some(serial);
            }
        }
        let pipe = self.pipe_mut(serial);
        pipe.stream
            .extend(std::iter::repeat_n(Some(caller), length));
        pipe.used = true;
    }

    fn lease(&mut self) -> usize {
        let mut more = 0;
        while self.may_lease() && self.waiting_for_any() > self.leasing * self.limits.depth {
            self.leasing += 1;
            more += 1;
        }
        more
    }

    pub(super) fn started(&mut self, serial: Serial, now: u64) {
        self.leasing -= 1;
        let pipe = Pipe {
            serial,
            stream: Vec::new(),
            taken: 0,
            writer: Writer::Nobody,
            recall: Recall::No,
            retired: false,
            used: true,
            looks_at: Some(now),
            hurried: true,
            trial: None,
            held: None,
            held_until: None,
        };
        match self.pipes.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(pipe),
            None => self.pipes.push(Some(pipe)),
        }
    }

    pub(super) fn lease_failed(&mut self) -> Vec<Caller> {
        self.leasing -= 1;
        match self.leasing + self.live() {
            0 => self.nobody_waits(),
            _ => Vec::new(),
        }
    }

    fn nobody_waits(&mut self) -> Vec<Caller> {
        let mut gone = Vec::new();
        while let Some(first) = self.first_of_all() {
            let caller = first.caller;
            self.exchange(caller).at = At::Over;
            gone.push(caller);
        }
        gone
    }

    fn waiting_at(&self, level: u8) -> impl Iterator<Item = &Exchange> {
        let waiting = self.exchanges.iter().filter(|one| one.at == At::Waiting);
        waiting.filter(move |one| one.level == level)
    }

    fn waiting_for_any_at(&self, level: u8) -> usize {
        let waiting = self.waiting_at(level);
        waiting.filter(|one| one.served_by.is_none()).count()
    }

    /// Late itself, not the last of its priority that this pipeline may serve, and at some time since
    /// nobody of that waited for any pipeline all who came up were late for an interval.
    fn has_waited_too_long(&mut self, serial: Serial, caller: Caller, now: u64) -> bool {
        let Some(terms) = self.limits.shedding else {
            return false;
        };
        let exchange = self.exchange(caller);
        let (since, level) = (exchange.since, exchange.level);
        let is_late = u128::from(now - since) > terms.target.as_millis();
        let turns = &mut self.turns[usize::from(level)];
        turns.push((now, is_late));
        let stood = (0..turns.len()).any(|from| {
            let mut late = turns[from..].iter().take_while(|turn| turn.1);
            late.any(|turn| u128::from(turn.0 - turns[from].0) >= terms.interval.as_millis())
        });
        let may_be_served = |one: &&Exchange| one.served_by.is_none_or(|by| by == serial);
        stood && is_late && self.waiting_at(level).filter(may_be_served).count() > 1
    }

    /// Who is left out: for its time is up, or it is shed.
    pub(super) fn serve(&mut self, serial: Serial, now: u64) -> (Vec<Caller>, Vec<Caller>) {
        let (mut late, mut shed) = (Vec::new(), Vec::new());
        let was_empty = self.in_flight(serial).is_empty();
        while let Some(first) = self.first_in_line(serial) {
            let (caller, length, silent) = (first.caller, first.length, first.silent);
            if first.deadline.is_some_and(|deadline| deadline <= now) {
                self.exchange(caller).at = At::Over;
                late.push(caller);
                continue;
            }
            let before: Vec<Caller> = self
                .in_flight(serial)
                .iter()
                .map(|one| one.caller)
                .collect();
            // Two that are tried together both get replies.
            let tells = before.is_empty() || !(silent || self.exchange(before[0]).silent);
            let tried = self.proven || was_empty && before.len() < 2 && tells;
            if !tried || !self.fits(serial, length) || self.pipe(serial).recall == Recall::Now {
                break;
            }
            if self.has_waited_too_long(serial, caller, now) {
                self.exchange(caller).at = At::Over;
                shed.push(caller);
                continue;
            }
            self.append(serial, caller);
            let proven = self.proven;
            let deadline = self
                .exchange(caller)
                .deadline
                .expect("it has had one since it came");
            let pipe = self.pipe_mut(serial);
            pipe.hurried |= pipe.looks_at.is_none_or(|at| deadline < at);
            pipe.writer = Writer::Driver;
            if let ([first], false) = (&before[..], proven) {
                pipe.trial = Some((*first, caller));
            }
        }
        (late, shed)
    }

    /// Those at the beginning that get no reply and have been written.
    pub(super) fn settle_silent(&mut self, serial: Serial, unwritten: usize) -> Vec<(Caller, u32)> {
        let mut told = Vec::new();
        while let Some(first) = self.in_flight(serial).first()
            && first.silent
        {
            let (caller, length) = (first.caller, first.length);
            if self.written(serial, unwritten, caller) < length {
                break;
            }
            self.exchange(caller).at = At::Over;
            self.pipe_mut(serial).used = true;
            told.push((caller, 0));
        }
        told.retain(|(caller, _)| !self.exchange(*caller).told);
        told
    }

    /// What the reply was, and who is told what.
    pub(super) fn came(
        &mut self,
        serial: Serial,
        body: u32,
        unwritten: usize,
    ) -> (Came, Vec<(Caller, u32)>) {
        let mut settled = self.settle_silent(serial, unwritten);
        let (came, told) = self.answered(serial, body, unwritten);
        settled.extend(told);
        settled.extend(self.settle_silent(serial, unwritten));
        (came, settled)
    }

    fn answered(
        &mut self,
        serial: Serial,
        body: u32,
        unwritten: usize,
    ) -> (Came, Vec<(Caller, u32)>) {
        let next = self
            .in_flight(serial)
            .first()
            .map(|one| (one.caller, one.length, one.deadline));
        let written = next.map_or(0, |(caller, ..)| self.written(serial, unwritten, caller));
        let gets_reply = |&(caller, ..): &(Caller, usize, Option<u64>)| !self.is_silent(caller);
        let Some((caller, length, deadline)) = next.filter(|_| written > 0).filter(gets_reply)
        else {
            return (Came::Unasked, Vec::new());
        };
        self.exchange(caller).at = At::Over;
        let pipe = self.pipe_mut(serial);
        pipe.used = true;
        let mut told = Vec::new();
        match pipe.trial {
            Some((first, _)) if first == caller => {
                pipe.held = Some(body);
                pipe.held_until = deadline;
            }
            Some((first, _)) => {
                told.push((first, pipe.held.take().expect("it was answered")));
                told.push((caller, body));
                pipe.trial = None;
                self.proven = true;
            }
            None => told.push((caller, body)),
        }
        told.retain(|(caller, _)| !self.exchange(*caller).told);
        let came = if written == length {
            Came::Expected
        } else {
            Came::Early
        };
        (came, told)
    }

    /// Whose time is up, whether the connection has to go, and when to look again.
    pub(super) fn overdue(
        &mut self,
        serial: Serial,
        now: u64,
        grace: u64,
    ) -> (Vec<Caller>, bool, Option<u64>) {
        let pipe = self.pipe_mut(serial);
        pipe.hurried = false;
        pipe.looks_at = None;
        let held_until = pipe.held.and(pipe.held_until);
        let callers: Vec<Caller> = self
            .in_flight(serial)
            .iter()
            .map(|one| one.caller)
            .collect();
        if let Some(first) = callers.first() {
            self.exchange(*first).deadline.get_or_insert(grace);
        }
        let is_up =
            |model: &mut Self, caller| model.exchange(caller).deadline.is_some_and(|at| at <= now);
        let mut up = callers.clone();
        up.retain(|&caller| is_up(self, caller));
        let head = held_until.is_some_and(|at| at <= now)
            || up.first().is_some_and(|one| *one == callers[0]);
        if held_until.is_some() {
            // The other of a trial: both are told the same, at the end.
            up.retain(|caller| *caller != callers[0]);
        }
        for &caller in &up {
            self.exchange(caller).deadline = None;
        }
        let left = callers
            .iter()
            .filter_map(|&caller| self.exchange(caller).deadline)
            .filter(|deadline| *deadline > now);
        let next = left.chain(held_until).min();
        up.retain(|&caller| !self.exchange(caller).told);
        (up, head, next)
    }

    pub(super) fn end_if_quiet(&mut self, serial: Serial) -> bool {
        let somebody_waits = self.first_in_line(serial).is_some();
        let busy = !self.in_flight(serial).is_empty();
        let pipe = self.pipe_mut(serial);
        let wanted = match pipe.recall {
            Recall::No => false,
            Recall::AfterWaiters => !somebody_waits,
            Recall::Now => true,
        };
        let quiet = !busy && pipe.taken == pipe.stream.len() && (wanted || !pipe.used);
        pipe.used = false;
        if quiet {
            self.remove(serial);
        }
        quiet
    }

    fn remove(&mut self, serial: Serial) {
        for place in &mut self.pipes {
            place.take_if(|pipe| pipe.serial == serial);
        }
    }

    /// While the peer isn't known to read frames, who has waited for a tick has another connection
    /// tried.
    pub(super) fn lease_for_waiting(&mut self) -> usize {
        let waits_for_another = !self.proven && self.live() > 0 && self.waiting_for_any() > 0;
        if waits_for_another && self.leasing == 0 && self.live() < self.max_pipelines {
            self.leasing = 1;
            return 1;
        }
        self.lease()
    }

    /// A pipeline has ended.
    pub(super) fn end(&mut self, serial: Serial, unwritten: usize, partial: bool) -> Ended {
        let mut told = Vec::new();
        let callers: Vec<Caller> = self
            .in_flight(serial)
            .iter()
            .map(|one| one.caller)
            .collect();
        let pipe = self.pipe(serial);
        // Only two that were both written, if only in part.
        let tried = pipe
            .trial
            .filter(|(_, second)| self.written(serial, unwritten, *second) > 0);
        let trial = tried.map(|_| usize::from(pipe.held.is_some()));
        if let (Some((first, _)), Some(_)) = (pipe.trial, pipe.held) {
            told.push((first, Progress::Answered));
        }
        let next = callers
            .iter()
            .find(|&&caller| !self.is_silent(caller))
            .copied();
        for &caller in &callers {
            let progress = match self.written(serial, unwritten, caller) {
                0 => Progress::Unsent,
                _ if partial && Some(caller) == next => Progress::Answered,
                _ => Progress::Unanswered,
            };
            told.push((caller, progress));
        }
        for &caller in &callers {
            self.exchange(caller).at = At::Over;
        }
        self.remove(serial);
        told.retain(|(caller, _)| !self.exchange(*caller).told);
        let (woken, leases) = self.release(serial);
        let more = self.lease();
        (told, trial, (woken, leases + more))
    }

    /// Who is refused, whose drivers are woken, and how many are leased.
    pub(super) fn reconsider(
        &mut self,
        refusal: Option<Refusal>,
        max_pipelines: usize,
        recall: impl Fn(u64) -> Recall,
    ) -> (Vec<Caller>, Vec<Serial>, usize) {
        self.refusal = refusal;
        self.max_pipelines = max_pipelines;
        let mut woken = Vec::new();
        for pipe in self.pipes.iter_mut().flatten() {
            let before = pipe.recall;
            pipe.recall = recall(u64::from(pipe.serial));
            if pipe.retired {
                pipe.recall = Recall::Now;
            }
            if pipe.recall != before {
                woken.push(pipe.serial);
            }
        }
        let refused = match refusal {
            Some(Refusal::Closed | Refusal::RuntimeEnded) => self.nobody_waits(),
            _ => Vec::new(),
        };
        let leases = self.lease();
        (refused, woken, leases)
    }

    /// Whether its driver is woken.
    pub(super) fn retire(&mut self, serial: Serial) -> bool {
        let pipe = self.pipe_mut(serial);
        pipe.retired = true;
        let before = pipe.recall;
        pipe.recall = Recall::Now;
        before != Recall::Now
    }

    pub(super) fn take(&mut self, serial: Serial) -> Vec<Option<Caller>> {
        let pipe = self.pipe_mut(serial);
        pipe.writer = Writer::Nobody;
        let taken = pipe.stream[pipe.taken..].to_vec();
        pipe.taken = pipe.stream.len();
        taken
    }

    pub(super) fn beat(&mut self, serial: Serial, length: usize) -> bool {
        let pipe = self.pipe_mut(serial);
        let sends = pipe.taken == pipe.stream.len();
        if sends {
            pipe.stream.extend(std::iter::repeat_n(None, length));
            pipe.writer = Writer::Driver;
        }
        sends
    }
}
