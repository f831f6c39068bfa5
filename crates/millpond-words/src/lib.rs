//! How millpond says things: durations and numbers as people write them, an error with its causes,
//! settings that are out of their range, events that come in storms, and (with the feature `serde`)
//! times and counts in settings files.
//!
//! For errors, logs and the program's pages. Nothing here knows a pool, a socket or a frame.

mod chain;
#[cfg(feature = "serde")]
pub mod counts;
#[cfg(feature = "serde")]
pub mod seconds;
mod setting;
mod span;
mod storm;
mod storms;
mod thousands;

pub use self::{
    chain::{Chain, Plain},
    setting::InvalidSetting,
    span::{Ago, Span},
    storm::{Storm, Sum},
    storms::Storms,
    thousands::Thousands,
};
