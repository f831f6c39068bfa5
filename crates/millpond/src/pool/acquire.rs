//! The future of an acquire: it asks, waits in line, picks up, and checks what it is given.

use std::{
    fmt,
    future::Future,
    panic::{Location, catch_unwind},
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
    lender::{Borrower, Lender},
    runtime::has_timer,
    state::{Attempt, Effects, Lease, Moment, Polled, Request, StageName, Ticket, WAITING_TICK},
};

/// An acquire under way: made by [`Pool::acquire`](super::Pool::acquire), and awaited.
///
/// Nothing happens before it is first polled; its time runs from then on.
///
/// # Cancel safety
///
/// Dropping it at any point loses nothing: its place in line is given up, a connection that it had been granted goes to the next in
/// line, and a dial that was started for it goes on and serves somebody else.
///
/// A caller that stops polling it without dropping it, as a branch of a `select!` in a loop may, holds nobody up either: a grant that
/// isn't picked up within 10 ms goes to the next, and this caller is served in its old order once it is polled again.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'p, C: Connector> {
    lender: &'p Arc<Lender<C>>,
    place: &'static Location<'static>,
    limit: Limit,
    priority: Priority,
    lease: Lease,
    progress: Progress,
    /// When this began to wait.
    began: Moment,
    /// The task that polled this first.
    task: Option<tokio::task::Id>,
    /// Wakes a caller on another runtime than the pool's, should that one stand still.
    backstop: Option<Pin<Box<Sleep>>>,
}

/// Until when an acquire waits.
#[derive(Clone, Copy)]
enum Limit {
    /// The pool's `acquire_timeout`, from the first poll on.
    OfThePool,
    Timeout(Duration),
    Until(Instant),
    /// Settled at the first wait.
    Deadline(Moment),
}

enum Progress {
    New,
    /// Found nothing, or was given something unfit (then it keeps its seniority): gets in line next.
    Entering(Option<u64>),
    Waiting(Ticket),
    Ended,
}

impl<'p, C: Connector> Acquire<'p, C> {
    pub(crate) fn new(lender: &'p Arc<Lender<C>>, place: &'static Location<'static>) -> Self {
        Acquire {
            lender,
            place,
            limit: Limit::OfThePool,
            priority: Priority::NORMAL,
            lease: Lease::Exclusive,
            progress: Progress::New,
            began: Moment::default(),
            task: None,
            backstop: None,
        }
    }

    /// Waits for at most this long instead of the pool's `acquire_timeout`, counted from the first poll.
    ///
    /// Zero gives up at once when nothing is idle, though not before a dial has been started that the next caller may use.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::Timeout(timeout);
        self
    }

    /// Waits until this instant at most, instead of for the pool's `acquire_timeout`.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Until(deadline);
        self
    }

    /// Is served before all who are less urgent, and after all who are more so.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The connection will be held on purpose for a long time, and used for many exchanges (a pipeline): its lending is never
    /// reported as a leak.
    pub fn shared(mut self) -> Self {
        self.lease = Lease::Shared;
        self
    }

    /// Acquires from a thread that runs no asynchronous tasks, blocking it until there is an answer.
    ///
    /// # Errors
    ///
    /// As when awaited; and [`AcquireError::WouldBlockRuntime`] where it would have to wait on a thread that is running
    /// asynchronous tasks, for on a runtime of one thread that wait could never end. `spawn_blocking` and `block_in_place` are fine.
    pub fn blocking(mut self) -> Result<Connection<C>, AcquireError> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            if let Poll::Ready(answer) = self.step(&waker) {
                return answer;
            }
            if runs_tasks() {
                return Err(AcquireError::WouldBlockRuntime);
            }
            match self.limit {
                Limit::Deadline(deadline) if deadline != Moment::NEVER => {
                    std::thread::park_timeout(deadline.since(self.lender.clock.now()));
                }
                _ => std::thread::park(),
            }
        }
    }

    /// Gets as far as it can without waiting.
    fn step(&mut self, waker: &Waker) -> Poll<Result<Connection<C>, AcquireError>> {
        loop {
            match std::mem::replace(&mut self.progress, Progress::Ended) {
                Progress::New => {
                    self.task = tokio::task::try_id();
                    if self.lender.exhausted.load(Ordering::Relaxed) {
                        self.progress = Progress::Entering(None);
                        continue;
                    }
                    let borrower = self.borrower();
                    let mut state = self.lender.lock_for_lending();
                    let attempt = match state.lend_at_once(borrower, self.lease) {
                        Some((place, connection)) => {
                            let exhausted = state.slots().count(StageName::Idle) == 0;
                            drop(state);
                            self.lender.seems_exhausted(exhausted);
                            Attempt::Lent(place, connection)
                        }
                        None => {
                            let mut fx = Effects::none();
                            let attempt = state.acquire(borrower, self.lease, &mut fx);
                            drop(state);
                            self.lender.carry_out(&mut fx);
                            attempt
                        }
                    };
                    self.progress = match attempt {
                        Attempt::Lent(place, connection) => {
                            let lent = Connection::new(self.lender, place, connection);
                            match lent.pass_check() {
                                Some(fit) => return Poll::Ready(Ok(fit)),
                                None => Progress::New,
                            }
                        }
                        Attempt::Refused(refusal) => {
                            let error = self.lender.explain(refusal, Duration::ZERO, None);
                            return Poll::Ready(Err(error));
                        }
                        Attempt::MustWait => {
                            self.lender.seems_exhausted(true);
                            Progress::Entering(None)
                        }
                    };
                }
                Progress::Entering(seniority) => match self.enter(seniority, waker) {
                    Ok((ticket, true)) => {
                        self.lender.seems_exhausted(false);
                        self.progress = Progress::Waiting(ticket);
                    }
                    Ok((ticket, false)) => {
                        self.progress = Progress::Waiting(ticket);
                        return Poll::Pending;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                },
                Progress::Waiting(ticket) => match self.pick_up(ticket, waker) {
                    Polled::Lent {
                        place,
                        connection,
                        arrival,
                    } => {
                        let lent = Connection::new(self.lender, place, connection);
                        if let Some(fit) = lent.pass_check() {
                            return Poll::Ready(Ok(fit));
                        }
                        self.progress = Progress::Entering(Some(arrival));
                    }
                    Polled::Refused(refusal) => {
                        let waited = self.lender.clock.now().since(self.began);
                        let error = self.lender.explain(refusal, waited, self.task);
                        return Poll::Ready(Err(error));
                    }
                    Polled::Waiting(ticket) => {
                        self.progress = Progress::Waiting(ticket);
                        return Poll::Pending;
                    }
                },
                Progress::Ended => panic!("an acquire was polled after it had ended"),
            }
        }
    }

    /// Gets in line; says whether there is an answer already.
    fn enter(&mut self, seniority: Option<u64>, waker: &Waker) -> Result<(Ticket, bool), AcquireError> {
        let lender = self.lender;
        let waker = waker.clone();
        let mut state = lender.lock();
        // In a crowd upkeep has come by a moment ago, and nobody who waits for seconds needs to ask for the time again.
        let roughly =
            lender.is_patient && matches!(self.limit, Limit::OfThePool) && state.roughly_knows_the_time();
        let (now, slack) = match roughly {
            true => (state.now(), WAITING_TICK),
            false => (lender.clock.now(), Duration::ZERO),
        };
        let deadline = match self.limit {
            Limit::OfThePool => match lender.acquire_timeout {
                Some(timeout) => now.after(slack).after(timeout),
                None => Moment::NEVER,
            },
            Limit::Timeout(timeout) => now.after(timeout),
            Limit::Until(instant) => lender.clock.moment(instant),
            Limit::Deadline(deadline) => deadline,
        };
        if seniority.is_none() {
            self.began = now;
        }
        self.limit = Limit::Deadline(deadline);
        let request = Request {
            tag: self.borrower(),
            lease: self.lease,
            priority: self.priority,
            deadline,
        };
        let exact = (!roughly).then_some(now);
        let waker = match state.queue_at_once(exact, request, seniority, waker) {
            Ok((ticket, kick)) => {
                drop(state);
                if kick {
                    lender.bell.ring();
                }
                return Ok((ticket, false));
            }
            Err(waker) => waker,
        };
        let mut fx = Effects::none();
        let entered = state.wait(now, request, seniority, waker, &mut fx);
        let entered = entered.map(|ticket| {
            let answered = state.is_answered(&ticket);
            (ticket, answered)
        });
        drop(state);
        lender.carry_out(&mut fx);
        entered.map_err(|refusal| lender.explain(refusal, Duration::ZERO, None))
    }

    /// Picks up the answer, if there is one.
    fn pick_up(&mut self, ticket: Ticket, waker: &Waker) -> Polled<super::lender::Pooled<C>> {
        let mut state = self.lender.lock_for_lending();
        let answer = state.pick_up(ticket);
        drop(state);
        #[cfg(feature = "metrics")]
        if let Ok(Polled::Lent { .. }) = answer {
            self.lender.metrics.waited(self.began, self.lender.clock.now());
        }
        answer.unwrap_or_else(|ticket| {
            let (now, waker) = (self.lender.clock.now(), waker.clone());
            self.lender
                .transition(|state, fx| state.poll(ticket, now, waker, fx))
        })
    }

    fn borrower(&self) -> Borrower {
        Borrower {
            place: self.place,
            task: self.task,
        }
    }
}

impl<C: Connector> Future for Acquire<'_, C> {
    type Output = Result<Connection<C>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // A loop of acquires that never waits must yield to the reactor now and then.
        let budget = ready!(coop::poll_proceed(cx));
        let answer = this.step(cx.waker());
        match answer {
            Poll::Ready(answer) => {
                budget.made_progress();
                Poll::Ready(answer)
            }
            Poll::Pending => this.mind_a_standing_runtime(cx),
        }
    }
}

impl<C: Connector> Acquire<'_, C> {
    /// Where the pool's runtime may be standing still, its upkeep won't end this wait: a timer here will.
    fn mind_a_standing_runtime(&mut self, cx: &mut Context<'_>) -> Poll<Result<Connection<C>, AcquireError>> {
        if self.backstop.is_none()
            && let Limit::Deadline(deadline) = self.limit
            && deadline != Moment::NEVER
            && self.lender.runtime.may_stand_still()
            && has_timer()
        {
            let deadline = self.lender.clock.instant(deadline);
            // Tokio tells by a panic alone that a runtime has no timer; then the pool's own must do.
            let timer = catch_unwind(|| Box::pin(tokio::time::sleep_until(deadline)));
            self.backstop = timer.ok();
        }
        match &mut self.backstop {
            Some(timer) => {
                ready!(timer.as_mut().poll(cx));
                self.backstop = None;
                self.step(cx.waker())
            }
            None => Poll::Pending,
        }
    }
}

impl<C: Connector> Drop for Acquire<'_, C> {
    fn drop(&mut self) {
        if let Progress::Waiting(ticket) = std::mem::replace(&mut self.progress, Progress::Ended) {
            let mut fx = Effects::none();
            let mut state = self.lender.lock();
            let now = state.now();
            state.cancel(ticket, now, &mut fx);
            drop(state);
            self.lender.carry_out(&mut fx);
        }
    }
}

impl<C: Connector> fmt::Debug for Acquire<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("place", &self.place)
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
/// Tokio gives a cooperative budget to whatever it polls, and none to blocking code: a budget that can be used up tells them apart.
/// What was taken from it is given back.
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
