//! Requests and their replies over pooled connections: one exchange on a connection at a time,
//! which works with every server.
//!
//! ```
//! use millpond::client::Client;
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let endpoint = format!("tcp://{}", listener.local_addr()?);
//! # tokio::spawn(async move {
//! #     let (mut stream, _) = listener.accept().await.unwrap();
//! #     let mut request = [0; 25];
//! #     stream.read_exact(&mut request).await.unwrap();
//! #     stream.write_all(b"length:00000000000015").await.unwrap();
//! #     std::future::pending::<()>().await;
//! # });
//! let client = Client::to(&endpoint)?.build()?;
//! let sum: u64 = client.request(&[2, 3]).await?;
//! assert_eq!(sum, 5);
//! # Ok(())
//! # }
//! ```
//!
//! Two words: a *request* ([`Client::request`]) is a value that is sent as JSON, and its reply is
//! read as one. An *exchange* ([`Client::exchange`]) is a body of bytes, sent and returned as it
//! is. All else is the same for both.
//!
//! Reading order: [`Client`]; [`Requests`], for a deadline of their own and requests that may be
//! sent twice; [`RequestError`]; then [`Session`], which says when a connection is clean.
//!
//! # Events
//!
//! A client emits events through `tracing`, with the target `millpond::client`; each has the field
//! `pool`, the name of its [pool](crate::pool#events), which tells of dials and outages. The first
//! of each kind is told at once, those after it as sums, at intervals that grow from a second to
//! five minutes.
//!
//! | level | message | further fields |
//! |---|---|---|
//! | warn | a connection was lost with requests on it | `cause` |
//! | warn | more connections were lost with requests on them | `others`, `within` |
//! | warn | a peer has stopped sending heartbeats | |
//! | warn | more peers have stopped sending heartbeats | `others`, `within` |
//!
//! # Metrics
//!
//! With the feature `metrics`, beside those of the [pool](crate::pool#metrics) and like them: each
//! has the label `pool`, the pool's name.
//!
//! | name | kind, unit | meaning, and further labels |
//! |---|---|---|
//! | `millpond_client_exchanges_total` | counter | exchanges that have ended, by `outcome`: `replied`; `failure_reply`, told by [`RequestError::Refused`]; `lost`, without a reply that can be read; `timed_out`, waiting for a connection included; `refused`, sent to nobody; `cancelled`, dropped by its caller. [`RequestErrorKind`] tells which errors are which |
//! | `millpond_client_in_flight` | gauge, exchanges | those whose callers wait, for a connection or for the reply |
//! | `millpond_client_waiting` | gauge, requests | those that wait for a place on a pipeline; pipelined only, and then they don't wait for the pool |
//! | `millpond_client_waiting_bytes` | gauge, bytes | theirs |
//! | `millpond_client_retries_total` | counter | requests that were to be sent again, by `outcome`: what the budget said, `granted` or `refused`; or `turned_away`, sent again at no cost, since a draining server hadn't taken them |
//! | `millpond_client_heartbeats_sent_total` | counter | |
//! | `millpond_client_heartbeats_received_total` | counter | |
//! | `millpond_client_heartbeats_missed_total` | counter | connections whose peers have stopped sending them |

mod any_client;
mod attempt;
mod builder;
mod channel;
mod coded;
mod deadline;
mod demands;
mod error;
mod error_kind;
mod exchange;
mod failure;
mod handle;
mod heartbeats;
mod login;
#[cfg_attr(not(feature = "metrics"), path = "without_metrics.rs")]
mod metrics;
mod ongoing;
mod outcome;
mod payload;
mod pinned;
mod pipelined;
mod records;
mod reports;
mod requests;
mod retry;
mod script;
#[cfg(feature = "tower")]
mod service;
mod session;
mod sessions;
mod settings;
mod snapshot;
mod timer;
mod together;
mod turned_away;

pub(crate) use self::pipelined::{FirstAttempt, Flow, Together};
#[cfg(feature = "tower")]
pub use self::service::{Call, JsonService};
pub use self::{
    any_client::{AnyClient, ExchangeFuture},
    builder::ClientBuilder,
    coded::Coded,
    demands::DemandError,
    error::{Execution, Loss, RequestError},
    error_kind::RequestErrorKind,
    handle::Client,
    login::{Login, LoginError},
    pinned::Pinned,
    pipelined::Pipelining,
    requests::Requests,
    retry::RetryTotals,
    script::Script,
    session::Session,
    sessions::{HeartbeatTotals, Sessions},
    settings::{ClientSettings, ErrorReplies},
    snapshot::{ClientSnapshot, PipelinesSnapshot},
};
pub use crate::framed::HeartbeatLimit;

#[cfg(all(test, not(millpond_loom)))]
mod tests;
