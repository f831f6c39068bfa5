//! The machine once more, slow and obvious: what the fast one is compared with after every step.
//!
//! Written from the rules and not from the machine. There are no lists, no indices and no early
//! exits: one vector of connections in the order in which each entered its stage, one vector of
//! callers, and every question is answered by looking at all of them. After an event
//! [`Model::rest`] repeats the smallest step that is still possible until there is none.

mod events;

use std::time::Duration;

use super::{
    Checking, Eviction, GRANT_LIFETIME, Lease, Lifecycle, Moment, OutagePolicy, Refusal, TICK,
    WAITING_TICK, WaitTerms,
    numbered::{CallerId, Cause},
};
use crate::{
    settings::{Order, PoolSettings, Priority, Probe},
    totals::PoolTotals,
};

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Connecting,
    Idle,
    Checking(Checking),
    Granted(CallerId),
    Active {
        tag: CallerId,
        lease: Lease,
        reported: bool,
    },
    Closing,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) at: At,
    pub(super) since: Moment,
    pub(super) dialled: Moment,
    pub(super) opened: Moment,
    pub(super) expires: Moment,
    pub(super) generation: u32,
    pub(super) uses: u64,
    pub(super) proven: bool,
    pub(super) watched: bool,
    /// During a look: since when it was idle, and which idle connection came next.
    place_before_look: Option<(Moment, Option<u64>)>,
}

/// How a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    InLine,
    /// Its grant was revoked.
    Parked,
    /// Somebody else's was.
    Called,
    Granted(u64),
    Refused(Refusal),
}

impl Stands {
    pub(super) fn waits(self) -> bool {
        matches!(self, Stands::InLine | Stands::Parked | Stands::Called)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) id: CallerId,
    pub(super) stands: Stands,
    pub(super) arrival: u64,
    pub(super) deadline: Moment,
    /// Counted from when upkeep comes.
    pub(super) patience: Option<Duration>,
    pub(super) priority: Priority,
    pub(super) waker: Option<u64>,
    since: Moment,
    lease: Lease,
    outage_policy: OutagePolicy,
}

impl Caller {
    pub(super) fn count_patience(&mut self, now: Moment) {
        if let Some(patience) = self.patience.take() {
            self.deadline = now.after(patience);
        }
    }
}

/// What the model says must be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) dials: Vec<u64>,
    pub(super) probes: Vec<u64>,
    pub(super) evicted: Vec<(u64, Eviction)>,
    pub(super) wakes: Vec<u64>,
    pub(super) leaks: Vec<(u64, CallerId, Duration)>,
    pub(super) replaced_causes: Vec<Cause>,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Lent(u64),
    Refused(Refusal),
    MustWait,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) settings: PoolSettings,
    pub(super) lifecycle: Lifecycle,
    pub(super) paused: bool,
    pub(super) now: Moment,
    /// In the order in which they entered their stage, whatever it is.
    pub(super) connections: Vec<Connection>,
    pub(super) callers: Vec<Caller>,
    pub(super) totals: PoolTotals,
    told_of_unreleased: bool,
    /// Number, reason, when, age, uses.
    pub(super) evictions: Vec<(u64, Eviction, Moment, Duration, u64)>,
    pub(super) failures: u32,
    pub(super) last_failure: Option<(Cause, Moment)>,
    pub(super) unavailable: bool,
    pub(super) told: Told,
    /// It came to rest since this was last cleared.
    pub(super) rested: bool,
    dial_after: Moment,
    dial_after_if_asked: Moment,
    dial_after_in_grace: Moment,
    /// Until when those who were last called may answer.
    answers_until: Moment,
    /// The last call, or the last answer to it that came within 5 ms of the one before.
    last_answer: Option<Moment>,
    /// How often the wait has doubled.
    doublings: u32,
    /// The last dial that had begun when the wait last doubled.
    last_number_heard: u64,
    down_since: Option<Moment>,
    /// The last dial that succeeded while nothing was live: when, and since when nothing had been.
    interrupted: Option<(Moment, Moment)>,
    generation: u32,
    last_number: u64,
    last_arrival: u64,
    /// Who came up since each priority's line was last empty: when, and whether late.
    turns: [Vec<(Moment, bool)>; Priority::LEVELS],
}

impl Model {
    pub(super) fn new(settings: PoolSettings) -> Self {
        Model {
            settings,
            lifecycle: Lifecycle::Open,
            paused: false,
            now: Moment::default(),
            connections: Vec::new(),
            callers: Vec::new(),
            totals: PoolTotals::default(),
            told_of_unreleased: false,
            evictions: Vec::new(),
            failures: 0,
            last_failure: None,
            unavailable: false,
            told: Told::default(),
            rested: false,
            dial_after: Moment::default(),
            dial_after_if_asked: Moment::default(),
            dial_after_in_grace: Moment::default(),
            answers_until: Moment::default(),
            last_answer: None,
            doublings: 0,
            last_number_heard: 0,
            down_since: None,
            interrupted: None,
            generation: 0,
            last_number: 0,
            last_arrival: 0,
            turns: Default::default(),
        }
    }

    // ---- questions
    // ----------------------------------------------------------------------------------------------

    pub(super) fn count(&self, wanted: fn(&At) -> bool) -> usize {
        self.connections.iter().filter(|c| wanted(&c.at)).count()
    }
    fn idle(&self) -> usize {
        self.count(|at| matches!(at, At::Idle))
    }
    fn checking(&self) -> usize {
        self.count(|at| matches!(at, At::Checking(_)))
    }
    fn connecting(&self) -> usize {
        self.count(|at| matches!(at, At::Connecting))
    }
    pub(super) fn live(&self) -> usize {
        self.count(|at| !matches!(at, At::Connecting | At::Closing))
    }
    pub(super) fn in_line(&self) -> usize {
        self.callers
            .iter()
            .filter(|c| c.stands == Stands::InLine)
            .count()
    }
    /// In line or parked.
    pub(super) fn waiting(&self) -> usize {
        self.callers.iter().filter(|c| c.stands.waits()).count()
    }
    fn is_closed(&self) -> bool {
        self.lifecycle == Lifecycle::Closed || self.lifecycle == Lifecycle::RuntimeEnded
    }
    fn room(&self) -> usize {
        (self.settings.max_size as usize).saturating_sub(self.connections.len())
    }
    fn min_idle(&self) -> usize {
        self.settings.min_idle.min(self.settings.max_size) as usize
    }
    pub(super) fn shortfall(&self) -> usize {
        match self.lifecycle {
            Lifecycle::Open => self
                .min_idle()
                .saturating_sub(self.idle() + self.checking()),
            _ => 0,
        }
    }
    fn turned_away_by_phase(&self) -> Option<Refusal> {
        match self.lifecycle {
            Lifecycle::Open => None,
            Lifecycle::Draining => Some(Refusal::Draining),
            Lifecycle::Closed => Some(Refusal::Closed),
            Lifecycle::RuntimeEnded => Some(Refusal::RuntimeEnded),
        }
    }
    pub(super) fn connection(&mut self, number: u64) -> &mut Connection {
        let found = self.connections.iter_mut().find(|c| c.number == number);
        found.expect("the model knows every connection")
    }
    pub(super) fn caller(&mut self, id: CallerId) -> &mut Caller {
        let found = self.callers.iter_mut().find(|c| c.id == id);
        found.expect("the model knows every caller")
    }
    /// The senior-most of the most urgent in line.
    pub(super) fn first_in_line(&self) -> Option<CallerId> {
        let line = self.callers.iter().filter(|c| c.stands == Stands::InLine);
        line.min_by_key(|c| (c.priority, c.arrival)).map(|c| c.id)
    }
    fn next_idle(&self) -> Option<u64> {
        let mut idle = self.connections.iter().filter(|c| c.at == At::Idle);
        match self.settings.order {
            Order::Fifo => idle.next().map(|c| c.number),
            Order::Lifo => idle.next_back().map(|c| c.number),
        }
    }
    fn probe_is_due(&mut self, number: u64) -> bool {
        let idle_for = self.now.since(self.connection(number).since);
        match self.settings.probe.unwrap_or_default() {
            Probe::Never => false,
            Probe::Always => true,
            Probe::WhenIdleFor(limit) => idle_for >= limit,
        }
    }
    /// Nobody is in line, and those who were called have had their time.
    fn answers_are_due(&self) -> bool {
        self.in_line() == 0 && self.waiting() > 0 && self.now < self.answers_until
    }
    fn is_drained(&self) -> bool {
        self.lifecycle == Lifecycle::Draining && self.in_line() == 0 && !self.answers_are_due()
    }
    /// Why a connection can't be used any longer.
    fn unusable(&mut self, number: u64) -> Option<Eviction> {
        let staying = self.count(|at| !matches!(at, At::Closing));
        let beyond_size = staying > self.settings.max_size as usize;
        let (generation, now) = (self.generation, self.now);
        let (closed, drained) = (self.is_closed(), self.is_drained());
        let connection = self.connection(number);
        if closed || drained {
            Some(Eviction::Closed)
        } else if connection.generation != generation {
            Some(Eviction::Retired)
        } else if connection.expires <= now {
            Some(Eviction::Lifetime)
        } else if beyond_size && connection.at != At::Idle {
            Some(Eviction::Shrunk)
        } else {
            None
        }
    }

    // ---- moves
    // --------------------------------------------------------------------------------------------------

    pub(super) fn advance(&mut self, now: Moment) {
        if now > self.now {
            self.now = now;
        }
    }
    fn enter(&mut self, number: u64, at: At) {
        let now = self.now;
        let found = self.connections.iter().position(|c| c.number == number);
        let mut connection = self.connections.remove(found.expect("known"));
        if matches!(connection.at, At::Idle | At::Granted(_)) {
            connection.watched = false;
        }
        connection.at = at;
        connection.since = now;
        self.connections.push(connection);
    }
    fn evict(&mut self, number: u64, reason: Eviction) {
        self.write_down(number, reason);
        self.told.evicted.push((number, reason));
        self.enter(number, At::Closing);
        self.note_departure();
    }
    /// A connection that died within the grace hasn't interrupted it.
    pub(super) fn note_departure(&mut self) {
        if self.live() > 0 {
            return;
        }
        if let Some((lit, since)) = self.interrupted.take()
            && self.now.since(lit) <= self.settings.outage_grace
        {
            self.down_since = Some(since);
        }
    }
    fn write_down(&mut self, number: u64, reason: Eviction) {
        let now = self.now;
        let connection = self.connection(number);
        let record = (
            number,
            reason,
            now,
            now.since(connection.opened),
            connection.uses,
        );
        self.evictions.push(record);
        self.totals.count_eviction(reason);
    }
    fn evict_idle(&mut self, reason: Eviction) {
        let idle = self.connections.iter().filter(|c| c.at == At::Idle);
        for number in idle.map(|c| c.number).collect::<Vec<_>>() {
            self.evict(number, reason);
        }
    }
    fn gone(&mut self, number: u64) {
        self.connections.retain(|c| c.number != number);
    }
    fn wake(&mut self, id: CallerId) {
        let waker = self.caller(id).waker.take();
        self.told.wakes.extend(waker);
    }
    fn grant(&mut self, number: u64, to: CallerId) {
        self.enter(number, At::Granted(to));
        self.connection(number).since = Moment::NEVER;
        self.caller(to).stands = Stands::Granted(number);
        self.wake(to);
    }
    fn refuse(&mut self, id: CallerId, why: Refusal) {
        self.caller(id).stands = Stands::Refused(why);
        self.count_refusal(why);
        self.wake(id);
    }
    /// To the first in line who hasn't waited too long.
    fn grant_next(&mut self, number: u64) {
        while let Some(first) = self.first_in_line() {
            if !self.has_waited_too_long(first) {
                return self.grant(number, first);
            }
            self.refuse(first, Refusal::Shed);
        }
    }
    /// Late itself, not the last of its line, and at some time since that was last empty all who
    /// came up were late for an interval.
    fn has_waited_too_long(&mut self, id: CallerId) -> bool {
        let (now, caller) = (self.now, self.caller(id).clone());
        let Some(terms) = self.settings.shed_waiting else {
            return false;
        };
        if caller.lease == Lease::Shared {
            return false;
        }
        let is_late = now.since(caller.since) > terms.target;
        let turns = &mut self.turns[caller.priority.level()];
        turns.push((now, is_late));
        let stood = (0..turns.len()).any(|from| {
            let mut late = turns[from..].iter().take_while(|turn| turn.1);
            late.any(|turn| turn.0 >= turns[from].0.after(terms.interval))
        });
        let same = (self.callers.iter())
            .filter(|c| c.stands == Stands::InLine && c.priority == caller.priority);
        stood && is_late && same.count() > 1
    }
    fn refuse_if_unavailable(&mut self) {
        if self.paused {
            return;
        }
        let told = self
            .callers
            .iter()
            .filter(|c| c.stands.waits() && c.outage_policy == OutagePolicy::FailFast);
        for id in told.map(|c| c.id).collect::<Vec<_>>() {
            self.refuse(id, Refusal::Unavailable);
        }
    }
    fn count_refusal(&mut self, why: Refusal) {
        match why {
            Refusal::TimedOut => self.totals.timed_out += 1,
            Refusal::Full => self.totals.turned_away_full += 1,
            Refusal::Unavailable => self.totals.turned_away_unavailable += 1,
            Refusal::Shed => self.totals.shed += 1,
            Refusal::Closed | Refusal::Draining | Refusal::RuntimeEnded => {}
        }
    }
    fn lend(&mut self, number: u64, tag: CallerId, lease: Lease) {
        let active = At::Active {
            tag,
            lease,
            reported: false,
        };
        self.enter(number, active);
        self.totals.lent += 1;
        let connection = self.connection(number);
        connection.uses += 1;
        connection.watched = false;
    }
    /// A connection fit for use has arrived: new, returned, or checked.
    fn welcome(&mut self, number: u64) {
        let used = matches!(
            self.connection(number).at,
            At::Active { .. } | At::Checking(Checking::Reset)
        );
        if let Some(reason) = self.unusable(number) {
            self.evict(number, reason);
            return;
        }
        match self.first_in_line().filter(|_| !self.paused) {
            None => self.enter(number, At::Idle),
            Some(_) if used && self.settings.probe == Some(Probe::Always) => {
                self.start_probe(number)
            }
            Some(_) => self.grant_next(number),
        }
    }
    fn start_probe(&mut self, number: u64) {
        self.enter(number, At::Checking(Checking::Probe));
        self.told.probes.push(number);
    }
    /// The connection of a grant that came to nothing.
    fn take_back(&mut self, number: u64) {
        match self.unusable(number) {
            Some(reason) => self.evict(number, reason),
            None => self.enter(number, At::Idle),
        }
    }
    /// Says whether there was any.
    fn revoke_overdue(&mut self) -> bool {
        let mut any = false;
        let now = self.now;
        for connection in &mut self.connections {
            if matches!(connection.at, At::Granted(_)) && connection.since == Moment::NEVER {
                connection.since = now;
            }
        }
        loop {
            let overdue = self.connections.iter().find_map(|c| match c.at {
                At::Granted(to) if c.since.after(GRANT_LIFETIME) <= now => Some((c.number, to)),
                _ => None,
            });
            let Some((number, to)) = overdue else {
                if any {
                    self.call_all_in_line();
                }
                return any;
            };
            any = true;
            self.totals.revoked += 1;
            let caller = self.caller(to);
            caller.stands = Stands::Parked;
            caller.count_patience(now);
            self.take_back(number);
        }
    }

    /// Not while the answers to the last call come in.
    fn call_all_in_line(&mut self) {
        if self.in_line() == 0 || self.answers_come_in(self.now) {
            return;
        }
        self.last_answer = Some(self.now);
        let in_line = self.callers.iter().filter(|c| c.stands == Stands::InLine);
        for id in in_line.map(|c| c.id).collect::<Vec<_>>() {
            let now = self.now;
            let caller = self.caller(id);
            caller.stands = Stands::Called;
            caller.count_patience(now);
            self.wake(id);
            self.answers_until = now.after(GRANT_LIFETIME);
        }
    }

    pub(super) fn answers_come_in(&self, now: Moment) -> bool {
        self.last_answer
            .is_some_and(|last| now < last.after(GRANT_LIFETIME))
    }

    // ---- coming to rest
    // -----------------------------------------------------------------------------------------

    fn rest(&mut self) {
        self.rested = true;
        while self.serve_one() || self.dial_one() || self.end_drain() {}
    }

    fn serve_one(&mut self) -> bool {
        if self.paused || self.is_closed() {
            return false;
        }
        let (Some(_), Some(number)) = (self.first_in_line(), self.next_idle()) else {
            return false;
        };
        if let Some(reason) = self.unusable(number) {
            self.evict(number, reason);
        } else if !self.probe_is_due(number) {
            self.grant_next(number);
        } else if self.checking() < self.in_line() {
            self.start_probe(number);
        } else {
            return false;
        }
        true
    }

    /// From when on a dial is wanted and may start; `None` if something else than time forbids it.
    pub(super) fn dial_due_from(&self) -> Option<Moment> {
        let full = self.room() == 0 || self.connecting() >= self.settings.max_connecting as usize;
        if self.paused || self.is_closed() || full {
            return None;
        }
        let wanted = self.in_line().saturating_sub(self.checking()) + self.shortfall();
        if self.failures == 0 {
            return (wanted > self.connecting()).then(Moment::default);
        }
        // One at a time: when those under way are over, or have been silent for too long.
        let mut from = self.paced(self.in_line() > 0);
        for dial in self.connections.iter().filter(|c| c.at == At::Connecting) {
            from = from.max(self.silent_for_too_long_from(dial)?);
        }
        (wanted > 0).then_some(from)
    }

    /// A fifth of the grace after the dial began, or at the grace's end; `None`: never.
    fn silent_for_too_long_from(&self, dial: &Connection) -> Option<Moment> {
        let end = self.end_of_grace()?;
        let others_may_start = self.in_line() > 0 && dial.dialled < end;
        let fifth = dial.dialled.after(self.settings.outage_grace / 5);
        others_may_start.then_some(fifth.min(end))
    }

    fn paced(&self, asked: bool) -> Moment {
        if self.failures == 0 {
            return Moment::default();
        }
        let mut from = self.dial_after;
        if asked {
            from = from.min(self.dial_after_if_asked);
        }
        if asked && let Some(end) = self.end_of_grace() {
            from = from.min(self.dial_after_in_grace).min(end);
        }
        from
    }

    /// While nothing is live and callers wait to be told.
    fn end_of_grace(&self) -> Option<Moment> {
        match self.down_since {
            Some(since) if !self.unavailable => Some(since.after(self.settings.outage_grace)),
            _ => None,
        }
    }

    /// A fifth of the grace after its end, or after the last dial began if that was later.
    fn unavailable_by_silence_from(&self) -> Option<Moment> {
        let dials = self.connections.iter().filter(|c| c.at == At::Connecting);
        let latest = dials.map(|c| c.dialled).max()?;
        let end = self.end_of_grace()?;
        Some(end.max(latest).after(self.settings.outage_grace / 5))
    }

    pub(super) fn dial_is_due(&self) -> bool {
        self.dial_due_from().is_some_and(|from| from <= self.now)
    }

    fn dial_one(&mut self) -> bool {
        if !self.dial_is_due() {
            return false;
        }
        self.last_number += 1;
        self.totals.dials += 1;
        self.told.dials.push(self.last_number);
        self.connections.push(Connection {
            number: self.last_number,
            at: At::Connecting,
            since: self.now,
            dialled: self.now,
            opened: self.now,
            expires: Moment::NEVER,
            generation: self.generation,
            uses: 0,
            proven: false,
            watched: false,
            place_before_look: None,
        });
        true
    }

    fn end_drain(&mut self) -> bool {
        let ends = self.is_drained() && self.idle() > 0;
        if ends {
            self.evict_idle(Eviction::Closed);
        }
        ends
    }

    /// The earliest instant at which time alone changes something for somebody, as far as it is
    /// promised to be acted on at once and not by the next regular tick.
    pub(super) fn next_event(&self) -> Moment {
        let mut next = Moment::NEVER;
        for caller in &self.callers {
            if caller.stands.waits() {
                let counted_from = caller.patience.map(|_| self.now.after(WAITING_TICK));
                next = next
                    .min(caller.deadline)
                    .min(counted_from.unwrap_or(Moment::NEVER));
            }
        }
        if self.waiting() > 0
            && let Some(from) = self.unavailable_by_silence_from()
        {
            next = next.min(from);
        }
        if self.lifecycle == Lifecycle::Draining && self.answers_are_due() {
            next = next.min(self.answers_until);
        }
        for connection in &self.connections {
            if self.in_line() > 0 && matches!(connection.at, At::Granted(_)) {
                // One that has only just been made begins to age when upkeep comes.
                next = next.min(connection.since.min(self.now).after(GRANT_LIFETIME));
            }
        }
        next
    }
}
