//! Building a pool: each setting with its default and the reason for that.

use std::{sync::Arc, time::Duration};

use millpond_words::InvalidSetting;

use super::{
    connector::Connector,
    pool::Pool,
    runtime::{Runtime, timer},
    settings::{Backoff, Order, PoolSettings, Probe},
    shared::SharedPool,
    shedding::Shedding,
    upkeep,
};

/// Settings for a pool to be built; made by [`Pool::builder`].
///
/// Nothing is checked before [`build`](PoolBuilder::build).
#[derive(Debug)]
#[must_use]
pub struct PoolBuilder<C> {
    connector: C,
    settings: PoolSettings,
    default_name: &'static str,
    runtime: Option<tokio::runtime::Handle>,
}

impl<C: Connector> Pool<C> {
    /// Begins to build a pool whose connections this connector opens and judges.
    pub fn builder(connector: C) -> PoolBuilder<C> {
        PoolBuilder::new(connector)
    }
}

impl<C: Connector> PoolBuilder<C> {
    pub(crate) fn new(connector: C) -> Self {
        PoolBuilder {
            connector,
            settings: PoolSettings::default(),
            default_name: "pool",
            runtime: None,
        }
    }

    /// All settings at once, such as a program has read from a file: replaces all that have been
    /// made before, but for [`runtime`](PoolBuilder::runtime).
    pub fn settings(mut self, settings: PoolSettings) -> Self {
        self.settings = settings;
        self
    }

    /// What snapshots, metrics and events call this pool. Default: `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// The name of a pool that is given none. No setting: it outlives
    /// [`settings`](PoolBuilder::settings).
    #[doc(hidden)]
    pub fn default_name(mut self, name: &'static str) -> Self {
        self.default_name = name;
        self
    }

    /// The most connections there may be, in whatever state: connecting, idle, checking, active and
    /// closing together. Default 10: a server's cores are busy with fewer than people think. 1
    /// to 16,777,216.
    pub fn max_size(mut self, connections: u32) -> Self {
        self.settings.max_size = connections;
        self
    }

    /// How many connections are kept idle, ready for a burst: dialled when the pool is built and
    /// whenever some are missing. Default 0: a pool that nobody uses holds nothing. At most
    /// `max_size`.
    pub fn min_idle(mut self, connections: u32) -> Self {
        self.settings.min_idle = connections;
        self
    }

    /// The most callers that may wait; the next is told [`Full`](super::AcquireError::Full). A
    /// caller for whom there is room to dial, or for whom a dial is under way, isn't turned
    /// away: with 0, exactly those may wait. Default 1024: enough for any burst that
    /// `acquire_timeout` leaves alive, and a bound on memory.
    pub fn max_waiting(mut self, callers: u32) -> Self {
        self.settings.max_waiting = callers;
        self
    }

    /// Refuses callers that have waited for longer than a target, when their turn comes, while more
    /// come than are served: whoever is behind them is then served in time. They are told
    /// [`Shed`](super::AcquireError::Shed). Nobody is refused before all who were served have waited
    /// so long for a whole interval, and whoever is last in line is served, however late. Each
    /// [priority](super::Priority) is a line of its own. Acquires for a
    /// [shared](super::Acquire::shared) use are never refused so.
    ///
    /// Default: `None`, nobody is refused so. A program's own callers mostly wait as long as they
    /// must, and their number is bounded by what they do. Set it where callers come however others
    /// were served, and stop listening at some time: served in their order, after a while all would
    /// be served in vain. [`Shedding::default`] suits exchanges that take some milliseconds.
    ///
    /// In a pipelined client it is for the requests that wait for a place on a connection.
    ///
    /// Every caller that waits then reads the clock, and so does every release while somebody waits.
    pub fn shed_waiting(mut self, shedding: impl Into<Option<Shedding>>) -> Self {
        self.settings.shed_waiting = shedding.into();
        self
    }

    /// The most dials at once. Default 4: a restarted server isn't met by a stampede. While dials
    /// fail it is 1, beside those that hang within [`outage_grace`](PoolBuilder::outage_grace).
    pub fn max_connecting(mut self, dials: u32) -> Self {
        self.settings.max_connecting = dials;
        self
    }

    /// How long an acquire waits at most; `None`: for ever. Default 5 s: longer than a healthy pool
    /// ever takes, shorter than people wait.
    ///
    /// Of a second or more, it may end up to 25 ms late while many wait: it is then counted from
    /// when upkeep comes by. One that is set for a single acquire
    /// ([`Acquire::timeout`](super::Acquire::timeout)) doesn't.
    pub fn acquire_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.acquire_timeout = limit.into();
        self
    }

    /// How long a dial may take, [`on_connect`](Connector::on_connect) included. Default 3 s: one
    /// lost SYN is retransmitted after 1 s, a second one after 3 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.connect_timeout = limit;
        self
    }

    /// How long a probe or a reset may take. Default 1 s: it is one round trip.
    pub fn check_timeout(mut self, limit: Duration) -> Self {
        self.settings.check_timeout = limit;
        self
    }

    /// How long a farewell may take before the connection is dropped by force. Default 1 s: it
    /// holds its place meanwhile.
    pub fn close_timeout(mut self, limit: Duration) -> Self {
        self.settings.close_timeout = limit;
        self
    }

    /// How long a connection beyond `min_idle` may be idle; `None`: for ever. Default 60 s: below
    /// the limits at which common servers and middleboxes hang up.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = limit.into();
        self
    }

    /// How old a connection may become, up to a tenth more or less; `None`: any age. Default 30
    /// min: what changes behind a name (a moved address, a new certificate, a balancer's
    /// choice) arrives within that, and the jitter keeps connections that were opened together
    /// from being replaced together. A lent connection is replaced when it comes back.
    pub fn max_lifetime(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.max_lifetime = limit.into();
        self
    }

    /// How long callers wait while no connection is live and dials fail, before they are told the
    /// cause at once. Default 1 s: a server's restart fails nobody. 0: every failed dial is
    /// told at once.
    ///
    /// While it lasts and somebody waits, the endpoint is dialled at least every fifth of it, also
    /// beside dials that hang, within `max_size` and `max_connecting`. At its end it is dialled
    /// once more, and callers are told when that dial fails, or gives no answer for a fifth of
    /// the grace: an endpoint that is back within the grace, and answers dials in less than
    /// that fifth, refuses nobody. A caller that would rather wait until its own deadline says so
    /// with [`Acquire::wait_through_outage`](super::Acquire::wait_through_outage).
    pub fn outage_grace(mut self, grace: Duration) -> Self {
        self.settings.outage_grace = grace;
        self
    }

    /// The waits between dials that fail. Default: 50 ms to 5 s; while callers wait at most 200 ms
    /// where nothing listens, and 1.5 s where something does, but never more than a fifth of
    /// [`outage_grace`](PoolBuilder::outage_grace) while that lasts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Which idle connection is lent next. Default: the one used last.
    pub fn order(mut self, order: Order) -> Self {
        self.settings.order = order;
        self
    }

    /// When a connection is probed before it is lent. Default: what the connector asks for
    /// ([`Connector::default_probe`]), which is never unless it says otherwise.
    pub fn probe(mut self, probe: Probe) -> Self {
        self.settings.probe = Some(probe);
        self
    }

    /// After how long a lent connection is reported as leaked, once, by a warning with the place
    /// that acquired it; `None`: never. Default 60 s: far longer than an exchange takes.
    pub fn leak_threshold(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.settings.leak_threshold = threshold.into();
        self
    }

    /// The runtime on which the pool dials and keeps time. Default: the one in which
    /// [`build`](PoolBuilder::build) is called.
    pub fn runtime(mut self, handle: tokio::runtime::Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// Builds the pool, and starts to fill it up to `min_idle`; [`Pool::ready`] waits for that.
    ///
    /// # Errors
    ///
    /// A setting out of its range, or no tokio runtime with a timer to live on.
    pub fn build(mut self) -> Result<Pool<C>, BuildError> {
        self.settings
            .probe
            .get_or_insert_with(|| self.connector.default_probe());
        self.settings
            .name
            .get_or_insert_with(|| String::from(self.default_name));
        self.settings.validate()?;
        let here = || tokio::runtime::Handle::try_current().ok();
        let handle = self.runtime.or_else(here).ok_or(BuildError::NoRuntime)?;
        let entered = handle.enter();
        if timer(tokio::time::Instant::now()).is_none() {
            return Err(BuildError::NoTimer);
        }
        let runtime = Runtime::new(handle.clone());
        let shared = Arc::new(SharedPool::new(self.connector, self.settings, runtime));
        let upkeep = upkeep::run(Arc::downgrade(&shared), Arc::clone(&shared.bell));
        shared.runtime.spawn(upkeep);
        shared
            .runtime
            .spawn_stoppable(Arc::clone(&shared).follow_endpoint());
        shared
            .runtime
            .spawn_stoppable(Arc::clone(&shared).run_connector());
        drop(entered);
        Ok(Pool::new(shared))
    }
}

/// Why [`PoolBuilder::build`](super::PoolBuilder::build) made no pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// There is no runtime here for dials and upkeep.
    #[error(
        "a pool needs a tokio runtime to dial on: build it inside one, or name one with PoolBuilder::runtime"
    )]
    NoRuntime,
    /// The runtime has no timer.
    #[error("the runtime has no timer: build it with enable_time() or enable_all()")]
    NoTimer,
}
