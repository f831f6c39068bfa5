//! Why connections leave.

/// Why a connection was evicted from the pool.
///
/// Every connection that the pool closes has exactly one reason; [`Display`](std::fmt::Display) and
/// the JSON of a snapshot use the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Eviction {
    /// Idle for longer than `idle_timeout`, while more than `min_idle` connections were idle.
    IdleTimeout,
    /// Older than its share of `max_lifetime`.
    Lifetime,
    /// The peer closed it (FIN).
    PeerClosed,
    /// The peer reset it (RST), or the kernel gave it up.
    PeerReset,
    /// Bytes arrived that nobody had asked for.
    UnsolicitedBytes,
    /// It came back in the middle of an exchange: of one that it knows of, or its borrower used it
    /// and didn't say that it had ended.
    UnfinishedExchange,
    /// Its connector says that it is of no more use, though no exchange is open: its borrower had
    /// said that the last one is complete, or hadn't used it at all. Where
    /// [`check`](crate::Connector::check) knows why, the reason is that.
    Broken,
    /// The peer stopped sending heartbeats.
    HeartbeatMissed,
    /// The probe failed or took longer than `check_timeout`.
    ProbeFailed,
    /// The reset after its release failed or took longer than `check_timeout`.
    ResetFailed,
    /// The connector's release hook refused it, and its check found no reason.
    HookFailed,
    /// Its borrower, or a hook that judged it, panicked.
    Panicked,
    /// Its borrower discarded it.
    Discarded,
    /// [`Pool::retire`](crate::Pool::retire) replaced it.
    Retired,
    /// [`Pool::resize`](crate::Pool::resize) left no room for it.
    Shrunk,
    /// The pool was closed or drained.
    Closed,
}

impl Eviction {
    pub(crate) const COUNT: usize = 16;

    /// All reasons, in the order of their declaration.
    pub const ALL: &'static [Eviction] = &[
        Eviction::IdleTimeout,
        Eviction::Lifetime,
        Eviction::PeerClosed,
        Eviction::PeerReset,
        Eviction::UnsolicitedBytes,
        Eviction::UnfinishedExchange,
        Eviction::Broken,
        Eviction::HeartbeatMissed,
        Eviction::ProbeFailed,
        Eviction::ResetFailed,
        Eviction::HookFailed,
        Eviction::Panicked,
        Eviction::Discarded,
        Eviction::Retired,
        Eviction::Shrunk,
        Eviction::Closed,
    ];

    /// The name used in metrics labels and JSON: `idle_timeout`, `peer_closed`, ….
    pub fn name(self) -> &'static str {
        match self {
            Eviction::IdleTimeout => "idle_timeout",
            Eviction::Lifetime => "lifetime",
            Eviction::PeerClosed => "peer_closed",
            Eviction::PeerReset => "peer_reset",
            Eviction::UnsolicitedBytes => "unsolicited_bytes",
            Eviction::UnfinishedExchange => "unfinished_exchange",
            Eviction::Broken => "broken",
            Eviction::HeartbeatMissed => "heartbeat_missed",
            Eviction::ProbeFailed => "probe_failed",
            Eviction::ResetFailed => "reset_failed",
            Eviction::HookFailed => "hook_failed",
            Eviction::Panicked => "panicked",
            Eviction::Discarded => "discarded",
            Eviction::Retired => "retired",
            Eviction::Shrunk => "shrunk",
            Eviction::Closed => "closed",
        }
    }

    /// A connection that ends like this before it ever served counts as a failed dial: a listener
    /// that accepts and hangs up is no endpoint. What callers or the pool's own rules do is not
    /// held against it.
    pub(crate) fn is_the_endpoints_doing(self) -> bool {
        matches!(
            self,
            Eviction::PeerClosed
                | Eviction::PeerReset
                | Eviction::UnsolicitedBytes
                | Eviction::HeartbeatMissed
                | Eviction::ProbeFailed
        )
    }
}

impl std::fmt::Display for Eviction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Eviction::IdleTimeout => "idle timeout",
            Eviction::Lifetime => "lifetime",
            Eviction::PeerClosed => "peer closed",
            Eviction::PeerReset => "peer reset",
            Eviction::UnsolicitedBytes => "unsolicited bytes",
            Eviction::UnfinishedExchange => "unfinished exchange",
            Eviction::Broken => "broken",
            Eviction::HeartbeatMissed => "heartbeat missed",
            Eviction::ProbeFailed => "probe failed",
            Eviction::ResetFailed => "reset failed",
            Eviction::HookFailed => "hook failed",
            Eviction::Panicked => "panicked",
            Eviction::Discarded => "discarded",
            Eviction::Retired => "retired",
            Eviction::Shrunk => "shrunk",
            Eviction::Closed => "closed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reasons_are_listed_where_their_count_is_kept() {
        assert_eq!(Eviction::ALL.len(), Eviction::COUNT);
        for (index, &reason) in Eviction::ALL.iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(reason.name(), reason.to_string().replace(' ', "_"));
        }
    }
}
