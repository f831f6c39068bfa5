//! What has been counted since the pool was built.

use super::eviction::Eviction;

/// What has happened since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PoolTotals {
    /// Dials begun.
    pub dials: u64,
    /// Dials that failed or timed out.
    pub dials_failed: u64,
    /// Dials dropped before they ended, because the pool was closed or its runtime ended.
    pub dials_abandoned: u64,
    /// Connections that dials have made.
    pub opened: u64,
    /// Connections that have been closed. At the end `opened == closed + detached`.
    pub closed: u64,
    /// Connections that have been detached.
    pub detached: u64,
    /// Acquires that succeeded: one whose connection doesn't pass its check is counted when it
    /// gets another.
    pub lent: u64,
    /// Callers that got in line, whatever came of it: the others found a connection idle, or were
    /// told at once that they get none.
    pub waited: u64,
    /// Lent connections that came back, clean or not. Detached ones don't.
    pub released: u64,
    /// Lent connections that were used and then merely dropped, without
    /// [`release`](crate::Connection::release), and were closed for it: those of callers who gave
    /// up in the middle of an exchange, and those of callers who never say that one is
    /// complete. Evicted as [`Eviction::UnfinishedExchange`], in which connections count as
    /// well that knew themselves to be in one.
    pub unreleased: u64,
    /// Waiters that gave up: their future was dropped before they had been refused.
    pub cancelled: u64,
    /// Grants that weren't picked up in time and went to somebody else.
    pub revoked: u64,
    /// Callers whose deadline passed while they waited.
    pub timed_out: u64,
    /// Callers turned away because `max_waiting` callers waited.
    pub turned_away_full: u64,
    /// Callers told that the endpoint is unavailable.
    pub turned_away_unavailable: u64,
    /// Callers refused when their turn came, since all had waited for too long: see
    /// [`PoolBuilder::shed_waiting`](crate::PoolBuilder::shed_waiting). Not the requests of a
    /// pipelined client, which wait for a place and not for a connection.
    pub shed: u64,
    /// Evictions by reason, in the order of [`Eviction::ALL`]: see [`PoolTotals::evicted`].
    #[cfg_attr(feature = "serde", serde(serialize_with = "by_name"))]
    pub(crate) evicted: [u64; Eviction::COUNT],
}

impl PoolTotals {
    /// How many connections were evicted for this reason.
    pub fn evicted(&self, reason: Eviction) -> u64 {
        self.evicted[reason as usize]
    }

    /// What is counted besides evictions, by the name of its field.
    #[cfg(feature = "metrics")]
    pub(crate) fn named(&self) -> [(&'static str, u64); 16] {
        [
            ("dials", self.dials),
            ("dials_failed", self.dials_failed),
            ("dials_abandoned", self.dials_abandoned),
            ("opened", self.opened),
            ("closed", self.closed),
            ("detached", self.detached),
            ("lent", self.lent),
            ("waited", self.waited),
            ("released", self.released),
            ("unreleased", self.unreleased),
            ("cancelled", self.cancelled),
            ("revoked", self.revoked),
            ("timed_out", self.timed_out),
            ("turned_away_full", self.turned_away_full),
            ("turned_away_unavailable", self.turned_away_unavailable),
            ("shed", self.shed),
        ]
    }

    pub(crate) fn count_eviction(&mut self, reason: Eviction) {
        self.evicted[reason as usize] += 1;
    }
}

#[cfg(feature = "serde")]
fn by_name<S: serde::Serializer>(
    counts: &[u64; Eviction::COUNT],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let named = Eviction::ALL
        .iter()
        .map(|&reason| (reason.name(), counts[reason as usize]));
    serializer.collect_map(named)
}
