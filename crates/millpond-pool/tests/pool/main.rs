//! The pool as its users see it, without sockets: connectors whose every answer is scripted, and a
//! clock that stands.

#[path = "../common/mod.rs"]
mod common;

mod any_pool;
mod background;
mod boxed;
mod cancellation;
mod clean_errors;
mod endings;
mod errors_and_snapshots;
mod faults;
mod generic_pool_faults;
mod idle;
mod outages;
mod owned;
mod reviewed;
mod self_managed;
mod settings;
mod shedding;
