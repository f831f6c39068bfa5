//! Endpoints and the streams that lead to them: TCP, TLS and Unix sockets. Knows nothing of pools
//! and frames.
//!
//! Reading order: [`Endpoint`]; [`Dialer`], which opens a [`Stream`] to one, and [`Listener`],
//! which accepts them; [`TcpOptions`]; [`ConnectError`]; then, for how it works, `names.rs` (which
//! addresses a name has), `race.rs` (which of them is tried when).
//!
//! # What TCP does around this
//!
//! A connection begins with a handshake of three packets (a round trip before the first byte can be
//! sent) and ends with four: each side says FIN and acknowledges the other's. The side that says it
//! first keeps the pair of addresses for a minute in TIME_WAIT, so that late packets can't end up
//! in a connection that follows. A client that opens a connection per request and closes it first
//! is therefore bound by its ports: some 28,000 per destination and minute by default, 470 a
//! second. Long connections know none of this.

mod dialer;
mod endpoint;
mod error;
#[cfg(feature = "kernel")]
mod explanations;
mod foreign;
mod listener;
mod lookups;
mod names;
mod options;
mod race;
mod resolve;
mod stream;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tls")]
mod tls_endpoint;
#[cfg(not(feature = "kernel"))]
mod unexplained;

pub use self::{
    dialer::{DialedStream, Dialer, PhaseLimits, Timings},
    endpoint::{Endpoint, EndpointError, Host, HostName, HostPort},
    error::{ConnectAttempt, ConnectError, ConnectFailure, DialPhase, ListenError, ListenFailure},
    listener::{Accepted, HandshakeError, ListenOptions, Listener},
    options::{Keepalive, TcpOptions},
    resolve::{Lookup, Resolve, SystemResolver},
    stream::{IdleState, Stream},
};
