//! Many exchanges in flight on one connection, answered in the order of their requests.
//!
//! A pipeline holds one connection of the pool for as long as there is load, and gives it back when
//! nothing was begun on it, nor answered, for a tick. All callers are in one queue (`machine.rs`);
//! who is first takes the next place on a pipeline, and his request is sent then, whether or not he
//! is polled: nobody who sleeps holds a place. What is ready at the same time is written together
//! (`writer.rs`, `driver.rs`), which is where the speed comes from: throughput follows the number of
//! writes.

mod awaited;
mod driver;
mod machine;
mod pipelines;
mod reply;
mod settings;
mod shared;
mod writer;

#[cfg(all(test, millpond_loom))]
mod interleavings;

pub use self::settings::Pipelining;
pub(super) use self::{pipelines::Pipelines, reply::PipelineError};
