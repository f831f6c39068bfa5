//! Where a reply ends: one value of RESP2 or RESP3, with all that is nested in it and the attributes
//! before it.

use memchr::memchr2;

use super::{
    double::Double,
    limits::Limits,
    line::{
        Count, closed, count, ends_line, examined, malformed, more, stranger, unexpected, whole,
    },
    progress::{Progress, Streamed},
};
use crate::framing::{FrameError, Scan, Step};

/// The shortest value: `_` and the end of its line.
const SHORTEST: usize = 3;

/// The last chunk of a streamed string: `;0` and the end of its line.
const LAST_CHUNK: usize = 4;

/// The content of the shortest verbatim string, its format, and its line end.
const SHORTEST_VERBATIM: usize = 6;

/// More digits than any integer of 64 bits has aren't read, zeros before others among them.
const DIGITS: usize = 19;

/// The longest double. Those that redis-server sends have 24 characters.
const LONGEST_DOUBLE: usize = 255;

/// How the servers of other protocols answer what they don't understand. Those of TLS send an alert.
const STRANGERS: [(&[u8], FrameError); 3] = [
    (b"HTTP/", FrameError::HttpServer),
    (b"SSH-", FrameError::SshServer),
    (&[0x15, 0x03], FrameError::TlsServer),
];

/// What these bytes, from a boundary on, begin with: a reply, or a push.
///
/// Everything of RESP3 is read but streamed aggregates within other values, which no server sends:
/// they are an error.
///
/// # Errors
///
/// They are no value.
#[inline]
pub(in crate::framing::redis) fn reply(
    bytes: &[u8],
    scan: &mut Scan,
    limits: &Limits,
) -> Result<Step, FrameError> {
    if let Some(extent) = scan.announced() {
        return closed(bytes, extent);
    }
    if scan.searched() == 0 && scan.note() == 0 {
        match bytes.first() {
            None => return Ok(Step::More { missing: 1 }),
            Some(&kind) if is_kind(kind) => {}
            Some(_) => {
                let own = unexpected(bytes, 0, "a type of RESP");
                return stranger(&STRANGERS, bytes, own);
            }
        }
    }
    let mut reader = Reader {
        bytes,
        limits,
        at: scan.searched(),
        progress: Progress::of(scan),
    };
    loop {
        match reader.next()? {
            Next::Read => {}
            Next::End => return Ok(Step::Frame(whole(reader.at))),
            Next::EndAt(end) => {
                scan.announce(whole(end));
                return closed(bytes, whole(end));
            }
            Next::More(least) => {
                reader.progress.save(reader.at, scan);
                return Ok(more(bytes, least));
            }
        }
    }
}

fn is_kind(kind: u8) -> bool {
    b"+-:$*_#,(!=%~>|".contains(&kind)
}

/// What has been read.
enum Next {
    /// A part of the frame.
    Read,
    /// The frame, up to the reader's position.
    End,
    /// All but the content of a string, which ends the frame there.
    EndAt(usize),
    /// Nothing: at least so many bytes are needed, from the boundary on.
    More(usize),
}

struct Reader<'r> {
    bytes: &'r [u8],
    limits: &'r Limits,
    /// Where the value begins that is being read; or the content of a string.
    at: usize,
    progress: Progress,
}

impl Reader<'_> {
    #[inline]
    fn next(&mut self) -> Result<Next, FrameError> {
        if self.progress.in_string {
            return self.content();
        }
        if self.progress.is_chunked {
            return self.chunk();
        }
        examined(1);
        let Some(&kind) = self.bytes.get(self.at) else {
            let this = if self.progress.remaining == 0 {
                0
            } else {
                SHORTEST
            };
            return Ok(Next::More(self.at + this + self.behind()));
        };
        if self.progress.remaining == 0 {
            if kind == b'.' {
                return self.end_of_streamed();
            }
            self.progress.remaining = 1;
            self.allow(self.at + SHORTEST)?;
        }
        match kind {
            b'+' | b'-' => self.text(),
            b':' => self.integer(),
            b'$' | b'!' | b'=' => self.string(kind),
            b'*' | b'~' | b'%' | b'>' | b'|' => self.aggregate(kind),
            b'_' => self.fixed(b"_\r\n"),
            b'#' => self.boolean(),
            b',' => self.double(),
            b'(' => self.big_number(),
            _ => Err(unexpected(self.bytes, self.at, "a type of RESP")),
        }
    }

    /// What all that is known to follow the value that is being read has at least, in bytes.
    #[inline]
    fn behind(&self) -> usize {
        let end = match self.progress.streamed {
            Streamed::No => 0,
            _ => SHORTEST,
        };
        SHORTEST * self.progress.remaining.saturating_sub(1) + end
    }

    /// Refuses the frame if it is too long with the value that is being read, which ends there at the
    /// earliest.
    #[inline]
    fn allow(&self, end: usize) -> Result<(), FrameError> {
        self.limits.allow(end.saturating_add(self.behind()))
    }

    /// The value has been read, up to here.
    #[inline]
    fn read(&mut self, end: usize) -> Next {
        self.at = end;
        let progress = &mut self.progress;
        progress.offset = 0;
        progress.remaining = progress.remaining.saturating_sub(1);
        if progress.remaining > 0 {
            return Next::Read;
        }
        progress.streamed = match progress.streamed {
            Streamed::No => return Next::End,
            Streamed::Elements => Streamed::Elements,
            Streamed::Key => Streamed::Value,
            Streamed::Value => Streamed::Key,
        };
        Next::Read
    }

    fn text(&mut self) -> Result<Next, FrameError> {
        let from = (self.at + 1 + self.progress.offset).min(self.bytes.len());
        let rest = &self.bytes[from..];
        let found = memchr2(b'\r', b'\n', rest);
        examined(found.map_or(rest.len(), |at| at + 1));
        let stop = found.map_or(self.bytes.len(), |at| from + at);
        self.line(stop, None)
    }

    fn integer(&mut self) -> Result<Next, FrameError> {
        self.number(DIGITS)
    }

    fn big_number(&mut self) -> Result<Next, FrameError> {
        self.number(usize::MAX)
    }

    /// A sign, if there is one, and digits, so many at most.
    #[inline]
    fn number(&mut self, most: usize) -> Result<Next, FrameError> {
        let begin = self.at + 1;
        let has_sign = matches!(self.bytes.get(begin), Some(b'+' | b'-'));
        let first = begin + usize::from(has_sign);
        let from = (begin + self.progress.offset).max(first);
        let mut stop = from.min(self.bytes.len());
        while stop.saturating_sub(first) < most {
            let Some(b'0'..=b'9') = self.bytes.get(stop) else {
                break;
            };
            examined(1);
            stop += 1;
            if stop - first == most {
                examined(most);
                let text = std::str::from_utf8(&self.bytes[begin..stop]).ok();
                if text.and_then(|text| text.parse::<i64>().ok()).is_none() {
                    self.allow(stop - 1 + 2)?;
                    return Err(malformed("an integer has more than 64 bits"));
                }
            }
        }
        let expected = match stop.saturating_sub(first) {
            0 => Some("a digit"),
            digits if digits == most => None,
            _ if self.bytes.get(stop) == Some(&b'\r') => None,
            _ => Some("a digit or a carriage return"),
        };
        self.line(stop, expected)
    }

    fn double(&mut self) -> Result<Next, FrameError> {
        let word = self.progress.offset;
        let mut double = Double::of(word & ((1 << Double::BITS) - 1));
        let begin = self.at + 1;
        let mut stop = begin + (word >> Double::BITS);
        while let Some(with) = self.bytes.get(stop).and_then(|&byte| double.with(byte)) {
            examined(1);
            (double, stop) = (with, stop + 1);
            if stop - begin > LONGEST_DOUBLE {
                self.allow(stop - 1 + 2)?;
                return Err(malformed("a double has more than 255 characters"));
            }
        }
        let expected = match double.is_complete() && self.bytes.get(stop) == Some(&b'\r') {
            true => None,
            false => Some("the rest of a double"),
        };
        let next = self.line(stop, expected)?;
        if let Next::More(_) = next {
            self.progress.offset = (stop - begin) << Double::BITS | double.number();
        }
        Ok(next)
    }

    /// The end of a line that has been looked at up to `stop`. What stands there must be its end, or
    /// else is what isn't `expected`.
    #[inline]
    fn line(&mut self, stop: usize, expected: Option<&'static str>) -> Result<Next, FrameError> {
        let end = stop + 2;
        self.allow(end)?;
        if let (Some(expected), Some(_)) = (expected, self.bytes.get(stop)) {
            return Err(unexpected(self.bytes, stop, expected));
        }
        match ends_line(self.bytes, stop)? {
            true => Ok(self.read(end)),
            false => {
                self.progress.offset = stop.saturating_sub(self.at + 1);
                Ok(Next::More(end + self.behind()))
            }
        }
    }

    /// A value with one spelling.
    #[inline]
    fn fixed(&mut self, spelling: &'static [u8]) -> Result<Next, FrameError> {
        self.allow(self.at + spelling.len())?;
        Ok(match self.spelled(spelling)? {
            Some(end) => self.read(end),
            None => Next::More(self.at + spelling.len() + self.behind()),
        })
    }

    /// Where these bytes end, if all of them are there.
    fn spelled(&mut self, spelling: &'static [u8]) -> Result<Option<usize>, FrameError> {
        let end = self.at + spelling.len();
        let mut at = self.at + self.progress.offset;
        while at < end {
            let Some(&found) = self.bytes.get(at) else {
                self.progress.offset = at - self.at;
                return Ok(None);
            };
            examined(1);
            if found != spelling[at - self.at] {
                let expected = format!("\"{}\"", spelling.escape_ascii());
                return Err(unexpected(self.bytes, at, expected));
            }
            at += 1;
        }
        self.progress.offset = 0;
        Ok(Some(end))
    }

    fn boolean(&mut self) -> Result<Next, FrameError> {
        match self.bytes.get(self.at + 1) {
            Some(b't') | None => self.fixed(b"#t\r\n"),
            Some(b'f') => self.fixed(b"#f\r\n"),
            Some(_) => {
                self.allow(self.at + 4)?;
                Err(unexpected(self.bytes, self.at + 1, "t or f"))
            }
        }
    }

    #[inline]
    fn string(&mut self, kind: u8) -> Result<Next, FrameError> {
        match (kind, self.bytes.get(self.at + 1)) {
            (b'$', Some(b'-')) => return self.fixed(b"$-1\r\n"),
            (b'$', Some(b'?')) => return self.streamed_string(),
            _ => {}
        }
        // Of a verbatim string whose head has been read, only the format is waited for.
        let head = self.progress.offset;
        if head > 0 && self.bytes.get(self.at + head + 3).is_none() {
            return Ok(Next::More(
                self.at + head + SHORTEST_VERBATIM + self.behind(),
            ));
        }
        let (length, begin) = match self.count()? {
            Count::Whole { value, next } => (value, next),
            Count::Part { next } | Count::Over(next) => {
                return Ok(Next::More(next + self.behind()));
            }
        };
        let end = begin + length + 2;
        self.allow(end)?;
        if kind == b'=' && !self.is_verbatim(begin, length)? {
            self.progress.offset = begin - self.at;
            return Ok(Next::More(begin + SHORTEST_VERBATIM + self.behind()));
        }
        self.progress.offset = 0;
        if self.progress.remaining == 1 && self.progress.streamed == Streamed::No {
            return Ok(Next::EndAt(end));
        }
        self.begin_content(begin, length);
        Ok(Next::Read)
    }

    /// Whether the format of a verbatim string is there, three bytes and a colon.
    fn is_verbatim(&self, begin: usize, length: usize) -> Result<bool, FrameError> {
        if length + 2 < SHORTEST_VERBATIM {
            return Err(malformed("a verbatim string has no format"));
        }
        examined(1);
        match self.bytes.get(begin + 3) {
            None => Ok(false),
            Some(b':') => Ok(true),
            Some(_) => Err(unexpected(self.bytes, begin + 3, "a colon")),
        }
    }

    /// The count behind the type, if it can be in a frame that is allowed.
    #[inline]
    fn count(&self) -> Result<Count, FrameError> {
        match count(self.bytes, self.at + 1, self.limits.longest())? {
            Count::Over(value) => Err(self.limits.too_long(value as u64)),
            found => Ok(found),
        }
    }

    fn begin_content(&mut self, begin: usize, length: usize) {
        self.at = begin;
        self.progress.offset = length;
        self.progress.in_string = true;
    }

    /// The content of a string, or of a chunk.
    #[inline]
    fn content(&mut self) -> Result<Next, FrameError> {
        let end = self.at + self.progress.offset;
        let last = if self.progress.is_chunked {
            LAST_CHUNK
        } else {
            0
        };
        if !ends_line(self.bytes, end)? {
            return Ok(Next::More(end + 2 + last + self.behind()));
        }
        self.progress.in_string = false;
        if !self.progress.is_chunked {
            return Ok(self.read(end + 2));
        }
        (self.at, self.progress.offset) = (end + 2, 0);
        Ok(Next::Read)
    }

    fn streamed_string(&mut self) -> Result<Next, FrameError> {
        self.allow(self.at + 4 + LAST_CHUNK)?;
        match self.spelled(b"$?\r\n")? {
            Some(end) => {
                (self.at, self.progress.is_chunked) = (end, true);
                Ok(Next::Read)
            }
            None => Ok(Next::More(self.at + 4 + LAST_CHUNK + self.behind())),
        }
    }

    fn chunk(&mut self) -> Result<Next, FrameError> {
        examined(1);
        match self.bytes.get(self.at) {
            Some(b';') => {}
            Some(_) => {
                let expected = "a chunk of the streamed string";
                return Err(unexpected(self.bytes, self.at, expected));
            }
            None => return Ok(Next::More(self.at + LAST_CHUNK + self.behind())),
        }
        match self.count()? {
            Count::Whole { value: 0, next } => {
                self.progress.is_chunked = false;
                Ok(self.read(next))
            }
            Count::Whole { value, next } => {
                self.allow(next + value + 2 + LAST_CHUNK)?;
                self.begin_content(next, value);
                Ok(Next::Read)
            }
            Count::Part { next } | Count::Over(next) => Ok(Next::More(next + self.behind())),
        }
    }

    fn aggregate(&mut self, kind: u8) -> Result<Next, FrameError> {
        let is_top = self.progress.remaining == 1 && !self.progress.is_open;
        if kind == b'>' && !is_top {
            let expected = "a value other than a push, which can't be nested,";
            return Err(unexpected(self.bytes, self.at, expected));
        }
        match (kind, self.bytes.get(self.at + 1)) {
            (b'*', Some(b'-')) => return self.fixed(b"*-1\r\n"),
            (b'*', Some(b'?')) => return self.streamed(b"*?\r\n", Streamed::Elements),
            (b'~', Some(b'?')) => return self.streamed(b"~?\r\n", Streamed::Elements),
            (b'%', Some(b'?')) => return self.streamed(b"%?\r\n", Streamed::Key),
            _ => {}
        }
        let (entries, next) = match self.count()? {
            Count::Whole { value, next } => (value, next),
            Count::Part { next } | Count::Over(next) => {
                return Ok(Next::More(next + self.behind()));
            }
        };
        if kind == b'>' && entries == 0 {
            return Err(malformed("a push has no elements"));
        }
        let values = match kind {
            b'%' | b'|' => entries.saturating_mul(2),
            _ => entries,
        };
        // An attribute is before its value, which is still to come.
        let own = if kind == b'|' { SHORTEST } else { 0 };
        self.allow(next.saturating_add(values.saturating_mul(SHORTEST)) + own)?;
        self.progress.is_open |= is_top && kind != b'|';
        if values == 0 && kind != b'|' {
            return Ok(self.read(next));
        }
        self.at = next;
        self.progress.remaining += values - usize::from(kind != b'|');
        Ok(Next::Read)
    }

    fn streamed(&mut self, head: &'static [u8], streamed: Streamed) -> Result<Next, FrameError> {
        if self.progress.remaining > 1 || self.progress.is_open {
            return Err(malformed(
                "a streamed aggregate is within another value, where its end isn't followed",
            ));
        }
        self.allow(self.at + head.len() + SHORTEST)?;
        let Some(end) = self.spelled(head)? else {
            return Ok(Next::More(self.at + head.len() + SHORTEST));
        };
        self.at = end;
        self.progress.remaining = 0;
        self.progress.is_open = true;
        self.progress.streamed = streamed;
        Ok(Next::Read)
    }

    fn end_of_streamed(&mut self) -> Result<Next, FrameError> {
        if self.progress.streamed == Streamed::Value {
            return Err(unexpected(self.bytes, self.at, "the value of the last key"));
        }
        let Some(end) = self.spelled(b".\r\n")? else {
            return Ok(Next::More(self.at + SHORTEST));
        };
        self.at = end;
        Ok(Next::End)
    }
}
