//! What the machine carries without looking inside.

use std::fmt::Debug;

use crate::eviction::Eviction;

/// The types of what the machine carries: it hands each back, and never drops one.
pub(crate) trait Payload: Debug {
    type Connection: Debug;
    type Waker: Debug;
    /// Who holds a connection: where it was acquired, by which task.
    type Tag: Copy + Debug;
    /// What a snapshot says of a connection: its ends.
    type Label: Default + Clone + Debug;
    type Cause: DialCause;
}

/// Why a dial failed, or what stands for a failed dial.
pub(crate) trait DialCause: From<Eviction> + Debug {
    /// Nothing listened: the dial cost nobody anything, nor will the next.
    fn refused(&self) -> bool;
}
