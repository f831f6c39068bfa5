//! The client as its users see it: over real sockets, against servers that are right and servers
//! that lie.

#![cfg(unix)]

#[cfg(feature = "tls")]
#[path = "../../../millpond-net/tests/certificates/mod.rs"]
mod certificates;

#[path = "../store/mod.rs"]
mod store;

mod any_client;
mod client;
mod coded;
mod demands;
mod ids;
mod lying_servers;
mod mllp;
#[cfg(feature = "tls")]
mod pipelined_tls;
