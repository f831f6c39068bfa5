//! Pools of streams to a site.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use millpond::{
    connectors::StreamConnector,
    net::Stream,
    pool::{Connection, Eviction, Pool, PoolBuilder},
};

use crate::loopback::{MS, PATIENCE, Site, eventually, within};

impl Site {
    pub(crate) fn pool(&self) -> PoolBuilder<StreamConnector> {
        Pool::builder(StreamConnector::new(self.dialer())).acquire_timeout(PATIENCE)
    }
}

/// A connection that is dialled for this, and its other end.
pub(crate) async fn lend(
    pool: &Pool<StreamConnector>,
    site: &mut Site,
) -> (Connection<StreamConnector>, Stream) {
    let (lent, peer) = tokio::join!(within(pool.acquire()), site.accept());
    (lent.expect("a connection"), peer)
}

/// The reasons for which connections were evicted, the latest last.
pub(crate) fn evictions(pool: &Pool<StreamConnector>) -> Vec<Eviction> {
    pool.snapshot()
        .evictions
        .iter()
        .map(|one| one.reason)
        .collect()
}

/// Waits until the only connection has lain idle for more than two ticks: it is watched by then.
pub(crate) async fn watched(pool: &Pool<StreamConnector>) {
    eventually("a connection idle for long", || {
        let snapshot = pool.snapshot();
        snapshot.idle == 1 && snapshot.connections[0].state_for > 250 * MS
    })
    .await;
}
