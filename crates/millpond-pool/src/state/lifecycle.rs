//! Whether the pool takes callers, and why one isn't served.

/// Why a caller isn't served. The details are read from the state right after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// The pool is closed.
    Closed,
    /// The pool drains.
    Draining,
    /// The pool's runtime has ended.
    RuntimeEnded,
    /// `max_waiting` callers wait.
    Full,
    /// Its time is up.
    TimedOut,
    /// The endpoint can't be reached.
    Unavailable,
    /// It has waited for longer than `shed_waiting` allows, and so have all others.
    Shed,
}

/// Whether the pool takes callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Open,
    Draining,
    Closed,
    /// Closed because the runtime that dials and keeps the pool has ended.
    RuntimeEnded,
}
