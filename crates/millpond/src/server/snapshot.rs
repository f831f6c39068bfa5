//! A server at one instant, and the counters behind it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::framing::FailureKind;

/// A server at one instant.
///
/// With the feature `serde` it serializes, and [`ServerSnapshot::VERSION`] tells readers of the
/// JSON what to expect: fields are added without a new version, renamed or removed only with one.
/// Times are in seconds.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ServerSnapshot {
    /// [`ServerSnapshot::VERSION`].
    pub version: u32,
    /// Where it listens.
    pub endpoint: String,
    /// Whether it takes connections.
    pub status: ServerStatus,
    /// Time since it began to serve.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "up_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub up: Duration,
    /// The setting.
    pub max_connections: usize,
    /// Connections, those in their TLS handshake included.
    pub open: usize,
    /// Requests being handled.
    pub handled: usize,
    /// Bytes held for clients, in blocks of 16 KiB; the first of each connection isn't counted.
    pub bytes: usize,
    /// The setting.
    pub max_bytes: usize,
    /// Connections that owe nothing and whose next request waits for room within `max_bytes`.
    pub waiting_for_bytes: usize,
    /// What has happened since it began to serve.
    pub totals: ServerTotals,
}

impl ServerSnapshot {
    /// The version of the JSON.
    pub const VERSION: u32 = 1;
}

/// What a server does with new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ServerStatus {
    /// It takes them.
    Open,
    /// It finishes what is under way, and takes none.
    Draining,
    /// It has ended.
    Ended,
}

/// What has happened since a server began to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ServerTotals {
    /// Connections that were admitted.
    pub accepted: u64,
    /// Connections turned away because there were `max_connections`.
    pub refused_max_connections: u64,
    /// Connections turned away because their address had `max_connections_per_address`.
    pub refused_per_address: u64,
    /// How often reading a connection paused because there was no room within `max_bytes` or
    /// `max_bytes_per_connection`.
    pub paused_for_bytes: u64,
    /// Whole frames received.
    pub requests: u64,
    /// Replies that tell of no failure.
    pub replies: u64,
    /// Frames that clients were sent without having asked for them.
    pub pushes: u64,
    /// Failures that clients were told of.
    pub failures: Failures,
    /// Requests that had arrived when their connection ended as the server drained, and to which
    /// no answer was given: see [`Ended::unanswered`](super::Ended::unanswered).
    pub unanswered: u64,
    /// Heartbeats received.
    pub heartbeats_received: u64,
    /// Heartbeats sent.
    pub heartbeats_sent: u64,
    /// Connections that have ended, by reason; only reasons that have occurred.
    pub closed: BTreeMap<Closed, u64>,
}

/// Failures that clients were told of, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Failures {
    /// No JSON.
    pub malformed: u64,
    /// Not acceptable.
    pub refused: u64,
    /// The handler failed or panicked.
    pub handler_failed: u64,
    /// The handler said that what it needs can't be reached.
    pub unavailable: u64,
    /// `max_handled` was reached, or the handler said so.
    pub overloaded: u64,
    /// `handler_deadline` passed, or the handler said so.
    pub timed_out: u64,
    /// The server was draining and didn't take the request, or the handler said so.
    pub draining: u64,
    /// The handler said so by a code of its own.
    pub application: u64,
}

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Closed {
    /// The client closed it, at a boundary.
    ByPeer,
    /// The client closed it within a frame.
    Truncated,
    /// It was reset, or broke otherwise.
    Broken,
    /// What came was no frame.
    ProtocolError,
    /// A frame was longer than the framing allows.
    FrameTooLong,
    /// What came was HTTP.
    Http,
    /// What came was a TLS handshake, and this port speaks none.
    Tls,
    /// The TLS handshake failed.
    HandshakeFailed,
    /// The TLS handshake took longer than `handshake_timeout`.
    HandshakeTimeout,
    /// The head of a frame took longer than `header_timeout`.
    HeaderTimeout,
    /// A body took longer than `body_timeout` and `least_rate` allow.
    BodyTimeout,
    /// The client took longer to take replies in than `write_timeout` and `least_rate` allow.
    WriteTimeout,
    /// No request within `idle_timeout`.
    IdleTimeout,
    /// The client used to send heartbeats, and then nothing came.
    HeartbeatMissed,
    /// The client sent more heartbeats than `heartbeat_limit` allows.
    HeartbeatFlood,
    /// The client had to be told of a failure for which the protocol has no reply, or behind which
    /// the handler [asked](crate::framing::Failure::closing) for it.
    ToldFailure,
    /// The upstream closed or lost its side: of a [`RawRoute`](crate::proxy::RawRoute).
    ByUpstream,
    /// It had an upstream connection to itself for
    /// [`max_pin_age`](crate::proxy::RawRouteBuilder::max_pin_age): of a raw route.
    MaxPinAge,
    /// The server drained, and nothing was under way any more.
    Drained,
    /// The server closed, or its drain reached the deadline.
    Forced,
}

impl Closed {
    const ALL: [Closed; 20] = [
        Closed::ByPeer,
        Closed::Truncated,
        Closed::Broken,
        Closed::ProtocolError,
        Closed::FrameTooLong,
        Closed::Http,
        Closed::Tls,
        Closed::HandshakeFailed,
        Closed::HandshakeTimeout,
        Closed::HeaderTimeout,
        Closed::BodyTimeout,
        Closed::WriteTimeout,
        Closed::IdleTimeout,
        Closed::HeartbeatMissed,
        Closed::HeartbeatFlood,
        Closed::ToldFailure,
        Closed::ByUpstream,
        Closed::MaxPinAge,
        Closed::Drained,
        Closed::Forced,
    ];
}

/// In words that follow "closed": `by its client`, `by idle_timeout`.
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Closed::ByPeer => "by its client",
            Closed::Truncated => "by its client, within a frame",
            Closed::Broken => "since it broke",
            Closed::ProtocolError => "since what came was no frame",
            Closed::FrameTooLong => "since a frame was too long",
            Closed::Http => "since what came was HTTP",
            Closed::Tls => "since what came was a TLS handshake",
            Closed::HandshakeFailed => "since the TLS handshake failed",
            Closed::HandshakeTimeout => "by handshake_timeout",
            Closed::HeaderTimeout => "by header_timeout",
            Closed::BodyTimeout => "by body_timeout and least_rate",
            Closed::WriteTimeout => "by write_timeout and least_rate",
            Closed::IdleTimeout => "by idle_timeout",
            Closed::HeartbeatMissed => "since its client's heartbeats have stopped",
            Closed::HeartbeatFlood => "by heartbeat_limit",
            Closed::ToldFailure => "to tell of a failure",
            Closed::ByUpstream => "by the upstream",
            Closed::MaxPinAge => "by max_pin_age",
            Closed::Drained => "since the server drains",
            Closed::Forced => "by force",
        })
    }
}

/// The counters behind [`ServerTotals`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) refused_max_connections: AtomicU64,
    pub(super) refused_per_address: AtomicU64,
    pub(super) paused_for_bytes: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) replies: AtomicU64,
    pub(super) pushes: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) heartbeats_received: AtomicU64,
    pub(super) heartbeats_sent: AtomicU64,
    malformed: AtomicU64,
    refused: AtomicU64,
    handler_failed: AtomicU64,
    unavailable: AtomicU64,
    overloaded: AtomicU64,
    timed_out: AtomicU64,
    draining: AtomicU64,
    application: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(super) fn failure(&self, kind: FailureKind) {
        count(match kind {
            FailureKind::Malformed => &self.malformed,
            FailureKind::Refused => &self.refused,
            FailureKind::HandlerFailed => &self.handler_failed,
            FailureKind::Unavailable => &self.unavailable,
            FailureKind::Overloaded => &self.overloaded,
            FailureKind::TimedOut => &self.timed_out,
            FailureKind::NotTaken => &self.draining,
            FailureKind::Application(_) => &self.application,
        });
    }

    pub(super) fn closed(&self, reason: Closed) {
        count(&self.closed[reason as usize]);
    }

    /// How many connections were closed by force.
    pub(super) fn forced(&self) -> u64 {
        self.closed[Closed::Forced as usize].load(Relaxed)
    }

    pub(super) fn totals(&self) -> ServerTotals {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let closed = Closed::ALL
            .into_iter()
            .map(|reason| (reason, of(&self.closed[reason as usize])));
        ServerTotals {
            accepted: of(&self.accepted),
            refused_max_connections: of(&self.refused_max_connections),
            refused_per_address: of(&self.refused_per_address),
            paused_for_bytes: of(&self.paused_for_bytes),
            requests: of(&self.requests),
            replies: of(&self.replies),
            pushes: of(&self.pushes),
            unanswered: of(&self.unanswered),
            failures: Failures {
                malformed: of(&self.malformed),
                refused: of(&self.refused),
                handler_failed: of(&self.handler_failed),
                unavailable: of(&self.unavailable),
                overloaded: of(&self.overloaded),
                timed_out: of(&self.timed_out),
                draining: of(&self.draining),
                application: of(&self.application),
            },
            heartbeats_received: of(&self.heartbeats_received),
            heartbeats_sent: of(&self.heartbeats_sent),
            closed: closed.filter(|&(_, times)| times > 0).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let counters = Counters::default();
        for (times, reason) in Closed::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| counters.closed(reason));
        }
        let closed = counters.totals().closed;
        for (times, reason) in (1..).zip(Closed::ALL) {
            assert_eq!(closed[&reason], times, "{reason:?}");
        }
    }
}
