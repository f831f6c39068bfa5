//! One of several upstreams, as it is given to a connector.

use crate::net::{Dialer, Endpoint};

/// One of several endpoints that do the same: see [`StreamConnector::among`](crate::connectors::StreamConnector::among).
#[derive(Debug)]
pub struct Upstream {
    pub(crate) dialer: Dialer,
    pub(crate) max_size: u32,
}

impl Upstream {
    /// What this dialler dials.
    pub fn new(dialer: Dialer) -> Self {
        Upstream {
            dialer,
            max_size: u32::MAX,
        }
    }

    /// How many connections it may have at once, those being opened or probed included. Exact. One
    /// at least. Default: as many as the pool.
    ///
    /// A dial that finds all upstreams full waits for room, within the pool's `connect_timeout`: let
    /// the pool's `max_size` be no more than the sum of these.
    pub fn max_size(mut self, max_size: u32) -> Self {
        self.max_size = max_size.max(1);
        self
    }
}

impl From<Dialer> for Upstream {
    fn from(dialer: Dialer) -> Self {
        Upstream::new(dialer)
    }
}

impl From<Endpoint> for Upstream {
    fn from(endpoint: Endpoint) -> Self {
        Upstream::new(Dialer::new(endpoint))
    }
}
