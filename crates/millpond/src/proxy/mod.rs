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
//!   connections they take.
//! - A request of which bytes were sent is never sent a second time. One of which none were sent is
//!   sent on another connection, once.
//! - Frames are passed on as they came. What isn't strictly a frame ends its connection, and nothing
//!   of it is passed on.
//! - Clients are told neither names nor addresses of the upstream.
//!
//! A client that leaves while its request is under way costs the upstream connection in exchange and
//! session mode: nobody else is lent a connection with an unfinished exchange on it. Pipelined, its
//! reply is dropped when it comes.
//!
//! All limits of the [server](crate::server) hold for the clients of a route, and all settings of
//! the [client](crate::client) for its upstream.

mod builder;
mod downstream;
mod pins;
mod route;
mod settings;
mod snapshot;
mod told;

#[cfg(test)]
mod tests;

pub use self::{
    builder::RouteBuilder,
    downstream::Downstream,
    route::Route,
    settings::RouteSettings,
    snapshot::{Mode, PinReason, PinSnapshot, RouteSnapshot, RouteTotals},
};
