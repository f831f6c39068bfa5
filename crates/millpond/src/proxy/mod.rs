//! Passes requests on: many clients, in whatever language, share a few long connections to an
//! upstream. A route is a server whose handler is a client. It knows where a request and its reply
//! begin and end, so an upstream connection is lent for one exchange, or carries many at once;
//! proxies that only see bytes open one for each client.
//!
//! ```
//! use std::time::Duration;
//! use millpond::{
//!     client::Client,
//!     net::{ListenOptions, Listener},
//!     proxy::Route,
//!     server::{Server, raw},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let anywhere = "127.0.0.1:0".parse()?;
//! # let listener = Listener::bind(&anywhere, ListenOptions::default()).await?;
//! # let upstream = Server::builder(raw(async |body: bytes::Bytes| Ok(body))).serve(listener)?;
//! # let upstream = upstream.endpoint().to_string();
//! // At most 8 connections, however many clients there are.
//! let client = Client::to(&upstream)?.pool(|pool| pool.max_size(8)).build()?;
//! let listener = Listener::bind(&"127.0.0.1:0".parse()?, ListenOptions::default()).await?;
//! let route = Route::to(client);
//! let running = route.server().max_connections(10_000).serve(listener)?;
//!
//! let direct = Client::to(&running.endpoint().to_string())?.build()?;
//! assert_eq!(direct.exchange(b"[1, 2]").await?, "[1, 2]");
//! running.drain(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Modes
//!
//! | mode | an upstream connection serves | made by |
//! |---|---|---|
//! | exchange | one request at a time, of any client | [`Route::to`] a client that is exclusive |
//! | pipeline | many requests of many clients at once | [`Route::to`] a client that is [pipelined](crate::client::ClientBuilder::pipelined) |
//! | session | one client, for as long as it stays | [`RouteBuilder::session`] |
//!
//! In each of them a request that [pins](crate::framing::Demand::pins) its connection gets one of
//! its own, until its state is again what it was.
//!
//! # What is kept
//!
//! - A client gets the reply to its own request, or is told that there is none, in the protocol's
//!   words where it has some, else by closing its connection.
//! - The requests of one client are executed in the order in which it sent them, whichever upstream
//!   connections they take. Pipelined, they are in flight together, as many as the server's
//!   [`max_in_flight`](crate::server::ServerBuilder::max_in_flight) allows, on one connection; else
//!   one at a time.
//! - A request of which bytes were sent is never sent a second time. One of which none were sent is
//!   sent on another connection, once, unless its client has others in flight behind it.
//! - Frames are passed on as they came. What isn't strictly a frame ends its connection, and nothing
//!   of it is passed on.
//! - Clients are told neither names nor addresses of the upstream.
//!
//! A client that leaves while its request is under way costs the upstream connection in exchange and
//! session mode: nobody else is lent a connection with an unfinished exchange on it. Pipelined, its
//! reply is dropped when it comes.
//!
//! # Bytes without frames
//!
//! Where no framing fits, a [`RawRoute`] passes bytes on in both directions, whatever they mean. It
//! lends each client an upstream connection for as long as it stays, and closes the connection
//! behind it: nobody knows what state it is in. So there are as many upstream connections as
//! clients, but never more than the pool's `max_size`; the others wait in one line. What the pool
//! knows of dials, outages and several upstreams holds here as well.
//!
//! ```
//! use millpond::{
//!     connectors::StreamConnector,
//!     net::{ListenOptions, Listener},
//!     proxy::RawRoute,
//!     server::ServerSettings,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let upstream = StreamConnector::to("127.0.0.1:8080")?;
//! let route = RawRoute::to(upstream).pool(|pool| pool.max_size(50)).build()?;
//! let listener = Listener::bind(&"127.0.0.1:0".parse()?, ListenOptions::default()).await?;
//! let running = route.serve(ServerSettings::default(), listener)?;
//! println!("serving at {}, {:?}", running.endpoint(), route.snapshot().totals);
//! # Ok(())
//! # }
//! ```
//!
//! - An end is passed on as an end, in each direction by itself; a reset, or a TLS stream cut short,
//!   as a reset. Neither side takes a part for the whole.
//! - A client that can't be lent a connection is reset, and counted; of what it has sent nothing was
//!   passed on.
//! - A side that doesn't read stops the other side's writing and nothing else. A session holds at
//!   most 16 KiB for each direction, and nothing while all that was read is written. Beside that, a
//!   connection on which the upstream has spoken first holds up to 4 KiB until it is lent.
//!
//! All limits of the [server](crate::server) hold for the clients of a route, and all settings of
//! the [client](crate::client) for its upstream.

mod builder;
mod downstream;
mod group;
mod pins;
mod raw;
mod route;
mod settings;
mod snapshot;
mod told;
#[cfg_attr(not(feature = "users"), path = "without_users.rs")]
mod users;

#[cfg(test)]
mod tests;

#[cfg(feature = "users")]
pub use self::users::{HashingError, InvalidHash, SecretHash, Users};
pub use self::{
    builder::RouteBuilder,
    downstream::Downstream,
    raw::{RawConnection, RawConnector, RawRoute, RawRouteBuilder, RawSnapshot, RawTotals},
    route::Route,
    settings::RouteSettings,
    snapshot::{Mode, PinReason, PinSnapshot, RouteSnapshot, RouteTotals},
};
