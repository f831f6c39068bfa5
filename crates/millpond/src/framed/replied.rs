//! What the server has sent back for one request.

use bytes::Bytes;

use crate::framing::{Frame, FrameError, Framing};

/// The frames that answer a request, in their order; none, if it asked for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replied {
    /// Nearly always there is one alone: it costs no allocation.
    last: Option<Frame>,
    before: Vec<Frame>,
    /// What all of them count for.
    weight: usize,
}

impl Replied {
    /// Adds a frame.
    #[inline]
    pub(super) fn push(&mut self, frame: Frame) {
        self.weight += weight(&frame);
        if let Some(last) = self.last.replace(frame) {
            self.before.push(last);
        }
    }

    /// No frame has come.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// All frames of a reply together may have [`Framing::max_reply`].
    ///
    /// # Errors
    ///
    /// They have more.
    #[inline]
    pub(super) fn check_length(&self, framing: &impl Framing) -> Result<(), FrameError> {
        match self.before.is_empty() {
            true => Ok(()),
            false => check_weight(framing, self.weight),
        }
    }

    /// The body of the last frame; empty if there is none.
    #[inline]
    pub(crate) fn body(&self) -> &[u8] {
        self.last.as_ref().map(Frame::body).unwrap_or_default()
    }

    /// The body of the last frame, without a copy; empty if there is none.
    #[inline]
    pub(crate) fn into_body(self) -> Bytes {
        self.last.map(Frame::into_body).unwrap_or_default()
    }

    /// All frames.
    pub(crate) fn into_frames(mut self) -> Vec<Frame> {
        self.before.extend(self.last);
        self.before
    }
}

impl From<Frame> for Replied {
    #[inline]
    fn from(frame: Frame) -> Self {
        Replied {
            weight: weight(&frame),
            last: Some(frame),
            before: Vec::new(),
        }
    }
}

/// What a frame that is kept counts for: its bytes, and what keeping it costs.
pub(super) fn weight(frame: &Frame) -> usize {
    frame.as_bytes().len() + 64
}

/// Whether frames that count for so much may be kept.
pub(super) fn check_weight(framing: &impl Framing, weight: usize) -> Result<(), FrameError> {
    let limit = framing.max_reply();
    match weight <= limit {
        true => Ok(()),
        false => Err(FrameError::TooLong {
            length: weight as u64,
            limit: limit as u64,
            setting: Some("Framing::max_reply".into()),
        }),
    }
}
