//! What a framing answers of the bytes at a boundary, and where the parts of a frame lie.

use std::fmt;

use millpond_words::Thousands;

/// What bytes at a boundary begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not all of it has arrived: at least so many bytes are missing.
    More {
        /// At least 1; what the frame lacks, once its length is known.
        missing: usize,
    },
    /// A frame.
    Frame(Extent),
    /// A heartbeat of so many bytes.
    Heartbeat {
        /// How many.
        length: usize,
    },
}

/// Where the parts of a frame lie: `head` bytes, then `body` bytes, then `tail` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes before the body.
    pub head: usize,
    /// Bytes of the body.
    pub body: usize,
    /// Bytes after the body.
    pub tail: usize,
}

impl Extent {
    /// All of the frame's bytes; [`usize::MAX`] if they are more than that.
    #[inline]
    pub fn length(self) -> usize {
        self.head
            .saturating_add(self.body)
            .saturating_add(self.tail)
    }

    /// The frame, if so many bytes from the boundary on hold all of it; otherwise what is missing.
    #[inline]
    pub fn within(self, received: usize) -> Step {
        match self.length().saturating_sub(received) {
            0 => Step::Frame(self),
            missing => Step::More { missing },
        }
    }
}

/// In words that follow "it answered".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::More { missing } => {
                write!(
                    f,
                    "that at least {} more are missing",
                    Thousands(*missing as u64)
                )
            }
            Step::Frame(extent) => write!(
                f,
                "that they begin with a frame of {}",
                Thousands(extent.length() as u64)
            ),
            Step::Heartbeat { length } => write!(
                f,
                "that they begin with a heartbeat of {}",
                Thousands(*length as u64)
            ),
        }
    }
}
