//! What is in a whole reply: its type, its text, its elements. Nothing here panics, whatever the bytes
//! are, and of bytes that are no whole reply nothing is found.

use super::resp::{self, Limits};
use crate::framing::{Scan, Step};

/// The type of a reply: the first byte behind the attributes. 0 if there is none.
pub(super) fn kind(reply: &[u8]) -> u8 {
    value(reply).first().copied().unwrap_or_default()
}

/// Whether a reply is an error, of either form.
pub(super) fn is_error(reply: &[u8]) -> bool {
    matches!(kind(reply), b'-' | b'!')
}

/// The first word of an error, such as `MOVED`; empty if it is no error.
pub(super) fn error_code(reply: &[u8]) -> &[u8] {
    let value = value(reply);
    let text = match value.first() {
        Some(b'-') => line(value),
        Some(b'!') => content(value),
        _ => None,
    };
    let text = text.unwrap_or_default();
    let end = text.iter().position(|&byte| byte == b' ');
    &text[..end.unwrap_or(text.len())]
}

/// The text of a simple string, a bulk string or a verbatim string without its format. None of
/// anything else: null, an error, or a streamed string, whose text isn't in one piece.
pub(super) fn text(element: &[u8]) -> Option<&[u8]> {
    let value = value(element);
    match value.first()? {
        b'+' => line(value),
        b'$' => content(value),
        b'=' => content(value)?.get(4..),
        _ => None,
    }
}

/// The number that an element of the type integer is.
pub(super) fn integer(element: &[u8]) -> Option<i64> {
    let value = value(element);
    match value.first()? {
        b':' => std::str::from_utf8(line(value)?).ok()?.parse().ok(),
        _ => None,
    }
}

/// The elements of a reply that is an aggregate, each with the attributes before it. Of a map they are
/// keys and values in turn. Of anything else there are none.
#[derive(Clone, Debug)]
pub(super) struct Elements<'r> {
    rest: &'r [u8],
    /// None of a streamed aggregate.
    left: Option<usize>,
}

impl<'r> Elements<'r> {
    /// Those of a whole reply.
    pub(super) fn of(reply: &'r [u8]) -> Self {
        let value = value(reply);
        let rest = behind_line(value);
        let left = match (value.first(), value.get(1)) {
            (Some(b'*' | b'~' | b'%'), Some(b'?')) => None,
            (Some(b'*' | b'~' | b'>'), _) => count(value),
            (Some(b'%'), _) => count(value).map(|pairs| pairs.saturating_mul(2)),
            _ => Some(0),
        };
        let is_null = value.get(1) == Some(&b'-');
        Elements {
            rest,
            left: if is_null { Some(0) } else { left },
        }
    }
}

impl<'r> Iterator for Elements<'r> {
    type Item = &'r [u8];

    fn next(&mut self) -> Option<&'r [u8]> {
        let left = match self.left {
            Some(left) => Some(left.checked_sub(1)?),
            None => None,
        };
        let element = first(self.rest)?;
        self.rest = &self.rest[element.len()..];
        self.left = left;
        Some(element)
    }
}

/// The first value of these bytes, with the attributes before it.
fn first(bytes: &[u8]) -> Option<&[u8]> {
    match resp::reply(bytes, &mut Scan::default(), &Limits::LARGEST) {
        Ok(Step::Frame(extent)) => bytes.get(..extent.length()),
        _ => None,
    }
}

/// The value behind the attributes.
fn value(mut reply: &[u8]) -> &[u8] {
    while let Some(b'|') = reply.first() {
        let Some(entries) = count(reply) else {
            return b"";
        };
        reply = behind_line(reply);
        for _ in 0..entries.saturating_mul(2) {
            let Some(entry) = first(reply) else {
                return b"";
            };
            reply = &reply[entry.len()..];
        }
    }
    reply
}

/// The first line, without its type and its end.
fn line(value: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\r', value)?;
    value.get(1..end)
}

fn behind_line(value: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', value);
    end.and_then(|end| value.get(end + 1..)).unwrap_or_default()
}

/// The count in the first line.
fn count(value: &[u8]) -> Option<usize> {
    std::str::from_utf8(line(value)?).ok()?.parse().ok()
}

/// The content of a string that isn't streamed.
fn content(value: &[u8]) -> Option<&[u8]> {
    behind_line(value).get(..count(value)?)
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
