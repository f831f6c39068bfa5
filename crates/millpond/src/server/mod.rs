//! Serves requests on a listener. A [`Handler`] answers each request, and the replies leave in the
//! order of the requests. Everything that a client can make the server hold or wait for has a
//! limit, and a drain loses no exchange. The server opens no connections.
//!
//! ```
//! use millpond::{server::{Server, json}, net::{ListenOptions, Listener}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = Listener::bind(&"127.0.0.1:0".parse()?, ListenOptions::default()).await?;
//! let double = json(async |number: i64| number.checked_mul(2).ok_or("too large"));
//! let server = Server::builder(double).serve(listener)?;
//! println!("serving at {}", server.endpoint());
//! server.drain(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: [`Handler`], with [`raw`] and [`json()`]; [`ServerBuilder`], whose settings are
//! the limits; [`Running`]; then, for how it works, `connection.rs` (one client), `exchanges.rs`
//! (its requests), `accepting.rs` (all of them), `ledger.rs` (who gets in).
//!
//! # What a client is told
//!
//! | what happened | error | the connection |
//! |---|---|---|
//! | the handler takes JSON ([`json()`], [`Raw::only_json`]), and the body isn't that, is nested too deep, or has bytes behind it | -32700 | stays |
//! | it is JSON, and not what the handler takes | -32600 | stays |
//! | the handler failed or panicked | -32603 | stays |
//! | the handler says so by a code of its own ([`Failure::application`](crate::framing::Failure::application)) | that code | stays |
//! | too many requests are handled at once | -32001 | stays |
//! | the handler took too long | -32002 | stays |
//! | the server drains, and hasn't taken the request, which was not executed | -32003 | is closed, after the replies owed |
//! | the handler [asks](crate::framing::Failure::closing) that it be closed | that of its failure | is closed, after the replies owed |
//! | a frame is longer than the framing allows | -32600, which names the length, the limit and what sets it | is closed, after the replies owed |
//! | what came is no frame | none: where the next frame begins is unknown | is closed, after the replies owed |
//! | any failure, where the protocol has no error reply | none | is closed, after the replies owed; logged with the reason |
//! | HTTP | an HTTP 400 that names the protocol | is closed |
//!
//! When a client closes its sending side, it gets the replies owed, and then the connection is
//! closed. When a client resets the connection, its handlers are dropped: at once or, if
//! `max_in_flight` keeps the connection from being read, within a quarter of a second.

mod accepting;
mod builder;
mod coded;
mod connection;
mod exchanges;
mod farewell;
mod group;
mod handler;
#[cfg(test)]
pub(crate) mod in_memory;
mod ledger;
mod limits;
mod memory;
mod reply;
mod request;
mod running;
#[cfg(feature = "tower")]
mod service;
mod settings;
mod snapshot;
mod storms;
mod streams;

#[cfg(feature = "tower")]
pub use self::service::{ServiceHandler, service};
pub use self::{
    builder::ServerBuilder,
    coded::{Coded, coded},
    handler::{Bodies, ConnectionHandler, Handler, Json, Raw, json, raw},
    limits::HeartbeatLimit,
    reply::Reply,
    request::Request,
    running::{Ended, Running},
    settings::{InvalidSetting, ServeError, ServerSettings},
    snapshot::{Closed, Failures, ServerSnapshot, ServerStatus, ServerTotals},
};
pub(crate) use self::{
    group::{Answers, BoxedAnswers, HandlesGroups, RequestGroup},
    limits::transfer_time,
    streams::{StreamService, serve_streams},
};

/// Where building a server begins.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A server that answers with `handler`.
    pub fn builder<H: ConnectionHandler>(handler: H) -> ServerBuilder<H> {
        ServerBuilder::new(handler)
    }
}
