//! A raw route at one instant.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::copying::{End, Side};
use crate::{connectors::UpstreamSnapshot, pool::PoolSnapshot, proxy::PinSnapshot};

/// A raw route at one instant. Its clients' side is in the server's
/// [snapshot](crate::server::Running::snapshot): clients that wait for an upstream connection are
/// among those that are open there, and not among the sessions here.
///
/// With the feature `serde` it serializes, and [`RawSnapshot::VERSION`] tells readers of the JSON
/// what to expect: fields are added without a new version, renamed or removed only with one.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RawSnapshot {
    /// [`RawSnapshot::VERSION`].
    pub version: u32,
    /// Clients that are lent a connection, the one that has had it for longest first.
    pub pins: Vec<PinSnapshot>,
    /// What has become of clients since the route was made.
    pub totals: RawTotals,
    /// Where connections lead to, if to several upstreams, in the order in which they were given.
    pub upstreams: Vec<UpstreamSnapshot>,
    /// The upstream's side.
    pub pool: PoolSnapshot,
}

impl RawSnapshot {
    /// The version of the JSON.
    pub const VERSION: u32 = 1;
}

/// What has become of the clients of a raw route. A client is lent an upstream connection, which is
/// a session, or isn't. A session has ended in one of seven ways, or goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RawTotals {
    /// Clients that were lent a connection.
    pub sessions: u64,
    /// Sessions that both sides have ended.
    pub ended: u64,
    /// Sessions whose client has broken off.
    pub left: u64,
    /// Sessions whose upstream has broken off.
    pub lost: u64,
    /// Sessions that were silent for too long.
    pub silent: u64,
    /// Sessions of which a side didn't take in time what was written to it.
    pub stalled: u64,
    /// Sessions that lasted for [`max_pin_age`](super::RawRouteBuilder::max_pin_age).
    pub expired: u64,
    /// Sessions that were cut as the server closed, or at its drain's deadline.
    pub forced: u64,
    /// Clients that found no upstream to be reached.
    pub unavailable: u64,
    /// Clients for which there was no connection, in time or at all.
    pub overloaded: u64,
    /// Clients that left while they waited for a connection.
    pub abandoned: u64,
    /// Bytes passed on to the upstream.
    pub bytes_to_upstream: u64,
    /// Bytes passed on to clients.
    pub bytes_to_client: u64,
}

/// The counters behind [`RawTotals`].
#[derive(Debug, Default)]
pub(super) struct RawCounters {
    pub(super) sessions: AtomicU64,
    ended: AtomicU64,
    left: AtomicU64,
    lost: AtomicU64,
    silent: AtomicU64,
    stalled: AtomicU64,
    expired: AtomicU64,
    pub(super) forced: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) overloaded: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) bytes_to_upstream: AtomicU64,
    pub(super) bytes_to_client: AtomicU64,
}

impl RawCounters {
    pub(super) fn of(&self, end: End) -> &AtomicU64 {
        match end {
            End::Ended(_) => &self.ended,
            End::Broken(Side::Client) => &self.left,
            End::Broken(Side::Upstream) => &self.lost,
            End::Idle => &self.silent,
            End::Stalled => &self.stalled,
            End::TooOld => &self.expired,
        }
    }

    pub(super) fn totals(&self) -> RawTotals {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        RawTotals {
            sessions: of(&self.sessions),
            ended: of(&self.ended),
            left: of(&self.left),
            lost: of(&self.lost),
            silent: of(&self.silent),
            stalled: of(&self.stalled),
            expired: of(&self.expired),
            forced: of(&self.forced),
            unavailable: of(&self.unavailable),
            overloaded: of(&self.overloaded),
            abandoned: of(&self.abandoned),
            bytes_to_upstream: of(&self.bytes_to_upstream),
            bytes_to_client: of(&self.bytes_to_client),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
