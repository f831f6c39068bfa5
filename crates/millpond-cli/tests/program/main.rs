//! The program as its users run it: every command, its help, its documents, its exit codes.
//!
//! One test program, since each links all that the crate needs. Two are apart: `own_sockets`, where
//! the test's own process is what is looked at, and `in_namespaces_ports`, which `.ci/namespaces`
//! runs by its name.

#[path = "../common/mod.rs"]
mod common;

mod newcomer;

mod color;
mod help;
mod json;
mod log;

mod demo;

mod exec;
mod hangup;
mod proxy;
mod proxy_raw;
mod serve;
#[cfg(target_os = "linux")]
mod serve_memory;
mod tls;
mod users;

mod call;
mod framing;
mod framing_bodies;
mod pipe;

mod bench;
mod bench_endings;

mod doctor;
mod doctor_peers;
