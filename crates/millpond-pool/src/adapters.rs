//! Managers that were written for another pool, as connectors of this one.
//!
//! Each adapter owns a manager and answers a [`Connector`](crate::Connector)'s questions by it.
//! Neither of the other pools runs: only their traits are used.

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "deadpool")]
mod deadpool;

#[cfg(feature = "bb8")]
pub use self::bb8::{FromBb8, from_bb8};
#[cfg(feature = "deadpool")]
pub use self::deadpool::{FromDeadpool, Recyclable, from_deadpool};
