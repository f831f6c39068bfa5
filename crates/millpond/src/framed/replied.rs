//! What the server has sent back for one request.

use bytes::Bytes;

use crate::framing::{Frame, FrameError, Framing};

/// The frames that answer a request, in their order; none, if it asked for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replied {
    /// Nearly always there is one alone: it costs no allocation.
    last: Option<Frame>,
    before: Vec<Frame>,
    /// How many bytes the frames have.
    bytes: usize,
}

impl Replied {
    /// Adds a frame.
    #[inline]
    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.as_bytes().len();
        if let Some(last) = self.last.replace(frame) {
            self.before.push(last);
        }
    }

    /// No frame has come.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// All frames of a reply together may be no longer than one.
    ///
    /// # Errors
    ///
    /// They are longer.
    #[inline]
    pub(super) fn check_length(&self, framing: &impl Framing) -> Result<(), FrameError> {
        if self.before.is_empty() || self.bytes <= framing.max_frame() {
            return Ok(());
        }
        Err(FrameError::TooLong {
            length: self.bytes as u64,
            limit: framing.max_frame() as u64,
            setting: Some("Framing::max_frame".into()),
        })
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
            bytes: frame.as_bytes().len(),
            last: Some(frame),
            before: Vec::new(),
        }
    }
}
