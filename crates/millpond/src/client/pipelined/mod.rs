//! Many exchanges in flight on one connection, answered in the order of their requests.
//!
//! A pipeline holds one connection of the pool for as long as there is load, and gives it back when
//! nothing was begun on it, nor answered, for a tick. All callers are in one queue (`state.rs`);
//! who is first takes the next place on a pipeline, and his request is sent then, whether or not he
//! is polled: nobody who sleeps holds a place. What is ready at the same time is written together
//! (`wire.rs`, `driver.rs`), which is where the speed comes from: throughput follows the number of
//! writes.

mod driver;
mod state;
mod wire;

#[cfg(all(test, millpond_loom))]
mod interleavings;

use std::{
    future::Future,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use self::{
    state::{Entry, GivenUp, Kinds, Limits, Rank, State},
    wire::{SharedWire, write_as_caller},
};
use super::{
    deadline::expressible,
    error::RequestError,
    failure::{ExchangeFailure, Progress},
    requests::Times,
    sessions::Sessions,
};
use crate::{
    framed::with_encoded,
    framing::{Direction, FrameError, Framing},
    pool::{
        AcquireError, Connection, InvalidSetting, Pool, Priority,
        unstable::{LeaseHandle, LeaseTerms, Mutex, Recall, Refusal},
    },
};

/// How many exchanges a client keeps in flight on one connection: see
/// [`ClientBuilder::pipelined`](super::ClientBuilder::pipelined).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipelining {
    depth: usize,
    max_bytes: usize,
    max_waiting_bytes: usize,
}

impl Pipelining {
    /// Exchanges in flight on one connection at most, at least 1. Default 128: enough to fill each
    /// read and write, few enough that an exchange that hangs holds up no more. When that many
    /// are, another connection is used, up to the pool's `max_size`.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth.max(1);
        self
    }

    /// Bytes of unanswered requests on one connection at most; a longer request goes alone. Default
    /// 1 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Bytes of the requests that wait for a place at most, at least 1. Default 64 MiB: the pool's
    /// [`max_waiting`](crate::pool::PoolBuilder::max_waiting) bounds their number, and 1,024 of a MiB
    /// each would hold a GiB. `usize::MAX` is no bound.
    ///
    /// A request that would exceed it is told [`FullOfBytes`](super::RequestError::FullOfBytes) at once.
    /// One that finds nobody waiting is taken however long it is; so is the second of the two
    /// by which a server shows that it reads frames.
    pub fn max_waiting_bytes(mut self, bytes: usize) -> Self {
        self.max_waiting_bytes = bytes;
        self
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        match self.max_waiting_bytes {
            0 => Err(InvalidSetting::new(
                "max_waiting_bytes",
                "0".into(),
                "at least 1",
            )),
            _ => Ok(()),
        }
    }
}

impl Default for Pipelining {
    fn default() -> Self {
        Pipelining {
            depth: 128,
            max_bytes: 1 << 20,
            max_waiting_bytes: 64 << 20,
        }
    }
}

/// A reply, and on which pipeline it came.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) body: Bytes,
    came_on: state::Id,
}

/// What a caller is told.
type Answer = Result<Reply, Box<Failed>>;

type Sender = oneshot::Sender<Answer>;

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Failed {
    /// There is no connection, and none to come.
    Acquire(AcquireError),
    /// The client takes no such request now.
    Refused(RequestError),
    Exchange {
        cause: ExchangeFailure,
        progress: Progress,
        /// The connection had served before, or had begun to.
        had_served: bool,
    },
}

impl Failed {
    fn new(cause: ExchangeFailure, progress: Progress, had_served: bool) -> Box<Self> {
        Box::new(Failed::Exchange {
            cause,
            progress,
            had_served,
        })
    }
}

/// What the machine carries here.
struct Pipelined<F>(std::marker::PhantomData<fn() -> F>);

impl<F: Framing> Kinds for Pipelined<F> {
    type Reply = Sender;
    type Body = Bytes;
    type Wire = SharedWire<Connection<Sessions<F>>>;
}

/// The pipelines of a client and all its clones. Its tasks end with it.
pub(super) struct Pipelines<F: Framing> {
    shared: Arc<Shared<F>>,
}

/// What all pipelines have to do.
pub(super) struct Load {
    /// How many callers wait, and the bytes of their requests.
    pub(super) waiting: usize,
    pub(super) waiting_bytes: usize,
    /// How many leases are under way.
    pub(super) leasing: usize,
    /// On which connection of the pool how many exchanges are in flight.
    pub(super) in_flight: Vec<(u64, usize)>,
}

/// What callers and drivers share.
struct Shared<F: Framing> {
    leases: LeaseHandle<Sessions<F>>,
    state: Mutex<State<Pipelined<F>>>,
    /// Replies that have been told and not been picked up: those callers are about to run, and may
    /// bring a request.
    unread: AtomicUsize,
    /// The pool's verbs that have been taken into account.
    verbs: AtomicU64,
    /// How long a reply is waited for whose caller has gone.
    patience: Duration,
    tasks: parking_lot::Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    running: Vec<AbortHandle>,
    /// The client has gone.
    stopped: bool,
    listens: bool,
}

impl<F: Framing> Pipelines<F> {
    pub(super) fn new(pool: &Pool<Sessions<F>>, settings: Pipelining, patience: Duration) -> Self {
        let of_pool = pool.settings();
        let limits = Limits {
            depth: settings.depth,
            max_bytes: settings.max_bytes,
            max_waiting: of_pool.max_waiting as usize,
            max_waiting_bytes: settings.max_waiting_bytes,
        };
        Pipelines {
            shared: Arc::new(Shared {
                leases: pool.leases(),
                state: Mutex::new(State::new(limits, of_pool.max_size as usize)),
                unread: AtomicUsize::new(0),
                verbs: AtomicU64::new(pool.leases().verbs()),
                patience: expressible(patience),
                tasks: parking_lot::Mutex::default(),
            }),
        }
    }

    /// One exchange, which waits for a place no longer than `limit`. Dropped, it costs nobody else
    /// anything: its request isn't sent if it waits, and else its reply is dropped.
    pub(super) async fn exchange(
        &self,
        body: &[u8],
        times: Times,
        limit: Option<Duration>,
        priority: Priority,
    ) -> Answer {
        let shared = &self.shared;
        if shared.leases.verbs() != shared.verbs.load(Ordering::Relaxed) {
            shared.reconsider();
        }
        // Whose driver may stand still keeps its own time.
        let drivers_may_stand_still = shared.leases.runtime().may_stand_still();
        let Times { began, deadline } = times;
        if deadline <= began {
            return Err(Failed::new(
                ExchangeFailure::TimedOut,
                Progress::Unsent,
                false,
            ));
        }
        let (reply, answer) = oneshot::channel();
        let framing = shared.leases.connector().framing();
        let alone = shared.unread.load(Ordering::Relaxed) == 0;
        let entry = with_encoded(
            |out| framing.encode(Direction::Request, body, out),
            |frame| {
                let mut state = shared.state.lock();
                state.begin(frame, deadline, priority, alone, reply)
            },
        );
        let entry = entry.map_err(|error: FrameError| {
            Failed::new(ExchangeFailure::Unframeable(error), Progress::Unsent, false)
        })?;
        let mut awaited = Awaited {
            shared,
            rank: None,
            began,
            answer,
        };
        match entry {
            Entry::Begun { write, wake } => {
                let left = write.and_then(|(id, wire)| write_as_caller(&shared.state, id, &wire));
                for waker in [left, wake].into_iter().flatten() {
                    waker.wake();
                }
            }
            Entry::Waits { rank, leases } => {
                shared.tell_waiting();
                awaited.rank = Some(rank);
                self.shared.lease(leases);
            }
            Entry::Refused(refusal) => {
                return Err(Box::new(Failed::Acquire(
                    shared.explain(refusal, Duration::ZERO),
                )));
            }
            Entry::FullOfBytes {
                waiting_bytes,
                request,
                max_waiting_bytes,
            } => {
                return Err(Box::new(Failed::Refused(RequestError::FullOfBytes {
                    waiting_bytes,
                    request,
                    max_waiting_bytes,
                })));
            }
        }
        let keeps_time = awaited.rank.is_some() || drivers_may_stand_still;
        if !keeps_time {
            let told = (&mut awaited.answer).await;
            return awaited.told(told);
        }
        let runtime = shared.leases.runtime();
        let limit = limit.filter(|_| awaited.rank.is_some());
        let waits_until = limit.and_then(|limit| began.checked_add(limit));
        if let Some(until) = waits_until.filter(|until| *until < deadline) {
            // There must be a place by then; if there is, there is time for the reply.
            if let Ok(told) = runtime.timeout_at(until, &mut awaited.answer).await {
                return awaited.told(told);
            }
            if let Some(error) = awaited.timed_out() {
                return Err(error);
            }
        }
        match runtime.timeout_at(deadline, &mut awaited.answer).await {
            Ok(told) => awaited.told(told),
            Err(_) => match awaited.timed_out() {
                Some(error) => Err(error),
                None => awaited.last_word().await,
            },
        }
    }

    /// The server takes no more requests on the connection on which this reply came.
    pub(super) fn retire(&self, reply: &Reply) {
        let driver = self.shared.state.lock().retire(reply.came_on);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// What all pipelines have to do now.
    pub(super) fn load(&self) -> Load {
        let state = self.shared.state.lock();
        let loads = state.loads().into_iter();
        Load {
            waiting: state.waiting(),
            waiting_bytes: state.waiting_bytes(),
            leasing: state.leasing(),
            in_flight: loads
                .map(|load| (load.slot.number, load.in_flight))
                .collect(),
        }
    }
}

impl<F: Framing> Drop for Pipelines<F> {
    fn drop(&mut self) {
        let running = {
            let mut tasks = self.shared.tasks.lock();
            tasks.stopped = true;
            std::mem::take(&mut tasks.running)
        };
        for task in running {
            task.abort();
        }
    }
}

/// An answer that is waited for: dropped, its caller has gone.
struct Awaited<'s, F: Framing> {
    shared: &'s Shared<F>,
    /// Among those who wait, if it does or did.
    rank: Option<Rank>,
    began: Instant,
    answer: oneshot::Receiver<Answer>,
}

impl<F: Framing> Awaited<'_, F> {
    fn told(&self, told: Result<Answer, oneshot::error::RecvError>) -> Answer {
        match told {
            Ok(Ok(reply)) => {
                self.shared.unread.fetch_sub(1, Ordering::Relaxed);
                Ok(reply)
            }
            Ok(Err(failed)) => Err(failed),
            // It was left out as its time was up.
            Err(_) => Err(self.waited_in_vain()),
        }
    }

    /// The error, if it is among those who wait; else it is under way.
    fn timed_out(&mut self) -> Option<Box<Failed>> {
        let rank = self.rank.take()?;
        if !self.gives_up(rank) {
            return None;
        }
        Some(self.waited_in_vain())
    }

    fn waited_in_vain(&self) -> Box<Failed> {
        let error = self.shared.explain(Refusal::TimedOut, self.began.elapsed());
        Box::new(Failed::Acquire(error))
    }

    /// Whether it waited until now.
    fn gives_up(&self, rank: Rank) -> bool {
        let given_up = self.shared.state.lock().give_up(rank);
        let Some(GivenUp { request, wakes }) = given_up else {
            return false;
        };
        drop(request);
        self.shared.tell_waiting();
        for waker in wakes {
            waker.wake();
        }
        true
    }

    /// The driver keeps the same time, and may know more of why there is no reply.
    async fn last_word(&mut self) -> Answer {
        tokio::task::yield_now().await;
        match self.answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => Err(Failed::new(
                ExchangeFailure::TimedOut,
                Progress::Unanswered,
                false,
            )),
            Ok(told) => self.told(Ok(told)),
            Err(oneshot::error::TryRecvError::Closed) => Err(self.waited_in_vain()),
        }
    }
}

impl<F: Framing> Drop for Awaited<'_, F> {
    fn drop(&mut self) {
        if let Some(rank) = self.rank.take() {
            self.gives_up(rank);
        }
        self.answer.close();
        if let Ok(Ok(_)) = self.answer.try_recv() {
            self.shared.unread.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<F: Framing> Shared<F> {
    /// LeaseHandle so many connections more, each in a task that drives it to its end.
    fn lease(self: &Arc<Self>, leases: usize) {
        if leases == 0 {
            return;
        }
        self.listen();
        for _ in 0..leases {
            self.spawn(driver::run(Arc::clone(self), Location::caller()));
        }
    }

    /// From the first lease on: what the pool is told is taken into account at once.
    fn listen(self: &Arc<Self>) {
        if std::mem::replace(&mut self.tasks.lock().listens, true) {
            return;
        }
        let shared = Arc::clone(self);
        self.spawn(async move {
            loop {
                let mut spoken = std::pin::pin!(shared.leases.verb_spoken());
                spoken.as_mut().enable();
                shared.reconsider();
                if shared.is_over() {
                    return;
                }
                spoken.await;
            }
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Not under the lock: where the runtime is shutting down the task is dropped right here,
        // and its drop tells the callers.
        let handle = self.leases.runtime().spawn_owned(task);
        let mut tasks = self.tasks.lock();
        if tasks.stopped {
            handle.abort();
        }
        tasks.running.retain(|task| !task.is_finished());
        tasks.running.push(handle);
    }

    fn is_over(&self) -> bool {
        self.refusal()
            .is_some_and(|refusal| matches!(refusal, Refusal::Closed | Refusal::RuntimeEnded))
    }

    fn refusal(&self) -> Option<Refusal> {
        self.leases.refusal()
    }

    /// Takes into account what the pool has been told.
    fn reconsider(self: &Arc<Self>) {
        let verbs = self.leases.verbs();
        let loads = self.state.lock().loads();
        let LeaseTerms {
            refusal,
            max_size,
            recalls,
        } = self.leases.terms(loads.iter().map(|load| load.slot));
        let recall = |slot| {
            let at = loads.iter().position(|load| load.slot == slot);
            at.map_or(Recall::No, |at| recalls[at])
        };
        let reconsidered = self
            .state
            .lock()
            .reconsider(refusal, max_size as usize, recall);
        self.verbs.store(verbs, Ordering::Relaxed);
        for reply in reconsidered.refused {
            let error = self.explain(refusal.unwrap_or(Refusal::Closed), Duration::ZERO);
            drop(reply.send(Err(Box::new(Failed::Acquire(error)))));
        }
        self.tell_waiting();
        for waker in reconsidered.wakes {
            waker.wake();
        }
        self.lease(reconsidered.leases);
    }

    /// The error of a caller who isn't served.
    fn explain(&self, refusal: Refusal, waited: Duration) -> AcquireError {
        let (waiting, max_waiting) = {
            let state = self.state.lock();
            (state.waiting(), state.max_waiting())
        };
        match self.leases.explain(refusal, waited) {
            AcquireError::Full { .. } => AcquireError::Full {
                waiting,
                max_waiting: u32::try_from(max_waiting).unwrap_or(u32::MAX),
            },
            AcquireError::TimedOut(mut circumstances) => {
                circumstances.waiting = waiting;
                AcquireError::TimedOut(circumstances)
            }
            other => other,
        }
    }

    fn lease_failed(&self, error: &AcquireError) {
        let refused = self.state.lock().lease_failed();
        for reply in refused {
            drop(reply.send(Err(Box::new(Failed::Acquire(error.clone())))));
        }
        self.tell_waiting();
    }

    /// How many requests wait for a place, as metrics show it.
    fn tell_waiting(&self) {
        if let Some(metrics) = self.leases.connector().telling().metrics() {
            metrics.waiting(|| {
                let state = self.state.lock();
                (state.waiting(), state.waiting_bytes())
            });
        }
    }

    /// A pipeline has broken off.
    fn end(
        self: &Arc<Self>,
        id: state::Id,
        wire: &SharedWire<Connection<Sessions<F>>>,
        cause: ExchangeFailure,
    ) {
        let mut wire = wire.lock();
        let unwritten = wire.unwritten();
        let connection = wire.socket.take();
        let ended = {
            let partial = connection
                .as_ref()
                .is_some_and(|one| !one.framed.left_over().is_empty());
            self.state.lock().end(id, unwritten, partial)
        };
        drop(wire);
        // That a connection without exchanges ends is no loss.
        if !ended.unanswered.is_empty() || matches!(cause, ExchangeFailure::HeartbeatMissed) {
            self.leases.connector().telling().ended(&cause);
        }
        let had_served = connection.as_ref().is_some_and(|one| one.has_served());
        let died = match &cause {
            // Not the endpoint's doing.
            ExchangeFailure::Abandoned => None,
            cause => Some(cause.eviction()),
        };
        match (connection, died) {
            (Some(connection), Some(reason)) => connection.discard_because(reason),
            (connection, _) => drop(connection),
        }
        let together = ended
            .trial
            .filter(|_| !matches!(cause, ExchangeFailure::Abandoned));
        for one in ended.unanswered {
            let cause = match together {
                Some(answered) => ExchangeFailure::NotPipelining {
                    answered,
                    cause: Box::new(cause.of_another()),
                },
                None => cause.of_another(),
            };
            let failed = Failed::Exchange {
                cause,
                progress: one.progress,
                had_served,
            };
            drop(one.reply.send(Err(Box::new(failed))));
        }
        self.lease(ended.leases);
    }
}
