//! The load generator of `demo` and `bench`: callers that send requests, each one after the other,
//! until the load is over.
//!
//! A [`Load`] says how much is sent. What a request is, and whether its reply is right, the
//! commands decide: each has callers of its own ([`callers::Caller`]) and its own kinds of errors
//! ([`tally::MissKind`]). What came of the requests is in a [`tally::Tally`].

pub(crate) mod callers;
pub(crate) mod exchange;
mod pacer;
pub(crate) mod recorder;
mod schedule;
pub(crate) mod tally;
pub(crate) mod threads;
pub(crate) mod tokens;
mod turns;
pub(crate) mod watch;

use std::time::Duration;

/// How much is sent, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// How many requests may be under way at once.
    pub(crate) callers: u32,
    pub(crate) limit: Limit,
    /// In an open loop: requests a second, whatever becomes of them. `None`: a closed loop, in
    /// which each caller sends as soon as it has its reply.
    pub(crate) rate: Option<f64>,
    /// How much longer than planned an open loop may take to send what was due.
    pub(crate) patience: Duration,
    /// How long requests under way may take once the load is stopped early.
    pub(crate) stop_grace: Duration,
}

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Time(Duration),
    Requests(u64),
}

impl Load {
    /// The time between two requests of an open loop; zero in a closed one.
    fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.rate.map_or(0.0, |rate| 1.0 / rate))
    }

    /// How many requests an open loop sends: at least one.
    fn paced_requests(&self, per_second: f64) -> u64 {
        match self.limit {
            Limit::Time(time) => ((time.as_secs_f64() * per_second).round() as u64).max(1),
            Limit::Requests(requests) => requests,
        }
    }
}
