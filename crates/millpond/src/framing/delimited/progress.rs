//! How far a reply of several lines has been looked at, as the one word that a scan keeps.

use crate::framing::Scan;

/// Bits of the word for the number of lines, or for the delimiter's length.
const COUNT: u32 = 23;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Where the line begins that is looked at. Below 2^40: no frame is longer.
    pub(super) line: usize,
    /// What of that line has been searched is the prompt's beginning.
    pub(super) may_be_prompt: bool,
    /// How many lines there are before it; or how long the delimiter before it is.
    count: u32,
}

impl Progress {
    pub(super) fn of(scan: &Scan) -> Self {
        let word = scan.note();
        Progress {
            line: usize::try_from(word >> (COUNT + 1)).unwrap_or(usize::MAX),
            may_be_prompt: word >> COUNT & 1 == 0,
            count: (word & ((1 << COUNT) - 1)) as u32,
        }
    }

    /// All has been searched up to this position.
    pub(super) fn save(self, searched: usize, scan: &mut Scan) {
        scan.set_searched(searched);
        let line = (self.line as u64) << (COUNT + 1);
        let flag = u64::from(!self.may_be_prompt) << COUNT;
        scan.set_note(line | flag | u64::from(self.count));
    }

    /// Goes on to the next line. This one's delimiter is between these positions.
    pub(super) fn next_line(&mut self, end: usize, next: usize) {
        *self = Progress {
            line: next,
            may_be_prompt: true,
            count: (next - end) as u32,
        };
    }

    /// The length of the delimiter before the line; 0 before the first.
    pub(super) fn delimiter(self) -> usize {
        self.count as usize
    }

    /// Goes on to the next line, where lines are counted.
    pub(super) fn next_of_lines(&mut self, next: usize) {
        self.line = next;
        self.count += 1;
    }

    /// The number of lines before this one.
    pub(super) fn lines(self) -> u32 {
        self.count
    }
}
