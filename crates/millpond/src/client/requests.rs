//! One request from its beginning to its end: an attempt, what became of it, and whether there is another.

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{
    Client, ErrorReplies, RequestError,
    failure::{ExchangeError, Progress},
    pipelined::{Due, Failed, Pipelines},
    retry::Withdrawal,
};
use crate::{
    framing::{Framing, LengthJson, json},
    pool::{AcquireError, Priority},
};

/// Whether a request may be executed twice without harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Repetition {
    #[default]
    Harmful,
    Harmless,
}

/// Requests of one kind: [`Client::idempotent`], [`Client::within`].
#[derive(Clone, Copy)]
pub struct Requests<'c, F: Framing = LengthJson> {
    client: &'c Client<F>,
    deadline: Duration,
    repetition: Repetition,
    priority: Priority,
}

/// An attempt that brought no reply.
struct Attempt {
    failure: Failure,
    /// The connection had served before: what ended it may have nothing to do with this request.
    had_served: bool,
    /// Until when there should have been a reply, if that is known.
    deadline: Option<Instant>,
}

/// Deadlines from which on nobody minds some milliseconds more.
const PATIENT: Duration = Duration::from_secs(1);

enum Failure {
    Acquire(AcquireError),
    Exchange(ExchangeError),
}

impl<'c, F: Framing> Requests<'c, F> {
    pub(super) fn new(client: &'c Client<F>, deadline: Duration) -> Self {
        Requests {
            client,
            deadline,
            repetition: Repetition::default(),
            priority: Priority::NORMAL,
        }
    }

    /// As [`Client::idempotent`].
    pub fn idempotent(mut self) -> Self {
        self.repetition = Repetition::Harmless;
        self
    }

    /// As [`Client::within`].
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// As [`Client::priority`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// As [`Client::exchange`].
    ///
    /// # Errors
    ///
    /// As [`Client::exchange`].
    ///
    /// # Cancel safety
    ///
    /// As [`Client::request`].
    pub async fn exchange(self, body: &[u8]) -> Result<Bytes, RequestError> {
        let client = self.client;
        // A deadline that can't be expressed is none.
        let far = Duration::from_secs(365 * 24 * 60 * 60);
        let within = self.deadline.min(far);
        client.retries.pay_in();
        let began = match &client.pipelines {
            // To ask for the time costs a tenth of what an exchange among many does.
            Some(_) if within >= PATIENT => None,
            _ => Some(Instant::now()),
        };
        let mut deadline = began.map(|began| began + within);
        let mut first: Option<ExchangeError> = None;
        loop {
            let attempt = match (&client.pipelines, deadline) {
                (Some(pipelines), None) => self.attempt_pipelined(pipelines, body, Due::Within(within)).await,
                (Some(pipelines), Some(deadline)) => {
                    self.attempt_pipelined(pipelines, body, Due::At(deadline)).await
                }
                (None, _) => {
                    let deadline = deadline.expect("the clock was looked at");
                    self.attempt(body, deadline, began.filter(|_| first.is_none()))
                        .await
                }
            };
            let (mut error, had_served) = match attempt {
                Ok(reply) => return Ok(reply),
                Err(Attempt {
                    failure: Failure::Exchange(error),
                    had_served,
                    deadline: known,
                }) => {
                    deadline = deadline.or(known);
                    (error, had_served)
                }
                // What may have been executed must be told.
                Err(Attempt {
                    failure: Failure::Acquire(error),
                    ..
                }) => {
                    let first = first.map(|first| RequestError::of(first, self.deadline));
                    return Err(first.unwrap_or(RequestError::Acquire(error)));
                }
            };
            let harmless = match error.progress {
                Progress::Unsent => true,
                Progress::Unanswered => self.repetition == Repetition::Harmless,
                Progress::Answered => false,
            };
            let is_old_news = had_served
                && match error.progress {
                    Progress::Unsent => error.cause.ended_connection(),
                    _ => error.cause.ended_by_peer(),
                };
            if !(harmless && is_old_news && first.is_none())
                || client.retries.withdraw(Instant::now()) == Withdrawal::Refused
            {
                error.progress = first.map_or(error.progress, |first| first.progress.max(error.progress));
                return Err(RequestError::of(error, self.deadline));
            }
            // Nobody has looked at the clock, since it has only just begun.
            deadline = deadline.or_else(|| Some(Instant::now() + within));
            first = Some(error);
        }
    }

    /// One exchange alone on a connection. `now`, if that is known.
    async fn attempt(&self, body: &[u8], deadline: Instant, now: Option<Instant>) -> Result<Bytes, Attempt> {
        let pool = &self.client.pool;
        let acquire = pool.acquire().deadline(deadline).priority(self.priority);
        let acquire = match now {
            Some(now) => acquire.begun_at(now),
            None => acquire,
        };
        let mut session = acquire.await.map_err(|error| Attempt {
            failure: Failure::Acquire(error),
            had_served: false,
            deadline: None,
        })?;
        let had_served = session.has_served();
        match session.exchange(pool.connector().framing(), body, deadline).await {
            Ok(reply) => Ok(reply.into_body()),
            Err(error) => {
                match session.is_dirty() {
                    true => session.discard_because(error.cause.eviction()),
                    false => drop(session),
                }
                Err(Attempt {
                    failure: Failure::Exchange(error),
                    had_served,
                    deadline: Some(deadline),
                })
            }
        }
    }

    /// One exchange among others on a connection.
    async fn attempt_pipelined(
        &self,
        pipelines: &Pipelines<F>,
        body: &[u8],
        due: Due,
    ) -> Result<Bytes, Attempt> {
        let exchanged = pipelines.exchange(body, due, self.priority).await;
        exchanged.map_err(|failed| match *failed {
            Failed::Acquire(error) => Attempt {
                failure: Failure::Acquire(error),
                had_served: false,
                deadline: None,
            },
            Failed::Exchange {
                cause,
                progress,
                had_served,
                deadline,
            } => Attempt {
                failure: Failure::Exchange(ExchangeError { progress, cause }),
                had_served,
                deadline,
            },
        })
    }
}

impl<'c> Requests<'c, LengthJson> {
    /// As [`Client::request`].
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    ///
    /// # Cancel safety
    ///
    /// As [`Client::request`].
    #[track_caller]
    pub fn request<T, R>(
        self,
        value: &T,
    ) -> impl Future<Output = Result<R, RequestError>> + Send + use<'c, T, R>
    where
        T: Serialize + ?Sized + Sync,
        R: DeserializeOwned,
    {
        let body = json::write(value).map_err(RequestError::Unserializable);
        async move {
            let reply = self.exchange(&body?).await?;
            if self.client.settings.error_replies == ErrorReplies::AreErrors
                && let Some(error) = json::as_error_reply(&reply)
            {
                return Err(RequestError::Refused(error));
            }
            json::read(&reply).map_err(RequestError::Reply)
        }
    }
}

impl<F: Framing> fmt::Debug for Requests<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("deadline", &self.deadline)
            .field("repetition", &self.repetition)
            .finish_non_exhaustive()
    }
}
