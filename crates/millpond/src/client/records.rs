//! What the sessions of a client record together.

use std::{sync::atomic::AtomicU64, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::reports::Reports;
use crate::{framed::HeartbeatLimit, framing::FrameError};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SessionRecords {
    /// How many heartbeats each peer may send.
    pub(super) heartbeat_limit: HeartbeatLimit,
    /// The least time between a reply and the next request on the same connection.
    pub(super) request_pause: Duration,
    pub(super) heartbeats_sent: AtomicU64,
    pub(super) heartbeats_received: AtomicU64,
    /// How many writes the requests of pipelines have taken.
    pub(super) pipelined_writes: AtomicU64,
    /// The first bytes of another protocol, if that is what the last unasked bytes were.
    pub(super) stranger: Mutex<Option<FrameError>>,
    /// When a connection was last closed because its server couldn't serve.
    pub(super) closed_as_unfit: Mutex<Option<Instant>>,
    pub(super) reports: Reports,
}
