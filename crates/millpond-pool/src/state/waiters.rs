//! The callers that wait: who is next, who holds a grant, who is parked, and until when each will
//! wait.

use std::time::Duration;

use super::{
    lease::Lease,
    lifecycle::Refusal,
    list::{Linked, Links, List},
    moment::Moment,
    payload::Payload,
    queues::{Queues, ServingOrder},
};
use crate::{
    settings::Priority,
    shedding::{Codel, Shedding},
};

/// A waiter's index, as a granted slot remembers it.
pub(crate) type WaiterIndex = u32;

/// A caller's right to its own place in the queue. It can't be copied: a waiter is picked up,
/// refused or cancelled once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket that is dropped waits for ever"]
pub(crate) struct QueueTicket(WaiterIndex);

impl QueueTicket {
    pub(super) fn index(&self) -> WaiterIndex {
        self.0
    }
}

/// What a caller wants while the endpoint is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutagePolicy {
    /// To be told the cause at once.
    FailFast,
    /// To stay in line until its own deadline.
    Wait,
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitTerms<T> {
    pub(crate) tag: T,
    pub(crate) lease: Lease,
    pub(crate) priority: Priority,
    /// When it came. [`Moment::NEVER`] where nobody has read the clock, as only without shedding.
    pub(crate) since: Moment,
    /// [`Moment::NEVER`] while `patience` has not been counted from a time.
    pub(crate) deadline: Moment,
    /// A timeout that was set without reading the clock. It counts from upkeep's next visit: never
    /// early, and late by at most upkeep's step.
    pub(crate) patience: Option<Duration>,
    pub(crate) outage_policy: OutagePolicy,
}

impl<T> WaitTerms<T> {
    fn count_patience(&mut self, now: Moment) {
        if let Some(patience) = self.patience.take() {
            self.deadline = now.after(patience);
        }
    }
}

/// How a waiter stands. Waiting is [`Standing::Queued`], [`Standing::Parked`] and
/// [`Standing::Called`]; the others have been answered.
#[derive(Debug)]
pub(crate) enum Standing {
    Vacant,
    /// In line.
    Queued,
    /// Had a grant and didn't pick it up in time: out of line until it is polled again. It keeps
    /// its seniority.
    Parked,
    /// Out of line as well, because another waiter didn't pick its grant up in time: all who were
    /// in line have been woken.
    Called,
    /// A connection lies ready in this slot.
    Granted(u32),
    /// Refused, and hasn't picked the reason up yet.
    Refused(Refusal),
}

/// One caller.
#[derive(Debug)]
pub(crate) struct Waiter<P: Payload> {
    pub(crate) standing: Standing,
    links: Links,
    waker: Option<P::Waker>,
    /// The order of arrival: seniority.
    pub(crate) arrival: u64,
    pub(crate) terms: WaitTerms<P::Tag>,
}

impl<P: Payload> Linked for Waiter<P> {
    fn links(&self) -> Links {
        self.links
    }
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// All waiters.
#[derive(Debug)]
pub(crate) struct Waiters<P: Payload> {
    order: ServingOrder,
    /// Of each queue, where callers are shed.
    shedding: Option<Box<[Codel<Moment>; Priority::LEVELS]>>,
    /// A waiter that has been answered and hasn't picked that up is in no list.
    waiters: Vec<Waiter<P>>,
    vacant: List,
    /// In line.
    queues: Queues,
    /// Those who were called are here as well.
    parked: List,
    arrivals: u64,
    /// Waiters that arrived later than this may have a patience that is no deadline yet.
    counted_up_to: u64,
    /// No waiter's deadline is earlier. May be too early, never too late: waiters that leave don't
    /// move it.
    earliest_deadline: Moment,
}

impl<P: Payload> Waiters<P> {
    pub(super) fn new(order: ServingOrder, shedding: Option<Shedding>) -> Self {
        Waiters {
            order,
            shedding: shedding.map(|terms| Box::new([Codel::new(terms); Priority::LEVELS])),
            waiters: Vec::new(),
            vacant: List::EMPTY,
            queues: Queues::EMPTY,
            parked: List::EMPTY,
            arrivals: 0,
            counted_up_to: 0,
            earliest_deadline: Moment::NEVER,
        }
    }

    /// In line.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.queues.len()
    }

    /// Nobody is in line.
    #[inline]
    pub(crate) fn none_queued(&self) -> bool {
        self.queues.is_empty()
    }

    /// Waiting without having been answered: in line or parked.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.queued() + self.parked.len()
    }

    pub(super) fn earliest_deadline(&self) -> Moment {
        self.earliest_deadline
    }

    /// Every waiter, vacant nodes included.
    #[cfg(test)]
    pub(crate) fn all(&self) -> &[Waiter<P>] {
        &self.waiters
    }

    #[inline]
    pub(super) fn at(&self, index: WaiterIndex) -> &Waiter<P> {
        &self.waiters[index as usize]
    }

    /// Who is served next.
    #[inline]
    pub(super) fn first(&self) -> Option<WaiterIndex> {
        match self.order {
            ServingOrder::Arrival => self.queues.first(),
        }
    }

    /// Whether callers may be shed.
    #[inline]
    pub(super) fn are_shed(&self) -> bool {
        self.shedding.is_some()
    }

    /// Whether the first in line, whose turn has come, is refused for having waited too long. Never
    /// the last of its queue.
    pub(super) fn sheds(&mut self, first: WaiterIndex, now: Moment) -> bool {
        let terms = &self.waiters[first as usize].terms;
        let level = terms.priority.level();
        match &mut self.shedding {
            Some(lines) if terms.lease == Lease::Exclusive => {
                let is_last = self.queues.lists[level].len() == 1;
                lines[level].refuses(now.since(terms.since), now, is_last)
            }
            _ => false,
        }
    }

    /// A caller gets in line: a new one at the end, one with seniority ahead of all who came later.
    #[inline]
    pub(super) fn enqueue(
        &mut self,
        terms: WaitTerms<P::Tag>,
        seniority: Option<u64>,
        waker: P::Waker,
    ) -> QueueTicket {
        let level = terms.priority.level();
        if let Some(lines) = &mut self.shedding
            && seniority.is_none()
            && self.queues.lists[level].is_empty()
            && self.parked.is_empty()
        {
            lines[level].line_begins();
        }
        let arrival = seniority.unwrap_or_else(|| {
            self.arrivals += 1;
            self.arrivals
        });
        self.earliest_deadline = self.earliest_deadline.min(terms.deadline);
        let waiter = Waiter {
            standing: Standing::Queued,
            links: Links::ALONE,
            waker: Some(waker),
            arrival,
            terms,
        };
        let at = match self.vacant.front() {
            Some(at) => {
                self.vacant.remove(&mut self.waiters, at);
                self.waiters[at as usize] = waiter;
                at
            }
            None => {
                self.waiters.push(waiter);
                u32::try_from(self.waiters.len() - 1).expect("max_waiting is a u32")
            }
        };
        let behind = seniority.and_then(|_| self.first_junior_of(at));
        self.link_into_queue(at, behind);
        QueueTicket(at)
    }

    #[inline]
    fn link_into_queue(&mut self, at: WaiterIndex, behind: Option<WaiterIndex>) {
        let level = self.waiters[at as usize].terms.priority.level();
        self.queues.insert(&mut self.waiters, level, at, behind);
    }

    /// The first in this waiter's queue who arrived after it. Looked for from both ends at once:
    /// who had an unfit connection belongs near the front, and those who come back after a call
    /// come mostly in the order in which they were called.
    fn first_junior_of(&self, at: WaiterIndex) -> Option<WaiterIndex> {
        let waiter = &self.waiters[at as usize];
        let queue = &self.queues.lists[waiter.terms.priority.level()];
        let is_junior = |other: &u32| self.waiters[*other as usize].arrival > waiter.arrival;
        let (mut front, mut back) = (queue.front(), queue.back());
        let mut junior = None;
        loop {
            let Some(from_back) = back.filter(is_junior) else {
                return junior;
            };
            junior = back;
            back = List::prev(&self.waiters, from_back);
            let Some(from_front) = front.filter(|other| !is_junior(other)) else {
                return front;
            };
            front = List::next(&self.waiters, from_front);
        }
    }

    /// Replaces the waker of a waiter that has one; returns the old one, to be dropped after
    /// unlocking.
    pub(super) fn rewake(&mut self, ticket: &QueueTicket, waker: P::Waker) -> Option<P::Waker> {
        self.waiters[ticket.0 as usize].waker.replace(waker)
    }

    /// Takes the waiter out of whatever list it is in.
    #[inline]
    fn unlink(&mut self, at: WaiterIndex) {
        let waiter = &self.waiters[at as usize];
        match waiter.standing {
            Standing::Vacant => self.vacant.remove(&mut self.waiters, at),
            Standing::Queued => {
                let level = waiter.terms.priority.level();
                self.queues.remove(&mut self.waiters, level, at);
            }
            Standing::Parked | Standing::Called => self.parked.remove(&mut self.waiters, at),
            Standing::Granted(_) | Standing::Refused(_) => {}
        }
    }

    /// Answers a waiter in line or parked; returns its waker, to be called after unlocking.
    #[inline]
    fn answer(&mut self, at: WaiterIndex, answer: Standing) -> Option<P::Waker> {
        self.unlink(at);
        let waiter = &mut self.waiters[at as usize];
        waiter.standing = answer;
        waiter.waker.take()
    }

    #[inline]
    pub(super) fn grant(&mut self, at: WaiterIndex, slot: u32) -> Option<P::Waker> {
        self.answer(at, Standing::Granted(slot))
    }

    pub(super) fn refuse(&mut self, at: WaiterIndex, why: Refusal) -> Option<P::Waker> {
        self.answer(at, Standing::Refused(why))
    }

    /// A waiter loses its grant, and is out of line until it is polled again.
    pub(super) fn park(&mut self, at: WaiterIndex, now: Moment) {
        self.leave_line(at, Standing::Parked, now);
    }

    fn leave_line(&mut self, at: WaiterIndex, standing: Standing, now: Moment) {
        self.unlink(at);
        self.waiters[at as usize].terms.count_patience(now);
        self.waiters[at as usize].standing = standing;
        self.parked.push_back(&mut self.waiters, at);
        let deadline = self.waiters[at as usize].terms.deadline;
        self.earliest_deadline = self.earliest_deadline.min(deadline);
    }

    /// Takes everybody out of the line until they are polled again; returns their wakers, to be
    /// called after unlocking, in the order of the line.
    pub(super) fn call_all(&mut self, now: Moment) -> impl Iterator<Item = P::Waker> {
        std::iter::from_fn(move || {
            let at = self.queues.first()?;
            self.leave_line(at, Standing::Called, now);
            Some(self.waiters[at as usize].waker.take())
        })
        .flatten()
    }

    /// A waiter that is parked or was called gets back in line, ahead of all who came after it.
    pub(super) fn requeue(&mut self, at: WaiterIndex) {
        self.unlink(at);
        self.waiters[at as usize].standing = Standing::Queued;
        let behind = self.first_junior_of(at);
        self.link_into_queue(at, behind);
    }

    /// Ends a waiter that has been answered: its waker was taken then, and nothing is left to drop.
    #[inline]
    pub(super) fn leave_answered(&mut self, ticket: QueueTicket) {
        let (_, waker) = self.leave(ticket);
        debug_assert!(waker.is_none());
    }

    /// Ends a waiter; what it held is returned, to be dropped after unlocking.
    #[inline]
    pub(super) fn leave(&mut self, ticket: QueueTicket) -> (Standing, Option<P::Waker>) {
        let at = ticket.0;
        self.unlink(at);
        let waiter = &mut self.waiters[at as usize];
        let standing = std::mem::replace(&mut waiter.standing, Standing::Vacant);
        let waker = waiter.waker.take();
        let newest = self.vacant.front();
        self.vacant.insert(&mut self.waiters, at, newest);
        (standing, waker)
    }

    /// Anybody in line or parked.
    pub(super) fn any_waiting(&self) -> Option<WaiterIndex> {
        self.first().or_else(|| self.parked.front())
    }

    /// Those in line or parked who want to be told at once that the endpoint is unavailable, from
    /// the most urgent queue to the parked.
    pub(super) fn failing_fast(&self) -> Vec<WaiterIndex> {
        let waiting = self.queues.lists.iter().chain([&self.parked]);
        let waiting = waiting.flat_map(|list| list.iter(&self.waiters));
        waiting
            .filter(|&at| self.waiters[at as usize].terms.outage_policy == OutagePolicy::FailFast)
            .collect()
    }

    /// Makes deadlines of the patience of those who came since the last call.
    pub(super) fn count_patience(&mut self, now: Moment) {
        for list in &self.queues.lists {
            let mut newest = list.back();
            while let Some(at) = newest {
                newest = List::prev(&self.waiters, at);
                let waiter = &mut self.waiters[at as usize];
                if waiter.arrival <= self.counted_up_to {
                    break;
                }
                waiter.terms.count_patience(now);
                self.earliest_deadline = self.earliest_deadline.min(waiter.terms.deadline);
            }
        }
        self.counted_up_to = self.arrivals;
    }

    /// Those in line or parked whose deadline has passed, from the most urgent queue to the parked.
    pub(super) fn overdue(&mut self, now: Moment) -> Vec<WaiterIndex> {
        let mut overdue = Vec::new();
        if now < self.earliest_deadline {
            return overdue;
        }
        self.earliest_deadline = Moment::NEVER;
        let waiting = self.queues.lists.iter().chain([&self.parked]);
        for at in waiting.flat_map(|list| list.iter(&self.waiters)) {
            let deadline = self.waiters[at as usize].terms.deadline;
            if deadline <= now {
                overdue.push(at);
            } else {
                self.earliest_deadline = self.earliest_deadline.min(deadline);
            }
        }
        overdue
    }

    #[cfg(test)]
    pub(super) fn lists(&self) -> (Vec<Vec<u32>>, Vec<u32>, Vec<u32>) {
        self.queues.check();
        let walk = |list: &List| list.iter(&self.waiters).collect::<Vec<_>>();
        (
            self.queues.lists.iter().map(walk).collect(),
            walk(&self.parked),
            walk(&self.vacant),
        )
    }
}
