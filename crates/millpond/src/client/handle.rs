//! The handle of a client.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

#[cfg(doc)]
use super::settings::ErrorReplies;
use super::{
    channel::Channel,
    coded::Coded,
    error::RequestError,
    pinned::Pinned,
    pipelined::Flow,
    requests::Requests,
    retry::RetryTotals,
    sessions::Sessions,
    snapshot::{ClientSnapshot, PipelinesSnapshot},
};
#[cfg(doc)]
use crate::pool::PoolBuilder;
use crate::{
    framing::{Frame, Framing, LengthJson},
    pool::{Pool, Priority},
};

/// Sends requests to one endpoint over pooled connections. Clones share the pool.
///
/// # What it promises
///
/// A reply is that of its request, or none: a connection with an unfinished exchange on it is
/// reset, so that the kernel doesn't go on delivering a request that nobody waits for. A request is
/// sent a second time only if it can't have been executed, or was declared
/// [idempotent](Client::idempotent) by its caller or by the framing, only when nothing came back on a connection that had served
/// before, only once, and only for as many requests as the budget has (a fifth of them, and three a
/// second).
///
/// One that the server has turned away, as one that drains does
/// ([`NOT_TAKEN`](crate::framing::json::NOT_TAKEN)), was certainly not executed:
/// [`request`](Client::request) sends it again, up to four times, after 10, 20, 40 and 80 ms,
/// within its deadline and without asking the budget. The connection that brought the refusal is
/// given no more requests. If all that is of no avail the last attempt's error is told. Bodies that
/// are [exchanged](Client::exchange) are not looked at, so their refusals are replies like any
/// other; so are all error objects where [`ErrorReplies::AreReplies`] is set, as it has to be for a
/// server that means something else by that code.
///
/// # What a server can spoil
///
/// A protocol without ids tells by their order alone which reply is whose, so a server that breaks
/// the order can have one taken for another's. What can be told is: a connection on which something
/// but heartbeats has arrived while no reply was owed ends, as soon as that is seen and before
/// another request is written to it; so does one on which more came than was asked for, and what
/// came together with that is delivered to nobody, for any of it may be what nobody asked for. A
/// reply may come before its request has been written as a whole, as from a server that refuses
/// what is too long: it is delivered if nothing came with it, and its connection ends. All
/// these are counted as evicted for
/// [unsolicited bytes](crate::pool::Eviction::UnsolicitedBytes).
///
/// What can't be told: a server that answers out of order, or that sends what nobody asked for
/// while requests are in flight, looks like one that is right. Its frames are then delivered in the
/// order in which they come, each to the request whose turn it is, until more have come than were
/// asked for. That holds for a frame that is sent as soon as the connection is open, too, if a
/// request has been written by the time it arrives. Pipelined, with requests in flight all the
/// time, that may take long.
///
/// # Heartbeats
///
/// One is sent on a connection on which nothing was sent for `heartbeat_interval`. A peer that has
/// sent heartbeats and then nothing for 2.5 intervals (ours, or the longest pause seen from it) is
/// dead; one that never sent any isn't judged by their absence. A server that takes one read for
/// one request may mistake a heartbeat that crosses it: turn ours off for it, with an interval of
/// zero.
pub struct Client<F: Framing = LengthJson> {
    channel: Channel<F>,
}

impl Client {
    /// Sends a value as JSON, and reads the reply as one. For bodies that are bytes, see
    /// [`exchange`](Client::exchange).
    ///
    /// # Errors
    ///
    /// No connection, no reply in time, none at all, or one that isn't an `R`: see
    /// [`RequestError`], which also tells whether the request may have been executed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it costs its connection if anything was sent, and nothing else: no other request
    /// gets its reply.
    #[track_caller]
    pub fn request<'c, T, R>(
        &'c self,
        value: &T,
    ) -> impl Future<Output = Result<R, RequestError>> + Send + use<'c, T, R>
    where
        T: Serialize + ?Sized + Sync,
        R: DeserializeOwned,
    {
        self.requests().request(value)
    }
}

impl<F: Framing> Client<F> {
    pub(super) fn over_channel(channel: Channel<F>) -> Self {
        Client { channel }
    }

    /// Sends a body of bytes as it is, and returns the reply's. For values as JSON, see
    /// [`request`](Client::request).
    ///
    /// Nothing is asked of the bodies, so a reply by which a draining server turns the request away
    /// is returned as well, and the request isn't sent again:
    /// [`json::as_error_reply`](crate::framing::json::as_error_reply) tells which replies are such.
    ///
    /// # Errors
    ///
    /// As [`request`](Client::request), but none because of what a reply says.
    ///
    /// # Cancel safety
    ///
    /// As [`request`](Client::request).
    #[track_caller]
    pub fn exchange(
        &self,
        body: &[u8],
    ) -> impl Future<Output = Result<Bytes, RequestError>> + Send {
        self.requests().exchange(body)
    }

    /// Sends a body of bytes as it is, and returns all frames that answer it: one, several, or none
    /// where the protocol has requests that get no reply.
    ///
    /// What a request asks for is the [framing's](crate::framing::Framing::demand) to say. Without
    /// a reply this returns when the request has been written. All frames together may be no longer
    /// than [one](crate::framing::Framing::max_frame).
    ///
    /// # Errors
    ///
    /// As [`exchange`](Client::exchange).
    ///
    /// # Cancel safety
    ///
    /// As [`request`](Client::request).
    #[track_caller]
    pub fn exchange_all(
        &self,
        body: &[u8],
    ) -> impl Future<Output = Result<Vec<Frame>, RequestError>> + Send {
        self.requests().exchange_all(body)
    }

    /// Sends a whole frame as it is, and returns all frames that answer it, as they came: for
    /// proxies. Nothing is decoded or encoded. Where frames have an [id](crate::framing::Framing::id)
    /// it is changed on the way, and those that are returned have the request's own.
    ///
    /// # Errors
    ///
    /// As [`exchange`](Client::exchange); also [`RequestError::Unframeable`] if it isn't exactly one
    /// frame.
    ///
    /// # Cancel safety
    ///
    /// As [`request`](Client::request).
    #[track_caller]
    pub fn forward(
        &self,
        frame: &[u8],
    ) -> impl Future<Output = Result<Vec<Frame>, RequestError>> + Send {
        self.requests().forward(frame)
    }

    /// A connection of one's own, until it is dropped: for requests that change the connection's
    /// state, which others must not meet. With [`pipelined`](super::ClientBuilder::pipelined) as
    /// well, one is taken from the pool that carries no others.
    ///
    /// # Errors
    ///
    /// No connection in time: see [`RequestError::Acquire`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, it gives its place in the line back.
    #[track_caller]
    pub fn pin(&self) -> impl Future<Output = Result<Pinned<F>, RequestError>> + Send {
        self.requests().pin()
    }

    /// Requests whose values `codec` encodes, on any framing: JSON, or whatever else bodies are. A
    /// codec that is costly to make is passed by reference.
    ///
    /// ```no_run
    /// # async fn example(client: millpond::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use millpond::codec;
    ///
    /// let shouted: String = client.coded(codec::Json).request("hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn coded<C>(&self, codec: C) -> Coded<'_, C, F> {
        self.requests().coded(codec)
    }

    /// Requests that may be executed twice without harm: they are sent again when an old connection
    /// turns out to be dead.
    pub fn idempotent(&self) -> Requests<'_, F> {
        self.requests().idempotent()
    }

    /// Requests with a deadline of their own, counted from when each is begun.
    pub fn within(&self, deadline: Duration) -> Requests<'_, F> {
        self.requests().within(deadline)
    }

    /// Requests that are served before all that are less urgent, where callers wait.
    pub fn priority(&self, priority: Priority) -> Requests<'_, F> {
        self.requests().priority(priority)
    }

    /// Requests that wait for a connection until their own deadline while the server can't be
    /// reached, whatever the pool's [`outage_grace`](PoolBuilder::outage_grace) and
    /// [`acquire_timeout`](PoolBuilder::acquire_timeout) are; when it passes they are told
    /// [`TimedOut`](crate::pool::AcquireError::TimedOut), with the last failed dial. For work that
    /// would only be tried again: see
    /// [`Acquire::wait_through_outage`](crate::pool::Acquire::wait_through_outage).
    pub fn wait_through_outage(&self) -> Requests<'_, F> {
        self.requests().wait_through_outage()
    }

    pub(super) fn channel(&self) -> &Channel<F> {
        &self.channel
    }

    pub(super) fn requests(&self) -> Requests<'_, F> {
        Requests::new(&self.channel)
    }

    /// The pool of its connections: for its verbs, its snapshots, its settings.
    pub fn pool(&self) -> &Pool<Sessions<F>> {
        &self.channel.pool
    }

    /// The client at this instant: its pool, the requests that wait, and, if it is pipelined, what
    /// is in flight.
    pub fn snapshot(&self) -> ClientSnapshot {
        let pool = self.channel.pool.snapshot();
        let pipelines = self.channel.pipelines.as_ref();
        let load = pipelines.map(|pipelines| pipelines.load());
        ClientSnapshot {
            version: ClientSnapshot::VERSION,
            waiting: match &load {
                // The pipelines' own leases wait in the pool, for requests that are counted here.
                Some(load) => pool.waiting.saturating_sub(load.leasing) + load.waiting,
                None => pool.waiting,
            },
            pipelines: load.map(|load| PipelinesSnapshot {
                waiting_bytes: load.waiting_bytes,
                in_flight: load.in_flight,
            }),
            pool,
            upstreams: self.channel.pool.connector().streams().upstreams(),
        }
    }

    /// Requests that are executed in the order in which they are begun, if it is pipelined.
    pub(crate) fn flow(&self) -> Option<Flow<F>> {
        let pipelines = self.channel.pipelines.as_ref();
        pipelines.map(|pipelines| pipelines.flow())
    }

    /// Whether many exchanges are in flight on a connection at once.
    pub(crate) fn is_pipelined(&self) -> bool {
        self.channel.pipelines.is_some()
    }

    /// How long a request has.
    pub(crate) fn deadline(&self) -> Duration {
        self.channel.settings.deadline
    }

    pub(crate) fn shared_framing(&self) -> Arc<F> {
        self.channel.pool.connector().shared_framing()
    }

    /// How many requests were to be sent a second time, and what the budget said.
    pub fn retries(&self) -> RetryTotals {
        self.channel.retries.totals()
    }
}

impl<F: Framing> Clone for Client<F> {
    fn clone(&self) -> Self {
        Client {
            channel: self.channel.clone(),
        }
    }
}

impl<F: Framing> fmt::Debug for Client<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("sessions", self.channel.pool.connector())
            .finish_non_exhaustive()
    }
}
