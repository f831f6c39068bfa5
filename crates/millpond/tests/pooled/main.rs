//! Pools of streams: real sockets on loopback and in temporary folders. And what all errors have in
//! common.

#![cfg(unix)]

#[path = "../../../millpond-pool/tests/common/mod.rs"]
mod common;
#[path = "../../../millpond-net/tests/loopback/mod.rs"]
mod loopback;
#[path = "../pools/mod.rs"]
mod pools;

mod error_sources;
mod pooled_chaos;
mod pooled_dials;
mod pooled_names;
mod pooled_streams;
#[cfg(feature = "tls")]
mod pooled_tls;
mod redis;
mod reviewed_transports;
mod shared_access;
