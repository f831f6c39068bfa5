//! Where requests and replies end, by RESP2 and RESP3: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//!
//! A reader keeps its place in the one word and the one position of a [`Scan`](crate::framing::Scan):
//! [`progress`] says how. Values may be nested to any depth, since what is open is a number: how many
//! values are still to come.
//!
//! What two readers could read differently is an error here, even where redis-server reads on.

mod double;
mod inline;
mod limits;
mod line;
mod progress;
mod reply;
mod request;

pub(super) use self::{limits::Limits, reply::reply, request::request};

#[cfg(all(test, not(millpond_loom)))]
mod tests;
