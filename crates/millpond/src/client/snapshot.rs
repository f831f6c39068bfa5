//! A client at one instant: its pool, and what its pipelines have to do.

use std::{collections::BTreeMap, fmt};

#[cfg(doc)]
use crate::pool::{ConnectionSnapshot, Pool};
use crate::{connectors::UpstreamSnapshot, pool::PoolSnapshot};

/// A client at one instant.
///
/// With the feature `serde` it serializes, and [`ClientSnapshot::VERSION`] tells readers of the
/// JSON what to expect: fields are added without a new version, renamed or removed only with one.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClientSnapshot {
    /// [`ClientSnapshot::VERSION`].
    pub version: u32,
    /// Requests that wait: for a connection, or, if the client is pipelined, for room on one. Other
    /// callers of the client's [pool](Pool) that wait are counted too.
    pub waiting: usize,
    /// What only a pipelined client has; `None` for others.
    pub pipelines: Option<PipelinesSnapshot>,
    /// The pool of the client's connections, as [`Pool::snapshot`] shows it. Pipelined, the callers
    /// that wait in the pool are the client's pipelines, and not its requests.
    pub pool: PoolSnapshot,
    /// Its upstreams, if there are [several](crate::connectors::StreamConnector::among).
    pub upstreams: Vec<UpstreamSnapshot>,
}

/// The pipelines of a client at one instant.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PipelinesSnapshot {
    /// Bytes of the requests that wait for room on a connection.
    pub waiting_bytes: usize,
    /// Exchanges in flight on each connection, by the connection's
    /// [number](ConnectionSnapshot::number).
    pub in_flight: BTreeMap<u64, usize>,
}

impl ClientSnapshot {
    /// The version of the JSON.
    pub const VERSION: u32 = 1;
}

impl fmt::Display for ClientSnapshot {
    /// The counts in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)?;
        if let Some(pipelines) = &self.pipelines {
            let in_flight: usize = pipelines.in_flight.values().sum();
            write!(
                f,
                "; pipelined: {in_flight} in flight, {} waiting",
                self.waiting
            )?;
        }
        Ok(())
    }
}
