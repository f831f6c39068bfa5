//! Many exchanges in flight on one connection, answered in the order of their requests.
//!
//! A pipeline holds one connection of the pool while there is load. It gives the connection back
//! when no exchange was begun or answered on it for a tick. All callers wait in one queue
//! (`machine.rs`). The first one takes the next free place on a pipeline, and its request is sent
//! at that moment, whether or not the caller is polled: a caller that is never polled holds no
//! place. Requests that are ready at the same time are written together (`writer.rs`, `driver.rs`).
//! That is where the speed comes from, for throughput depends on the number of writes.

mod awaited;
mod driver;
mod flow;
mod group;
mod machine;
mod pipelines;
mod reply;
mod sender;
mod settings;
mod shared;
mod together;
mod writer;

#[cfg(all(test, millpond_loom))]
mod interleavings;

pub use self::settings::Pipelining;
pub(crate) use self::{
    flow::Flow,
    together::{FirstAttempt, Together},
};
pub(super) use self::{flow::Turn, pipelines::Pipelines, reply::PipelineError};
