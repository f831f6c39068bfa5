//! One request from its beginning to its end: an attempt, what became of it, and whether there is
//! another.

use std::{fmt, future::Future, panic::Location, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{
    Client, ErrorReplies, RequestError, Sessions,
    deadline::expressible,
    failure::{ExchangeError, Progress},
    ongoing::Ongoing,
    pipelined::{Failed, Pipelines},
    retry::Withdrawal,
    turned_away::TurnedAway,
};
use crate::{
    framing::{Framing, LengthJson, json},
    pool::{AcquireError, Connection, DialError, Eviction, Priority},
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
    in_an_outage: InAnOutage,
}

/// What becomes of a request while the server can't be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum InAnOutage {
    /// It is told, as the pool's settings say.
    #[default]
    IsTold,
    /// It waits until its own deadline.
    Waits,
}

/// What is asked, and how its replies are read.
#[derive(Clone, Copy)]
struct Question<'b> {
    /// Where the caller's code asks.
    place: &'static Location<'static>,
    body: &'b [u8],
    /// Whether a reply says that the server didn't take the request, and so has not executed it.
    is_not_taken: fn(&[u8]) -> bool,
}

/// What the server sent back.
enum Answer {
    Reply(Bytes),
    /// It says that it doesn't take the request, and its connection is retired.
    NotTaken(Bytes),
}

/// The times of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When this attempt began.
    pub(super) began: Instant,
    /// Until when there must be a reply.
    pub(super) deadline: Instant,
}

impl Times {
    fn within(time: Duration) -> Self {
        let began = Instant::now();
        Times {
            began,
            deadline: began + expressible(time),
        }
    }

    /// An attempt begins.
    fn begins(&mut self, now: Instant) {
        self.began = now;
    }
}

/// An attempt that brought no reply.
enum Attempt {
    /// There was no connection.
    Unconnected(AcquireError),
    /// The client takes no such request now.
    Refused(RequestError),
    Exchanged {
        error: ExchangeError,
        /// The connection had served before: what ended it may have nothing to do with this
        /// request.
        had_served: bool,
    },
}

impl<'c, F: Framing> Requests<'c, F> {
    pub(super) fn new(client: &'c Client<F>, deadline: Duration) -> Self {
        Requests {
            client,
            deadline,
            repetition: Repetition::default(),
            priority: Priority::NORMAL,
            in_an_outage: InAnOutage::default(),
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

    /// As [`Client::wait_through_outage`].
    pub fn wait_through_outage(mut self) -> Self {
        self.in_an_outage = InAnOutage::Waits;
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
    #[track_caller]
    pub fn exchange(self, body: &[u8]) -> impl Future<Output = Result<Bytes, RequestError>> + Send {
        let question = Question {
            place: Location::caller(),
            body,
            is_not_taken: |_| false,
        };
        async move {
            let ongoing = Ongoing::begin(self.client.pool.connector().telling().metrics());
            ongoing.ended(self.ask(question).await)
        }
    }

    async fn ask(self, question: Question<'_>) -> Result<Bytes, RequestError> {
        let client = self.client;
        client.retries.pay_in();
        let mut times = Times::within(self.deadline);
        let mut first = None;
        let mut turned_away = TurnedAway::default();
        loop {
            let attempt = match &client.pipelines {
                Some(pipelines) => {
                    self.attempt_pipelined(pipelines, question, &mut times)
                        .await
                }
                None => self.attempt(question, &times).await,
            };
            match attempt {
                Ok(Answer::Reply(reply)) => return Ok(reply),
                Ok(Answer::NotTaken(reply)) => {
                    if !self.waits_to_ask_again(&mut turned_away, &mut times).await {
                        return self.remains_turned_away(reply, first);
                    }
                }
                Err(attempt) => first = Some(self.gives_up(*attempt, first, &mut times)?),
            }
        }
    }

    /// A server didn't take the request. Whether it is to be sent again, now that a pause has
    /// passed.
    #[cold]
    async fn waits_to_ask_again(&self, turned_away: &mut TurnedAway, times: &mut Times) -> bool {
        let now = Instant::now();
        let until = turned_away.pause().map(|pause| now + pause);
        let Some(until) = until.filter(|until| *until < times.deadline) else {
            return false;
        };
        self.client.retries.count_turned_away();
        if let Some(metrics) = self.client.pool.connector().telling().metrics() {
            metrics.turned_away();
        }
        self.client.pool.runtime().sleep_until(until).await;
        times.begins(until);
        true
    }

    /// What is told if no server took the request: that, unless an attempt before may have been
    /// executed.
    fn remains_turned_away(
        &self,
        reply: Bytes,
        first: Option<ExchangeError>,
    ) -> Result<Bytes, RequestError> {
        match first {
            Some(first) if first.progress > Progress::Unsent => {
                Err(RequestError::of(first, self.deadline))
            }
            _ => Ok(reply),
        }
    }

    /// What becomes of a request whose attempt brought no reply: its error, or there is another
    /// attempt, and this is why.
    #[cold]
    fn gives_up(
        &self,
        attempt: Attempt,
        first: Option<ExchangeError>,
        times: &mut Times,
    ) -> Result<ExchangeError, RequestError> {
        let (mut error, had_served) = match attempt {
            Attempt::Exchanged { error, had_served } => (error, had_served),
            // What may have been executed must be told.
            Attempt::Unconnected(error) => {
                let first = first.map(|first| RequestError::of(first, self.deadline));
                return Err(first.unwrap_or_else(|| self.no_connection(error)));
            }
            Attempt::Refused(error) => {
                let first = first.map(|first| RequestError::of(first, self.deadline));
                return Err(first.unwrap_or(error));
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
        let now = Instant::now();
        if !(harmless && is_old_news && first.is_none() && self.withdraw(now)) {
            error.progress =
                first.map_or(error.progress, |first| first.progress.max(error.progress));
            return Err(RequestError::of(error, self.deadline));
        }
        times.begins(now);
        Ok(error)
    }

    /// Whether the budget pays for another attempt.
    fn withdraw(&self, now: Instant) -> bool {
        let is_granted = self.client.retries.withdraw(now) != Withdrawal::Refused;
        if let Some(metrics) = self.client.pool.connector().telling().metrics() {
            metrics.retry(is_granted);
        }
        is_granted
    }

    /// There was no connection. If all that were opened have died by a stranger's words, those say
    /// why.
    fn no_connection(&self, error: AcquireError) -> RequestError {
        let by_words = matches!(
            &error,
            AcquireError::Unavailable {
                cause: DialError::DiedEarly(Eviction::UnsolicitedBytes),
                ..
            }
        );
        match self.client.pool.connector().stranger().filter(|_| by_words) {
            Some(stranger) => RequestError::NoFrame(stranger),
            None => RequestError::Acquire(error),
        }
    }

    /// One exchange alone on a connection.
    async fn attempt(&self, question: Question<'_>, times: &Times) -> Result<Answer, Box<Attempt>> {
        let pool = &self.client.pool;
        let mut session = self.acquire(question.place, *times).await?;
        let had_served = session.has_served();
        let framing = pool.connector().framing();
        let exchanged = session
            .exchange(framing, question.body, times.deadline, pool.runtime())
            .await;
        let error = match exchanged {
            Ok(reply) => {
                let is_not_taken = (question.is_not_taken)(&reply);
                if session.is_flooded() {
                    session.discard_because(Eviction::UnsolicitedBytes);
                } else if is_not_taken {
                    session.discard_because(Eviction::Discarded);
                }
                return Ok(match is_not_taken {
                    true => Answer::NotTaken(reply),
                    false => Answer::Reply(reply),
                });
            }
            Err(error) => *error,
        };
        pool.connector().telling().ended(&error.cause);
        match session.is_dirty() {
            true => session.discard_because(error.cause.eviction()),
            false => drop(session),
        }
        Err(Box::new(Attempt::Exchanged { error, had_served }))
    }

    /// How long to wait for a connection, or for a place on a pipeline, at most.
    fn acquire_timeout(&self) -> Option<Duration> {
        match self.in_an_outage {
            InAnOutage::IsTold => self.client.pool.acquire_timeout(),
            InAnOutage::Waits => None,
        }
    }

    /// Waits for as long as there is time for the reply, and no longer than the pool's
    /// `acquire_timeout`.
    async fn acquire(
        &self,
        place: &'static Location<'static>,
        times: Times,
    ) -> Result<Connection<Sessions<F>>, Box<Attempt>> {
        let limit = self.acquire_timeout();
        let until = limit.and_then(|limit| times.began.checked_add(limit));
        let until = until.map_or(times.deadline, |until| until.min(times.deadline));
        let acquire = self.client.pool.acquire_from(place);
        let acquire = acquire.priority(self.priority).deadline(until);
        let acquire = match self.in_an_outage {
            InAnOutage::IsTold => acquire,
            InAnOutage::Waits => acquire.wait_through_outage(),
        };
        let acquired = acquire.await;
        acquired.map_err(|error| Box::new(Attempt::Unconnected(error)))
    }

    /// One exchange among others on a connection.
    async fn attempt_pipelined(
        &self,
        pipelines: &Pipelines<F>,
        question: Question<'_>,
        times: &mut Times,
    ) -> Result<Answer, Box<Attempt>> {
        loop {
            let limit = self.acquire_timeout();
            let exchanged = pipelines.exchange(question.body, *times, limit, self.priority);
            let failed = match exchanged.await {
                Ok(reply) if (question.is_not_taken)(&reply.body) => {
                    pipelines.retire(&reply);
                    return Ok(Answer::NotTaken(reply.body));
                }
                Ok(reply) => return Ok(Answer::Reply(reply.body)),
                Err(failed) => *failed,
            };
            return Err(Box::new(match failed {
                Failed::Acquire(AcquireError::Unavailable { .. })
                    if self.in_an_outage == InAnOutage::Waits =>
                {
                    // In the pool's line, until there is a connection: it is given back unused, for
                    // a pipeline to lease. Each turn of this loop takes
                    // one that was dialled since the last, so it turns no faster than the pool's
                    // backoff allows.
                    drop(self.acquire(question.place, *times).await?);
                    times.begins(Instant::now());
                    continue;
                }
                Failed::Acquire(error) => Attempt::Unconnected(error),
                Failed::Refused(error) => Attempt::Refused(error),
                Failed::Exchange {
                    cause,
                    progress,
                    had_served,
                } => {
                    let error = ExchangeError { progress, cause };
                    Attempt::Exchanged { error, had_served }
                }
            }));
        }
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
        let place = Location::caller();
        let body = json::write(value).map_err(RequestError::Unserializable);
        async move {
            let ongoing = Ongoing::begin(self.client.pool.connector().telling().metrics());
            ongoing.ended(self.request_from(place, body).await)
        }
    }

    async fn request_from<R: DeserializeOwned>(
        self,
        place: &'static Location<'static>,
        body: Result<Vec<u8>, RequestError>,
    ) -> Result<R, RequestError> {
        let body = &*body?;
        let is_not_taken: fn(&[u8]) -> bool = match self.client.settings.error_replies {
            ErrorReplies::AreErrors => json::is_not_taken,
            ErrorReplies::AreReplies => |_| false,
        };
        let question = Question {
            place,
            body,
            is_not_taken,
        };
        let reply = self.ask(question).await?;
        if self.client.settings.error_replies == ErrorReplies::AreErrors
            && let Some(error) = json::as_error_reply(&reply)
        {
            return Err(RequestError::Refused(error));
        }
        json::read(&reply).map_err(RequestError::Reply)
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
