//! Requests and their replies over pooled connections: one exchange on a connection at a time,
//! which works with every server.
//!
//! ```
//! use millpond::client::Client;
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let endpoint = format!("tcp://{}", listener.local_addr()?);
//! # tokio::spawn(async move {
//! #     let (mut stream, _) = listener.accept().await.unwrap();
//! #     let mut request = [0; 25];
//! #     stream.read_exact(&mut request).await.unwrap();
//! #     stream.write_all(b"length:00000000000015").await.unwrap();
//! #     std::future::pending::<()>().await;
//! # });
//! let client = Client::to(&endpoint)?.build()?;
//! let sum: u64 = client.request(&[2, 3]).await?;
//! assert_eq!(sum, 5);
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: [`Client`]; [`Requests`], for a deadline of their own and requests that may be
//! sent twice; [`RequestError`]; then [`Session`], which says when a connection is clean.
//!
//! # Events
//!
//! A client emits events through `tracing`, with the target `millpond::client`; each has the field
//! `pool`, the name of its [pool](crate::pool#events), which tells of dials and outages. The first
//! of each kind is told at once, those after it as sums, at intervals that grow from a second to
//! five minutes.
//!
//! | level | message | further fields |
//! |---|---|---|
//! | warn | a connection was lost with requests on it | `cause` |
//! | warn | more connections were lost with requests on them | `others`, `within` |
//! | warn | a peer has stopped sending heartbeats | |
//! | warn | more peers have stopped sending heartbeats | `others`, `within` |
//!
//! # Metrics
//!
//! With the feature `metrics`, beside those of the [pool](crate::pool#metrics) and like them: each
//! has the label `pool`, the pool's name.
//!
//! | name | kind, unit | meaning, and further labels |
//! |---|---|---|
//! | `millpond_client_exchanges_total` | counter | exchanges that have ended, by `outcome`: `replied`; `failure_reply`, told by [`RequestError::Refused`]; `lost`, without a reply that can be read; `timed_out`, waiting for a connection included; `refused`, sent to nobody; `cancelled`, dropped by its caller. [`RequestErrorKind`] tells which errors are which |
//! | `millpond_client_in_flight` | gauge, exchanges | those whose callers wait, for a connection or for the reply |
//! | `millpond_client_waiting` | gauge, requests | those that wait for a place on a pipeline; pipelined only, and then they don't wait for the pool |
//! | `millpond_client_waiting_bytes` | gauge, bytes | theirs |
//! | `millpond_client_retries_total` | counter | requests that were to be sent again, by `outcome`: what the budget said, `granted` or `refused`; or `turned_away`, sent again at no cost, since a draining server hadn't taken them |
//! | `millpond_client_heartbeats_sent_total` | counter | |
//! | `millpond_client_heartbeats_received_total` | counter | |
//! | `millpond_client_heartbeats_missed_total` | counter | connections whose peers have stopped sending them |

mod any_client;
mod deadline;
mod error;
mod error_kind;
mod failure;
mod heartbeats;
mod login;
#[cfg_attr(not(feature = "metrics"), path = "without_metrics.rs")]
mod metrics;
mod ongoing;
mod pipelined;
mod requests;
mod retry;
#[cfg(feature = "tower")]
mod service;
mod session;
mod sessions;
mod telling;
mod timer;
mod turned_away;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

#[cfg(feature = "tower")]
pub use self::service::{Call, JsonService};
pub use self::{
    any_client::{AnyClient, ExchangeFuture},
    error::{Execution, Loss, RequestError},
    error_kind::RequestErrorKind,
    login::{Login, LoginError},
    pipelined::Pipelining,
    requests::Requests,
    retry::RetryTotals,
    session::Session,
    sessions::{HeartbeatTotals, Sessions},
};
use self::{login::LoginHook, pipelined::Pipelines, retry::Retries};
pub use crate::framed::HeartbeatLimit;
use crate::{
    connectors::StreamConnector,
    framed::validate_heartbeats,
    framing::{Framing, LengthJson},
    net::{Dialer, Endpoint, EndpointError},
    pool::{BuildError, InvalidSetting, Pool, PoolBuilder, PoolSnapshot, Priority},
};

/// Sends requests to one endpoint over pooled connections. Clones share the pool.
///
/// # What it promises
///
/// A reply is that of its request, or none: a connection with an unfinished exchange on it is
/// reset, so that the kernel doesn't go on delivering a request that nobody waits for. A request is
/// sent a second time only if it can't have been executed, or was declared
/// [idempotent](Client::idempotent), only when nothing came back on a connection that had served
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
    pool: Pool<Sessions<F>>,
    settings: Settings,
    retries: Arc<Retries>,
    /// In the mode of that name.
    pipelines: Option<Arc<Pipelines<F>>>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    deadline: Duration,
    error_replies: ErrorReplies,
}

/// What a reply that is an error object stands for. It is legal data as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorReplies {
    /// The request has failed: [`RequestError::Refused`]. The default, for that is how our server
    /// means it.
    #[default]
    AreErrors,
    /// It is a reply like any other.
    AreReplies,
}

impl Client {
    /// Begins to make a client of the server at this endpoint: `host:port`, `tcp://…`, `tls://…`,
    /// `unix:///…`.
    ///
    /// # Errors
    ///
    /// The text is no endpoint.
    pub fn to(endpoint: &str) -> Result<ClientBuilder, EndpointError> {
        Ok(Client::builder(endpoint.parse()?))
    }

    /// Begins to make a client of the server at this endpoint.
    pub fn builder(endpoint: Endpoint) -> ClientBuilder {
        ClientBuilder::new(StreamConnector::from(endpoint), LengthJson::default())
    }

    /// As [`builder`](Client::builder), with a dialler of one's own: TLS settings, socket options,
    /// a resolver.
    pub fn dialled_by(dialer: Dialer) -> ClientBuilder {
        ClientBuilder::new(StreamConnector::new(dialer), LengthJson::default())
    }

    /// As [`builder`](Client::builder), over the streams of this connector: for streams that are
    /// prepared, or that are no sockets ([`StreamConnector::opened_by`]).
    pub fn over(streams: StreamConnector) -> ClientBuilder {
        ClientBuilder::new(streams, LengthJson::default())
    }

    /// Sends a value as JSON, and reads the reply as one.
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
    /// Sends a body as it is, and returns the reply's.
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

    fn requests(&self) -> Requests<'_, F> {
        Requests::new(self, self.settings.deadline)
    }

    /// The pool of its connections: for its verbs, its snapshots, its settings.
    pub fn pool(&self) -> &Pool<Sessions<F>> {
        &self.pool
    }

    /// The pool at this instant. Pipelined, its callers are counted as waiting, with the bytes of
    /// their requests, and each connection tells how many exchanges are in flight on it.
    pub fn snapshot(&self) -> PoolSnapshot {
        let mut snapshot = self.pool.snapshot();
        if let Some(pipelines) = &self.pipelines {
            let load = pipelines.load();
            // The leases under way wait in the pool, for these callers.
            snapshot.waiting = snapshot.waiting.saturating_sub(load.leasing) + load.waiting;
            snapshot.waiting_bytes = Some(load.waiting_bytes);
            for connection in &mut snapshot.connections {
                let load = load
                    .in_flight
                    .iter()
                    .find(|(number, _)| *number == connection.number);
                connection.in_flight = load.map(|(_, in_flight)| *in_flight);
            }
        }
        snapshot
    }

    /// How many requests were to be sent a second time, and what the budget said.
    pub fn retries(&self) -> RetryTotals {
        self.retries.totals()
    }
}

type Configure<F> = Box<dyn FnOnce(PoolBuilder<Sessions<F>>) -> PoolBuilder<Sessions<F>>>;

/// Makes a [`Client`].
pub struct ClientBuilder<F: Framing = LengthJson> {
    streams: StreamConnector,
    framing: F,
    login: Option<LoginHook<F>>,
    heartbeat_interval: Duration,
    heartbeat_limit: HeartbeatLimit,
    settings: Settings,
    pipelining: Option<Pipelining>,
    configure: Configure<F>,
}

impl<F: Framing> ClientBuilder<F> {
    fn new(streams: StreamConnector, framing: F) -> Self {
        ClientBuilder {
            streams,
            framing,
            login: None,
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_limit: HeartbeatLimit::default(),
            settings: Settings {
                deadline: Duration::from_secs(30),
                error_replies: ErrorReplies::default(),
            },
            pipelining: None,
            configure: Box::new(|builder| builder),
        }
    }

    /// Speaks another protocol. Default: [`LengthJson`] with its default limit. Forgets what was
    /// given to [`pool`](ClientBuilder::pool) and [`login`](ClientBuilder::login) before.
    pub fn framing<G: Framing>(self, framing: G) -> ClientBuilder<G> {
        ClientBuilder {
            settings: self.settings,
            heartbeat_interval: self.heartbeat_interval,
            heartbeat_limit: self.heartbeat_limit,
            pipelining: self.pipelining,
            ..ClientBuilder::new(self.streams, framing)
        }
    }

    /// How long a request may take, from its beginning to its reply, waiting for a connection
    /// included. Default 30 s: whoever waits longer has most often gone. More than zero; one that
    /// can't be expressed as a moment is a year.
    ///
    /// Waiting for a connection, or for a place on a pipeline, is bounded by the pool's
    /// [`acquire_timeout`](PoolBuilder::acquire_timeout) as well.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// After how long without sending anything a heartbeat is sent, a tenth more or less. Default
    /// 10 s: below the shortest timeouts of common middleboxes. Zero: never; else a millisecond
    /// at least, and a year at most.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// How many heartbeats a server may send on a connection: a hundred at once and twenty a
    /// second, by default. With more its connection is evicted, for unsolicited bytes, and a
    /// request on it fails as [`Lost`](RequestError::Lost), by [`Loss::HeartbeatFlood`]: a peer
    /// that never stops sending them would keep a core busy for nothing.
    pub fn heartbeat_limit(mut self, limit: HeartbeatLimit) -> Self {
        self.heartbeat_limit = limit;
        self
    }

    /// What replies that are error objects stand for. Default: errors.
    pub fn error_replies(mut self, error_replies: ErrorReplies) -> Self {
        self.settings.error_replies = error_replies;
        self
    }

    /// Keeps many exchanges in flight on one connection, answered in the order of their requests:
    /// four to six times the throughput of one at a time, on fewer connections. Not the
    /// default, since it takes a server that looks for frames in what it reads, and answers in
    /// order.
    ///
    /// # What changes
    ///
    /// - Until the server has answered two requests that were written together, it is given no more
    ///   than two at a time; if it answers one of them only, both fail as
    ///   [`RequestError::NotPipelining`].
    /// - A request that is dropped costs nothing but its reply, which is read and dropped.
    /// - A reply that isn't there within its request's deadline, when no other has to come before
    ///   it, ends the connection; the others on it fail as [`RequestError::Lost`], and tell whether
    ///   they may have been executed. Those that can't have been, and idempotent ones, are sent
    ///   again under the budget.
    /// - The client's connections are driven by tasks on the pool's runtime, and are given back 0.1
    ///   to 0.2 s after the last reply.
    pub fn pipelined(mut self, pipelining: Pipelining) -> Self {
        self.pipelining = Some(pipelining);
        self
    }

    /// Logs in on each new connection before it is lent, in both modes: exchanges what the protocol
    /// asks for, and gives the [`Login`] back. Default: none.
    ///
    /// The pool's [`connect_timeout`](Builder::connect_timeout) covers it. An error is that of a
    /// failed dial ([`ConnectFailure::Login`](crate::net::ConnectFailure::Login)), so the pool tries
    /// again as its [`backoff`](Builder::backoff) says. So is it if a request of the login is left
    /// unanswered, or the server has sent more than was asked for: that would be taken for the reply
    /// to somebody's request. Heartbeats that come meanwhile are passed over.
    ///
    /// ```
    /// # use millpond::client::Client;
    /// let client = Client::to("localhost:7000")?.login(|mut login| async {
    ///     match &*login.exchange(br#"{"login": "sesame"}"#).await? {
    ///         b"true" => Ok(login),
    ///         _ => Err("wrong password".into()),
    ///     }
    /// });
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn login<L>(mut self, login: impl Fn(Login<F>) -> L + Send + Sync + 'static) -> Self
    where
        L: Future<Output = Result<Login<F>, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        self.login = Some(LoginHook::new(login));
        self
    }

    /// Sets the pool up: `|pool| pool.max_size(32)`.
    pub fn pool(
        mut self,
        configure: impl FnOnce(PoolBuilder<Sessions<F>>) -> PoolBuilder<Sessions<F>> + 'static,
    ) -> Self {
        let before = self.configure;
        self.configure = Box::new(|builder| configure(before(builder)));
        self
    }

    /// Makes the client. It dials nothing before the first request, unless the pool's `min_idle`
    /// says so.
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`]: a setting out of its range, or no runtime here.
    pub fn build(self) -> Result<Client<F>, BuildError> {
        self.validate()?;
        let sessions = Sessions::new(
            self.streams,
            self.framing,
            self.login,
            self.heartbeat_interval,
            self.heartbeat_limit,
        );
        let builder = Pool::builder(sessions).name("client");
        let pool = (self.configure)(builder).build()?;
        pool.connector().telling().begin(&pool.settings().name);
        let pipelines = self
            .pipelining
            .map(|pipelining| Arc::new(Pipelines::new(&pool, pipelining, self.settings.deadline)));
        Ok(Client {
            pool,
            settings: self.settings,
            retries: Arc::new(Retries::new(Instant::now())),
            pipelines,
        })
    }
}

impl<F: Framing> ClientBuilder<F> {
    fn validate(&self) -> Result<(), InvalidSetting> {
        if self.settings.deadline.is_zero() {
            return Err(InvalidSetting::new("deadline", "0ns".into(), "more than 0"));
        }
        validate_heartbeats(self.heartbeat_interval, self.heartbeat_limit)?;
        self.pipelining
            .map_or(Ok(()), |pipelining| pipelining.validate())
    }
}

impl<F: Framing> Clone for Client<F> {
    fn clone(&self) -> Self {
        Client {
            pool: self.pool.clone(),
            settings: self.settings,
            retries: Arc::clone(&self.retries),
            pipelines: self.pipelines.clone(),
        }
    }
}

impl<F: Framing> fmt::Debug for Client<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("sessions", self.pool.connector())
            .finish_non_exhaustive()
    }
}

impl<F: Framing> fmt::Debug for ClientBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
