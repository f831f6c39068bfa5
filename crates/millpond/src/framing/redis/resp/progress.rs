//! How far a frame has been read, as the one word that a scan keeps; its position is where the value
//! begins that is being read, or the string's content.

use crate::framing::Scan;

/// Bits of the word for a position, below [`Limits::LARGEST_BODY`](super::limits::Limits).
const POSITION: u32 = 30;

/// Bits of the word for the number of values to come: each has three bytes at least, all of them
/// within the largest frame.
const REMAINING: u32 = 29;

const OPEN: u32 = POSITION + REMAINING;
const STRING: u32 = OPEN + 1;
const CHUNKED: u32 = STRING + 1;
const STREAMED: u32 = CHUNKED + 1;

/// A top-level aggregate without a count, which ends with a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streamed {
    /// There is none.
    No,
    /// An array or a set.
    Elements,
    /// A map; the next value is a key.
    Key,
    /// A map; the next value belongs to a key.
    Value,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// How many values are to come, the one that is being read among them. It is 0 between the
    /// elements of a streamed aggregate.
    pub(super) remaining: usize,
    /// Within a string its length. Otherwise how much of the line has been looked at.
    pub(super) offset: usize,
    /// The top-level value is an aggregate, and its head has been read.
    pub(super) is_open: bool,
    /// The content of a string is being read.
    pub(super) in_string: bool,
    /// A streamed string is being read, chunk by chunk.
    pub(super) is_chunked: bool,
    /// Of the top-level value.
    pub(super) streamed: Streamed,
}

impl Progress {
    /// At a boundary, where the word is 0, one value is to come.
    #[inline]
    pub(super) fn of(scan: &Scan) -> Self {
        let word = scan.note();
        let bits = |from: u32, count: u32| (word >> from & ((1 << count) - 1)) as usize;
        Progress {
            remaining: bits(POSITION, REMAINING) ^ 1,
            offset: bits(0, POSITION),
            is_open: bits(OPEN, 1) == 1,
            in_string: bits(STRING, 1) == 1,
            is_chunked: bits(CHUNKED, 1) == 1,
            streamed: match bits(STREAMED, 2) {
                0 => Streamed::No,
                1 => Streamed::Elements,
                2 => Streamed::Key,
                _ => Streamed::Value,
            },
        }
    }

    /// What comes next begins there.
    #[inline]
    pub(super) fn save(self, position: usize, scan: &mut Scan) {
        scan.set_searched(position);
        let streamed = match self.streamed {
            Streamed::No => 0,
            Streamed::Elements => 1,
            Streamed::Key => 2,
            Streamed::Value => 3,
        };
        scan.set_note(
            self.offset as u64
                | (self.remaining as u64 ^ 1) << POSITION
                | u64::from(self.is_open) << OPEN
                | u64::from(self.in_string) << STRING
                | u64::from(self.is_chunked) << CHUNKED
                | streamed << STREAMED,
        );
    }
}
