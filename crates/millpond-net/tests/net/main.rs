//! Endpoints, dials, listeners and streams: real sockets on loopback and in temporary folders.

#![cfg(unix)]

#[path = "../loopback/mod.rs"]
mod loopback;

mod names;
mod streams;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_files;
