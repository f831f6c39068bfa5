//! One request from its beginning to its end: its attempts, and whether there is another. A
//! *request* is a value as JSON; an *exchange* is a body of bytes as it is. Both are sent alike.

use std::{fmt, future::Future, panic::Location, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{
    attempt::{AttemptError, InAnOutage, Manner, Response},
    channel::Channel,
    deadline::Times,
    demands::Accepts,
    error::RequestError,
    failure::{ExchangeError, Progress},
    ongoing::Ongoing,
    payload::Payload,
    pinned::Pinned,
    pipelined::{FirstAttempt, Flow, Turn},
    retry::Withdrawal,
    turned_away::TurnedAway,
};
use crate::{
    framed::{Message, Replied},
    framing::{Frame, Framing, LengthJson, json},
    pool::{AcquireError, DialError, Eviction, Priority},
};

/// Whether a request may be executed twice without harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Repetition {
    /// Unless its framing says otherwise.
    #[default]
    Harmful,
    Harmless,
    /// Whatever its framing says: once a byte of it was sent, it isn't sent again.
    Never,
}

/// Requests of one kind: [`Client::idempotent`](super::Client::idempotent), [`Client::within`](super::Client::within).
pub struct Requests<'c, F: Framing = LengthJson> {
    channel: &'c Channel<F>,
    deadline: Duration,
    repetition: Repetition,
    manner: Manner,
}

impl<'c, F: Framing> Requests<'c, F> {
    pub(super) fn new(channel: &'c Channel<F>) -> Self {
        Requests {
            channel,
            deadline: channel.settings.deadline,
            repetition: Repetition::default(),
            manner: Manner {
                priority: Priority::NORMAL,
                in_an_outage: InAnOutage::default(),
            },
        }
    }

    /// As [`Client::idempotent`](super::Client::idempotent).
    pub fn idempotent(mut self) -> Self {
        self.repetition = Repetition::Harmless;
        self
    }

    /// As [`Client::within`](super::Client::within).
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// As [`Client::priority`](super::Client::priority).
    pub fn priority(mut self, priority: Priority) -> Self {
        self.manner.priority = priority;
        self
    }

    /// As [`Client::wait_through_outage`](super::Client::wait_through_outage).
    pub fn wait_through_outage(mut self) -> Self {
        self.manner.in_an_outage = InAnOutage::Waits;
        self
    }

    /// As [`Client::exchange`](super::Client::exchange).
    ///
    /// # Errors
    ///
    /// As [`Client::exchange`](super::Client::exchange).
    ///
    /// # Cancel safety
    ///
    /// As [`Client::request`](super::Client::request).
    #[track_caller]
    pub fn exchange(self, body: &[u8]) -> impl Future<Output = Result<Bytes, RequestError>> + Send {
        self.exchange_from(Location::caller(), body)
    }

    pub(super) async fn exchange_from(
        self,
        place: &'static Location<'static>,
        body: &[u8],
    ) -> Result<Bytes, RequestError> {
        let payload = Payload {
            place,
            message: Message::Body(body),
            accepts: Accepts::ONE_REPLY,
            is_not_taken: |_| false,
            in_company: false,
        };
        let ongoing = Ongoing::begin(self.channel.metrics());
        ongoing.ended(self.ask(&payload, None, None).await.map(Replied::into_body))
    }

    /// As [`Client::exchange_all`](super::Client::exchange_all).
    ///
    /// # Errors
    ///
    /// As [`Client::exchange_all`](super::Client::exchange_all).
    ///
    /// # Cancel safety
    ///
    /// As [`Client::request`](super::Client::request).
    #[track_caller]
    pub fn exchange_all(
        self,
        body: &[u8],
    ) -> impl Future<Output = Result<Vec<Frame>, RequestError>> + Send {
        self.frames(Location::caller(), Message::Body(body))
    }

    /// As [`Client::forward`](super::Client::forward).
    ///
    /// # Errors
    ///
    /// As [`Client::forward`](super::Client::forward).
    ///
    /// # Cancel safety
    ///
    /// As [`Client::request`](super::Client::request).
    #[track_caller]
    pub fn forward(
        self,
        frame: &[u8],
    ) -> impl Future<Output = Result<Vec<Frame>, RequestError>> + Send {
        self.frames(Location::caller(), Message::Frame(frame))
    }

    /// As [`Client::pin`](super::Client::pin).
    ///
    /// # Errors
    ///
    /// As [`Client::pin`](super::Client::pin).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, it gives its place in the line back.
    #[track_caller]
    pub fn pin(self) -> impl Future<Output = Result<Pinned<F>, RequestError>> + Send {
        Pinned::lent(self.channel, Location::caller(), self.manner, self.deadline)
    }

    /// Passes a whole frame on to the server, once: of bytes that were sent, none are sent again.
    /// In a flow its first poll begins it, and it isn't sent again either if another of the flow
    /// was begun behind it.
    #[track_caller]
    pub(crate) fn pass_on(
        self,
        frame: &[u8],
        flow: Option<&Flow<F>>,
    ) -> impl Future<Output = Result<Replied, RequestError>> + Send {
        let once = Requests {
            repetition: Repetition::Never,
            ..self
        };
        once.replied(Location::caller(), Message::Frame(frame), true, flow)
    }

    /// The reply to a frame that was begun together with others of its flow, and whose attempt has
    /// failed so: there is another, or its error is told, as [`pass_on`](Requests::pass_on) would.
    pub(super) async fn pass_on_again(
        self,
        frame: &[u8],
        flow: &Flow<F>,
        begun: FirstAttempt,
    ) -> Result<Replied, RequestError> {
        let payload = Payload {
            place: Location::caller(),
            message: Message::Frame(frame),
            accepts: Accepts::ANY_NUMBER,
            is_not_taken: |_| false,
            in_company: true,
        };
        let once = Requests {
            repetition: Repetition::Never,
            ..self
        };
        once.ask(&payload, Some(flow), Some(begun)).await
    }

    async fn frames(
        self,
        place: &'static Location<'static>,
        message: Message<'_>,
    ) -> Result<Vec<Frame>, RequestError> {
        self.replied(place, message, false, None)
            .await
            .map(Replied::into_frames)
    }

    async fn replied(
        self,
        place: &'static Location<'static>,
        message: Message<'_>,
        in_company: bool,
        flow: Option<&Flow<F>>,
    ) -> Result<Replied, RequestError> {
        let payload = Payload {
            place,
            message,
            accepts: Accepts::ANY_NUMBER,
            is_not_taken: |_| false,
            in_company,
        };
        let ongoing = Ongoing::begin(self.channel.metrics());
        ongoing.ended(self.ask(&payload, flow, None).await)
    }

    /// The reply. `begun`: its first attempt was made, with others, and has failed.
    async fn ask(
        &self,
        payload: &Payload<'_>,
        flow: Option<&Flow<F>>,
        begun: Option<FirstAttempt>,
    ) -> Result<Replied, RequestError> {
        let channel = self.channel;
        let mut turn = Turn::new(self.manner.priority, flow);
        let (mut times, mut failed) = match begun {
            None => {
                channel.retries.pay_in(1);
                (Times::within(self.deadline), None)
            }
            Some(begun) => {
                turn.begun_as(begun.number);
                (begun.times, Some(begun.failed))
            }
        };
        let mut first = None;
        let mut turned_away = TurnedAway::default();
        loop {
            let attempt = match &channel.pipelines {
                // Not in a function of its own: that would move each reply once more.
                Some(pipelines) => {
                    let limit = channel.waiting_limit(self.manner);
                    let exchanged = match failed.take() {
                        Some(failed) => Err(failed),
                        None => pipelines.exchange(payload, &times, limit, &mut turn).await,
                    };
                    match exchanged {
                        Ok(reply) if (payload.is_not_taken)(reply.replied.body()) => {
                            pipelines.retire(&reply);
                            Ok(Response::NotTaken(reply.replied))
                        }
                        Ok(reply) => return Ok(reply.replied),
                        Err(failed) => {
                            let manner = self.manner;
                            let given_up =
                                channel.gives_up_pipelined(*failed, payload, manner, &mut times);
                            match given_up.await {
                                Ok(()) => continue,
                                Err(attempt) => Err(attempt),
                            }
                        }
                    }
                }
                None => channel.attempt(payload, self.manner, &times).await,
            };
            match attempt {
                Ok(Response::Reply(reply)) => return Ok(reply),
                Ok(Response::NotTaken(reply)) => {
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
        self.channel.retries.count_turned_away();
        if let Some(metrics) = self.channel.metrics() {
            metrics.turned_away();
        }
        self.channel.pool.runtime().sleep_until(until).await;
        // It may have been woken late, after the deadline.
        times.begins(Instant::now());
        true
    }

    /// What is told if no server took the request: that, unless an attempt before may have been
    /// executed.
    fn remains_turned_away(
        &self,
        reply: Replied,
        first: Option<ExchangeError>,
    ) -> Result<Replied, RequestError> {
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
        attempt: AttemptError,
        first: Option<ExchangeError>,
        times: &mut Times,
    ) -> Result<ExchangeError, RequestError> {
        let (mut error, had_served) = match attempt {
            AttemptError::Exchanged { error, had_served } => (error, had_served),
            // What may have been executed must be told.
            AttemptError::Unconnected(error) => {
                let first = first.map(|first| RequestError::of(first, self.deadline));
                return Err(first.unwrap_or_else(|| self.no_connection(error)));
            }
            AttemptError::Refused(error) => {
                let first = first.map(|first| RequestError::of(first, self.deadline));
                return Err(first.unwrap_or(error));
            }
            AttemptError::Overtaken => {
                let first = first.expect("its first attempt has failed");
                return Err(RequestError::of(first, self.deadline));
            }
        };
        let harmless = match error.progress {
            Progress::Unsent => true,
            Progress::Unanswered => match self.repetition {
                Repetition::Harmless => true,
                Repetition::Harmful => error.idempotent,
                Repetition::Never => false,
            },
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
        let is_granted = self.channel.retries.withdraw(now) != Withdrawal::Refused;
        if let Some(metrics) = self.channel.metrics() {
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
        match self
            .channel
            .pool
            .connector()
            .stranger()
            .filter(|_| by_words)
        {
            Some(stranger) => RequestError::NoFrame(stranger),
            None => RequestError::Acquire(error),
        }
    }
}

impl<'c> Requests<'c, LengthJson> {
    /// As [`Client::request`](super::Client::request).
    ///
    /// # Errors
    ///
    /// As [`Client::request`](super::Client::request).
    ///
    /// # Cancel safety
    ///
    /// As [`Client::request`](super::Client::request).
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
            let ongoing = Ongoing::begin(self.channel.metrics());
            ongoing.ended(self.request_from(place, body).await)
        }
    }

    async fn request_from<R: DeserializeOwned>(
        self,
        place: &'static Location<'static>,
        body: Result<Vec<u8>, RequestError>,
    ) -> Result<R, RequestError> {
        let body = &*body?;
        let is_not_taken: fn(&[u8]) -> bool = match self.channel.reads_errors() {
            true => json::is_not_taken,
            false => |_| false,
        };
        let payload = Payload {
            place,
            message: Message::Body(body),
            accepts: Accepts::ONE_REPLY,
            is_not_taken,
            in_company: false,
        };
        let reply = self.ask(&payload, None, None).await?.into_body();
        if self.channel.reads_errors()
            && let Some(error) = json::as_error_reply(&reply)
        {
            return Err(RequestError::Refused(error));
        }
        json::read(&reply).map_err(RequestError::Reply)
    }
}

/// Whatever the framing: it is only referred to.
impl<F: Framing> Clone for Requests<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Framing> Copy for Requests<'_, F> {}

impl<F: Framing> fmt::Debug for Requests<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("deadline", &self.deadline)
            .field("repetition", &self.repetition)
            .finish_non_exhaustive()
    }
}
