//! What the server has sent back for one request.

use bytes::Bytes;

use crate::framing::{Frame, FrameError, Framing};

/// The frames that answer a request, in their order; none, if it asked for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replied {
    last: Option<Frame>,
    /// Nearly always there is one alone.
    before: Option<Box<Before>>,
}

/// The frames before the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Before {
    frames: Vec<Frame>,
    /// What all of them count for, with the last.
    weight: usize,
}

impl Replied {
    /// Adds a frame.
    #[inline]
    pub(super) fn push(&mut self, frame: Frame) {
        match self.last.take() {
            None => self.last = Some(frame),
            Some(last) => self.push_behind(last, frame),
        }
    }

    #[cold]
    fn push_behind(&mut self, last: Frame, frame: Frame) {
        let before = self.before.get_or_insert_with(|| {
            Box::new(Before {
                weight: weight(&last),
                frames: Vec::new(),
            })
        });
        before.weight += weight(&frame);
        before.frames.push(last);
        self.last = Some(frame);
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
        match &self.before {
            None => Ok(()),
            Some(before) => check_weight(framing, before.weight),
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

    /// All frames, in their order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame> {
        let before = self.before.iter().flat_map(|before| &before.frames);
        before.chain(&self.last)
    }

    /// All frames.
    pub(crate) fn into_frames(self) -> Vec<Frame> {
        let mut frames = self.before.map(|before| before.frames).unwrap_or_default();
        frames.extend(self.last);
        frames
    }
}

impl From<Frame> for Replied {
    #[inline]
    fn from(frame: Frame) -> Self {
        Replied {
            last: Some(frame),
            before: None,
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
