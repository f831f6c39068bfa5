//! What the machine carries without looking at it, its limits, and by which names pipelines and flows
//! go.

use crate::pool::Shedding;

/// What the machine carries.
pub(in crate::client::pipelined) trait Carried {
    /// By which a caller is told.
    type Reply;
    /// What the caller is told; by default, that no reply was asked for.
    type Body: Default;
    /// What is kept of a request until its reply comes, for framings that look at requests.
    type Asked;
    /// What a pipeline is written to.
    type Writer: Clone;

    /// Whether no reply comes to such a request.
    fn is_silent(asked: &Self::Asked) -> bool;
}

/// The settings.
#[derive(Clone, Copy, Debug)]
pub(in crate::client::pipelined) struct Limits {
    pub(in crate::client::pipelined) depth: usize,
    pub(in crate::client::pipelined) max_bytes: usize,
    pub(in crate::client::pipelined) max_waiting: usize,
    pub(in crate::client::pipelined) max_waiting_bytes: usize,
    /// Over how many pipelines the load is spread, if there is enough: as many as upstreams. With
    /// one, the first with room takes all, and the others fall quiet and are given back.
    pub(in crate::client::pipelined) spread: usize,
    /// When those who wait are refused for having waited too long.
    pub(in crate::client::pipelined) shedding: Option<Shedding>,
}

/// A pipeline, also when another has taken its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client::pipelined) struct Id {
    pub(super) at: usize,
    pub(super) serial: u64,
}

/// A flow, from when it is opened until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client::pipelined) struct FlowId(pub(super) usize);
