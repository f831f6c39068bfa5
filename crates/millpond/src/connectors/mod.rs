//! A pool's connector for streams of every transport. It opens streams, checks idle ones without a
//! system call while nothing has arrived, and follows changes of their endpoint's name. It knows
//! nothing of what is exchanged on them.

mod among;
mod pooled;
mod stream;
#[cfg(test)]
mod tests;
mod unprepared;

pub use self::stream::{PhaseTimings, PrepareFuture, StreamConnector};
pub(crate) use self::{
    among::{Answer, served},
    unprepared::Unprepared,
};
pub use crate::upstreams::{Ejection, Upstream, UpstreamFailure, UpstreamSnapshot, UpstreamTotals};
