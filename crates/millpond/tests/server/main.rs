//! The server as its clients see it, over real sockets.

#![cfg(unix)]

#[cfg(feature = "tls")]
#[path = "../../../millpond-net/tests/certificates/mod.rs"]
mod certificates;
#[path = "../serving/mod.rs"]
mod serving;
#[path = "../store/mod.rs"]
mod store;

mod bytes;
mod demands;
mod departures;
mod drain;
mod drain_clients;
mod drain_slow_clients;
mod exchanges;
mod framings;
mod limits;
mod refused;
#[cfg(feature = "tower")]
mod services;
mod settings;
#[cfg(feature = "tls")]
mod tls;
mod turns;
