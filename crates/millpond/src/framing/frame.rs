//! A whole frame.

use std::fmt;

use bytes::{Buf, Bytes};

use super::{
    Framing,
    context::Context,
    error::FrameError,
    scan::Scan,
    step::{Extent, Step},
};

/// A frame as it came, and where its parts lie.
///
/// A clone shares the bytes.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Frame {
    whole: Bytes,
    /// Bytes before the body.
    head: usize,
    /// Bytes of the body.
    body: usize,
}

impl Frame {
    /// The frame that these bytes are.
    ///
    /// # Errors
    ///
    /// They aren't exactly one frame: [`FrameError::NotOneFrame`], or what the framing says.
    pub fn parse(
        framing: &impl Framing,
        context: Context<'_>,
        whole: impl Into<Bytes>,
    ) -> Result<Frame, FrameError> {
        let whole = whole.into();
        let extent = extent_of(framing, context, &whole)?;
        Ok(Frame::new(whole, extent))
    }

    /// A frame that has just been found; `extent` is all of `whole`.
    #[inline]
    pub(crate) fn new(whole: Bytes, extent: Extent) -> Self {
        debug_assert_eq!(whole.len(), extent.length());
        Frame {
            whole,
            head: extent.head,
            body: extent.body,
        }
    }

    /// None: in the place of one that is needed no more.
    pub(crate) fn empty() -> Frame {
        Frame::new(Bytes::new(), Extent::default())
    }

    /// All of its bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.whole
    }

    /// Its body.
    #[inline]
    pub fn body(&self) -> &[u8] {
        &self.whole[self.head..self.head + self.body]
    }

    /// Where its parts lie.
    pub fn extent(&self) -> Extent {
        Extent {
            head: self.head,
            body: self.body,
            tail: self.whole.len() - self.head - self.body,
        }
    }

    /// How many bytes it has.
    #[inline]
    pub(crate) fn length(&self) -> usize {
        self.whole.len()
    }

    /// All of its bytes. Nothing is copied.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        self.whole
    }

    /// Its body. Nothing is copied.
    #[inline]
    pub fn into_body(mut self) -> Bytes {
        // The bytes keep one owner: a second would cost an allocation.
        self.whole.advance(self.head);
        self.whole.truncate(self.body);
        self.whole
    }

    /// The same frame, with bytes of the same length: `change` may overwrite them. They are copied
    /// only if somebody else holds them as well.
    pub(crate) fn map_bytes(self, change: impl FnOnce(&mut [u8])) -> Self {
        let mut whole = bytes::BytesMut::from(self.whole);
        change(&mut whole);
        let (head, body) = (self.head, self.body);
        let whole = whole.freeze();
        Frame { whole, head, body }
    }
}

/// Its length alone: payloads reach no log.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.whole.len())
    }
}

/// Where the parts of a frame lie.
///
/// # Errors
///
/// These bytes aren't exactly one frame.
pub(crate) fn extent_of(
    framing: &impl Framing,
    context: Context<'_>,
    whole: &[u8],
) -> Result<Extent, FrameError> {
    let mut scan = Scan::default();
    let step = framing.next(context, whole, &mut scan)?;
    match step.checked(whole.len(), &scan, framing.max_frame())? {
        Step::Frame(extent) if extent.length() == whole.len() => Ok(extent),
        _ => Err(FrameError::NotOneFrame {
            length: whole.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_three_parts() {
        let extent = Extent {
            head: 2,
            body: 3,
            tail: 1,
        };
        let frame = Frame::new(Bytes::from_static(b"> abc<"), extent);
        assert_eq!((frame.body(), frame.extent()), (&b"abc"[..], extent));
        assert_eq!(frame.as_bytes(), b"> abc<");
        assert_eq!(frame.clone().into_body(), "abc");
        let kept = frame.clone();
        let changed = frame.map_bytes(|bytes| bytes[2] = b'A');
        assert_eq!(
            (changed.into_bytes(), kept.into_bytes()),
            ("> Abc<".into(), "> abc<".into())
        );
    }
}
