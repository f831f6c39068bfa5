//! One pool over several upstreams: real servers on loopback, which are killed and come back.

#![cfg(unix)]

#[path = "../../../millpond-net/tests/loopback/mod.rs"]
mod loopback;

mod counted;
mod ejected;
mod probed;
mod servers;
