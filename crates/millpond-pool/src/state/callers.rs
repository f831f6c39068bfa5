//! What callers do: acquire, wait in line, pick up, give up; and how they are refused.

use super::{
    AcquireOutcome, Effects, Lease, Lifecycle, Moment, OutagePolicy, Payload, Polled, QueueTicket,
    Refusal, SlotKey, StageName, State, WaitTerms,
    serving::Candidate,
    waiters::{Standing, WaiterIndex},
};

impl<P: Payload> State<P> {
    /// A caller wants a connection now. Ages are counted by the coarse clock.
    pub(crate) fn acquire(
        &mut self,
        tag: P::Tag,
        lease: Lease,
        fx: &mut Effects<P>,
    ) -> AcquireOutcome<P> {
        if let Some((key, connection)) = self.lend_at_once(tag, lease) {
            return AcquireOutcome::Lent(key, connection);
        }
        if let Some(refusal) = self.refusal() {
            return AcquireOutcome::Refused(refusal);
        }
        if self.paused {
            return AcquireOutcome::MustWait;
        }
        while let Some(at) = self.next_idle() {
            match self.judge(at) {
                Candidate::Fit => {
                    let (key, connection) = self.lend(at, tag, lease);
                    if !fx.evicted.is_empty() {
                        self.settle(fx);
                    }
                    return AcquireOutcome::Lent(key, connection);
                }
                Candidate::NeedsProbe => return AcquireOutcome::MustWait,
                Candidate::MustGo(reason) => self.evict_held(at, reason, fx),
            }
        }
        AcquireOutcome::MustWait
    }

    /// The fast path of [`State::acquire`]: lends the next idle connection if it is fit, and
    /// changes nothing else.
    #[inline]
    pub(crate) fn lend_at_once(
        &mut self,
        tag: P::Tag,
        lease: Lease,
    ) -> Option<(SlotKey, P::Connection)> {
        if self.lifecycle != Lifecycle::Open || self.paused {
            return None;
        }
        let at = self.next_idle()?;
        match self.judge(at) {
            Candidate::Fit => Some(self.lend(at, tag, lease)),
            Candidate::NeedsProbe | Candidate::MustGo(_) => None,
        }
    }

    /// The fast path of [`State::wait`]: everything is lent and nothing can be dialled, so the
    /// caller gets in line, and nothing else changes. Returns whether upkeep must be woken. Without
    /// a `now` grants neither age nor are found overdue: upkeep sees to that.
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

    /// A caller found nothing idle and gets in line. `seniority` is the number of its arrival where
    /// it had been given an unfit connection: it gets its old place.
    #[inline]
    pub(crate) fn wait(
        &mut self,
        now: Moment,
        terms: WaitTerms<P::Tag>,
        seniority: Option<u64>,
        waker: P::Waker,
        fx: &mut Effects<P>,
    ) -> Result<QueueTicket, Refusal> {
        let waker = match self.queue_at_once(Some(now), terms, seniority, waker) {
            Ok((ticket, kick)) => {
                fx.kick |= kick;
                return Ok(ticket);
            }
            Err(waker) => waker,
        };
        if self.revoke_overdue_grants(fx) {
            // What upkeep would have done by now, also where this caller is turned away.
            self.settle(fx);
        }
        // A caller with seniority was in line before the drain began.
        let refusal = self.refusal();
        let refusal = refusal.filter(|&why| why != Refusal::Draining || seniority.is_none());
        if let Some(refusal) = refusal.or_else(|| self.turns_away(terms.outage_policy, seniority)) {
            fx.wakers_to_drop.push(waker);
            self.count_refusal(refusal);
            return Err(refusal);
        }
        let ticket = self.enqueue(terms, seniority, waker);
        self.settle(fx);
        Ok(ticket)
    }

    /// Why this caller may not wait, if so.
    fn turns_away(&self, outage_policy: OutagePolicy, seniority: Option<u64>) -> Option<Refusal> {
        if self.outage.unavailable() && !self.paused && outage_policy == OutagePolicy::FailFast {
            // One caller at a time may stay: its dial finds out whether the endpoint is back.
            let may_dial = self.outage.dial_from(true) <= self.now && self.room() > 0;
            let stays = may_dial && self.slots.count(StageName::Connecting) == 0;
            return (!stays).then_some(Refusal::Unavailable);
        }
        if !self.paused && self.waiters.none_queued() && self.slots.front(StageName::Idle).is_some()
        {
            return None; // The waiters that were called haven't come for it, so this caller may.
        }
        let waiting = self.waiters.waiting();
        let coming = self.slots.count(StageName::Idle)
            + self.slots.count(StageName::Connecting)
            + self.slots.count(StageName::Checking)
            + self.room();
        let full = waiting >= self.settings.max_waiting as usize && waiting >= coming;
        (full && seniority.is_none()).then_some(Refusal::Full)
    }

    /// A caller with seniority was counted when it first came.
    #[inline]
    fn enqueue(
        &mut self,
        terms: WaitTerms<P::Tag>,
        seniority: Option<u64>,
        waker: P::Waker,
    ) -> QueueTicket {
        self.totals.waited += u64::from(seniority.is_none());
        self.waiters.enqueue(terms, seniority, waker)
    }

    /// A waiter picks up its answer, if it has been given one; the ticket comes back if not.
    #[inline]
    pub(crate) fn pick_up(&mut self, ticket: QueueTicket) -> Result<Polled<P>, QueueTicket> {
        let waiter = self.waiters.at(ticket.index());
        match waiter.standing {
            Standing::Granted(at) => {
                let (terms, arrival) = (waiter.terms, waiter.arrival);
                self.waiters.leave_answered(ticket);
                let (key, connection) = self.lend(at, terms.tag, terms.lease);
                Ok(Polled::Lent {
                    key,
                    connection,
                    arrival,
                    deadline: terms.deadline,
                })
            }
            Standing::Refused(refusal) => {
                self.waiters.leave_answered(ticket);
                Ok(Polled::Refused(refusal))
            }
            Standing::Queued | Standing::Parked | Standing::Called => Err(ticket),
            Standing::Vacant => unreachable!("a ticket's waiter has not left"),
        }
    }

    /// Whether a waiter can pick something up.
    #[inline]
    pub(crate) fn is_answered(&self, ticket: &QueueTicket) -> bool {
        let standing = &self.waiters.at(ticket.index()).standing;
        matches!(standing, Standing::Granted(_) | Standing::Refused(_))
    }

    /// A waiter asks for its answer; one that was out of line gets back in. `now` is compared with
    /// the waiter's own deadline. `waker` replaces the earlier one.
    pub(crate) fn poll(
        &mut self,
        ticket: QueueTicket,
        now: Moment,
        waker: P::Waker,
        fx: &mut Effects<P>,
    ) -> Polled<P> {
        match self.waiters.at(ticket.index()).standing {
            Standing::Called => self.answer_call(ticket.index(), now, fx),
            Standing::Parked => self.get_back_in_line(ticket.index(), fx),
            Standing::Queued | Standing::Granted(_) | Standing::Refused(_) | Standing::Vacant => {}
        }
        let ticket = match self.pick_up(ticket) {
            Ok(answer) => {
                fx.wakers_to_drop.push(waker);
                return answer;
            }
            Err(ticket) => ticket,
        };
        if self.waiters.at(ticket.index()).terms.deadline <= now {
            self.leave(ticket, fx);
            fx.wakers_to_drop.push(waker);
            self.count_refusal(Refusal::TimedOut);
            fx.changed = true;
            if self.lifecycle == Lifecycle::Draining {
                self.settle(fx);
            }
            return Polled::Refused(Refusal::TimedOut);
        }
        fx.wakers_to_drop
            .extend(self.waiters.rewake(&ticket, waker));
        Polled::Waiting(ticket)
    }

    /// A waiter gives up. A grant that it hadn't picked up goes to the next; a dial that it caused
    /// goes on.
    #[inline]
    pub(crate) fn cancel(&mut self, ticket: QueueTicket, now: Moment, fx: &mut Effects<P>) {
        self.advance(now);
        let standing = self.leave(ticket, fx);
        if let Standing::Refused(_) = standing {
            return;
        }
        self.totals.cancelled += 1;
        if let Standing::Granted(at) = standing {
            self.take_back(at, fx);
            self.settle(fx);
        } else if self.lifecycle == Lifecycle::Draining {
            fx.changed = true;
            self.settle(fx);
        }
    }

    /// Ends a waiter; says how it stood.
    #[inline]
    fn leave(&mut self, ticket: QueueTicket, fx: &mut Effects<P>) -> Standing {
        let (standing, waker) = self.waiters.leave(ticket);
        fx.wakers_to_drop.extend(waker);
        standing
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

    fn count_refusal(&mut self, why: Refusal) {
        match why {
            Refusal::TimedOut => self.totals.timed_out += 1,
            Refusal::Full => self.totals.turned_away_full += 1,
            Refusal::Unavailable => self.totals.turned_away_unavailable += 1,
            Refusal::Shed => self.totals.shed += 1,
            Refusal::Closed | Refusal::Draining | Refusal::RuntimeEnded => {}
        }
    }
}
