//! The arguments of a request, of an array or of an inline command's line, and the array that is made
//! of them.

use std::{io::Write, iter::FusedIterator};

use crate::framing::FrameError;

/// The arguments of a request that is an array of bulk strings, in their order. Ends at the first
/// byte that isn't as in such an array; so of anything else there are none.
#[derive(Clone, Debug)]
pub(super) struct Arguments<'r> {
    rest: &'r [u8],
    left: usize,
}

impl<'r> Arguments<'r> {
    /// Those of a whole request.
    #[inline]
    pub(super) fn of(request: &'r [u8]) -> Self {
        let (left, rest) = head(request, b'*').unwrap_or_default();
        Arguments { rest, left }
    }

    /// How many there are, if the request is well-formed.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.left
    }
}

impl<'r> Iterator for Arguments<'r> {
    type Item = &'r [u8];

    #[inline]
    fn next(&mut self) -> Option<&'r [u8]> {
        self.left = self.left.checked_sub(1)?;
        let argument = head(self.rest, b'$').and_then(|(length, rest)| {
            let (argument, rest) = rest.split_at_checked(length)?;
            Some((argument, rest.strip_prefix(b"\r\n")?))
        });
        let Some((argument, rest)) = argument else {
            *self = Arguments::of(b"");
            return None;
        };
        self.rest = rest;
        Some(argument)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl FusedIterator for Arguments<'_> {}

/// The count behind this type, and what follows its line.
#[inline]
fn head(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let (&first, mut rest) = bytes.split_first()?;
    if first != kind {
        return None;
    }
    let mut count = 0_usize;
    while let Some((digit @ b'0'..=b'9', behind)) = rest.split_first() {
        count = count
            .checked_mul(10)?
            .checked_add(usize::from(digit - b'0'))?;
        rest = behind;
    }
    Some((count, rest.strip_prefix(b"\r\n")?))
}

/// Whether a whole request is an inline command, and no array.
#[inline]
pub(super) fn is_inline(request: &[u8]) -> bool {
    request.first().is_some_and(|&first| first != b'*')
}

/// The words of an inline command, by redis-server's rules. They are apart by blanks, or quoted:
/// within `"` there are `\n`, `\r`, `\t`, `\b`, `\a`, `\xHH`, and `\` before any other byte stands for
/// that; within `'` only `\'`.
///
/// # Errors
///
/// A quote isn't closed, or no blank follows the one that closes; or a zero byte isn't quoted.
pub(super) fn of_line(line: &[u8]) -> Result<Vec<Vec<u8>>, FrameError> {
    let (mut words, mut rest) = (Vec::new(), skip_blanks(line));
    while !rest.is_empty() {
        if rest.first() == Some(&0) {
            return Err(FrameError::Malformed {
                reason: "an inline command has a zero byte outside of quotes".into(),
            });
        }
        let mut word = Vec::new();
        rest = next_word(rest, &mut word).ok_or(FrameError::Malformed {
            reason: "an inline command's quotes are unbalanced".into(),
        })?;
        words.push(word);
        rest = skip_blanks(rest);
    }
    Ok(words)
}

/// What C calls white space.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn skip_blanks(rest: &[u8]) -> &[u8] {
    let blanks = rest.iter().take_while(|&&byte| is_blank(byte)).count();
    &rest[blanks..]
}

/// Reads one word, and returns what follows. A quote may begin in the middle of a word, and ends it.
fn next_word<'l>(mut rest: &'l [u8], word: &mut Vec<u8>) -> Option<&'l [u8]> {
    loop {
        match *rest {
            // Blanks that aren't these end no word.
            [] | [b' ' | b'\n' | b'\r' | b'\t' | 0, ..] => return Some(rest),
            [b'"', ref quoted @ ..] => return double_quoted(quoted, word),
            [b'\'', ref quoted @ ..] => return single_quoted(quoted, word),
            [byte, ref behind @ ..] => {
                word.push(byte);
                rest = behind;
            }
        }
    }
}

fn double_quoted<'l>(mut rest: &'l [u8], word: &mut Vec<u8>) -> Option<&'l [u8]> {
    loop {
        let (byte, behind) = match *rest {
            [] => return None,
            [b'"', ref behind @ ..] => return closed(behind),
            [b'\\', b'x', high, low, ref behind @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (16 * digit(high) + digit(low), behind)
            }
            [b'\\', escaped, ref behind @ ..] => (unescaped(escaped), behind),
            [byte, ref behind @ ..] => (byte, behind),
        };
        word.push(byte);
        rest = behind;
    }
}

fn single_quoted<'l>(mut rest: &'l [u8], word: &mut Vec<u8>) -> Option<&'l [u8]> {
    loop {
        let (byte, behind) = match *rest {
            [] => return None,
            [b'\'', ref behind @ ..] => return closed(behind),
            [b'\\', b'\'', ref behind @ ..] => (b'\'', behind),
            [byte, ref behind @ ..] => (byte, behind),
        };
        word.push(byte);
        rest = behind;
    }
}

fn closed(behind: &[u8]) -> Option<&[u8]> {
    match behind.first() {
        Some(&byte) if !is_blank(byte) => None,
        _ => Some(behind),
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 0,
    }
}

/// Writes a request with these arguments, as an array of bulk strings, at the end of `out`.
pub(super) fn put_array<A: AsRef<[u8]>>(arguments: &[A], out: &mut Vec<u8>) {
    put_head(b'*', arguments.len(), out);
    for argument in arguments {
        let argument = argument.as_ref();
        put_head(b'$', argument.len(), out);
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

fn put_head(kind: u8, count: usize, out: &mut Vec<u8>) {
    out.push(kind);
    write!(out, "{count}\r\n").expect("a vector takes all");
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
