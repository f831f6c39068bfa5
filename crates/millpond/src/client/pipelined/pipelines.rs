//! The pipelines of a client, as its requests see them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    awaited::Awaited,
    driver,
    flow::{Flow, Turn},
    machine::{Begun, Entry, Limits, Machine, Order},
    reply::{PipelineError, PipelineResult, Reply},
    sender::Sender,
    settings::Pipelining,
    shared::Shared,
    writer::write_as_caller,
};
use crate::{
    client::{
        deadline::{Times, expressible},
        error::RequestError,
        failure::{ExchangeFailure, Progress},
        payload::Payload,
        sessions::Sessions,
    },
    framed::with_request,
    framing::{Context, Framing},
    pool::{Pool, unstable::Mutex},
};

/// The pipelines of a client and all its clones. Its tasks end with it.
pub(in crate::client) struct Pipelines<F: Framing> {
    shared: Arc<Shared<F>>,
}

/// What all pipelines have to do.
pub(in crate::client) struct PipelinesLoad {
    /// How many callers wait, and the bytes of their requests.
    pub(in crate::client) waiting: usize,
    pub(in crate::client) waiting_bytes: usize,
    /// How many leases are under way.
    pub(in crate::client) leasing: usize,
    /// Exchanges in flight, by the number of their connection in the pool.
    pub(in crate::client) in_flight: BTreeMap<u64, usize>,
}

impl<F: Framing> Pipelines<F> {
    pub(in crate::client) fn new(
        pool: &Pool<Sessions<F>>,
        settings: Pipelining,
        patience: Duration,
    ) -> Self {
        let of_pool = pool.settings();
        let limits = Limits {
            depth: settings.depth,
            max_bytes: settings.max_bytes,
            max_waiting: of_pool.max_waiting as usize,
            max_waiting_bytes: settings.max_waiting_bytes,
            spread: pool.connector().streams().endpoints(),
            shedding: of_pool.shed_waiting,
        };
        Pipelines {
            shared: Arc::new(Shared {
                drive: |shared, place| Box::pin(driver::run(shared, place)),
                leases: pool.leases(),
                state: Mutex::new(Machine::new(limits, of_pool.max_size as usize)),
                unread: AtomicUsize::new(0),
                verbs: AtomicU64::new(pool.leases().verbs()),
                patience: expressible(patience),
                number: AtomicU64::new(fastrand::u64(..)),
                tasks: parking_lot::Mutex::default(),
            }),
        }
    }

    /// Requests that keep their order.
    pub(in crate::client) fn flow(&self) -> Flow<F> {
        Flow::new(Arc::clone(&self.shared))
    }

    /// One exchange, which its first poll begins, and which waits for a place no longer than `limit`.
    /// Dropped, it costs nobody else anything: its request isn't sent if it waits, and else its reply
    /// is dropped.
    pub(in crate::client) async fn exchange(
        &self,
        payload: &Payload<'_>,
        times: &Times,
        limit: Option<Duration>,
        turn: &mut Turn<'_, F>,
    ) -> PipelineResult {
        let mut awaited = self.begin(payload, times, turn)?;
        // Whose driver may stand still keeps its own time.
        let keeps_time = awaited.place.is_some() || self.shared.leases.runtime().may_stand_still();
        let mut exchanged = match keeps_time {
            true => awaited.told_in_time(times.deadline, limit).await,
            false => {
                let told = (&mut awaited.answer).await;
                awaited.ended(told)
            }
        };
        if let Err(error) = &mut exchanged
            && let PipelineError::Exchange { idempotent, .. } = &mut **error
        {
            *idempotent = awaited.is_idempotent;
        }
        exchanged
    }

    /// Brings a request. It is sent at once if there is a place.
    fn begin(
        &self,
        payload: &Payload<'_>,
        times: &Times,
        turn: &mut Turn<'_, F>,
    ) -> Result<Awaited<'_, F>, Box<PipelineError>> {
        let shared = &*self.shared;
        self.reconsider_if_told();
        let Times { began, deadline } = *times;
        if deadline <= began {
            return Err(PipelineError::new(
                ExchangeFailure::TimedOut,
                Progress::Unsent,
                false,
            ));
        }
        let (reply, answer) = oneshot::channel();
        let framing = shared.leases.connector().framing();
        let alone = !payload.in_company && shared.unread.load(Ordering::Relaxed) == 0;
        let mut is_idempotent = false;
        let order = turn.order();
        let unsent = |cause| PipelineError::new(cause, Progress::Unsent, false);
        let entry = with_request(
            framing,
            payload.message,
            framing
                .looks_at_requests()
                .then_some(Context::REQUEST.state()),
            || shared.next_number(),
            |frame, asked| {
                if let Some(asked) = &asked {
                    let accepted = payload.accepts.check(&asked.demand);
                    accepted.map_err(|error| unsent(ExchangeFailure::Demand(error)))?;
                    is_idempotent = asked.demand.idempotent;
                }
                let mut state = shared.state.lock();
                let reply = Sender::Alone(reply);
                let entry = state.begin(frame, times, order, alone, reply, asked);
                if let Order::Of { flow, .. } = order {
                    turn.number = Some(state.brought(flow));
                }
                Ok(entry)
            },
        );
        let entry = entry
            .map_err(|unsendable| unsent(unsendable.into()))
            .and_then(|entry| entry)?;
        let mut awaited = Awaited {
            shared,
            place: None,
            began,
            is_idempotent,
            answer,
        };
        match entry {
            Entry::Begun {
                begun: Begun { write, wake },
                leases,
            } => {
                let left = write.and_then(|(id, wire)| write_as_caller(&shared.state, id, &wire));
                if let Some(waker) = left {
                    waker.wake();
                }
                if let Some(waker) = wake {
                    waker.wake();
                }
                self.shared.lease(leases);
            }
            Entry::Waits { place, leases } => {
                shared.tell_waiting();
                awaited.place = Some(place);
                self.shared.lease(leases);
            }
            Entry::Overtaken => return Err(Box::new(PipelineError::Overtaken)),
            Entry::Refused(refusal) => {
                return Err(Box::new(PipelineError::Acquire(
                    shared.explain(refusal, Duration::ZERO),
                )));
            }
            Entry::FullOfBytes {
                waiting_bytes,
                request,
                max_waiting_bytes,
            } => {
                return Err(Box::new(PipelineError::Refused(
                    RequestError::FullOfBytes {
                        waiting_bytes,
                        request,
                        max_waiting_bytes,
                    },
                )));
            }
        }
        Ok(awaited)
    }

    pub(super) fn shared(&self) -> &Arc<Shared<F>> {
        &self.shared
    }

    /// Takes into account what the pool has been told since the last time.
    pub(super) fn reconsider_if_told(&self) {
        let verbs = self.shared.leases.verbs();
        if verbs != self.shared.verbs.load(Ordering::Relaxed) {
            self.shared.reconsider();
        }
    }

    /// The server takes no more requests on the connection on which this reply came.
    pub(in crate::client) fn retire(&self, reply: &Reply) {
        let driver = self.shared.state.lock().retire(reply.came_on);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// What all pipelines have to do now.
    pub(in crate::client) fn load(&self) -> PipelinesLoad {
        let state = self.shared.state.lock();
        let loads = state.loads().into_iter();
        PipelinesLoad {
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
