//! How a client is made.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

#[cfg(doc)]
use super::error::{Loss, RequestError};
use super::{
    channel::Channel,
    handle::Client,
    login::{Login, LoginHook},
    pipelined::{Pipelines, Pipelining},
    retry::Retries,
    script::Script,
    sessions::Sessions,
    settings::{ClientSettings, ErrorReplies},
};
use crate::{
    connectors::StreamConnector,
    framed::HeartbeatLimit,
    framing::{Framing, LengthJson},
    net::{Dialer, Endpoint, EndpointError},
    pool::{BuildError, Pool, PoolBuilder},
};

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
}

type Configure<F> = Box<dyn FnOnce(PoolBuilder<Sessions<F>>) -> PoolBuilder<Sessions<F>>>;

/// Makes a [`Client`].
pub struct ClientBuilder<F: Framing = LengthJson> {
    streams: StreamConnector,
    framing: F,
    login: Option<LoginHook<F>>,
    probe: Option<LoginHook<F>>,
    lane: u16,
    settings: ClientSettings,
    configure: Configure<F>,
}

impl<F: Framing> ClientBuilder<F> {
    pub(super) fn new(streams: StreamConnector, framing: F) -> Self {
        ClientBuilder {
            streams,
            framing,
            login: None,
            probe: None,
            lane: 0,
            settings: ClientSettings::default(),
            configure: Box::new(|builder| builder),
        }
    }

    /// Speaks another protocol. Default: [`LengthJson`] with its default limit. Forgets what was
    /// given to [`pool`](ClientBuilder::pool), [`login`](ClientBuilder::login) and
    /// [`probe`](ClientBuilder::probe) before.
    pub fn framing<G: Framing>(self, framing: G) -> ClientBuilder<G> {
        ClientBuilder {
            settings: self.settings,
            ..ClientBuilder::new(self.streams, framing)
        }
    }

    /// Takes all settings at once, as they were read from a file. What was set before is forgotten;
    /// the framing, the login and the pool are not among them.
    pub fn settings(mut self, settings: ClientSettings) -> Self {
        self.settings = settings;
        self
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
        self.settings.heartbeat_interval = interval;
        self
    }

    /// How many heartbeats a server may send on a connection: a hundred at once and twenty a
    /// second, by default. With more its connection is evicted, for unsolicited bytes, and a
    /// request on it fails as [`Lost`](RequestError::Lost), by [`Loss::HeartbeatFlood`]: a peer
    /// that never stops sending them would keep a core busy for nothing.
    pub fn heartbeat_limit(mut self, limit: HeartbeatLimit) -> Self {
        self.settings.heartbeat_limit = limit;
        self
    }

    /// How long nothing is sent on a new connection, not even a [login](ClientBuilder::login) or a
    /// [probe](ClientBuilder::probe): for devices that aren't ready as soon as they accept. The
    /// pool's [`connect_timeout`](PoolBuilder::connect_timeout) covers it, and the
    /// [`probe_timeout`](crate::connectors::Ejection::probe_timeout). Default: zero. Less than a
    /// year.
    pub fn connect_pause(mut self, pause: Duration) -> Self {
        self.settings.connect_pause = pause;
        self
    }

    /// How long at least nothing is sent on a connection after a reply, or after a request that gets
    /// none: for devices that miss what comes too soon. It is a part of the time that the next
    /// request has. What a serial line behind a gateway needs, for instance, is often 10 to 50 ms.
    /// The steps of a [login](ClientBuilder::login) follow each other without it. Default: zero.
    /// Less than a year; not for [pipelined](ClientBuilder::pipelined) clients.
    pub fn request_pause(mut self, pause: Duration) -> Self {
        self.settings.request_pause = pause;
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
        self.settings.pipelining = Some(pipelining);
        self
    }

    /// Logs in on each new connection before it is lent, in both modes: exchanges what the protocol
    /// asks for, and gives the [`Login`] back. Default: none.
    ///
    /// The pool's [`connect_timeout`](PoolBuilder::connect_timeout) covers it, and the pool's times
    /// of dials count it. The event `dialled` and
    /// [`last_timings`](StreamConnector::last_timings) come before it and don't. An error is that of a
    /// failed dial ([`ConnectFailure::Login`](crate::net::ConnectFailure::Login)), so the pool tries
    /// again as its [`backoff`](PoolBuilder::backoff) says. So is it if a request of the login is left
    /// unanswered or partly unsent, or the server has sent more than was asked for: that would be
    /// taken for the reply to somebody's request. It also fails if it goes on after the connection
    /// has, or returns the login of another connection. Heartbeats that come meanwhile are passed
    /// over.
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

    /// Logs in by a [`Script`]: requests that the server answers in a known way. As
    /// [`login`](ClientBuilder::login), of which it takes the place. An empty script is none.
    ///
    /// ```
    /// # use millpond::client::{Client, Script};
    /// let secret = std::env::var("SESAME").unwrap_or_default();
    /// let script = Script::new().step(format!(r#"{{"login": "{secret}"}}"#), "true");
    /// let client = Client::to("localhost:7000")?.on_connect(script);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_connect(mut self, script: Script) -> Self {
        self.login = script.hook();
        self
    }

    /// Which of the framing's [lanes](Framing::lanes) its connections are of: what that needs is sent
    /// behind the login. Default: 0, the first.
    pub fn lane(mut self, lane: u16) -> Self {
        self.lane = lane;
        self
    }

    /// What a probe of one of [several upstreams](StreamConnector::among) asks once it is logged in.
    /// An upstream that doesn't answer so, within
    /// [`probe_timeout`](crate::connectors::Ejection::probe_timeout), has failed its probe. Default:
    /// nothing, so one that accepts a connection passes.
    pub fn probe(mut self, script: Script) -> Self {
        self.probe = script.hook();
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
        self.settings.validate()?;
        let of_lane = self.framing.lane_login(self.lane).into_iter();
        let of_lane = of_lane.fold(Script::new(), |script, (send, expect)| {
            script.step(send, expect)
        });
        let login = match (self.login, of_lane.hook()) {
            (Some(login), Some(of_lane)) => Some(login.then(of_lane)),
            (login, of_lane) => login.or(of_lane),
        };
        let sessions = Sessions::new(
            self.streams,
            self.framing,
            [login, self.probe],
            &self.settings,
        );
        let builder = Pool::builder(sessions).default_name("client");
        let pool = (self.configure)(builder).build()?;
        pool.connector().reports().begin(pool.name());
        let pipelines = self
            .settings
            .pipelining
            .map(|pipelining| Arc::new(Pipelines::new(&pool, pipelining, self.settings.deadline)));
        Ok(Client::over_channel(Channel {
            pool,
            settings: self.settings,
            retries: Arc::new(Retries::new(Instant::now())),
            pipelines,
        }))
    }
}

impl<F: Framing> fmt::Debug for ClientBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}
