//! Where requests and replies of Redis end, as slowly as it can be said: by recursion, byte for byte,
//! and what a line may begin with is found out by trying. Nothing here is shared with what it judges.
//! The fuzzer reads this file as well.

use millpond::framing::{Context, Direction, FrameError, Framing, Scan, Step};

/// Why no frame ends within the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It ends there at the earliest.
    More(usize),
    /// The byte at this position is the first that shows that there is none.
    Refused(usize),
}

type End = Result<usize, Stop>;

/// Where the frame ends that these bytes begin with.
pub(crate) fn first(way: Direction, bytes: &[u8]) -> End {
    let strangers: &[&[u8]] = match way {
        Direction::Request => &[b"\x16\x03"],
        Direction::Reply => &[b"HTTP/", b"SSH-", b"\x15\x03"],
    };
    let is_open = |stranger: &&[u8]| stranger.starts_with(bytes) && stranger.len() > bytes.len();
    let open = strangers.iter().find(|stranger| is_open(stranger));
    if let (Some(stranger), false) = (open, bytes.is_empty()) {
        return Err(Stop::More(stranger.len()));
    }
    match (way, bytes.first()) {
        (_, None) => Err(Stop::More(1)),
        (Direction::Request, Some(b'*')) => array(bytes),
        (Direction::Request, Some(_)) => inline(bytes),
        (Direction::Reply, Some(_)) => value(bytes, 0, true),
    }
}

/// A line that begins at `at`: its text, and where the next one begins.
fn line(
    bytes: &[u8],
    at: usize,
    may_begin: impl Fn(&[u8]) -> bool,
    may_be: impl Fn(&[u8]) -> bool,
) -> Result<(&[u8], usize), Stop> {
    for end in at..bytes.len() {
        let text = &bytes[at..end];
        if bytes[end] == b'\r' && may_be(text) {
            return match bytes.get(end + 1) {
                None => Err(Stop::More(end + 2)),
                Some(b'\n') => Ok((text, end + 2)),
                Some(_) => Err(Stop::Refused(end + 1)),
            };
        }
        if !may_begin(&bytes[at..=end]) {
            return Err(Stop::Refused(end));
        }
    }
    let lacks = usize::from(!may_be(&bytes[at..]));
    Err(Stop::More(bytes.len() + lacks + 2))
}

fn exactly<'b>(bytes: &'b [u8], at: usize, texts: &[&str]) -> Result<(&'b [u8], usize), Stop> {
    let begins = |text: &[u8]| texts.iter().any(|one| one.as_bytes().starts_with(text));
    let is = |text: &[u8]| texts.iter().any(|one| one.as_bytes() == text);
    line(bytes, at, begins, is)
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn without_sign(text: &[u8]) -> &[u8] {
    let rest = text.strip_prefix(b"-").or(text.strip_prefix(b"+"));
    rest.unwrap_or(text)
}

/// As the server writes it.
fn is_count(text: &[u8]) -> bool {
    is_digits(text) && (text == b"0" || text[0] != b'0')
}

fn is_integer(text: &[u8]) -> bool {
    let number = std::str::from_utf8(text).ok();
    let digits = without_sign(text);
    is_digits(digits) && digits.len() < 20 && number.is_some_and(|n| n.parse::<i64>().is_ok())
}

fn is_big_number(text: &[u8]) -> bool {
    is_digits(without_sign(text))
}

fn is_double(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let has_digits = |part: &str| is_digits(part.as_bytes());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let is_number = has_digits(whole)
        && fraction.is_none_or(has_digits)
        && exponent.is_none_or(|text| has_digits(text.strip_prefix(['+', '-']).unwrap_or(text)));
    text.len() <= 255 && (is_number || ["inf", "nan"].contains(&unsigned))
}

/// Whether one of these makes it whole.
fn can_be(text: &[u8], is: impl Fn(&[u8]) -> bool, ends: &[&str]) -> bool {
    let whole = |end: &&str| is(&[text, end.as_bytes()].concat());
    ends.iter().any(whole)
}

/// A number that no frame is as long as is as good as any other.
fn number(text: &[u8]) -> usize {
    let text = std::str::from_utf8(text).expect("digits");
    text.parse().unwrap_or(usize::MAX).min(1 << 40)
}

/// The number that these bytes begin with, which may have more digits.
fn at_least(bytes: &[u8], at: usize) -> usize {
    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit());
    match digits.count() {
        0 => 0,
        count => number(&bytes[at..at + count]),
    }
}

/// A string's content, and the end of its line.
fn content(bytes: &[u8], begin: usize, length: usize) -> End {
    let end = begin + length;
    match (bytes.get(end), bytes.get(end + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(end + 2),
        (None, _) | (Some(b'\r'), None) => Err(Stop::More(end + 2)),
        (Some(b'\r'), Some(_)) => Err(Stop::Refused(end + 1)),
        (Some(_), _) => Err(Stop::Refused(end)),
    }
}

/// With so many bytes more, at least.
fn and<T>(found: Result<T, Stop>, behind: usize) -> Result<T, Stop> {
    match found {
        Err(Stop::More(least)) => Err(Stop::More(least + behind)),
        other => other,
    }
}

fn array(bytes: &[u8]) -> End {
    // The default limit of the library.
    let is_some = |text: &[u8]| is_count(text) && text != b"0" && number(text) <= 1 << 20;
    let may_begin = |text: &[u8]| is_some(text) || text.is_empty();
    let (count, mut at) = and(
        line(bytes, 1, may_begin, is_some),
        6 * at_least(bytes, 1).max(1),
    )?;
    let count = number(count);
    for left in (0..count).rev() {
        let argument = match bytes.get(at) {
            None => Err(Stop::More(at + 6)),
            Some(b'$') => and(
                line(bytes, at + 1, is_count, is_count),
                at_least(bytes, at + 1) + 2,
            )
            .and_then(|(length, next)| content(bytes, next, number(length))),
            Some(_) => Err(Stop::Refused(at)),
        };
        at = and(argument, 6 * left)?;
    }
    Ok(at)
}

fn inline(bytes: &[u8]) -> End {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let is_right = |text: &[u8]| {
        let alone = |pair: &[u8]| pair[0] == b'\r' && pair[1] != b'\n';
        let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
        let words = &text[blanks..];
        let first = words.split(|byte| is_blank(byte) || b"\r\n".contains(byte));
        let first: Vec<&[u8]> = first.take(2).collect();
        let is_http = |word: &[u8]| {
            let word = word.to_ascii_lowercase();
            word == b"post" || word == b"host:"
        };
        let line = text.strip_suffix(b"\n");
        let line = line.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let version = |line: &[u8]| {
            let major = 0..=9;
            let mut versions = major.flat_map(|a| (0..=9).map(move |b| format!(" HTTP/{a}.{b}")));
            versions.any(|version| line.ends_with(version.as_bytes()))
        };
        let is_refused = text.contains(&0)
            || text.windows(2).any(alone)
            || first.len() == 2 && is_http(first[0])
            || line.is_some_and(version);
        !is_refused
            && words.first().is_none_or(u8::is_ascii_graphic)
            && blanks.max(text.len().saturating_sub(2)) <= 65_536
    };
    let feed = bytes.iter().position(|&byte| byte == b'\n');
    let end = feed.map_or(bytes.len(), |at| at + 1);
    match (1..=end).find(|&end| !is_right(&bytes[..end])) {
        Some(bad) => Err(Stop::Refused(bad - 1)),
        None if feed.is_some() => Ok(end),
        None => Err(Stop::More(end + 1)),
    }
}

/// The value that begins at `at`, with its attributes.
fn value(bytes: &[u8], at: usize, is_top: bool) -> End {
    let Some(&kind) = bytes.get(at) else {
        return Err(Stop::More(at + 3));
    };
    let begin = at + 1;
    match kind {
        b'+' | b'-' => {
            let (_, next) = line(
                bytes,
                begin,
                |text| !text.ends_with(b"\n") && !text.ends_with(b"\r"),
                |_| true,
            )?;
            Ok(next)
        }
        b':' => Ok(line(
            bytes,
            begin,
            |text| can_be(text, is_integer, &["", "0"]),
            is_integer,
        )?
        .1),
        b'(' => {
            let begins = |text: &[u8]| can_be(text, is_big_number, &["", "0"]);
            Ok(line(bytes, begin, begins, is_big_number)?.1)
        }
        b',' => {
            let ends = ["", "0", "nf", "f", "an", "n"];
            Ok(line(
                bytes,
                begin,
                |text| can_be(text, is_double, &ends) && text.len() <= 255,
                is_double,
            )?
            .1)
        }
        b'_' => Ok(exactly(bytes, begin, &[""])?.1),
        b'#' => Ok(exactly(bytes, begin, &["t", "f"])?.1),
        b'$' | b'!' | b'=' => string(bytes, at, kind),
        b'*' | b'~' | b'%' | b'>' | b'|' => aggregate(bytes, at, kind, is_top),
        _ => Err(Stop::Refused(at)),
    }
}

/// The count behind a type, or one of these other texts.
fn count_or<'b>(bytes: &'b [u8], at: usize, others: &[&str]) -> Result<(&'b [u8], usize), Stop> {
    let begins = |text: &[u8]| others.iter().any(|one| one.as_bytes().starts_with(text));
    let is = |text: &[u8]| others.iter().any(|one| one.as_bytes() == text);
    line(
        bytes,
        at,
        |text| is_count(text) || begins(text),
        |text| is_count(text) || is(text),
    )
}

fn string(bytes: &[u8], at: usize, kind: u8) -> End {
    let others: &[&str] = if kind == b'$' { &["-1", "?"] } else { &[] };
    let is_streamed = bytes.get(at + 1) == Some(&b'?');
    let behind = if is_streamed {
        4
    } else {
        at_least(bytes, at + 1)
    };
    let (length, next) = and(count_or(bytes, at + 1, others), behind)?;
    match length {
        b"-1" => return Ok(next),
        b"?" => return chunks(bytes, next),
        _ => {}
    }
    let length = number(length);
    if kind == b'=' {
        if length < 4 {
            return Err(Stop::Refused(next - 1));
        }
        if bytes.get(next + 3).is_some_and(|&byte| byte != b':') {
            return Err(Stop::Refused(next + 3));
        }
    }
    content(bytes, next, length)
}

fn chunks(bytes: &[u8], mut at: usize) -> End {
    loop {
        match bytes.get(at) {
            None => return Err(Stop::More(at + 4)),
            Some(b';') => {}
            Some(_) => return Err(Stop::Refused(at)),
        }
        let (length, next) = and(count_or(bytes, at + 1, &[]), at_least(bytes, at + 1))?;
        match number(length) {
            0 => return Ok(next),
            length => at = and(content(bytes, next, length), 4)?,
        }
    }
}

fn aggregate(bytes: &[u8], at: usize, kind: u8, is_top: bool) -> End {
    if kind == b'>' && !is_top {
        return Err(Stop::Refused(at));
    }
    let others: &[&str] = match kind {
        b'*' => &["-1", "?"],
        b'~' | b'%' => &["?"],
        _ => &[],
    };
    let is_streamed = others.contains(&"?") && bytes.get(at + 1) == Some(&b'?');
    if is_streamed && !is_top {
        return Err(Stop::Refused(at + 1));
    }
    let behind = match is_streamed {
        true => 3,
        false => 3 * at_least(bytes, at + 1),
    };
    let (count, mut at) = and(count_or(bytes, at + 1, others), behind)?;
    match count {
        b"-1" => return Ok(at),
        b"?" => return streamed(bytes, at, kind == b'%'),
        b"0" if kind == b'>' => return Err(Stop::Refused(at - 1)),
        _ => {}
    }
    let values = match kind {
        b'%' | b'|' => 2 * number(count),
        _ => number(count),
    };
    let own = if kind == b'|' { 3 } else { 0 };
    for left in (0..values).rev() {
        at = and(value(bytes, at, false), own + 3 * left)?;
    }
    match kind {
        b'|' => value(bytes, at, is_top),
        _ => Ok(at),
    }
}

fn streamed(bytes: &[u8], mut at: usize, has_pairs: bool) -> End {
    let mut count = 0;
    while bytes.get(at).is_some_and(|&kind| kind != b'.') {
        at = and(value(bytes, at, false), 3)?;
        count += 1;
    }
    match bytes.get(at) {
        None => Err(Stop::More(at + 3)),
        Some(_) if has_pairs && count % 2 == 1 => Err(Stop::Refused(at)),
        Some(_) => Ok(exactly(bytes, at + 1, &[""])?.1),
    }
}

/// Shows a framing all beginnings of these bytes, with one scan from each boundary on, and compares
/// what it says with the reference. The frames that were found.
///
/// # Panics
///
/// They don't agree.
pub(crate) fn judge(framing: &impl Framing, way: Direction, bytes: &[u8]) -> Vec<Vec<u8>> {
    let context = match way {
        Direction::Request => Context::REQUEST,
        Direction::Reply => Context::REPLY,
    };
    let mut frames = Vec::new();
    let (mut begin, mut end, mut scan) = (0, 0, Scan::default());
    while end <= bytes.len() {
        let held = &bytes[begin..end];
        let step = framing.next(context, held, &mut scan);
        match (&step, first(way, held)) {
            (Ok(Step::Frame(extent)), Ok(length)) if extent.length() == length => {
                assert_eq!((extent.head, extent.tail), (0, 0));
                frames.push(held[..length].to_vec());
                (begin, scan) = (begin + length, Scan::default());
                continue;
            }
            (Ok(Step::More { missing }), Err(Stop::More(least)))
                if (1..=least - held.len()).contains(missing) => {}
            (Err(FrameError::TooLong { .. }), Err(Stop::More(least)))
                if least > framing.max_frame() =>
            {
                return frames;
            }
            (Err(FrameError::TooLong { .. }), Ok(length)) if length > framing.max_frame() => {
                return frames;
            }
            (Err(FrameError::Unexpected { position, .. }), Err(Stop::Refused(at)))
                if *position == at =>
            {
                return frames;
            }
            (Err(FrameError::Unexpected { position: 0, .. }), Err(Stop::Refused(_)))
                if b"\x15\x16HS".contains(&held[0]) =>
            {
                return frames;
            }
            (Err(FrameError::Unexpected { .. } | FrameError::WrongAnswer { .. }), _) => {
                panic!("{step:?} of \"{}\"", held.escape_ascii())
            }
            (Err(_), Err(Stop::Refused(_))) => return frames,
            (_, expected) => panic!(
                "of \"{}\" it says {step:?}, and the reference {expected:?}",
                held.escape_ascii()
            ),
        }
        end += 1;
    }
    frames
}
