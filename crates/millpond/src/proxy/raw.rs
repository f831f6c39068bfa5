//! Bytes without frames: a client is lent an upstream connection for as long as it stays, and the
//! connection is closed behind it.
//!
//! `upstream.rs` has the connections and the pool's connector, `one_way.rs` one direction of bytes,
//! `copying.rs` both, pure but for the streams that it reads and writes, `session.rs` a client and
//! its connection, `route.rs` the rest.

mod builder;
mod copying;
mod one_way;
mod route;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;
mod upstream;

pub use self::{
    builder::RawRouteBuilder,
    route::RawRoute,
    snapshot::{RawSnapshot, RawTotals},
    upstream::{RawConnection, RawConnector},
};
