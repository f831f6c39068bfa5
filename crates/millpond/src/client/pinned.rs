//! A connection of one's own, for requests that change its state.

use std::{
    fmt,
    future::poll_fn,
    panic::Location,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;

use super::{
    attempt::Manner,
    channel::Channel,
    deadline::Times,
    demands::Accepts,
    error::RequestError,
    failure::{ExchangeError, ExchangeFailure, Progress},
    ongoing::Ongoing,
    sessions::Sessions,
};
use crate::{
    framed::{Message, Outstanding, Replied},
    framing::{Frame, Framing, LengthJson, Note},
    pool::Connection,
};

/// A connection of one's own: [`Client::pin`](super::Client::pin). For requests that
/// [pin](crate::framing::Demand::pins) their connection, such as those of a transaction, and for
/// all others that must be sent on the same one.
///
/// Dropped, the connection goes back to the pool if its [state](crate::framing::Context::state) is
/// again what it was before. Otherwise it is closed, and nobody meets what is left on it. After an
/// error that ends the connection each further request fails.
///
/// No heartbeats are sent while it is held and no request is under way: whoever pauses for longer
/// than the server's patience loses the connection.
#[must_use]
pub struct Pinned<F: Framing = LengthJson> {
    channel: Channel<F>,
    session: Connection<Sessions<F>>,
    deadline: Duration,
    /// What the server sends on its own is passed on with the replies.
    keeps_order: bool,
    /// Why the connection can't be used any more.
    ended: Option<ExchangeFailure>,
}

impl<F: Framing> Pinned<F> {
    /// Takes a connection from the pool.
    pub(super) async fn lent(
        channel: &Channel<F>,
        place: &'static Location<'static>,
        manner: Manner,
        deadline: Duration,
    ) -> Result<Self, RequestError> {
        let times = Times::within(deadline);
        let acquired = channel.acquire(place, manner, times).await;
        let mut session = acquired.map_err(RequestError::Acquire)?;
        session.set_pinned(true);
        Ok(Pinned {
            channel: channel.clone(),
            session,
            deadline,
            keeps_order: false,
            ended: None,
        })
    }

    /// The deadline of each request, counted from when it is begun. A request by which the server
    /// [may wait](crate::framing::Demand::may_wait) has that much more. Default: the client's.
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sends a body, and returns that of its reply: of several that of the last, and an empty one if
    /// no reply comes to it.
    ///
    /// # Errors
    ///
    /// As [`Client::exchange`](super::Client::exchange).
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it leaves the connection unusable: nobody gets its reply.
    pub async fn exchange(&mut self, body: &[u8]) -> Result<Bytes, RequestError> {
        let replied = self.send(Message::Body(body)).await;
        replied.map(Replied::into_body)
    }

    /// Sends a body, and returns all frames that answer it:
    /// [`Client::exchange_all`](super::Client::exchange_all).
    ///
    /// # Errors
    ///
    /// As [`Client::exchange`](super::Client::exchange).
    ///
    /// # Cancel safety
    ///
    /// As [`exchange`](Pinned::exchange).
    pub async fn exchange_all(&mut self, body: &[u8]) -> Result<Vec<Frame>, RequestError> {
        let replied = self.send(Message::Body(body)).await;
        replied.map(Replied::into_frames)
    }

    /// Sends a whole frame as it is, and returns all frames that answer it:
    /// [`Client::forward`](super::Client::forward).
    ///
    /// # Errors
    ///
    /// As [`Client::forward`](super::Client::forward).
    ///
    /// # Cancel safety
    ///
    /// As [`exchange`](Pinned::exchange).
    pub async fn forward(&mut self, frame: &[u8]) -> Result<Vec<Frame>, RequestError> {
        let replied = self.send(Message::Frame(frame)).await;
        replied.map(Replied::into_frames)
    }

    /// A frame that the server has sent on its own and that was received already, the first of them.
    pub fn take_push(&mut self) -> Option<Frame> {
        self.session.outstanding.as_mut()?.take_push()
    }

    /// The next frame that the server sends on its own: of those that came while a reply was waited
    /// for, or when it comes. It has no deadline.
    ///
    /// # Errors
    ///
    /// [`RequestError::Lost`]: the connection has ended, or something came that is no push.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no frame is lost.
    pub async fn push(&mut self) -> Result<Frame, RequestError> {
        poll_fn(|cx| self.poll_push(cx)).await
    }

    /// As [`push`](Pinned::push).
    pub(crate) fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, RequestError>> {
        let framing = self.channel.pool.connector().framing();
        let session = &mut *self.session;
        let pushed = match session.is_dirty() {
            true => Err(unusable(self.ended.as_ref())),
            false => ready!(session.poll_push(framing, cx)).map_err(|cause| {
                session.dirty = true;
                self.ended = Some(cause.of_another());
                unsent(cause)
            }),
        };
        Poll::Ready(pushed.map_err(|error| RequestError::of(*error, self.deadline)))
    }

    /// The connection's state, as the framing notes it.
    pub fn state(&self) -> &Note {
        let outstanding = self.session.outstanding.as_deref();
        Outstanding::reply_context(outstanding).state()
    }

    /// Whether the connection could go back to the pool now.
    pub fn is_at_rest(&self) -> bool {
        self.session.is_at_rest()
    }

    /// Passes a whole frame on to the server; the reply must be there within `deadline`, and as much
    /// later as the request [may wait](crate::framing::Demand::may_wait). What the server has sent on
    /// its own before the reply is among its frames.
    pub(crate) async fn pass_on(
        &mut self,
        frame: &[u8],
        deadline: Duration,
    ) -> Result<Replied, RequestError> {
        self.deadline = deadline;
        self.keeps_order = true;
        self.send(Message::Frame(frame)).await
    }

    /// Whether the connection is to be closed, and nothing of its state is needed any more.
    pub(crate) fn is_of_no_use(&self) -> bool {
        let outstanding = self.session.outstanding.as_deref();
        outstanding.is_some_and(Outstanding::is_of_no_use)
    }

    /// Whether there is a connection still, and no exchange is unfinished on it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.session.is_dirty()
    }

    async fn send(&mut self, message: Message<'_>) -> Result<Replied, RequestError> {
        let channel = self.channel.clone();
        let ongoing = Ongoing::begin(channel.metrics());
        let sent = self.exchange_on_it(message).await;
        let replied = sent.map_err(|error| {
            let of_request = RequestError::of(
                ExchangeError {
                    cause: error.cause.of_another(),
                    ..*error
                },
                self.deadline,
            );
            if self.session.is_dirty() {
                channel.pool.connector().reports().ended(&error.cause);
                self.ended = Some(error.cause);
            }
            of_request
        });
        ongoing.ended(replied)
    }

    async fn exchange_on_it(
        &mut self,
        message: Message<'_>,
    ) -> Result<Replied, Box<ExchangeError>> {
        let pool = &self.channel.pool;
        let framing = pool.connector().framing();
        let session = &mut *self.session;
        if session.is_dirty() {
            return Err(unusable(self.ended.as_ref()));
        }
        // What has come before the request is sent isn't its reply.
        session.look(framing).map_err(|cause| {
            session.dirty = true;
            unsent(cause)
        })?;
        if let Some(outstanding) = &mut session.outstanding
            && self.keeps_order
        {
            outstanding.keep_order();
        }
        let deadline = Times::within(self.deadline).deadline;
        let accepts = Accepts::ANYTHING;
        session
            .exchange(framing, message, accepts, deadline, pool.runtime())
            .await
    }
}

/// The connection can't be used any more. Without a cause its exchange was cancelled.
fn unusable(ended: Option<&ExchangeFailure>) -> Box<ExchangeError> {
    unsent(ended.map_or(ExchangeFailure::Cancelled, ExchangeFailure::of_another))
}

/// The connection has ended before a request was sent.
fn unsent(cause: ExchangeFailure) -> Box<ExchangeError> {
    let cause = match cause {
        ExchangeFailure::TimedOut => ExchangeFailure::HeadTimedOut,
        cause => cause,
    };
    Box::new(ExchangeError {
        progress: Progress::Unsent,
        cause,
        idempotent: false,
    })
}

impl<F: Framing> Drop for Pinned<F> {
    fn drop(&mut self) {
        self.session.set_pinned(false);
    }
}

impl<F: Framing> fmt::Debug for Pinned<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned")
            .field("state", self.state())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
