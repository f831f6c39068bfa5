//! How a raw route is made.

use std::{fmt, time::Duration};

use super::{route::RawRoute, upstream::RawConnector};
use crate::{
    connectors::StreamConnector,
    pool::{BuildError, Pool, PoolBuilder},
};

type Configure = Box<dyn FnOnce(PoolBuilder<RawConnector>) -> PoolBuilder<RawConnector>>;

/// Makes a [`RawRoute`].
#[must_use]
pub struct RawRouteBuilder {
    streams: StreamConnector,
    max_pin_age: Option<Duration>,
    configure: Configure,
}

impl RawRoute {
    /// Begins to make a route over the streams of this connector: to one endpoint, to
    /// [several](StreamConnector::among), prepared by a hook, or no sockets at all.
    pub fn to(streams: StreamConnector) -> RawRouteBuilder {
        RawRouteBuilder {
            streams,
            max_pin_age: None,
            configure: Box::new(|builder| builder),
        }
    }
}

impl RawRouteBuilder {
    /// Sets the pool up: `|pool| pool.max_size(32)`. Its `max_size` is how many clients are served
    /// at once, and `max_waiting` and `acquire_timeout` how many wait, and for how long; its
    /// `leak_threshold` has no effect.
    ///
    /// A `min_idle` keeps connections open that nobody has had yet: clients needn't wait for a dial.
    /// What the upstream says on them is kept for the client that is lent one, 4 KiB at most; one
    /// that the upstream closes is replaced. Leave it at 0 if connections on which nothing is sent
    /// are closed by the upstream within seconds.
    pub fn pool(
        mut self,
        configure: impl FnOnce(PoolBuilder<RawConnector>) -> PoolBuilder<RawConnector> + 'static,
    ) -> Self {
        let before = self.configure;
        self.configure = Box::new(|builder| configure(before(builder)));
        self
    }

    /// How long a client may have a connection to itself; `None`: without a limit. After that both
    /// are reset, whatever is under way. Default: no limit, for bytes don't tell whether something
    /// is; one that is silent is ended by `idle_timeout`.
    pub fn max_pin_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_pin_age = age.into();
        self
    }

    /// The route. It dials nothing before the first client comes, unless the pool's `min_idle` says
    /// so.
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`]: a setting out of its range, or no runtime here.
    pub fn build(self) -> Result<RawRoute, BuildError> {
        let builder = Pool::builder(RawConnector::new(self.streams)).default_name("raw");
        // A session lasts as long as its client likes.
        let pool = (self.configure)(builder).leak_threshold(None).build()?;
        Ok(RawRoute::new(pool, self.max_pin_age))
    }
}

impl fmt::Debug for RawRouteBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRouteBuilder")
            .field("streams", &self.streams)
            .field("max_pin_age", &self.max_pin_age)
            .finish_non_exhaustive()
    }
}
