//! The parts of which both requests and replies are made: counts, the ends of lines and of strings.
//! Each look says how many bytes it looks at: tests count them.

use std::borrow::Cow;

use crate::framing::{Extent, FrameError, Step};

/// A count, and the end of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// All of it is there.
    Whole {
        /// The number.
        value: usize,
        /// Where the next line begins.
        next: usize,
    },
    /// The line isn't complete. It ends there at the earliest.
    Part {
        /// Where the next line would begin.
        next: usize,
    },
    /// It is more than was asked for: what the digits say up to the one that made it so.
    Over(usize),
}

/// Reads a count of at most `most`, as digits from `begin` on, and the end of the line.
///
/// # Errors
///
/// There is something else: a sign, a leading zero, no digit.
#[inline]
pub(super) fn count(bytes: &[u8], begin: usize, most: usize) -> Result<Count, FrameError> {
    let (mut value, mut at) = (0_usize, begin);
    loop {
        match bytes.get(at) {
            Some(digit @ b'0'..=b'9') if at == begin || value > 0 => {
                value = value
                    .saturating_mul(10)
                    .saturating_add(usize::from(digit - b'0'));
                if value > most {
                    return Ok(Count::Over(value));
                }
                examined(1);
                at += 1;
            }
            Some(b'\r') if at > begin => break,
            Some(_) if at == begin => return Err(unexpected(bytes, at, "a digit")),
            Some(_) if value == 0 => {
                let expected = "a carriage return, since a number doesn't begin with 0,";
                return Err(unexpected(bytes, at, expected));
            }
            Some(_) => return Err(unexpected(bytes, at, "a digit or a carriage return")),
            None => {
                let next = at.max(begin + 1) + 2;
                return Ok(Count::Part { next });
            }
        }
    }
    let next = at + 2;
    match ends_line(bytes, at)? {
        true => Ok(Count::Whole { value, next }),
        false => Ok(Count::Part { next }),
    }
}

/// Whether there is a carriage return with a line feed, rather than too few bytes.
///
/// # Errors
///
/// There is something else.
#[inline]
pub(super) fn ends_line(bytes: &[u8], at: usize) -> Result<bool, FrameError> {
    examined(bytes.len().saturating_sub(at).min(2));
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(true),
        (Some(b'\r'), None) | (None, _) => Ok(false),
        (Some(b'\r'), Some(_)) => Err(unexpected(bytes, at + 1, "a line feed")),
        (Some(_), _) => Err(unexpected(bytes, at, "a carriage return")),
    }
}

/// The frame whose end is known: it ends with a string, whose end is looked at.
#[inline]
pub(super) fn closed(bytes: &[u8], extent: Extent) -> Result<Step, FrameError> {
    ends_line(bytes, extent.length().saturating_sub(2))?;
    Ok(extent.within(bytes.len()))
}

/// The frame of this length.
#[inline]
pub(super) fn whole(length: usize) -> Extent {
    Extent {
        head: 0,
        body: length,
        tail: 0,
    }
}

/// At least so many bytes are needed from the boundary on.
#[inline]
pub(super) fn more(bytes: &[u8], least: usize) -> Step {
    Step::More {
        missing: least.saturating_sub(bytes.len()).max(1),
    }
}

/// The byte at this position, which must be there, is none that may be.
#[cold]
pub(super) fn unexpected(
    bytes: &[u8],
    position: usize,
    expected: impl Into<Cow<'static, str>>,
) -> FrameError {
    FrameError::Unexpected {
        position,
        found: bytes.get(position).copied().unwrap_or_default(),
        expected: expected.into(),
    }
}

#[cold]
pub(super) fn malformed(reason: impl Into<Cow<'static, str>>) -> FrameError {
    FrameError::Malformed {
        reason: reason.into(),
    }
}

/// Bytes of which the first is none of ours. Whose they are is worth waiting for, but for no more of
/// them than tell it.
///
/// # Errors
///
/// Whose they are, or else `own`.
#[cold]
pub(super) fn stranger(
    strangers: &[(&[u8], FrameError)],
    bytes: &[u8],
    own: FrameError,
) -> Result<Step, FrameError> {
    for (beginning, error) in strangers {
        let missing = beginning.len().saturating_sub(bytes.len());
        if bytes.starts_with(beginning) {
            return Err(error.clone());
        } else if missing > 0 && beginning.starts_with(bytes) {
            return Ok(Step::More { missing });
        }
    }
    Err(own)
}

/// So many bytes are looked at.
#[inline]
pub(super) fn examined(bytes: usize) {
    #[cfg(test)]
    EXAMINED.set(EXAMINED.get() + bytes);
    #[cfg(not(test))]
    let _ = bytes;
}

#[cfg(test)]
thread_local! {
    /// How many bytes have been looked at by this thread.
    pub(super) static EXAMINED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
