//! A connection pool that people can trust: right defaults, errors that name the cause, and never a
//! connection lent with an unfinished exchange on it.
//!
//! ```
//! use millpond::pool::{Pool, connect_with};
//! use tokio::net::TcpStream;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let address = listener.local_addr()?;
//! let connector = connect_with(move || TcpStream::connect(address));
//! let pool = Pool::builder(connector).max_size(4).build()?;
//!
//! let connection = pool.acquire().await?; // dialled, or the one that was used last
//! connection.set_nodelay(true)?;
//! connection.release(); // idle again: nothing is left to be answered on it; merely dropped it would be closed
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: [`pool`], which says what its words mean; then its
//! [`Connector`](pool::Connector), which says what a pool needs to know of the connections that it
//! holds.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `kernel`, on by default | what Linux says of sockets (`kernel`): the round-trip times in snapshots, and what used-up ports and descriptors mean in errors |
//! | `serde` | snapshots serialize, as versioned JSON; settings of pools, clients, servers, diallers and listeners serialize and deserialize |
//! | `metrics` | counters, gauges and histograms through the `metrics` facade; every acquire and release then reads the clock |
//! | `bb8` | managers written for bb8 0.9 serve as connectors: `pool::from_bb8` |
//! | `deadpool` | managers written for deadpool 0.13 serve as connectors: `pool::from_deadpool` |
//! | `tls` | endpoints `tls://host:port`, and listeners for them, by rustls |
//! | `tower` | a `Client` is a `tower_service::Service`, and such a service is a handler (`server::service`) |
//! | `users` | clients of a route log in by secrets of which it has hashes (`proxy::Users`) |
//!
//! # Supported Rust
//!
//! 1.88 and later; raising that is a minor release.

#[cfg(unix)]
pub mod client;
pub mod codec;
#[cfg(unix)]
pub mod connectors;
#[cfg(unix)]
pub mod framed;
pub mod framing;
#[cfg(all(test, unix))]
mod memory;
#[cfg(unix)]
pub mod proxy;
#[cfg(unix)]
pub mod server;
#[cfg(unix)]
mod upstreams;

#[cfg(all(unix, feature = "kernel"))]
pub use millpond_kernel as kernel;
#[cfg(unix)]
pub use millpond_net as net;
pub use millpond_pool as pool;
pub use millpond_words::Chain;

/// The README's examples are tests.
#[cfg(all(doctest, unix))]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// So is the page on protocols.
#[cfg(all(doctest, unix))]
#[doc = include_str!("../../../docs/protocols.md")]
struct Protocols;
