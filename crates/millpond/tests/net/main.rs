//! Endpoints, dials, listeners and streams, and pools of them: real sockets on loopback and in temporary folders.

#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../loopback/mod.rs"]
mod loopback;

mod names;
mod pooled_chaos;
mod pooled_dials;
mod pooled_names;
mod pooled_streams;
#[cfg(feature = "tls")]
mod pooled_tls;
mod redis;
mod reviewed_transports;
mod streams;
#[cfg(target_os = "linux")]
mod system;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_files;
