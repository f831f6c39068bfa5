//! One acquisition, step by step: it asks, waits in line, picks up, and checks what it is given.
//! The futures of an acquire drive it, and so does a thread that blocks.

use std::{
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    task::coop,
    time::{Instant, Sleep},
};

use super::{
    asker::Asker,
    blocking,
    boxed::Boxed,
    connection::Connection,
    connector::Connector,
    error::AcquireError,
    pooled::{Borrower, Pooled},
    runtime::timer,
    settings::Priority,
    shared::SharedPool,
    state::{
        AcquireOutcome, Effects, Lease, Moment, OutagePolicy, Polled, QueueTicket, SlotKey,
        StageName, WaitTerms,
    },
};

/// What an acquire was told, and how far it has come.
pub(crate) struct Acquisition {
    pub(crate) acquired_at: &'static Location<'static>,
    pub(crate) limit: Limit,
    pub(crate) priority: Priority,
    pub(crate) lease: Lease,
    pub(crate) outage_policy: OutagePolicy,
    progress: Progress,
    /// When it began to wait; `None` where nobody read the clock then.
    began: Option<Moment>,
    /// The task or thread that polled it first.
    asker: Option<Asker>,
    /// Whether the pool's runtime may stand still while this waits, so that a timer of its own
    /// must end the wait. `None` before the first wait.
    needs_backstop: Option<bool>,
    /// That timer.
    backstop: Option<Pin<Box<Sleep>>>,
}

/// Until when an acquire waits.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// The pool's `acquire_timeout`, from the first poll on.
    OfThePool,
    Timeout(Duration),
    Until(Instant),
    /// The deadline that any of the others has become, once this has begun to wait.
    Settled(Moment),
}

/// What [`Acquisition::enter`] came to.
enum Entered<C: Connector> {
    /// Something was idle after all.
    Lent(SlotKey, Boxed<C::Connection>),
    /// There is an answer to be picked up.
    Answered(QueueTicket),
    /// In line.
    Waits(QueueTicket),
}

impl<C: Connector> Entered<C> {
    /// In line. One whose deadline has passed already finds that out at its next look.
    fn in_line(ticket: QueueTicket, now: Option<Moment>, deadline: Moment) -> Self {
        match now {
            Some(now) if deadline <= now => Entered::Answered(ticket),
            _ => Entered::Waits(ticket),
        }
    }
}

/// A connection on its way to its borrower.
type Handed<C> = (SlotKey, Boxed<<C as Connector>::Connection>);

enum Progress {
    New,
    /// Gets in line next: it found nothing idle, or was given an unfit connection and keeps its
    /// seniority.
    Entering(Option<u64>),
    Waiting(QueueTicket),
    Ended,
}

impl Acquisition {
    pub(crate) fn new(acquired_at: &'static Location<'static>) -> Self {
        Acquisition {
            acquired_at,
            limit: Limit::OfThePool,
            priority: Priority::NORMAL,
            lease: Lease::Exclusive,
            outage_policy: OutagePolicy::FailFast,
            progress: Progress::New,
            began: None,
            asker: None,
            needs_backstop: None,
            backstop: None,
        }
    }

    /// Gets as far as it can; called by the future's `poll`.
    pub(crate) fn poll<C: Connector>(
        &mut self,
        shared: &Arc<SharedPool<C>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Connection<C>, AcquireError>> {
        // A loop of acquires that never waits must yield to the reactor now and then.
        let budget = ready!(coop::poll_proceed(cx));
        loop {
            if let Poll::Ready(answer) = self.step(shared, cx.waker()) {
                budget.made_progress();
                return Poll::Ready(answer);
            }
            ready!(self.poll_backstop(shared, cx));
        }
    }

    /// Waits by blocking this thread.
    pub(crate) fn block<C: Connector>(
        &mut self,
        shared: &Arc<SharedPool<C>>,
    ) -> Result<Connection<C>, AcquireError> {
        let waker = blocking::unparks_this_thread();
        if let (Limit::OfThePool, Some(timeout)) = (self.limit, shared.acquire_timeout) {
            self.limit = Limit::Timeout(timeout); // The thread's own timeout ends the wait.
        }
        loop {
            if let Poll::Ready(answer) = self.step(shared, &waker) {
                return answer;
            }
            if blocking::runs_tasks() {
                return Err(AcquireError::WouldBlockRuntime);
            }
            match self.limit {
                Limit::Settled(deadline) if deadline != Moment::NEVER => {
                    std::thread::park_timeout(deadline.since(shared.clock.now()));
                }
                _ => std::thread::park(),
            }
        }
    }

    /// Leaves the line, and gives back what was granted meanwhile: called by the future's `drop`.
    #[inline]
    pub(crate) fn give_up<C: Connector>(&mut self, shared: &Arc<SharedPool<C>>) {
        if let Progress::Waiting(ticket) = std::mem::replace(&mut self.progress, Progress::Ended) {
            let mut fx = Effects::none();
            let mut state = shared.lock();
            let now = state.now();
            state.cancel(ticket, now, &mut fx);
            drop(state);
            shared.carry_out(&mut fx);
        }
    }

    /// Whether the pool's runtime may stand still while this waits.
    pub(crate) fn may_be_stranded<C: Connector>(&mut self, shared: &SharedPool<C>) -> bool {
        *(self.needs_backstop).get_or_insert_with(|| shared.runtime.may_stand_still())
    }

    /// Gets as far as it can without waiting.
    pub(crate) fn step<C: Connector>(
        &mut self,
        shared: &Arc<SharedPool<C>>,
        waker: &Waker,
    ) -> Poll<Result<Connection<C>, AcquireError>> {
        loop {
            let (key, connection, seniority) =
                match std::mem::replace(&mut self.progress, Progress::Ended) {
                    Progress::New => match self.ask(shared) {
                        Ok(Some((key, connection))) => (key, connection, None),
                        Ok(None) => {
                            self.progress = Progress::Entering(None);
                            continue;
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    },
                    Progress::Entering(seniority) => match self.enter(shared, seniority, waker) {
                        Ok(Entered::Lent(key, connection)) => (key, connection, None),
                        Ok(Entered::Answered(ticket)) => {
                            self.progress = Progress::Waiting(ticket);
                            continue;
                        }
                        Ok(Entered::Waits(ticket)) => {
                            self.progress = Progress::Waiting(ticket);
                            return Poll::Pending;
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    },
                    Progress::Waiting(ticket) => match self.pick_up(shared, ticket, waker) {
                        Polled::Lent {
                            key,
                            connection,
                            arrival,
                            deadline,
                        } => {
                            if deadline != Moment::NEVER {
                                self.limit = Limit::Settled(deadline);
                            }
                            (key, connection, Some(arrival))
                        }
                        Polled::Refused(refusal) => {
                            let error = shared.explain(refusal, self.waited(shared), self.asker);
                            return Poll::Ready(Err(error));
                        }
                        Polled::Waiting(ticket) => {
                            self.progress = Progress::Waiting(ticket);
                            return Poll::Pending;
                        }
                    },
                    Progress::Ended => panic!("an acquire was polled after it had ended"),
                };
            let lent = Connection::new(shared, key, connection);
            match lent.pass_check() {
                Some(fit) => return Poll::Ready(Ok(fit)),
                None if seniority.is_some() => self.progress = Progress::Entering(seniority),
                None => self.progress = Progress::New,
            }
        }
    }

    /// Asks for an idle connection, unless the hint says that there is none.
    fn ask<C: Connector>(
        &mut self,
        shared: &Arc<SharedPool<C>>,
    ) -> Result<Option<Handed<C>>, AcquireError> {
        self.asker = Some(Asker::here());
        if shared.exhausted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let borrower = self.borrower();
        let mut state = shared.lock_for_lending();
        if let Some(lent) = state.lend_at_once(borrower, self.lease) {
            let exhausted = state.slots().count(StageName::Idle) == 0;
            drop(state);
            shared.note_exhausted(exhausted);
            return Ok(Some(lent));
        }
        let mut fx = Effects::none();
        let attempt = state.acquire(borrower, self.lease, &mut fx);
        drop(state);
        shared.carry_out(&mut fx);
        match attempt {
            AcquireOutcome::Lent(key, connection) => Ok(Some((key, connection))),
            AcquireOutcome::Refused(refusal) => Err(shared.explain(refusal, Duration::ZERO, None)),
            AcquireOutcome::MustWait => {
                shared.note_exhausted(true);
                Ok(None)
            }
        }
    }

    /// Gets in line.
    fn enter<C: Connector>(
        &mut self,
        shared: &Arc<SharedPool<C>>,
        seniority: Option<u64>,
        waker: &Waker,
    ) -> Result<Entered<C>, AcquireError> {
        let waker = waker.clone();
        let patience = self.patience_without_a_clock(shared, seniority);
        let mut state = shared.lock();
        let patience = patience.filter(|_| state.expects_upkeep_soon());
        let (now, deadline) = match patience {
            Some(_) => (None, Moment::NEVER),
            None => {
                let now = shared.clock.now();
                let deadline = self.settle_deadline(shared, now);
                (Some(now), deadline)
            }
        };
        let terms = WaitTerms {
            tag: self.borrower(),
            lease: self.lease,
            priority: self.priority,
            since: self.began.unwrap_or(Moment::NEVER),
            deadline,
            patience,
            outage_policy: self.outage_policy,
        };
        let waker = match state.queue_at_once(now, terms, seniority, waker) {
            Ok((ticket, kick)) => {
                drop(state);
                if kick {
                    shared.bell.ring();
                }
                return Ok(Entered::in_line(ticket, now, deadline));
            }
            Err(waker) => waker,
        };
        // The hint was wrong, or a dial or a check must start for this caller. That needs the exact
        // time.
        if seniority.is_none()
            && let Some((key, connection)) = state.lend_at_once(terms.tag, self.lease)
        {
            drop(state);
            shared.note_exhausted(false);
            return Ok(Entered::Lent(key, connection));
        }
        let now = now.unwrap_or_else(|| shared.clock.now());
        let terms = WaitTerms {
            deadline: self.settle_deadline(shared, now),
            since: self.began.unwrap_or(now),
            patience: None,
            ..terms
        };
        let mut fx = Effects::none();
        let entered = state.wait(now, terms, seniority, waker, &mut fx);
        let entered = entered.map(|ticket| match state.is_answered(&ticket) {
            true => Entered::Answered(ticket),
            false => Entered::in_line(ticket, Some(now), terms.deadline),
        });
        drop(state);
        shared.carry_out(&mut fx);
        entered.map_err(|refusal| shared.explain(refusal, Duration::ZERO, None))
    }

    /// The timeout, if it may count from the next visit of upkeep instead of from now. Waits of
    /// seconds may end some milliseconds late, and reading the clock costs a tenth of a hand-over.
    fn patience_without_a_clock<C: Connector>(
        &mut self,
        shared: &Arc<SharedPool<C>>,
        seniority: Option<u64>,
    ) -> Option<Duration> {
        let may_be_stranded = self.may_be_stranded(shared);
        let patience = match self.limit {
            Limit::OfThePool => shared.long_patience,
            Limit::Timeout(_) | Limit::Until(_) | Limit::Settled(_) => None,
        };
        let by_upkeep = seniority.is_none() && !may_be_stranded;
        patience.filter(|_| by_upkeep)
    }

    /// The deadline, which is fixed from here on.
    fn settle_deadline<C: Connector>(&mut self, shared: &SharedPool<C>, now: Moment) -> Moment {
        let deadline = match self.limit {
            Limit::OfThePool => match shared.acquire_timeout {
                Some(timeout) => now.after(timeout),
                None => Moment::NEVER,
            },
            Limit::Timeout(timeout) => now.after(timeout),
            Limit::Until(instant) => shared.clock.moment(instant),
            Limit::Settled(deadline) => deadline,
        };
        self.limit = Limit::Settled(deadline);
        self.began.get_or_insert(now);
        deadline
    }

    /// How long this has waited; where nobody read the clock at the beginning, as long as it was
    /// meant to.
    fn waited<C: Connector>(&self, shared: &SharedPool<C>) -> Duration {
        match (self.began, self.limit) {
            (Some(began), _) => shared.clock.now().since(began),
            (None, _) => shared.acquire_timeout.unwrap_or_default(),
        }
    }

    /// Picks up the answer, if there is one.
    fn pick_up<C: Connector>(
        &mut self,
        shared: &Arc<SharedPool<C>>,
        ticket: QueueTicket,
        waker: &Waker,
    ) -> Polled<Pooled<C>> {
        let mut state = shared.lock_for_lending();
        let answer = state.pick_up(ticket);
        drop(state);
        #[cfg(feature = "metrics")]
        if let Ok(Polled::Lent { .. }) = answer {
            shared.metrics.waited(self.waited(shared));
        }
        answer.unwrap_or_else(|ticket| {
            let (now, waker) = (shared.clock.now(), waker.clone());
            shared.transition(|state, fx| state.poll(ticket, now, waker, fx))
        })
    }

    fn borrower(&self) -> Borrower {
        Borrower {
            acquired_at: self.acquired_at,
            asker: self.asker.unwrap_or_else(Asker::here),
        }
    }

    /// Where the pool's runtime may stand still its upkeep doesn't end this wait. A timer of the
    /// caller's runtime does.
    fn poll_backstop<C: Connector>(
        &mut self,
        shared: &SharedPool<C>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.needs_backstop == Some(true)
            && let Limit::Settled(deadline) = self.limit
            && deadline != Moment::NEVER
        {
            self.needs_backstop = Some(false); // Tried once: a runtime without timers has none later either.
            let deadline = shared.clock.instant(deadline);
            self.backstop = timer(deadline).map(Box::pin);
        }
        match &mut self.backstop {
            Some(timer) => {
                ready!(timer.as_mut().poll(cx));
                self.backstop = None;
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
    }
}
