//! What the tests' machines carry: numbers, so that every connection, waker and cause can be told
//! apart and followed.

use super::{DialCause, Payload};
use crate::eviction::Eviction;

/// The [`Payload`] of the tests.
#[derive(Debug)]
pub(super) struct Numbered;

/// Identifies a caller from its first call to its last.
pub(super) type CallerId = u32;

/// Why a dial failed, or what stands for a failed dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Dial(u64),
    Died(Eviction),
}

impl From<Eviction> for Cause {
    fn from(reason: Eviction) -> Self {
        Cause::Died(reason)
    }
}

impl DialCause for Cause {
    fn refused(&self) -> bool {
        matches!(self, Cause::Dial(number) if number % 2 == 0)
    }
}

impl Payload for Numbered {
    type Connection = u64;
    type Waker = u64;
    type Tag = CallerId;
    type Label = u64;
    type Cause = Cause;
}
