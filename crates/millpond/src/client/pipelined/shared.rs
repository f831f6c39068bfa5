//! What the callers of a client's pipelines and their drivers share.

use std::{
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

use super::{
    group::Delivery,
    machine::{Answered, Carried, Id, LeftOut, Machine, Released},
    reply::{PipelineError, Reply},
    sender::Sender,
    writer::SharedWriter,
};
use crate::{
    client::{failure::ExchangeFailure, sessions::Sessions},
    framed::{Asked, Replied},
    framing::Framing,
    pool::{
        AcquireError, Connection,
        unstable::{LeaseHandle, LeaseTerms, Mutex, Recall, Refusal},
    },
};

/// What the machine carries here.
pub(super) struct Pipelined<F>(std::marker::PhantomData<fn() -> F>);

impl<F: Framing> Carried for Pipelined<F> {
    type Reply = Sender;
    type Body = Replied;
    type Asked = Box<Asked>;
    type Writer = SharedWriter<Connection<Sessions<F>>>;

    fn is_silent(asked: &Box<Asked>) -> bool {
        asked.is_silent()
    }
}

/// See [`Shared::drive`].
pub(super) type Drive<F> =
    fn(Arc<Shared<F>>, &'static Location<'static>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What callers and drivers share.
pub(super) struct Shared<F: Framing> {
    /// Drives a pipeline from its lease to its end.
    pub(super) drive: Drive<F>,
    pub(super) leases: LeaseHandle<Sessions<F>>,
    pub(super) state: Mutex<Machine<Pipelined<F>>>,
    /// Replies that have been told and not been picked up: those callers are about to run, and may
    /// bring a request.
    pub(super) unread: AtomicUsize,
    /// The pool's verbs that have been taken into account.
    pub(super) verbs: AtomicU64,
    /// How long a reply is waited for whose caller has gone.
    pub(super) patience: Duration,
    /// The number of the next request, for framings with ids.
    pub(super) number: AtomicU64,
    pub(super) tasks: parking_lot::Mutex<Tasks>,
}

#[derive(Default)]
pub(super) struct Tasks {
    pub(super) running: Vec<AbortHandle>,
    /// The client has gone.
    pub(super) stopped: bool,
    listens: bool,
}

impl<F: Framing> Shared<F> {
    /// A number for a request, for framings with ids.
    pub(super) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Leases so many connections more, each in a task that drives it to its end.
    pub(super) fn lease(self: &Arc<Self>, leases: usize) {
        if leases == 0 {
            return;
        }
        self.listen();
        for _ in 0..leases {
            self.spawn((self.drive)(Arc::clone(self), Location::caller()));
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
    pub(super) fn reconsider(self: &Arc<Self>) {
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
            drop(reply.send(Err(Box::new(PipelineError::Acquire(error)))));
        }
        self.tell_waiting();
        for waker in reconsidered.wakes {
            waker.wake();
        }
        self.lease(reconsidered.leases);
    }

    /// The error of a caller who isn't served.
    pub(super) fn explain(&self, refusal: Refusal, waited: Duration) -> AcquireError {
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

    pub(super) fn lease_failed(&self, error: &AcquireError) {
        let refused = self.state.lock().lease_failed();
        for reply in refused {
            drop(reply.send(Err(Box::new(PipelineError::Acquire(error.clone())))));
        }
        self.tell_waiting();
    }

    /// Tells those who waited and aren't served. Those whose time was up learn it as their sender is
    /// dropped.
    pub(super) fn leave_out(&self, left_out: LeftOut<Pipelined<F>>, now: Instant) {
        for request in left_out.shed {
            let waited = now.saturating_duration_since(request.since());
            let error = self.leases.explain(Refusal::Shed, waited);
            drop(
                request
                    .into_reply()
                    .send(Err(Box::new(PipelineError::Acquire(error)))),
            );
        }
    }

    /// How many requests wait for a place, as metrics show it.
    pub(super) fn tell_waiting(&self) {
        if let Some(metrics) = self.leases.connector().reports().metrics() {
            metrics.waiting(|| {
                let state = self.state.lock();
                (state.waiting(), state.waiting_bytes())
            });
        }
    }

    /// Tells callers what has come for them on this pipeline.
    pub(super) fn tell(
        &self,
        came_on: Id,
        answered: impl ExactSizeIterator<Item = Answered<Pipelined<F>>>,
    ) {
        self.unread.fetch_add(answered.len(), Ordering::Relaxed);
        let mut delivery = Delivery::default();
        for told in answered {
            let reply = Ok(Reply {
                replied: told.body,
                came_on,
            });
            match told.reply {
                Sender::Together(member) => delivery.add(member, reply, &self.unread),
                Sender::Alone(sender) => {
                    if sender.send(reply).is_err() {
                        self.unread.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
        }
        delivery.finish(&self.unread);
    }

    /// A pipeline has broken off.
    pub(super) fn end(
        self: &Arc<Self>,
        id: Id,
        wire: &SharedWriter<Connection<Sessions<F>>>,
        cause: ExchangeFailure,
    ) {
        let mut wire = wire.lock();
        let unwritten = wire.unwritten();
        let is_mismatch = matches!(cause, ExchangeFailure::Mismatched);
        let connection = wire.socket.take();
        let ended = {
            let partial = connection
                .as_ref()
                .is_some_and(|one| one.has_begun_a_reply() || is_mismatch);
            self.state.lock().end(id, unwritten, partial)
        };
        drop(wire);
        // That a connection without exchanges ends is no loss.
        if !ended.unanswered.is_empty() || matches!(cause, ExchangeFailure::HeartbeatMissed) {
            self.leases.connector().reports().ended(&cause);
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
            // A peer that answers the wrong one of them has read both, and one whose reply has
            // changed the connection may have.
            .filter(|_| {
                !matches!(
                    cause,
                    ExchangeFailure::Abandoned
                        | ExchangeFailure::Mismatched
                        | ExchangeFailure::Changed
                )
            });
        self.tell(id, ended.silent.into_iter());
        for one in ended.unanswered {
            let cause = match together {
                Some(answered) => ExchangeFailure::NotPipelining {
                    answered,
                    cause: Box::new(cause.of_another()),
                },
                None => cause.of_another(),
            };
            let failed = PipelineError::Exchange {
                cause,
                progress: one.progress,
                had_served,
                idempotent: false,
            };
            drop(one.reply.send(Err(Box::new(failed))));
        }
        self.serve_elsewhere(ended.released);
    }

    /// Requests that waited for one pipeline may be served by others.
    pub(super) fn serve_elsewhere(self: &Arc<Self>, released: Released) {
        for waker in released.wakes {
            waker.wake();
        }
        self.lease(released.leases);
    }
}
