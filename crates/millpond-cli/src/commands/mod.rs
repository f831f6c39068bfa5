//! One file or folder per command.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod man;
pub(crate) mod serve;
mod tls;

use millpond::transport::Endpoint;

use crate::{complaint::Complaint, exit::Exit};

/// The endpoint that was given to a flag, or what is wrong with it and where.
fn endpoint(flag: &str, text: &str) -> Result<Endpoint, Complaint> {
    text.parse()
        .map_err(|error| Complaint::usage(format!("{flag}: {error:#}")))
}

/// The runtime that a command runs on.
fn runtime() -> Result<tokio::runtime::Runtime, Complaint> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Complaint::of(Exit::Failure, &format!("no runtime could be started: {error}")))
}
