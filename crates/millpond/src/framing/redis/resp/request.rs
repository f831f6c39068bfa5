//! Where a request ends: an array of bulk strings, or an inline command.

use millpond_words::Thousands;

use super::{
    inline::inline,
    limits::Limits,
    line::{Count, closed, count, ends_line, examined, malformed, more, unexpected, whole},
    progress::Progress,
};
use crate::framing::{FrameError, Scan, Step};

/// The shortest argument: `$0`, and its two ends of lines.
const SHORTEST_ARGUMENT: usize = 6;

/// What these bytes, from a boundary on, begin with: a request.
///
/// An array of bulk strings has at least one, and each has its line end behind it, at which
/// redis-server doesn't look. `*0`, `*-1` and empty lines are errors: redis-server answers none of
/// them, which would make all later replies those of other requests.
///
/// # Errors
///
/// They are no request. HTTP and TLS are recognised.
#[inline]
pub(in crate::framing::redis) fn request(
    bytes: &[u8],
    scan: &mut Scan,
    limits: &Limits,
) -> Result<Step, FrameError> {
    if let Some(extent) = scan.announced() {
        return closed(bytes, extent);
    }
    match bytes.first() {
        None => Ok(Step::More { missing: 1 }),
        Some(b'*') => array(bytes, scan, limits),
        Some(_) => inline(bytes, scan, limits),
    }
}

fn array(bytes: &[u8], scan: &mut Scan, limits: &Limits) -> Result<Step, FrameError> {
    let mut progress = Progress::of(scan);
    let mut at = scan.searched();
    if !progress.is_open {
        match head(bytes, limits)? {
            Count::Whole { value, next } => {
                progress.is_open = true;
                progress.remaining = value;
                at = next;
            }
            Count::Part { next } | Count::Over(next) => {
                return Ok(more(bytes, next + SHORTEST_ARGUMENT));
            }
        }
    }
    loop {
        // What the arguments behind this one have at least.
        let behind = SHORTEST_ARGUMENT * progress.remaining.saturating_sub(1);
        if !progress.in_string {
            let Some((begin, length)) = bulk(bytes, at, limits)? else {
                progress.save(at, scan);
                return Ok(more(bytes, at + SHORTEST_ARGUMENT + behind));
            };
            let end = begin + length + 2;
            limits.allow(end + behind)?;
            if progress.remaining <= 1 {
                scan.announce(whole(end));
                return closed(bytes, whole(end));
            }
            (at, progress.offset, progress.in_string) = (begin, length, true);
        }
        let end = at + progress.offset;
        if !ends_line(bytes, end)? {
            progress.save(at, scan);
            return Ok(more(bytes, end + 2 + behind));
        }
        at = end + 2;
        (progress.offset, progress.in_string) = (0, false);
        progress.remaining -= 1;
    }
}

/// The number of arguments.
#[inline]
fn head(bytes: &[u8], limits: &Limits) -> Result<Count, FrameError> {
    examined(1);
    if bytes.get(1) == Some(&b'0') {
        let expected = "a request with an argument, since others aren't answered,";
        return Err(unexpected(bytes, 1, expected));
    }
    let most = limits.max_arguments.min(limits.longest());
    let found = count(bytes, 1, most)?;
    match found {
        Count::Over(value) if value <= limits.max_arguments => Err(limits.too_long(value as u64)),
        Count::Over(value) => Err(malformed(format!(
            "it has {} arguments or more, and the limit is {}; max_arguments raises it",
            Thousands(value as u64),
            Thousands(limits.max_arguments as u64)
        ))),
        Count::Whole { value, next } => {
            limits.allow(next.saturating_add(SHORTEST_ARGUMENT.saturating_mul(value)))?;
            Ok(found)
        }
        Count::Part { .. } => Ok(found),
    }
}

/// Where the content of a bulk string begins, and how long it is, if its head is complete.
#[inline]
fn bulk(bytes: &[u8], at: usize, limits: &Limits) -> Result<Option<(usize, usize)>, FrameError> {
    examined(1);
    match bytes.get(at) {
        None => return Ok(None),
        Some(b'$') => {}
        Some(_) => return Err(unexpected(bytes, at, "a bulk string")),
    }
    match count(bytes, at + 1, limits.longest())? {
        Count::Whole { value, next } => Ok(Some((next, value))),
        Count::Part { .. } => Ok(None),
        Count::Over(value) => Err(limits.too_long(value as u64)),
    }
}
