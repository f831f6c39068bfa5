//! Endpoints and the streams that lead to them: TCP, TLS and Unix sockets. Knows nothing of pools
//! and frames. For Unix (Linux, macOS, the BSDs), on tokio.
//!
//! Reading order: [`Endpoint`]; [`Dialer`], which opens a [`Stream`] to one, and [`Listener`],
//! which accepts them; [`TcpOptions`]; [`ConnectError`]; then, for how it works, `names.rs` (which
//! addresses a name has), `race.rs` (which of them is tried when).
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `tls` | endpoints `tls://host:port`, by rustls |
//! | `serde` | endpoints, phases and settings serialize |
//! | `kernel` | errors say what used-up ports and descriptors mean |
//!
//! None is on by default: who takes this crate alone takes the fewest dependencies. `millpond` has
//! `kernel` on.
//!
//! # What TCP does around this
//!
//! A connection begins with a handshake of three packets (a round trip before the first byte can be
//! sent) and ends with four: each side says FIN and acknowledges the other's. The side that says it
//! first keeps the pair of addresses for a minute in TIME_WAIT, so that late packets can't end up
//! in a connection that follows. A client that opens a connection per request and closes it first
//! is therefore bound by its ports: some 28,000 per destination and minute by default, 470 a
//! second. Long connections know none of this.

mod accepted;
mod attempted;
mod dialer;
mod endpoint;
mod error;
#[cfg(feature = "kernel")]
mod explanations;
mod foreign;
mod listen_options;
mod listener;
mod lookups;
mod names;
mod options;
mod race;
mod resolve;
#[cfg(feature = "serde")]
mod seconds;
mod settings;
mod stream;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tls")]
mod tls_endpoint;
#[cfg(not(feature = "kernel"))]
mod unexplained;
mod unix_listener;

pub use self::{
    accepted::{Accepted, HandshakeError},
    dialer::{DialedStream, Dialer, Timings},
    endpoint::{Endpoint, EndpointError, Host, HostName, HostPort},
    error::{ConnectAttempt, ConnectError, ConnectFailure, DialPhase, ListenError, ListenFailure},
    listen_options::ListenOptions,
    listener::Listener,
    options::{Keepalive, TcpOptions},
    resolve::{Lookup, Resolve, SystemResolver},
    settings::{DialerSettings, ListenSettings, PhaseLimits},
    stream::{IdleState, Stream},
};

/// The README's example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
