//! One attempt of a request: it gets a connection, or a place on a pipeline, and exchanges there.

use std::{panic::Location, time::Duration};

use tokio::time::Instant;

use super::{
    channel::Channel, deadline::Times, error::RequestError, failure::ExchangeError,
    payload::Payload, pipelined::PipelineError, sessions::Sessions,
};
use crate::{
    framed::Replied,
    framing::Framing,
    pool::{AcquireError, Connection, Eviction, Priority},
};

/// How a request waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) priority: Priority,
    pub(super) in_an_outage: InAnOutage,
}

/// What becomes of a request while the server can't be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum InAnOutage {
    /// It is told, as the pool's settings say.
    #[default]
    IsTold,
    /// It waits until its own deadline.
    Waits,
}

/// What the server sent back.
pub(super) enum Response {
    Reply(Replied),
    /// It says that it doesn't take the request, and its connection is retired.
    NotTaken(Replied),
}

/// An attempt that brought no reply.
pub(super) enum AttemptError {
    /// There was no connection.
    Unconnected(AcquireError),
    /// The client takes no such request now.
    Refused(RequestError),
    /// Others that must not be executed before it were begun since its first attempt.
    Overtaken,
    Exchanged {
        error: ExchangeError,
        /// The connection had served before: what ended it may have nothing to do with this
        /// request.
        had_served: bool,
    },
}

impl<F: Framing> Channel<F> {
    /// One exchange alone on a connection.
    pub(super) async fn attempt(
        &self,
        payload: &Payload<'_>,
        manner: Manner,
        times: &Times,
    ) -> Result<Response, Box<AttemptError>> {
        let pool = &self.pool;
        let acquired = self.acquire(payload.place, manner, *times).await;
        let mut session = acquired.map_err(AttemptError::Unconnected)?;
        let had_served = session.has_served();
        let framing = pool.connector().framing();
        let exchanged = session
            .exchange(
                framing,
                payload.message,
                payload.accepts,
                times.deadline,
                pool.runtime(),
            )
            .await;
        let error = match exchanged {
            Ok(reply) => {
                let is_not_taken = (payload.is_not_taken)(reply.body());
                if session.is_flooded() {
                    session.discard_because(Eviction::UnsolicitedBytes);
                } else if is_not_taken {
                    session.discard_because(Eviction::Discarded);
                }
                return Ok(match is_not_taken {
                    true => Response::NotTaken(reply),
                    false => Response::Reply(reply),
                });
            }
            Err(error) => *error,
        };
        pool.connector().reports().ended(&error.cause);
        match session.is_dirty() {
            true => session.discard_because(error.cause.eviction()),
            false => drop(session),
        }
        Err(Box::new(AttemptError::Exchanged { error, had_served }))
    }

    /// How long to wait for a connection, or for a place on a pipeline, at most.
    pub(super) fn waiting_limit(&self, manner: Manner) -> Option<Duration> {
        match manner.in_an_outage {
            InAnOutage::IsTold => self.pool.acquire_timeout(),
            InAnOutage::Waits => None,
        }
    }

    /// Waits for as long as there is time for the reply, and no longer than the pool's
    /// `acquire_timeout`.
    pub(super) async fn acquire(
        &self,
        place: &'static Location<'static>,
        manner: Manner,
        times: Times,
    ) -> Result<Connection<Sessions<F>>, AcquireError> {
        let limit = self.waiting_limit(manner);
        let until = limit.and_then(|limit| times.began.checked_add(limit));
        let until = until.map_or(times.deadline, |until| until.min(times.deadline));
        let acquire = self.pool.acquire_from(place);
        let acquire = acquire.priority(manner.priority).deadline(until);
        let acquire = match manner.in_an_outage {
            InAnOutage::IsTold => acquire,
            InAnOutage::Waits => acquire.wait_through_outage(),
        };
        acquire.await
    }

    /// An exchange among others on a connection has brought no reply. It is to be begun again, or
    /// this is its error.
    pub(super) async fn gives_up_pipelined(
        &self,
        failed: PipelineError,
        payload: &Payload<'_>,
        manner: Manner,
        times: &mut Times,
    ) -> Result<(), Box<AttemptError>> {
        Err(Box::new(match failed {
            PipelineError::Acquire(AcquireError::Unavailable { .. })
                if manner.in_an_outage == InAnOutage::Waits =>
            {
                // In the pool's line, until there is a connection: it is given back unused, for a
                // pipeline to lease. Each turn takes one that was dialled since the last, so they
                // follow each other no faster than the pool's backoff allows.
                let acquired = self.acquire(payload.place, manner, *times).await;
                drop(acquired.map_err(AttemptError::Unconnected)?);
                times.begins(Instant::now());
                return Ok(());
            }
            PipelineError::Acquire(error) => AttemptError::Unconnected(error),
            PipelineError::Refused(error) => AttemptError::Refused(error),
            PipelineError::Overtaken => AttemptError::Overtaken,
            PipelineError::Exchange {
                cause,
                progress,
                had_served,
                idempotent,
            } => {
                let error = ExchangeError {
                    progress,
                    cause,
                    idempotent,
                };
                AttemptError::Exchanged { error, had_served }
            }
        }))
    }
}
