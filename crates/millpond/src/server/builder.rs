//! The builder of a server: a setter for each setting, with its default and the reason for it.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    accepting,
    handler::ConnectionHandler,
    ledger::{Ledger, Service},
    limits::HeartbeatLimit,
    running::Running,
    settings::{ServeError, ServerSettings},
};
use crate::{
    framing::{Framing, LengthJson},
    net::Listener,
};

/// Puts a server together: [`Server::builder`](super::Server::builder).
///
/// What clients can make the server hold is bounded: in bytes by
/// [`max_bytes`](ServerBuilder::max_bytes)
/// and [`max_bytes_per_connection`](ServerBuilder::max_bytes_per_connection), in number by
/// [`max_in_flight`](ServerBuilder::max_in_flight) and [`max_handled`](ServerBuilder::max_handled).
/// No connection buffers anything while nothing is under way.
pub struct ServerBuilder<H, F = LengthJson> {
    handler: H,
    framing: F,
    pub(super) settings: ServerSettings,
}

impl<H: ConnectionHandler> ServerBuilder<H> {
    pub(super) fn new(handler: H) -> Self {
        ServerBuilder {
            handler,
            framing: LengthJson::default(),
            settings: ServerSettings::default(),
        }
    }
}

impl<H: ConnectionHandler, F: Framing> ServerBuilder<H, F> {
    /// The protocol, with its limit on bodies. Default: [`LengthJson`] with 1 MiB.
    pub fn framing<G: Framing>(self, framing: G) -> ServerBuilder<H, G> {
        ServerBuilder {
            handler: self.handler,
            framing,
            settings: self.settings,
        }
    }

    /// All settings at once, read from a file for instance. Setters that are called afterwards
    /// change single ones.
    pub fn settings(mut self, settings: ServerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// How many connections at once. Default 10,000: some 10 MB while they are idle, and as many
    /// descriptors, which `ulimit -n` must allow.
    ///
    /// Further connections are reset at once, and counted. Left in the kernel's backlog they would
    /// look accepted, and their clients would learn nothing before their own deadlines.
    pub fn max_connections(mut self, max: usize) -> Self {
        self.settings.max_connections = max;
        self
    }

    /// How many connections at once from one IPv4 address or one /64 of IPv6; `None`: no such
    /// limit. Default 1,000: a single client that has run wild leaves nine tenths to the others.
    /// Behind a load balancer that hides addresses, switch it off. Over Unix sockets there is no
    /// address, and no such limit.
    pub fn max_connections_per_address(mut self, max: Option<usize>) -> Self {
        self.settings.max_connections_per_address = max;
        self
    }

    /// How many requests of one connection are handled at once; beyond that it isn't read, and its
    /// client waits. Default 16: enough to hide what an upstream some milliseconds away takes,
    /// few enough that they can all be asked whenever one of them wakes the connection, and that
    /// a client can't make the server hold more than 16 bodies. A client of a pipelined
    /// [route](crate::proxy) has an eighth of a pipeline's places at most. With 1 a connection's requests are
    /// handled one after the other. As the server [drains](super::Running::drain) so many more
    /// are taken on each connection, and those behind them refused.
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.settings.max_in_flight = max;
        self
    }

    /// How many requests are handled at once on all connections together; those beyond it are told
    /// that the server is overloaded (-32001) at once. Default 1,000: whatever handlers wait
    /// for, more of them would only wait longer.
    pub fn max_handled(mut self, max: usize) -> Self {
        self.settings.max_handled = max;
        self
    }

    /// How many bytes of replies are put together before they are written, unless a single one is
    /// longer. Default 64 KiB: a write of that size costs mostly its copying.
    pub fn max_batch(mut self, bytes: usize) -> Self {
        self.settings.max_batch = bytes;
        self
    }

    /// How many bytes are held for all clients together: what has arrived of their requests,
    /// requests that are handled, and replies that aren't written yet. Default 256 MiB: what a
    /// small machine can spare, and as many of the longest requests (1 MiB) as there are at once on
    /// a server that is far too slow. Where it is used up, connections aren't read until there
    /// is room, and their clients wait.
    ///
    /// The first 16 KiB of each connection aren't counted, so small requests get through whatever
    /// others hold. A connection that owes nothing gets room for a whole request, each in its
    /// turn; a request that is longer than all of it is received when nothing else is held. Replies
    /// are counted once they are there, so those of requests that are handled already can go
    /// beyond it. Not counted is what a handler allocates for itself, and what TLS and the
    /// kernel hold.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// How many bytes of [`max_bytes`](ServerBuilder::max_bytes) are held for one connection,
    /// beside its first request, which may be longer.
    /// Default 4 MiB: one of the longest requests arrives while one is handled and a reply is
    /// written, with one to spare; 64 clients that send and never read are needed to use
    /// [`max_bytes`](ServerBuilder::max_bytes) up. A connection with replies owed never holds more
    /// than an eighth of what is left of that.
    pub fn max_bytes_per_connection(mut self, bytes: usize) -> Self {
        self.settings.max_bytes_per_connection = bytes;
        self
    }

    /// How long a TLS handshake may take. Default 10 s: ten round trips of the slowest lines.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.settings.handshake_timeout = limit;
        self
    }

    /// How long the head of a frame (or a heartbeat) that has begun may take, from its first byte.
    /// Default 10 s: it is a packet, and TCP sends a lost one again three times in that time.
    ///
    /// The head ends where the framing [announces](crate::framing::Scan::announce) the frame's
    /// length, and after 1 KiB if it hasn't by then. A frame that is shorter than that, and
    /// whose length is never announced, is all head.
    pub fn header_timeout(mut self, limit: Duration) -> Self {
        self.settings.header_timeout = limit;
        self
    }

    /// How long a body may take after its head, besides what its length takes at
    /// [`least_rate`](ServerBuilder::least_rate). Default 10 s, as for the head.
    ///
    /// The length is the one that the framing announced with the head. If it announces none, as
    /// where a frame ends with a delimiter, it is what has arrived so far: such a frame may
    /// take as long as it likes while it comes at `least_rate`, and may fall behind that by
    /// `body_timeout`.
    pub fn body_timeout(mut self, limit: Duration) -> Self {
        self.settings.body_timeout = limit;
        self
    }

    /// How long a client may take to take replies in, besides what they take at
    /// [`least_rate`](ServerBuilder::least_rate); then it is closed. Counted from when the kernel's
    /// buffer was full. Default 10 s, as for the head of a frame.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.settings.write_timeout = limit;
        self
    }

    /// The lowest allowed rate in bytes per second, in either direction. Default 16 KiB/s:
    /// slower than any line in use, and the longest body (1 MiB) still ends after 74 s. A limit
    /// by time alone would either cut off honest large bodies or let a byte a minute pass.
    pub fn least_rate(mut self, bytes_per_second: u32) -> Self {
        self.settings.least_rate = bytes_per_second;
        self
    }

    /// How long a connection may be without a request; `None`: for ever. Heartbeats don't count:
    /// they cost a client nothing, and this limit is for connections that aren't used. Default 1 h:
    /// twice as long as a pool of this library keeps a connection, so that it is the client who
    /// closes first, which leaves no TIME_WAIT here and never crosses a request.
    pub fn idle_timeout(mut self, limit: Option<Duration>) -> Self {
        self.settings.idle_timeout = limit;
        self
    }

    /// How long a request may be handled. Then its handler is dropped, and its client gets the
    /// error -32002. `None`: for ever. Default 30 s: few clients wait longer.
    pub fn handler_deadline(mut self, limit: Option<Duration>) -> Self {
        self.settings.handler_deadline = limit;
        self
    }

    /// After how long without sending anything a heartbeat is sent, where the protocol has one;
    /// zero: never. Each connection's own is up to a tenth shorter or longer. Default 10 s:
    /// below what middleboxes forget connections after, by far.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.heartbeat_interval = interval;
        self
    }

    /// How many heartbeats a client may send; with more it is closed.
    pub fn heartbeat_limit(mut self, limit: HeartbeatLimit) -> Self {
        self.settings.heartbeat_limit = limit;
        self
    }

    /// Serves on this runtime until the answer is dropped, drained or closed.
    ///
    /// # Errors
    ///
    /// A setting is out of its range; there is no runtime here.
    pub fn serve(self, listener: Listener) -> Result<Running, ServeError> {
        accepting::begin(self.settings.clone(), listener, |ledger| {
            self.service(ledger)
        })
    }

    pub(super) fn service(self, ledger: Arc<Ledger>) -> Service<F, H> {
        Service {
            handler: self.handler,
            framing: self.framing,
            ledger,
        }
    }
}

impl<H, F> fmt::Debug for ServerBuilder<H, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
