//! The looks at bytes of which delimited frames are found, each of which says how many bytes it looks
//! at: tests count them.

use crate::framing::Octets;

/// The last bytes of all delimiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
}

impl Ends {
    pub(super) fn of(delimiters: &[Octets]) -> Self {
        let mut ends: Vec<_> = delimiters.iter().filter_map(|end| end.last()).collect();
        ends.sort_unstable();
        ends.dedup();
        match ends[..] {
            [&one] => Ends::One(one),
            [&one, &two] => Ends::Two(one, two),
            [&one, &two, &three, ..] => Ends::Three(one, two, three),
            // Settings without any are refused.
            [] => Ends::One(b'\n'),
        }
    }

    /// Where the first of them stands.
    #[inline]
    pub(super) fn find(self, bytes: &[u8]) -> Option<usize> {
        let found = match self {
            Ends::One(one) => memchr::memchr(one, bytes),
            Ends::Two(one, two) => memchr::memchr2(one, two, bytes),
            Ends::Three(one, two, three) => memchr::memchr3(one, two, three, bytes),
        };
        examined(found.map_or(bytes.len(), |at| at + 1));
        found
    }
}

/// For the few bytes of a delimiter a loop costs less than a call.
#[inline]
pub(super) fn ends_with(text: &[u8], delimiter: &[u8]) -> bool {
    if text.len() < delimiter.len() {
        return false;
    }
    examined(delimiter.len());
    let mut pairs = text.iter().rev().zip(delimiter.iter().rev());
    pairs.all(|(found, expected)| found == expected)
}

/// Whether a line is the last one of a reply.
pub(super) fn is_same(line: &[u8], last: &[u8]) -> bool {
    if line.len() != last.len() {
        return false;
    }
    examined(last.len());
    line == last
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
