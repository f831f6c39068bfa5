//! The model's answer to each event: one method per transition of the machine.

use super::{
    Answer, At, Caller, CallerId, Cause, Checking, Duration, Eviction, Lease, Lifecycle, Model,
    Moment, OutagePolicy, Refusal, Stands, TICK, WaitTerms,
};

impl Model {
    // ---- callers
    // ------------------------------------------------------------------------------------------------

    pub(in super::super) fn acquire(&mut self, tag: CallerId, lease: Lease) -> Answer {
        if let Some(refusal) = self.turned_away_by_phase() {
            return Answer::Refused(refusal);
        }
        let mut found_unusable = false;
        while !self.paused
            && let Some(number) = self.next_idle()
        {
            if let Some(reason) = self.unusable(number) {
                self.evict(number, reason);
                found_unusable = true;
                continue;
            }
            if self.probe_is_due(number) {
                break;
            }
            self.lend(number, tag, lease);
            if found_unusable {
                self.rest();
            }
            return Answer::Lent(number);
        }
        Answer::MustWait
    }

    pub(in super::super) fn wait(
        &mut self,
        now: Moment,
        terms: WaitTerms<CallerId>,
        seniority: Option<u64>,
        waker: u64,
    ) -> Result<(), Refusal> {
        self.advance(now);
        // Who is in line already comes first.
        if self.revoke_overdue() {
            self.rest();
        }
        let refusal = self
            .turned_away_by_phase()
            .filter(|&why| why != Refusal::Draining || seniority.is_none())
            .or_else(|| self.turned_away(terms.outage_policy, seniority));
        if let Some(refusal) = refusal {
            self.count_refusal(refusal);
            return Err(refusal);
        }
        self.queue(terms, seniority, waker);
        Ok(())
    }

    /// A caller who may wait gets in line.
    pub(in super::super) fn queue(
        &mut self,
        terms: WaitTerms<CallerId>,
        seniority: Option<u64>,
        waker: u64,
    ) {
        if seniority.is_none() {
            self.totals.waited += 1;
            let ahead = (self.callers.iter()).filter(|c| match c.stands {
                Stands::InLine => c.priority == terms.priority,
                other => other.waits(),
            });
            if ahead.count() == 0 {
                self.turns[terms.priority.level()].clear();
            }
        }
        let arrival = seniority.unwrap_or(self.last_arrival + 1);
        self.last_arrival = self.last_arrival.max(arrival);
        self.callers.push(Caller {
            id: terms.tag,
            stands: Stands::InLine,
            arrival,
            deadline: terms.deadline,
            patience: terms.patience,
            priority: terms.priority,
            since: terms.since,
            lease: terms.lease,
            outage_policy: terms.outage_policy,
            waker: Some(waker),
        });
        self.rest();
    }

    fn turned_away(&self, outage_policy: OutagePolicy, seniority: Option<u64>) -> Option<Refusal> {
        if self.unavailable && !self.paused && outage_policy == OutagePolicy::FailFast {
            // Only one stays: the one for whom a dial starts now.
            let rides = self.connecting() == 0 && self.room() > 0 && self.paced(true) <= self.now;
            return (!rides).then_some(Refusal::Unavailable);
        }
        if !self.paused && self.in_line() == 0 && self.idle() > 0 {
            return None;
        }
        let coming = self.idle() + self.connecting() + self.checking() + self.room();
        let at_limit = self.waiting() >= self.settings.max_waiting as usize;
        let nothing_for_it = self.waiting() >= coming;
        (at_limit && nothing_for_it && seniority.is_none()).then_some(Refusal::Full)
    }

    /// `None`: it goes on waiting. Otherwise the caller is gone.
    pub(in super::super) fn poll(
        &mut self,
        id: CallerId,
        now: Moment,
        waker: u64,
    ) -> Option<Answer> {
        let stands = self.caller(id).stands;
        let when = now.max(self.now);
        if stands == Stands::Called && self.answers_come_in(when) {
            self.last_answer = Some(when);
        }
        if stands == Stands::Called || stands == Stands::Parked {
            self.caller(id).stands = Stands::InLine;
            self.rest();
        }
        let caller = self.caller(id).clone();
        let answer = match caller.stands {
            Stands::Granted(number) => {
                self.lend(number, id, caller.lease);
                Answer::Lent(number)
            }
            Stands::Refused(refusal) => Answer::Refused(refusal),
            _ if caller.deadline <= now => {
                self.count_refusal(Refusal::TimedOut);
                Answer::Refused(Refusal::TimedOut)
            }
            _ => {
                self.caller(id).waker = Some(waker);
                return None;
            }
        };
        self.callers.retain(|c| c.id != id);
        // It may have been the last whom a drain had to serve.
        if caller.stands == Stands::InLine && self.lifecycle == Lifecycle::Draining {
            self.rest();
        }
        Some(answer)
    }

    pub(in super::super) fn cancel(&mut self, id: CallerId, now: Moment) {
        self.advance(now);
        let stood = self.caller(id).stands;
        self.callers.retain(|c| c.id != id);
        if let Stands::Refused(_) = stood {
            return;
        }
        self.totals.cancelled += 1;
        if let Stands::Granted(number) = stood {
            self.take_back(number);
            self.rest();
        } else if self.lifecycle == Lifecycle::Draining {
            self.rest();
        }
    }

    // ---- borrowers
    // ----------------------------------------------------------------------------------------------

    pub(in super::super) fn release(&mut self, number: u64, now: Moment) {
        self.advance(now);
        self.totals.released += 1;
        let news = self.prove(number);
        self.welcome(number);
        if news
            || self.lifecycle == Lifecycle::Draining
            || self.connection(number).at == At::Closing
        {
            self.rest();
        }
    }

    /// Says whether the reset is to be started.
    pub(in super::super) fn release_to_reset(&mut self, number: u64, now: Moment) -> bool {
        self.advance(now);
        self.totals.released += 1;
        if let Some(reason) = self.unusable(number) {
            self.evict(number, reason);
            self.rest();
            return false;
        }
        self.enter(number, At::Checking(Checking::Reset));
        true
    }

    pub(in super::super) fn discard(
        &mut self,
        number: u64,
        reason: Eviction,
        now: Moment,
        random: u64,
    ) {
        self.advance(now);
        self.totals.released += 1;
        self.evict_unfit(number, reason, random);
        self.rest();
    }

    /// Says whether it is time to say so: who, how many, of how many.
    pub(in super::super) fn drop_unreleased(
        &mut self,
        number: u64,
        now: Moment,
        random: u64,
    ) -> Option<(CallerId, u64, u64)> {
        let At::Active { tag, .. } = self.connection(number).at else {
            panic!("{number} isn't lent");
        };
        self.discard(number, Eviction::UnfinishedExchange, now, random);
        self.totals.unreleased += 1;
        let (unreleased, released) = (self.totals.unreleased, self.totals.released);
        if self.told_of_unreleased || unreleased < 8 || 2 * unreleased < released {
            return None;
        }
        self.told_of_unreleased = true;
        Some((tag, unreleased, released))
    }

    pub(in super::super) fn reject(
        &mut self,
        number: u64,
        reason: Eviction,
        now: Moment,
        random: u64,
    ) {
        self.advance(now);
        self.totals.lent -= 1;
        let connection = self.connection(number);
        connection.uses -= 1;
        let never_served = !connection.proven;
        self.evict(number, reason);
        if never_served {
            self.endpoint_failed(number, Cause::Died(reason), random);
        }
        self.rest();
    }

    pub(in super::super) fn detach(&mut self, number: u64, now: Moment) {
        self.advance(now);
        self.totals.detached += 1;
        self.gone(number);
        self.note_departure();
        self.rest();
    }

    // ---- the pool's own work
    // ------------------------------------------------------------------------------------

    pub(in super::super) fn dial_succeeded(&mut self, number: u64, now: Moment, random: u64) {
        self.advance(now);
        self.totals.opened += 1;
        if let Some(since) = self.down_since.take() {
            self.interrupted = Some((self.now, since));
        }
        self.unavailable = false;
        let expires = self.lifetime_end(random);
        let connection = self.connection(number);
        connection.opened = now;
        connection.expires = expires;
        self.welcome(number);
        self.rest();
    }

    /// A tenth less than `max_lifetime`, and up to a fifth more than that.
    fn lifetime_end(&self, random: u64) -> Moment {
        let Some(lifetime) = self.settings.max_lifetime else {
            return Moment::NEVER;
        };
        let shortest = lifetime - lifetime / 10;
        self.now.after(shortest + share(lifetime / 5, random))
    }

    pub(in super::super) fn dial_failed(
        &mut self,
        number: u64,
        cause: Cause,
        now: Moment,
        random: u64,
    ) {
        self.advance(now);
        self.totals.dials_failed += 1;
        self.endpoint_failed(number, cause, random);
        self.gone(number);
        self.rest();
    }

    pub(in super::super) fn dial_abandoned(&mut self, number: u64) {
        self.totals.dials_abandoned += 1;
        self.gone(number);
        self.rest();
    }

    pub(in super::super) fn check_passed(&mut self, number: u64, now: Moment) {
        self.advance(now);
        self.prove(number);
        self.welcome(number);
        self.rest();
    }

    pub(in super::super) fn check_failed(
        &mut self,
        number: u64,
        reason: Eviction,
        now: Moment,
        random: u64,
    ) {
        self.advance(now);
        self.evict_unfit(number, reason, random);
        self.rest();
    }

    pub(in super::super) fn closed(&mut self, number: u64) {
        self.totals.closed += 1;
        self.gone(number);
        self.rest();
    }

    fn prove(&mut self, number: u64) -> bool {
        let news = !self.connection(number).proven && self.failures > 0;
        self.connection(number).proven = true;
        if news {
            self.failures = 0;
            self.doublings = 0;
            self.down_since = None;
            self.interrupted = None;
            self.unavailable = false;
        }
        news
    }

    fn is_to_blame(&mut self, number: u64, reason: Eviction) -> bool {
        use Eviction::{HeartbeatMissed, PeerClosed, PeerReset, ProbeFailed, UnsolicitedBytes};
        let by_endpoint = [
            HeartbeatMissed,
            PeerClosed,
            PeerReset,
            ProbeFailed,
            UnsolicitedBytes,
        ];
        by_endpoint.contains(&reason) && !self.connection(number).proven
    }

    fn evict_unfit(&mut self, number: u64, reason: Eviction, random: u64) {
        let blamed = self.is_to_blame(number, reason);
        self.evict(number, reason);
        if blamed {
            self.endpoint_failed(number, Cause::Died(reason), random);
        }
    }

    pub(in super::super) fn died_in_exchange(
        &mut self,
        number: u64,
        reason: Eviction,
        now: Moment,
        random: u64,
    ) {
        self.advance(now);
        self.totals.released += 1;
        let blamed = self.is_to_blame(number, reason);
        self.evict(number, reason);
        if blamed {
            self.count_failure(number, Cause::Died(reason), true, random);
        }
        self.rest();
    }

    fn count_failure(&mut self, number: u64, cause: Cause, is_cheap: bool, random: u64) {
        if self.failures == 0 || number > self.last_number_heard {
            self.back_off(is_cheap, random);
        }
        self.failures += 1;
        let replaced = self.last_failure.replace((cause, self.now));
        self.told
            .replaced_causes
            .extend(replaced.map(|(cause, _)| cause));
    }

    /// `number` is the failed dial, or the connection that died.
    fn endpoint_failed(&mut self, number: u64, cause: Cause, random: u64) {
        let was_refused = matches!(cause, Cause::Dial(number) if number % 2 == 0);
        self.count_failure(number, cause, was_refused, random);
        if self.live() == 0 && self.down_since.is_none() {
            self.down_since = Some(self.now);
        }
        let dialled = self.connection(number).dialled;
        if let Some(end) = self.end_of_grace()
            && (dialled >= end || self.settings.outage_grace == Duration::ZERO)
        {
            self.unavailable = true;
        }
        if self.unavailable {
            self.refuse_if_unavailable();
        }
    }

    fn back_off(&mut self, is_cheap: bool, random: u64) {
        let backoff = self.settings.backoff;
        let doubled = backoff
            .base
            .saturating_mul(1u32.checked_shl(self.doublings).unwrap_or(u32::MAX));
        let wait = |longest: Duration| {
            let least = Duration::from_millis(1);
            least + share(doubled.min(longest).saturating_sub(least), random)
        };
        let longest_if_asked = match is_cheap {
            true => backoff.max_while_waiting,
            false => backoff.max_when_reached,
        };
        self.dial_after = self.now.after(wait(backoff.max));
        self.dial_after_if_asked = self.now.after(wait(longest_if_asked));
        let half = self.settings.outage_grace / 10;
        let least = Duration::from_millis(1);
        let second_half = half + least + share(half.saturating_sub(least), random);
        self.dial_after_in_grace = self.now.after(second_half);
        self.doublings += 1;
        self.last_number_heard = self.last_number;
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    pub(in super::super) fn tick(&mut self, now: Moment) {
        self.advance(now);
        self.revoke_overdue();
        let now = self.now;
        for caller in &mut self.callers {
            if caller.stands.waits() {
                caller.count_patience(now);
            }
        }
        let overdue = self
            .callers
            .iter()
            .filter(|c| c.stands.waits() && c.deadline <= self.now);
        for id in overdue.map(|c| c.id).collect::<Vec<_>>() {
            self.refuse(id, Refusal::TimedOut);
        }
        if let Some(limit) = self.settings.idle_timeout {
            for number in self.idle_for(limit) {
                if self.idle() > self.min_idle() {
                    self.evict(number, Eviction::IdleTimeout);
                }
            }
        }
        for number in self.idle_for(Duration::ZERO) {
            let now = self.now;
            if self.connection(number).expires <= now {
                self.evict(number, Eviction::Lifetime);
            }
        }
        self.report_leaks();
        self.rest();
        if self
            .unavailable_by_silence_from()
            .is_some_and(|from| from <= self.now)
        {
            self.unavailable = true;
            self.refuse_if_unavailable();
        }
    }

    /// Those idle for at least this long, from the one idle longest.
    fn idle_for(&self, time: Duration) -> Vec<u64> {
        let idle = self.connections.iter().filter(|c| c.at == At::Idle);
        let long = idle.filter(|c| c.since.after(time) <= self.now);
        long.map(|c| c.number).collect()
    }

    fn report_leaks(&mut self) {
        let Some(threshold) = self.settings.leak_threshold else {
            return;
        };
        for connection in &mut self.connections {
            let lent_for = self.now.since(connection.since);
            if let At::Active {
                tag,
                lease: Lease::Exclusive,
                reported,
            } = &mut connection.at
                && !*reported
                && lent_for >= threshold
            {
                *reported = true;
                self.told.leaks.push((connection.number, *tag, lent_for));
            }
        }
    }

    // ---- looks
    // --------------------------------------------------------------------------------------------------

    pub(in super::super) fn look_at_unwatched(&mut self) -> Option<u64> {
        let quiet = self.idle_for(TICK);
        let number = quiet
            .into_iter()
            .find(|&number| !self.connection(number).watched)?;
        self.look(number);
        Some(number)
    }

    pub(in super::super) fn look_at(&mut self, number: u64) -> Option<u64> {
        let idle = self
            .connections
            .iter()
            .any(|c| c.number == number && c.at == At::Idle);
        if idle {
            self.look(number);
        }
        idle.then_some(number)
    }

    fn look(&mut self, number: u64) {
        let idle = self.idle_for(Duration::ZERO);
        let next = idle.iter().skip_while(|&&n| n != number).nth(1).copied();
        let since = self.connection(number).since;
        self.connection(number).place_before_look = Some((since, next));
        self.enter(number, At::Checking(Checking::Look));
    }

    pub(in super::super) fn looked(
        &mut self,
        number: u64,
        verdict: Result<(), Eviction>,
        random: u64,
    ) {
        let reason = verdict.err().or_else(|| self.unusable(number));
        let place = self.connection(number).place_before_look.take();
        if let Some(reason) = reason {
            self.evict_unfit(number, reason, random);
        } else {
            let (since, next) = place.expect("it was looked at");
            if since.after(TICK) <= self.now {
                self.prove(number);
            }
            self.return_to_place(number, since, next);
        }
        self.rest();
    }

    /// Before the one that it was before if that keeps the order by age, else behind all that are
    /// as old or older.
    fn return_to_place(&mut self, number: u64, since: Moment, next: Option<u64>) {
        self.enter(number, At::Idle);
        let mut back = self.connections.pop().expect("just pushed");
        back.since = since;
        back.watched = true;
        let ages: Vec<(usize, u64, Moment)> = (self.connections.iter().enumerate())
            .filter(|(_, c)| c.at == At::Idle)
            .map(|(index, c)| (index, c.number, c.since))
            .collect();
        let old_place = ages
            .iter()
            .position(|&(_, n, _)| Some(n) == next)
            .filter(|&place| {
                ages[..place].iter().all(|age| age.2 <= since)
                    && ages[place..].iter().all(|age| age.2 >= since)
            });
        let place = old_place.or_else(|| ages.iter().position(|age| age.2 > since));
        let index = place.map_or(self.connections.len(), |place| ages[place].0);
        self.connections.insert(index, back);
    }

    // ---- verbs
    // --------------------------------------------------------------------------------------------------

    pub(in super::super) fn close(&mut self, lifecycle: Lifecycle) {
        if self.is_closed() {
            return;
        }
        self.lifecycle = lifecycle;
        self.paused = false;
        let refusal = self.turned_away_by_phase().expect("closed");
        let unserved = self
            .callers
            .iter()
            .filter(|c| !matches!(c.stands, Stands::Refused(_)));
        for id in unserved.map(|c| c.id).collect::<Vec<_>>() {
            self.refuse(id, refusal);
        }
        let granted = self
            .connections
            .iter()
            .filter(|c| matches!(c.at, At::Granted(_)));
        for number in granted.map(|c| c.number).collect::<Vec<_>>() {
            self.evict(number, Eviction::Closed);
        }
        self.evict_idle(Eviction::Closed);
    }

    pub(in super::super) fn drain(&mut self, now: Moment) {
        self.advance(now);
        if self.lifecycle == Lifecycle::Open {
            self.lifecycle = Lifecycle::Draining;
            self.paused = false;
            self.rest();
        }
    }

    pub(in super::super) fn retire(&mut self) {
        self.generation += 1;
        self.evict_idle(Eviction::Retired);
        self.rest();
    }

    pub(in super::super) fn retire_one(&mut self, number: u64) {
        let connection = self.connection(number);
        connection.generation = u32::MAX;
        if connection.at == At::Idle {
            self.evict(number, Eviction::Retired);
        }
        self.rest();
    }

    pub(in super::super) fn pause(&mut self) {
        if self.lifecycle == Lifecycle::Open {
            self.paused = true;
        }
    }

    pub(in super::super) fn resume(&mut self, now: Moment) {
        self.advance(now);
        self.paused = false;
        self.rest();
    }

    pub(in super::super) fn resize(&mut self, max_size: u32) {
        self.settings.max_size = max_size;
        loop {
            let staying = self.count(|at| !matches!(at, At::Closing));
            match self.idle_for(Duration::ZERO).first() {
                Some(&oldest) if staying > max_size as usize => {
                    self.evict(oldest, Eviction::Shrunk)
                }
                _ => break,
            }
        }
        self.rest();
    }
}

/// `random`, taken from all of `u64`, as a share of `span`: none to all of it.
fn share(span: Duration, random: u64) -> Duration {
    let span = u64::try_from(span.as_nanos()).expect("a test's spans are short");
    let part = (u128::from(random) * u128::from(span + 1)) >> 64;
    Duration::from_nanos(part as u64)
}
