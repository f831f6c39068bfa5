//! What is longer than allowed.

use std::borrow::Cow;

use crate::framing::FrameError;

/// How long frames may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::framing::redis) struct Limits {
    /// The longest frame in bytes. More than [`Limits::LARGEST_BODY`] counts as that.
    pub(in crate::framing::redis) max_body: usize,
    /// How many arguments a request may have, its name among them.
    pub(in crate::framing::redis) max_arguments: usize,
    /// The setting that raises `max_body`.
    pub(in crate::framing::redis) named: Cow<'static, str>,
}

impl Limits {
    /// The longest frame that can be allowed, in bytes: a position has to fit into 30 bits of a scan's
    /// word. A bulk string of redis-server has 512 MiB at most, unless it is set otherwise.
    pub(in crate::framing::redis) const LARGEST_BODY: usize = (1 << 30) - 1;

    /// For what has been read once already.
    pub(in crate::framing::redis) const LARGEST: Limits = Limits {
        max_body: Limits::LARGEST_BODY,
        max_arguments: usize::MAX,
        named: Cow::Borrowed(""),
    };

    #[inline]
    pub(super) fn longest(&self) -> usize {
        self.max_body.min(Limits::LARGEST_BODY)
    }

    /// Refuses a frame that has at least so many bytes.
    #[inline]
    pub(super) fn allow(&self, length: usize) -> Result<(), FrameError> {
        match length <= self.longest() {
            true => Ok(()),
            false => Err(self.too_long(length as u64)),
        }
    }

    #[cold]
    pub(super) fn too_long(&self, length: u64) -> FrameError {
        // Nothing raises the largest of all.
        let can_be_raised = self.max_body < Limits::LARGEST_BODY;
        FrameError::TooLong {
            length,
            limit: self.longest() as u64,
            setting: can_be_raised.then(|| self.named.clone()),
        }
    }
}
