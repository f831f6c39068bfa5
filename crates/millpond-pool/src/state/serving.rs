//! Coming to rest after a change: who gets what is free, which dials start, what has to go, when
//! upkeep must come.

use super::{
    Checking, ConnectionNumber, Effects, Evicted, EvictionRecord, Lease, Lifecycle, Moment,
    OutagePolicy, Payload, QueueTicket, REMEMBERED_EVICTIONS, Recall, Refusal, Returned, SlotKey,
    Stage, StageName, State, WaitTerms, outage, waiters::WaiterIndex,
};
use crate::{eviction::Eviction, settings::Order};

/// What to do with the idle connection that is next to be lent.
pub(super) enum Candidate {
    Fit,
    NeedsProbe,
    MustGo(Eviction),
}

impl<P: Payload> State<P> {
    /// Brings everything back to rest after a change: serves, dials, ends a drain, sees to the next
    /// wake.
    #[inline]
    pub(super) fn settle(&mut self, fx: &mut Effects<P>) {
        self.come_to_rest(fx);
        self.plan_wake(fx);
    }

    #[inline]
    pub(super) fn come_to_rest(&mut self, fx: &mut Effects<P>) {
        self.serve(fx);
        self.start_dials(fx);
        if self.is_drained() {
            self.evict_all_idle(Eviction::Closed, fx);
        }
    }

    /// Gives idle connections to those in line.
    #[inline]
    fn serve(&mut self, fx: &mut Effects<P>) {
        if self.paused || self.is_closed() {
            return;
        }
        while let (Some(waiter), Some(at)) = (self.waiters.first(), self.next_idle()) {
            match self.judge(at) {
                Candidate::MustGo(reason) => self.evict_held(at, reason, fx),
                Candidate::Fit => {
                    let connection = self.take_held(at);
                    self.grant(at, connection, waiter, fx);
                }
                Candidate::NeedsProbe => {
                    if self.waiters.queued() <= self.slots.count(StageName::Checking) {
                        return;
                    }
                    let connection = self.take_held(at);
                    self.probe(at, connection, fx);
                }
            }
        }
    }

    /// Starts the dials that are wanted and allowed.
    #[inline]
    fn start_dials(&mut self, fx: &mut Effects<P>) {
        let mut wanted = self.dials_wanted();
        while wanted > 0
            && self
                .dial_allowed_from()
                .is_some_and(|from| from <= self.now)
        {
            fx.dials
                .push(self.slots.begin_dial(self.now, self.generation));
            self.totals.dials += 1;
            wanted -= 1;
        }
    }

    /// For callers in line whom nothing under way will serve, and for `min_idle`.
    #[inline]
    fn dials_wanted(&self) -> usize {
        let under_way = match self.given_up_from() {
            Some(from) if from <= self.now => 0,
            _ => self.slots.count(StageName::Connecting),
        };
        self.connections_wanted().saturating_sub(under_way)
    }

    /// As [`State::dials_wanted`] if nothing were under way.
    #[inline]
    fn connections_wanted(&self) -> usize {
        let being_checked = self.slots.count(StageName::Checking);
        self.waiters.queued().saturating_sub(being_checked) + self.shortfall()
    }

    /// From when on one more dial may start; `None` while no lapse of time alone will allow it.
    #[inline]
    fn dial_allowed_from(&self) -> Option<Moment> {
        let under_way = self.slots.count(StageName::Connecting);
        let at_limit = under_way >= self.settings.max_connecting as usize;
        if self.is_closed() || self.paused || at_limit || self.room() == 0 {
            return None;
        }
        let from = self.outage.dial_from(self.somebody_waits());
        if self.outage.failing() && under_way > 0 {
            return self.given_up_from().map(|given_up| given_up.max(from));
        }
        Some(from)
    }

    /// From when on nobody counts on the dials under way any more, though one of them may still
    /// succeed: somebody waits, and within the grace of an outage the last of them has given no
    /// answer for too long. `None`: they are counted on.
    #[inline]
    fn given_up_from(&self) -> Option<Moment> {
        if !self.outage.failing() || !self.somebody_waits() {
            return None;
        }
        let latest = self.slots.back(StageName::Connecting)?;
        self.outage.given_up_from(self.slots.at(latest).dialled)
    }

    /// When it gets dark although a dial is under way; `None` while lapse of time alone doesn't
    /// bring that.
    #[inline]
    pub(super) fn dark_from(&self) -> Option<Moment> {
        let latest = self.slots.back(StageName::Connecting)?;
        self.outage.dark_from(self.slots.at(latest).dialled)
    }

    /// Makes sure that upkeep comes as soon as time alone will bring something.
    #[inline]
    pub(super) fn plan_wake(&mut self, fx: &mut Effects<P>) {
        let mut wake = self.planned_wake;
        if self.waiters.waiting() > 0 {
            wake = wake.min(self.waiters.earliest_deadline());
            wake = wake.min(self.dark_from().unwrap_or(Moment::NEVER));
        }
        if self.somebody_waits()
            && let Some(oldest) = self.slots.front(StageName::Granted)
        {
            wake = wake.min(self.grant_ends(oldest));
        }
        if self.lifecycle == Lifecycle::Draining && self.answers_are_due() {
            wake = wake.min(self.answers_until);
        }
        // The next dial while failing starts when there is none to be counted on.
        if self.outage.failing() && self.connections_wanted() > 0 {
            wake = wake.min(self.dial_allowed_from().unwrap_or(Moment::NEVER));
        }
        fx.kick |= self.wake_by(wake);
    }

    /// Upkeep must come by then. Says whether that is earlier than it means to, so that it has to
    /// be kicked.
    #[inline]
    fn wake_by(&mut self, wake: Moment) -> bool {
        let earlier = wake < self.planned_wake;
        self.planned_wake = self.planned_wake.min(wake);
        earlier
    }

    /// Why nobody is served now, whatever the circumstances.
    #[inline]
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self.lifecycle {
            Lifecycle::Open => None,
            Lifecycle::Draining => Some(Refusal::Draining),
            Lifecycle::Closed => Some(Refusal::Closed),
            Lifecycle::RuntimeEnded => Some(Refusal::RuntimeEnded),
        }
    }

    /// Why this caller may not even wait.
    pub(super) fn turns_away(
        &self,
        outage_policy: OutagePolicy,
        seniority: Option<u64>,
    ) -> Option<Refusal> {
        if self.outage.dark() && !self.paused && outage_policy == OutagePolicy::FailFast {
            // One caller at a time stays, with the dial that looks whether the endpoint is back.
            let may_dial = self.outage.dial_from(true) <= self.now && self.room() > 0;
            let stays = may_dial && self.slots.count(StageName::Connecting) == 0;
            return (!stays).then_some(Refusal::Unavailable);
        }
        if !self.paused && self.waiters.none_queued() && self.slots.front(StageName::Idle).is_some()
        {
            return None; // Those who were called haven't come for it: it is this caller's.
        }
        let waiting = self.waiters.waiting();
        let coming = self.slots.count(StageName::Idle)
            + self.slots.count(StageName::Connecting)
            + self.slots.count(StageName::Checking)
            + self.room();
        let full = waiting >= self.settings.max_waiting as usize && waiting >= coming;
        (full && seniority.is_none()).then_some(Refusal::Full)
    }

    /// The pool drains, and nobody is left to be served.
    #[inline]
    fn is_drained(&self) -> bool {
        self.lifecycle == Lifecycle::Draining
            && self.waiters.none_queued()
            && !self.answers_are_due()
    }

    /// Nobody is in line, but those who were called may be about to answer.
    #[inline]
    fn answers_are_due(&self) -> bool {
        self.now < self.answers_until && self.waiters.none_queued() && self.waiters.waiting() > 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Closed | Lifecycle::RuntimeEnded)
    }

    #[inline]
    fn room(&self) -> usize {
        let max_size = self.settings.max_size as usize;
        max_size.saturating_sub(self.slots.occupied())
    }

    /// Shrunk, and not yet down to the new size.
    #[inline]
    pub(super) fn over_size(&self) -> bool {
        let staying = self.slots.occupied() - self.slots.count(StageName::Closing);
        staying > self.settings.max_size as usize
    }

    /// The idle connection to lend next.
    #[inline]
    pub(super) fn next_idle(&self) -> Option<u32> {
        match self.settings.order {
            Order::Lifo => self.slots.back(StageName::Idle),
            Order::Fifo => self.slots.front(StageName::Idle),
        }
    }

    #[inline]
    pub(super) fn judge(&self, at: u32) -> Candidate {
        let idle_for = || self.now.since(self.slots.at(at).since);
        match self.must_go(at) {
            Some(reason) => Candidate::MustGo(reason),
            None if self.settings.probe.is_due(idle_for) => Candidate::NeedsProbe,
            None => Candidate::Fit,
        }
    }

    /// Why the connection in this slot may not serve any longer, however fit it is.
    #[inline]
    pub(super) fn must_go(&self, at: u32) -> Option<Eviction> {
        let slot = self.slots.at(at);
        let already_idle = matches!(slot.stage, Stage::Idle(_));
        match self.lifecycle {
            Lifecycle::Closed | Lifecycle::RuntimeEnded => Some(Eviction::Closed),
            Lifecycle::Draining if self.is_drained() => Some(Eviction::Closed),
            _ if slot.generation != self.generation => Some(Eviction::Retired),
            _ if slot.expires <= self.now => Some(Eviction::Lifetime),
            _ if !already_idle && self.over_size() => Some(Eviction::Shrunk),
            _ => None,
        }
    }

    /// Whether who holds this connection for long may go on doing so.
    pub(crate) fn recall(&self, at: u32, number: ConnectionNumber) -> Recall {
        match self.lifecycle {
            _ if self.slots.same(at, number).is_none() => Recall::Now,
            Lifecycle::Draining => Recall::AfterWaiters,
            Lifecycle::Open if !self.paused && self.must_go(at).is_none() => Recall::No,
            Lifecycle::Open | Lifecycle::Closed | Lifecycle::RuntimeEnded => Recall::Now,
        }
    }

    #[inline]
    pub(super) fn lend(&mut self, at: u32, tag: P::Tag, lease: Lease) -> (SlotKey, P::Connection) {
        let active = Stage::Active {
            tag,
            lease,
            reported: false,
        };
        let slot = self.slots.at_mut(at);
        slot.uses += 1;
        slot.watched = false;
        self.totals.lent += 1;
        match self.slots.shift(at, active, self.now) {
            Stage::Idle(connection) | Stage::Granted { connection, .. } => {
                (self.slots.hand_out(at), connection)
            }
            other => unreachable!(
                "only what is idle or granted is lent, not {:?}",
                other.name()
            ),
        }
    }

    /// A fit connection has come (back): to the first in line, else idle, unless it has to go.
    #[inline]
    pub(super) fn return_to_service(
        &mut self,
        at: u32,
        connection: P::Connection,
        fx: &mut Effects<P>,
    ) {
        if let Some(reason) = self.must_go(at) {
            self.evict(at, connection, reason, fx);
            self.settle(fx);
            return;
        }
        // Straight after a dial or a probe there is no need for another.
        let used = matches!(
            self.slots.at(at).stage,
            Stage::Active { .. } | Stage::Checking(Checking::Reset)
        );
        match self.waiters.first() {
            Some(_) if used && self.settings.probe.is_always() && !self.paused => {
                self.probe(at, connection, fx);
            }
            Some(waiter) if !self.paused => self.grant(at, connection, waiter, fx),
            _ => {
                let idle = Stage::Idle(connection);
                self.slots.shift(at, idle, self.now);
            }
        }
    }

    #[inline]
    fn grant(&mut self, at: u32, connection: P::Connection, to: WaiterIndex, fx: &mut Effects<P>) {
        fx.wakes.extend(self.grant_quietly(at, connection, to));
    }

    /// Returns the waker, to be called after unlocking. The grant begins to age when somebody comes
    /// by who knows the time.
    #[inline]
    fn grant_quietly(
        &mut self,
        at: u32,
        connection: P::Connection,
        to: WaiterIndex,
    ) -> Option<P::Waker> {
        let granted = Stage::Granted { connection, to };
        self.slots.shift(at, granted, Moment::NEVER);
        self.waiters.grant(to, at)
    }

    /// When upkeep must come to see to a grant: to let it begin to age, or to give it to the next
    /// in line.
    #[inline]
    fn grant_ends(&self, at: u32) -> Moment {
        let aged_since = self.slots.at(at).since.min(self.now);
        aged_since.after(super::GRANT_LIFETIME)
    }

    /// A clean connection comes back, and nothing but this is to be done: it is idle, or the first
    /// in line gets it.
    #[inline]
    pub(crate) fn serve_at_once(&mut self, key: SlotKey, connection: P::Connection) -> Returned<P> {
        let at = key.index();
        let usual = self.lifecycle == Lifecycle::Open
            && !self.outage.failing()
            && self.must_go(at).is_none();
        let first = self.waiters.first();
        let to_be_probed = first.is_some() && self.settings.probe.is_always();
        if !usual || to_be_probed {
            return Returned::NotYet(key, connection);
        }
        self.totals.released += 1;
        self.slots.at_mut(at).proven = true;
        let Some(to) = first.filter(|_| !self.paused) else {
            self.slots.shift(at, Stage::Idle(connection), self.now);
            return Returned::Idle;
        };
        let waker = self.grant_quietly(at, connection, to);
        let mut kick = false;
        if self.somebody_waits()
            && let Some(oldest) = self.slots.front(StageName::Granted)
        {
            kick = self.wake_by(self.grant_ends(oldest));
        }
        Returned::HandedOver { waker, kick }
    }

    /// A grant has lost its waiter: its connection is idle until someone in line gets it.
    pub(super) fn take_back(&mut self, at: u32, fx: &mut Effects<P>) {
        if let Some(reason) = self.must_go(at) {
            return self.evict_held(at, reason, fx);
        }
        let connection = self.take_held(at);
        let idle = Stage::Idle(connection);
        self.slots.shift(at, idle, self.now);
    }

    /// Lets new grants begin to age, and revokes those that nobody picked up in time: their holders
    /// are parked, and all who are in line may be called. Says whether there were any.
    pub(super) fn revoke_overdue_grants(&mut self, fx: &mut Effects<P>) -> bool {
        self.age_new_grants();
        let revoked_before = self.totals.revoked;
        while let Some(at) = self.slots.front(StageName::Granted) {
            let slot = self.slots.at(at);
            let Stage::Granted { to, .. } = slot.stage else {
                unreachable!("in the list of the granted")
            };
            if slot.since.after(super::GRANT_LIFETIME) > self.now {
                break;
            }
            self.totals.revoked += 1;
            self.waiters.park(to, self.now);
            self.take_back(at, fx);
        }
        let revoked = self.totals.revoked > revoked_before;
        if revoked {
            self.call_the_line(fx);
        }
        revoked
    }

    /// Somebody who was in line sleeps, and who else does can't be seen. So nobody is granted the
    /// connection: all are woken and out of line until they are polled, and the first who is
    /// gets it. Granted it in turn, each who sleeps would hold up all behind him.
    ///
    /// Where many are awake it may take a thread longer to poll them all than a grant lives, and
    /// then grants are overdue because of the call. So nobody is called while the answers to
    /// the last call come in: the connection is granted to the next in line.
    fn call_the_line(&mut self, fx: &mut Effects<P>) {
        if !self.waiters.none_queued() && self.next_call <= self.now {
            self.answers_until = self.now.after(super::GRANT_LIFETIME);
            self.next_call = self.answers_until;
            fx.wakes.extend(self.waiters.call_all(self.now));
        }
    }

    /// A waiter that was called is polled.
    pub(super) fn answer_call(&mut self, waiter: WaiterIndex, now: Moment, fx: &mut Effects<P>) {
        let now = now.max(self.now);
        if now < self.next_call {
            self.next_call = now.after(super::GRANT_LIFETIME);
        }
        self.get_back_in_line(waiter, fx);
    }

    /// A waiter that was out of line is polled.
    pub(super) fn get_back_in_line(&mut self, waiter: WaiterIndex, fx: &mut Effects<P>) {
        self.waiters.requeue(waiter);
        self.settle(fx);
    }

    /// New grants begin to age now.
    #[inline]
    fn age_new_grants(&mut self) {
        let mut newest = self.slots.back(StageName::Granted);
        while let Some(at) = newest.filter(|&at| self.slots.at(at).since == Moment::NEVER) {
            self.slots.at_mut(at).since = self.now;
            newest = self.slots.prev(at);
        }
    }

    /// A caller gets in line, and nothing but that is to be done: everything is lent, and nothing
    /// can be dialled. Says whether upkeep is to be kicked. Without a time, grants neither age
    /// nor are found overdue: upkeep will see to that.
    #[inline]
    pub(crate) fn queue_at_once(
        &mut self,
        now: Option<Moment>,
        terms: WaitTerms<P::Tag>,
        seniority: Option<u64>,
        waker: P::Waker,
    ) -> Result<(QueueTicket, bool), P::Waker> {
        if let Some(now) = now {
            self.advance(now);
            self.age_new_grants();
        }
        let oldest = self.slots.front(StageName::Granted);
        let oldest = oldest.map_or(Moment::NEVER, |at| self.grant_ends(at));
        let usual = self.lifecycle == Lifecycle::Open
            && !self.outage.failing()
            && self.room() == 0
            && self.slots.front(StageName::Idle).is_none()
            && (now.is_none() || oldest > self.now)
            && self.waiters.waiting() < self.settings.max_waiting as usize;
        if !usual {
            return Err(waker);
        }
        let kick = self.wake_by(terms.deadline.min(oldest));
        Ok((self.enqueue(terms, seniority, waker), kick))
    }

    /// Who was given an unfit connection has been counted.
    #[inline]
    pub(super) fn enqueue(
        &mut self,
        terms: WaitTerms<P::Tag>,
        seniority: Option<u64>,
        waker: P::Waker,
    ) -> QueueTicket {
        self.totals.waited += u64::from(seniority.is_none());
        self.waiters.enqueue(terms, seniority, waker)
    }

    fn probe(&mut self, at: u32, connection: P::Connection, fx: &mut Effects<P>) {
        let checking = Stage::Checking(Checking::Probe);
        self.slots.shift(at, checking, self.now);
        fx.probes.push((self.slots.hand_out(at), connection));
    }

    /// The connection of an idle or granted slot, which is being checked from here on.
    pub(super) fn take_held(&mut self, at: u32) -> P::Connection {
        self.slots.at_mut(at).watched = false; // What its watch reports from here on may go unheard.
        let checking = Stage::Checking(Checking::Look);
        match self.slots.shift(at, checking, self.now) {
            Stage::Idle(connection) | Stage::Granted { connection, .. } => connection,
            other => unreachable!("nothing is held in {:?}", other.name()),
        }
    }

    /// Evicts a connection that the machine holds: idle or granted.
    pub(super) fn evict_held(&mut self, at: u32, reason: Eviction, fx: &mut Effects<P>) {
        let connection = self.take_held(at);
        self.evict(at, connection, reason, fx);
    }

    pub(super) fn evict_all_idle(&mut self, reason: Eviction, fx: &mut Effects<P>) {
        while let Some(at) = self.slots.front(StageName::Idle) {
            self.evict_held(at, reason, fx);
        }
    }

    pub(super) fn evict(
        &mut self,
        at: u32,
        connection: P::Connection,
        reason: Eviction,
        fx: &mut Effects<P>,
    ) {
        self.record(at, reason);
        self.slots.shift(at, Stage::Closing, self.now);
        self.look_for_light();
        fx.changed = true;
        fx.evicted.push(Evicted {
            number: self.slots.at(at).number,
            key: self.slots.hand_out(at),
            connection,
            reason,
        });
    }

    /// A connection has left.
    pub(super) fn look_for_light(&mut self) {
        if self.slots.live() == 0 {
            self.outage.went_out(self.now);
        }
    }

    /// As [`State::evict`], and where the connection died before it ever served, the endpoint is
    /// blamed.
    pub(super) fn evict_unfit(
        &mut self,
        at: u32,
        connection: P::Connection,
        reason: Eviction,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        let blamed = self.is_to_blame(at, reason);
        self.evict(at, connection, reason, fx);
        if blamed {
            self.endpoint_failed(at, P::Cause::from(reason), random, fx);
        }
    }

    pub(super) fn is_to_blame(&self, at: u32, reason: Eviction) -> bool {
        reason.is_the_endpoints_doing() && !self.slots.at(at).proven
    }

    /// The dial in this slot failed, or its connection died before it was proven. Either is on its
    /// way out, or gone.
    pub(super) fn endpoint_failed(
        &mut self,
        at: u32,
        cause: P::Cause,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        let any_live = self.slots.live() > 0;
        let slot = self.slots.at(at);
        let dial = outage::LostDial {
            number: slot.number,
            began: slot.dialled,
        };
        let next = self.slots.next_number();
        let earlier = self
            .outage
            .failed(dial, cause, next, self.now, any_live, random);
        fx.causes_to_drop.extend(earlier);
        fx.outage.extend(self.outage.news(self.now));
        fx.changed = true;
        self.tell_of_the_dark(fx);
    }

    /// If it is dark, all who wait are told, but for those who would rather wait; not while nobody
    /// is served anyway.
    pub(super) fn tell_of_the_dark(&mut self, fx: &mut Effects<P>) {
        if !self.outage.dark() || self.paused {
            return;
        }
        for waiter in self.waiters.to_be_told_of_the_dark() {
            self.refuse(waiter, Refusal::Unavailable, fx);
        }
    }

    /// The connection in this slot has served: the endpoint is as good as it looks. Says whether
    /// that was news.
    #[inline]
    pub(super) fn prove(&mut self, at: u32, fx: &mut Effects<P>) -> bool {
        let slot = self.slots.at_mut(at);
        let news = !slot.proven && self.outage.failing();
        slot.proven = true;
        if news {
            fx.outage.push(self.outage.proven(self.now));
        }
        news
    }

    /// Writes an eviction down.
    pub(super) fn record(&mut self, at: u32, reason: Eviction) {
        let slot = self.slots.at(at);
        let record = EvictionRecord {
            number: slot.number,
            reason,
            at: self.now,
            age: self.now.since(slot.opened),
            uses: slot.uses,
        };
        self.totals.count_eviction(reason);
        if self.evictions.len() == REMEMBERED_EVICTIONS {
            self.evictions.pop_front();
        }
        self.evictions.push_back(record);
    }

    /// The connection in this slot is no longer there, or never came to be.
    pub(super) fn vacate(&mut self, at: u32, fx: &mut Effects<P>) {
        self.slots.shift(at, Stage::Vacant, self.now);
        fx.changed = true;
    }

    pub(super) fn refuse(&mut self, waiter: WaiterIndex, why: Refusal, fx: &mut Effects<P>) {
        fx.wakes.extend(self.waiters.refuse(waiter, why));
        fx.changed = true;
        self.count_refusal(why);
    }

    pub(super) fn refuse_all(&mut self, why: Refusal, fx: &mut Effects<P>) {
        while let Some(waiter) = self.waiters.any_waiting() {
            self.refuse(waiter, why, fx);
        }
    }

    pub(super) fn count_refusal(&mut self, why: Refusal) {
        match why {
            Refusal::TimedOut => self.totals.timed_out += 1,
            Refusal::Full => self.totals.turned_away_full += 1,
            Refusal::Unavailable => self.totals.turned_away_unavailable += 1,
            Refusal::Closed | Refusal::Draining | Refusal::RuntimeEnded => {}
        }
    }

    /// When a connection opened now has lived long enough: up to a tenth of `max_lifetime` earlier
    /// or later, so that connections opened together aren't replaced together.
    pub(super) fn lifetime_end(&self, random: u64) -> Moment {
        let Some(lifetime) = self.settings.max_lifetime else {
            return Moment::NEVER;
        };
        let spread = u64::try_from((lifetime / 5).as_nanos()).unwrap_or(u64::MAX);
        let jitter = std::time::Duration::from_nanos(outage::scaled(spread, random));
        self.now.after(lifetime - lifetime / 10).after(jitter)
    }
}
