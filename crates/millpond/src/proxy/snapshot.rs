//! A route at one instant.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::client::ClientSnapshot;

/// A route at one instant. Its clients' side is in the server's [snapshot](crate::server::Running::snapshot).
///
/// With the feature `serde` it serializes, and [`RouteSnapshot::VERSION`] tells readers of the JSON
/// what to expect: fields are added without a new version, renamed or removed only with one.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RouteSnapshot {
    /// [`RouteSnapshot::VERSION`].
    pub version: u32,
    /// How the upstream's connections are lent.
    pub mode: Mode,
    /// How many of them clients may have to themselves.
    pub max_pins: u32,
    /// Those that clients have to themselves, the oldest first; and the clients that are about to be
    /// lent one.
    pub pins: Vec<PinSnapshot>,
    /// What has become of requests since the route was made.
    pub totals: RouteTotals,
    /// The upstream's side: the client of the first [lane](crate::framing::Framing::lanes).
    pub upstream: ClientSnapshot,
    /// Those of the other lanes, in their order.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub other_lanes: Vec<ClientSnapshot>,
}

/// How a route lends the connections to its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Mode {
    /// For one exchange.
    Exchange,
    /// To many exchanges at once.
    Pipeline,
    /// To one client, for as long as it stays.
    Session,
}

/// A connection that a client has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PinSnapshot {
    /// Why.
    pub reason: PinReason,
    /// For how long.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "age_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub age: Duration,
}

/// Why a client has a connection to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PinReason {
    /// Its request [pins](crate::framing::Demand::pins) it, by the framing.
    Demand,
    /// The route lends connections for as long as clients stay.
    Session,
}

/// What has become of the requests of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RouteTotals {
    /// Requests whose replies came.
    pub answered: u64,
    /// Requests that were refused: by the framing, or since they can't be passed on.
    pub refused: u64,
    /// Requests that found no upstream to be reached.
    pub unavailable: u64,
    /// Requests for which there was no place, in time or at all. Nobody executed them.
    pub overloaded: u64,
    /// Requests that were sent and got no reply in time.
    pub timed_out: u64,
    /// Requests that were sent and whose connection was lost before the reply came, or brought
    /// something else.
    pub lost: u64,
    /// Requests of clients that have left before the reply came.
    pub abandoned: u64,
    /// Connections that clients have had to themselves.
    pub pinned: u64,
    /// Of those, how many were taken away, since they had been held for
    /// [`max_pin_age`](super::RouteBuilder::max_pin_age).
    pub pins_expired: u64,
    /// Logins that have succeeded.
    pub logins: u64,
    /// Logins with a wrong secret, or of users that there aren't.
    pub logins_failed: u64,
    /// Logins that were refused unchecked, since too many had failed.
    pub logins_refused: u64,
    /// Secrets that were hashed to check them. The others had been right before.
    pub secrets_hashed: u64,
}

impl RouteSnapshot {
    /// The version of the JSON.
    pub const VERSION: u32 = 1;
}

/// The counters behind [`RouteTotals`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) answered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) overloaded: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) pinned: AtomicU64,
    pub(super) pins_expired: AtomicU64,
    pub(super) logins: AtomicU64,
    pub(super) logins_failed: AtomicU64,
    pub(super) logins_refused: AtomicU64,
}

impl Counters {
    pub(super) fn totals(&self) -> RouteTotals {
        RouteTotals {
            answered: self.answered.load(Relaxed),
            refused: self.refused.load(Relaxed),
            unavailable: self.unavailable.load(Relaxed),
            overloaded: self.overloaded.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            lost: self.lost.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            pinned: self.pinned.load(Relaxed),
            pins_expired: self.pins_expired.load(Relaxed),
            logins: self.logins.load(Relaxed),
            logins_failed: self.logins_failed.load(Relaxed),
            logins_refused: self.logins_refused.load(Relaxed),
            secrets_hashed: 0,
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
