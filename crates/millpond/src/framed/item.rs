//! What is read from a framed stream: an item, or the reason why there will be no more.

use std::io;

use bytes::{Buf, Bytes};

use crate::framing::{Extent, FrameError};

/// What arrives on a framed stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Frame(Frame),
    Heartbeat,
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(super) whole: Bytes,
    pub(super) extent: Extent,
}

impl Frame {
    /// All of its bytes.
    #[inline]
    pub(crate) fn length(&self) -> usize {
        self.whole.len()
    }

    /// Its body. The bytes keep one owner: a second would cost an allocation.
    #[inline]
    pub(crate) fn into_body(mut self) -> Bytes {
        self.whole.advance(self.extent.head);
        if self.extent.tail > 0 {
            self.whole.truncate(self.extent.body);
        }
        self.whole
    }
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
