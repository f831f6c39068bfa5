//! The future of an acquire: it asks, waits in line, picks up, and checks what it is given.

use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Wake, Waker, ready},
    thread::Thread,
    time::Duration,
};

use tokio::{
    task::coop,
    time::{Instant, Sleep},
};

use super::{
    AcquireError, Connection, Connector, Priority,
    asker::Asker,
    boxed::Boxed,
    runtime::timer,
    shared::{Borrower, EVERY_WAIT_IS_MEASURED, SharedPool},
    state::{
        AcquireOutcome, Effects, Lease, Moment, OutagePolicy, Polled, QueueTicket, SlotKey,
        StageName, WaitTerms,
    },
};

/// An acquire under way: made by [`Pool::acquire`](super::Pool::acquire), and awaited.
///
/// Nothing happens before it is first polled; its time runs from then on.
///
/// # Cancel safety
///
/// Dropping it at any point loses nothing: its place in line is given up, a connection that it had
/// been granted goes to the next in line, and a dial that was started for it goes on and serves
/// somebody else.
///
/// A caller that stops polling it without dropping it, as a branch of a `select!` in a loop or of a
/// `buffered` stream may, holds others up by 10 ms at most, however many such callers there are. A
/// grant that isn't picked up in that time is taken back, and all who wait are woken: the first
/// that is polled has the connection, and those that come after it are in line again in the order
/// in which they first came. So does this caller once it is polled again. Nobody is woken a second
/// time until 5 ms after the last of them has come; a grant that is taken back meanwhile goes to
/// the next in line.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'p, C: Connector> {
    shared: &'p Arc<SharedPool<C>>,
    acquired_at: &'static Location<'static>,
    limit: Limit,
    priority: Priority,
    lease: Lease,
    outage_policy: OutagePolicy,
    progress: Progress,
    /// When this began to wait, if somebody looked.
    began: Option<Moment>,
    /// Who polled this first.
    asker: Option<Asker>,
    /// Whether the pool's runtime may stand still while this waits; unknown before the first wait.
    needs_backstop: Option<bool>,
    /// Ends this wait if it does.
    backstop: Option<Pin<Box<Sleep>>>,
}

/// Until when an acquire waits.
#[derive(Clone, Copy)]
enum Limit {
    /// The pool's `acquire_timeout`, from the first poll on.
    OfThePool,
    Timeout(Duration),
    /// The same, though not exactly.
    Patience(Duration),
    Until(Instant),
    /// Of whichever kind it was, once this has begun to wait.
    Settled(Moment),
}

/// What [`Acquire::enter`] came to.
enum Entered<C: Connector> {
    /// Something was idle after all.
    Lent(SlotKey, Boxed<C::Connection>),
    /// There is an answer to be picked up.
    Answered(QueueTicket),
    /// In line.
    Waits(QueueTicket),
}

impl<C: Connector> Entered<C> {
    /// In line; but one whose deadline has passed already is told by its next look.
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
    /// Found nothing, or was given something unfit (then it keeps its seniority): gets in line
    /// next.
    Entering(Option<u64>),
    Waiting(QueueTicket),
    Ended,
}

impl<'p, C: Connector> Acquire<'p, C> {
    pub(crate) fn new(
        shared: &'p Arc<SharedPool<C>>,
        acquired_at: &'static Location<'static>,
    ) -> Self {
        Acquire {
            shared,
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

    /// Waits for at most this long instead of the pool's `acquire_timeout`, counted from the first
    /// poll.
    ///
    /// Zero gives up at once when nothing is idle, though not before a dial has been started that
    /// the next caller may use.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::Timeout(timeout);
        self
    }

    /// Waits until this instant at most, instead of for the pool's `acquire_timeout`.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Until(deadline);
        self
    }

    /// As [`timeout`](Acquire::timeout), for patience of a second or more: it may be counted from
    /// when upkeep comes by, which it does 40 times a second while somebody waits, and then
    /// nobody looks at the clock.
    #[doc(hidden)]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.limit = Limit::Patience(patience);
        self
    }

    /// Until when this might have waited, if that has been settled: who was patient and waited only
    /// for a moment had no deadline.
    #[doc(hidden)]
    pub fn settled(&self) -> Option<Instant> {
        match self.limit {
            Limit::Settled(deadline) if deadline != Moment::NEVER => {
                Some(self.shared.clock.instant(deadline))
            }
            _ => None,
        }
    }

    /// Is served before all who are less urgent, and after all who are more so.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Waits through an outage, until this acquire's own deadline, instead of being told
    /// [`Unavailable`](AcquireError::Unavailable) once the pool's
    /// [`outage_grace`](super::PoolBuilder::outage_grace) is over.
    ///
    /// For work that nobody waits for, and that would only be tried again: a queue's consumer, a
    /// nightly job. Give it a deadline that fits ([`timeout`](Acquire::timeout)). When that
    /// passes it is told [`TimedOut`](AcquireError::TimedOut), with the last failed dial.
    /// It counts against [`max_waiting`](super::PoolBuilder::max_waiting), and the endpoint isn't
    /// dialled more often for it than the [backoff](super::PoolBuilder::backoff) allows while
    /// callers wait.
    pub fn wait_through_outage(mut self) -> Self {
        self.outage_policy = OutagePolicy::Wait;
        self
    }

    /// The connection will be held on purpose for a long time, and used for many exchanges (a
    /// pipeline): its lending is never reported as a leak.
    pub fn shared(mut self) -> Self {
        self.lease = Lease::Shared;
        self
    }

    /// Acquires from a thread that runs no asynchronous tasks, blocking it until there is an
    /// answer.
    ///
    /// # Errors
    ///
    /// As when awaited; and [`AcquireError::WouldBlockRuntime`] where it would have to wait on a
    /// thread that is running asynchronous tasks, for on a runtime of one thread that wait
    /// could never end. `spawn_blocking` and `block_in_place` are fine. A
    /// task in [`unconstrained`](tokio::task::unconstrained) can't be told from blocking code:
    /// there it waits.
    pub fn blocking(mut self) -> Result<Connection<C>, AcquireError> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        if let (Limit::OfThePool, Some(timeout)) = (self.limit, self.shared.acquire_timeout) {
            self.limit = Limit::Timeout(timeout); // A thread keeps its own time.
        }
        loop {
            if let Poll::Ready(answer) = self.step(&waker) {
                return answer;
            }
            if runs_tasks() {
                return Err(AcquireError::WouldBlockRuntime);
            }
            match self.limit {
                Limit::Settled(deadline) if deadline != Moment::NEVER => {
                    std::thread::park_timeout(deadline.since(self.shared.clock.now()));
                }
                _ => std::thread::park(),
            }
        }
    }

    /// Whether the pool's runtime may stand still while this waits, or who made it.
    #[doc(hidden)]
    pub fn may_be_stranded(&mut self) -> bool {
        *(self.needs_backstop).get_or_insert_with(|| self.shared.runtime.may_stand_still())
    }

    /// Gets as far as it can without waiting.
    fn step(&mut self, waker: &Waker) -> Poll<Result<Connection<C>, AcquireError>> {
        loop {
            let (key, connection, seniority) =
                match std::mem::replace(&mut self.progress, Progress::Ended) {
                    Progress::New => match self.ask() {
                        Ok(Some((key, connection))) => (key, connection, None),
                        Ok(None) => {
                            self.progress = Progress::Entering(None);
                            continue;
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    },
                    Progress::Entering(seniority) => match self.enter(seniority, waker) {
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
                    Progress::Waiting(ticket) => match self.pick_up(ticket, waker) {
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
                            let error = self.shared.explain(refusal, self.waited(), self.asker);
                            return Poll::Ready(Err(error));
                        }
                        Polled::Waiting(ticket) => {
                            self.progress = Progress::Waiting(ticket);
                            return Poll::Pending;
                        }
                    },
                    Progress::Ended => panic!("an acquire was polled after it had ended"),
                };
            let lent = Connection::new(self.shared, key, connection);
            match lent.pass_check() {
                Some(fit) => return Poll::Ready(Ok(fit)),
                None if seniority.is_some() => self.progress = Progress::Entering(seniority),
                None => self.progress = Progress::New,
            }
        }
    }

    /// Asks for an idle connection, unless the hint says that there is none.
    fn ask(&mut self) -> Result<Option<Handed<C>>, AcquireError> {
        self.asker = Some(Asker::here());
        if self.shared.exhausted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let borrower = self.borrower();
        let mut state = self.shared.lock_for_lending();
        if let Some(lent) = state.lend_at_once(borrower, self.lease) {
            let exhausted = state.slots().count(StageName::Idle) == 0;
            drop(state);
            self.shared.note_exhausted(exhausted);
            return Ok(Some(lent));
        }
        let mut fx = Effects::none();
        let attempt = state.acquire(borrower, self.lease, &mut fx);
        drop(state);
        self.shared.carry_out(&mut fx);
        match attempt {
            AcquireOutcome::Lent(key, connection) => Ok(Some((key, connection))),
            AcquireOutcome::Refused(refusal) => {
                Err(self.shared.explain(refusal, Duration::ZERO, None))
            }
            AcquireOutcome::MustWait => {
                self.shared.note_exhausted(true);
                Ok(None)
            }
        }
    }

    /// Gets in line.
    fn enter(&mut self, seniority: Option<u64>, waker: &Waker) -> Result<Entered<C>, AcquireError> {
        let shared = self.shared;
        let waker = waker.clone();
        let patience = self.patience_without_a_clock(seniority);
        let mut state = shared.lock();
        let patience = patience.filter(|_| state.expects_upkeep_soon());
        let (now, deadline) = match patience {
            Some(_) => (None, Moment::NEVER),
            None => {
                let now = shared.clock.now();
                let deadline = self.settle_deadline(now);
                (Some(now), deadline)
            }
        };
        let terms = WaitTerms {
            tag: self.borrower(),
            lease: self.lease,
            priority: self.priority,
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
        // The hint was wrong, or something has to be done for this caller: all that takes the exact
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
            deadline: self.settle_deadline(now),
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

    /// How long this waits, if that may be counted from when upkeep comes by instead of from now:
    /// nobody who waits for seconds minds some milliseconds more, and to ask for the time costs
    /// a tenth of a hand-over.
    fn patience_without_a_clock(&mut self, seniority: Option<u64>) -> Option<Duration> {
        let may_be_stranded = self.may_be_stranded();
        let patience = match self.limit {
            Limit::OfThePool => self.shared.long_patience,
            Limit::Patience(patience) => Some(patience).filter(|_| !EVERY_WAIT_IS_MEASURED),
            Limit::Timeout(_) | Limit::Until(_) | Limit::Settled(_) => None,
        };
        let by_upkeep = seniority.is_none() && !may_be_stranded;
        patience.filter(|_| by_upkeep)
    }

    /// The deadline, from now on fixed.
    fn settle_deadline(&mut self, now: Moment) -> Moment {
        let deadline = match self.limit {
            Limit::OfThePool => match self.shared.acquire_timeout {
                Some(timeout) => now.after(timeout),
                None => Moment::NEVER,
            },
            Limit::Timeout(timeout) | Limit::Patience(timeout) => now.after(timeout),
            Limit::Until(instant) => self.shared.clock.moment(instant),
            Limit::Settled(deadline) => deadline,
        };
        self.limit = Limit::Settled(deadline);
        self.began.get_or_insert(now);
        deadline
    }

    /// How long this has waited. Without a look at the clock at the beginning: as long as it was
    /// meant to.
    fn waited(&self) -> Duration {
        match (self.began, self.limit) {
            (Some(began), _) => self.shared.clock.now().since(began),
            (None, Limit::Patience(patience)) => patience,
            (None, _) => self.shared.acquire_timeout.unwrap_or_default(),
        }
    }

    /// Picks up the answer, if there is one.
    fn pick_up(&mut self, ticket: QueueTicket, waker: &Waker) -> Polled<super::shared::Pooled<C>> {
        let mut state = self.shared.lock_for_lending();
        let answer = state.pick_up(ticket);
        drop(state);
        #[cfg(feature = "metrics")]
        if let Ok(Polled::Lent { .. }) = answer {
            self.shared.metrics.waited(self.waited());
        }
        answer.unwrap_or_else(|ticket| {
            let (now, waker) = (self.shared.clock.now(), waker.clone());
            self.shared
                .transition(|state, fx| state.poll(ticket, now, waker, fx))
        })
    }

    fn borrower(&self) -> Borrower {
        Borrower {
            acquired_at: self.acquired_at,
            asker: self.asker.unwrap_or_else(Asker::here),
        }
    }
}

impl<C: Connector> Future for Acquire<'_, C> {
    type Output = Result<Connection<C>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // A loop of acquires that never waits must yield to the reactor now and then.
        let budget = ready!(coop::poll_proceed(cx));
        loop {
            if let Poll::Ready(answer) = this.step(cx.waker()) {
                budget.made_progress();
                return Poll::Ready(answer);
            }
            ready!(this.poll_backstop(cx));
        }
    }
}

impl<C: Connector> Acquire<'_, C> {
    /// Where the pool's runtime may be standing still, its upkeep won't end this wait: a timer here
    /// will.
    fn poll_backstop(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.needs_backstop == Some(true)
            && let Limit::Settled(deadline) = self.limit
            && deadline != Moment::NEVER
        {
            self.needs_backstop = Some(false); // Tried once: a runtime without a timer has none later either.
            let deadline = self.shared.clock.instant(deadline);
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

impl<C: Connector> Drop for Acquire<'_, C> {
    fn drop(&mut self) {
        if let Progress::Waiting(ticket) = std::mem::replace(&mut self.progress, Progress::Ended) {
            let mut fx = Effects::none();
            let mut state = self.shared.lock();
            let now = state.now();
            state.cancel(ticket, now, &mut fx);
            drop(state);
            self.shared.carry_out(&mut fx);
        }
    }
}

impl<C: Connector> fmt::Debug for Acquire<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("acquired_at", &self.acquired_at)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// Wakes a thread that is parked in [`Acquire::blocking`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Whether this thread is in the middle of running asynchronous tasks.
///
/// Tokio gives a cooperative budget to whatever it polls, and none to blocking code: a budget that
/// can be used up tells them apart. What was taken from it is given back.
fn runs_tasks() -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken = Vec::new();
    let finite = (0..=u8::MAX).any(|_| match coop::poll_proceed(&mut cx) {
        Poll::Ready(unit) => {
            taken.push(unit);
            false
        }
        Poll::Pending => true,
    });
    while let Some(unit) = taken.pop() {
        drop(unit); // Each restores the budget as it found it: the first taken must be the last.
    }
    finite
}
