//! For what a connection is lent, and whether the pool wants it back.

/// Whether a lent connection carries one exchange at a time for one caller, or is held on purpose
/// for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    Exclusive,
    /// Never reported as a leak.
    Shared,
}

/// Whether a pool wants back what somebody holds for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// It doesn't.
    No,
    /// The pool drains: who waits is still served.
    AfterWaiters,
    /// Nothing new may be begun on it.
    Now,
}
