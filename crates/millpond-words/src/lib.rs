//! How millpond says things: durations and numbers as people write them, an error with its causes,
//! settings that are out of their range, and events that come in storms.
//!
//! For errors, logs and the program's pages. Nothing here knows a pool, a socket or a frame.

mod chain;
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
