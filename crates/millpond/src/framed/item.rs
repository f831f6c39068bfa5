//! What is read from a framed stream: an item, or the reason why there will be no more.

use std::{io, ops::ControlFlow};

use crate::framing::{Context, Frame, FrameError};

/// What arrives on a framed stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Frame(Frame),
    Heartbeat,
}

/// What takes the items of a batch.
pub(crate) trait Items {
    /// What is known of the next item before it is looked at.
    fn context(&self) -> Context<'_>;

    /// Takes an item. On a break no further item is looked at, and what came behind it is kept.
    fn item(&mut self, item: Item) -> ControlFlow<()>;
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The peer has closed its side, at a boundary.
    Closed,
    /// The peer has closed its side within a frame or a heartbeat.
    Truncated,
    /// What came is no frame.
    Frame(FrameError),
    /// The connection broke.
    Io(io::Error),
}
