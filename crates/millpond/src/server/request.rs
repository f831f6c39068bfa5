//! A request as its handler gets it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::framing::{Frame, LocalReply};

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) frame: Frame,
    pub(super) peer: Option<SocketAddr>,
    pub(super) deadline: Option<Instant>,
    /// It demands a connection of its sender's own.
    pub(super) pins: bool,
    /// The lane of its sender.
    pub(super) lane: u16,
    /// How long the server that executes it may wait by itself.
    pub(super) may_wait: Duration,
    /// The framing's own reply to it, which the handler is asked about.
    pub(super) local: Option<Box<LocalReply>>,
}

impl Request {
    /// What the client has sent.
    pub fn body(&self) -> &[u8] {
        self.frame.body()
    }

    /// What the client has sent. Nothing is copied.
    pub fn into_body(self) -> Bytes {
        self.frame.into_body()
    }

    /// The whole frame, as it came.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The client's address; `None` over Unix sockets.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the framing says that it [pins](crate::framing::Demand::pins) its connection.
    pub(crate) fn pins(&self) -> bool {
        self.pins
    }

    /// The [lane](crate::framing::Framing::lane) of its sender.
    pub(crate) fn lane(&self) -> u16 {
        self.lane
    }

    /// How long the server that executes it [may wait](crate::framing::Demand::may_wait) by itself.
    pub(crate) fn may_wait(&self) -> Duration {
        self.may_wait
    }

    /// When the handler is dropped; `None` without a `handler_deadline`.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How much time is left until [`deadline`](Request::deadline): a limit for the requests that
    /// the handler itself makes.
    pub fn remaining(&self) -> Option<Duration> {
        Some(self.deadline?.saturating_duration_since(Instant::now()))
    }
}
