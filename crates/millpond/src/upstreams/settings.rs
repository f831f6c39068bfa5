//! When upstreams are ejected.

use std::time::Duration;

/// When an upstream is ejected, and when it is probed. See
/// [`StreamConnector::among`](crate::connectors::StreamConnector::among).
///
/// Fields may be added in a minor release: end a literal with `..Ejection::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// After how many consecutive failures. 3: one may be chance, such as a full backlog; two may be
    /// one restart, met before it and in it; and each dial of a third costs a caller time. Zero is
    /// one.
    pub after: u32,
    /// How many upstreams are never ejected, one at the least. `None` is half of them, rounded up:
    /// if more seem to be down, the fault is as likely on this side, and the few that are left
    /// wouldn't bear the load of all.
    pub floor: Option<u32>,
    /// How long an upstream is spared after its first failure; twice as long after each further one.
    /// 100 ms: a process that restarts is back within a few of these. Each pause is shortened by up
    /// to a half, by chance, so that many clients don't come at once.
    pub pause: Duration,
    /// The longest pause, and so the longest that an upstream that works again stays ejected. 5 s: a
    /// fleet of clients doesn't hammer one that is down for hours. At most a year counts.
    pub max_pause: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection {
            after: 3,
            floor: None,
            pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(5),
        }
    }
}
