//! The presets as slowly as they can be said, from their descriptions: what the first item of some
//! bytes is. Nothing here is shared with what it judges. The fuzzer reads this file as well.

use millpond::framing::{
    ByteOrder, Context, Counts, DelimitedSettings, Direction, EmptyBody, EndOfReply, Extent,
    FrameError, Framing, LengthField, LengthPrefixedSettings, Octets, Scan, Step,
};

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// A frame.
    Frame(Extent),
    /// A heartbeat of so many bytes.
    Heartbeat(usize),
    /// An item that isn't complete. No item lacks fewer bytes than `needed`.
    More {
        /// How many.
        needed: usize,
        /// The frame, if its length has come.
        announced: Option<Extent>,
    },
    /// Nothing of this protocol.
    Refused(Refusal),
}

/// Why bytes are none of the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The first byte that can't stand where it stands.
    Unexpected {
        /// Where it stands.
        position: usize,
        /// The byte.
        found: u8,
    },
    /// The body is longer than allowed.
    TooLong,
    /// The frame contradicts itself.
    Malformed,
}

impl Refusal {
    /// What an error of the library says, in these terms.
    ///
    /// # Panics
    ///
    /// It is none that these protocols have.
    pub(crate) fn of(error: &FrameError) -> Refusal {
        match *error {
            FrameError::Unexpected {
                position, found, ..
            } => Refusal::Unexpected { position, found },
            FrameError::TooLong { length, limit, .. } => {
                assert!(length > limit, "{error}");
                Refusal::TooLong
            }
            FrameError::Malformed { .. } => Refusal::Malformed,
            ref error => panic!("an error that the reference doesn't know: {error}"),
        }
    }
}

/// Where the length begins and ends, and where the header ends.
fn places(settings: &LengthPrefixedSettings) -> (usize, usize, usize) {
    let width = match settings.length {
        LengthField::U8 => 1,
        LengthField::U16 => 2,
        LengthField::U24 => 3,
        LengthField::U32 => 4,
        LengthField::U64 => 8,
        LengthField::Digits(width) | LengthField::Bcd(width) => usize::from(width),
        other => panic!("a field that the reference doesn't know: {other:?}"),
    };
    let begin = settings.offset.unwrap_or(settings.fixed.len());
    let end = begin + width;
    let id_end = settings.id.map_or(0, |id| id.offset + id.width);
    (begin, end, settings.header.unwrap_or(end.max(id_end)))
}

/// What is added to the announced number to get the body's length.
fn difference(settings: &LengthPrefixedSettings) -> i128 {
    let counted = match settings.counts {
        Counts::Body => 0,
        Counts::Frame => places(settings).2,
    };
    i128::from(settings.adjustment) - counted as i128
}

/// What these bytes begin with, by [`LengthPrefixed`](millpond::framing::LengthPrefixed).
pub(crate) fn length_prefixed(settings: &LengthPrefixedSettings, bytes: &[u8]) -> First {
    let unexpected = |position: usize| {
        let found = bytes[position];
        First::Refused(Refusal::Unexpected { position, found })
    };
    for (position, &found) in bytes.iter().enumerate() {
        if settings
            .fixed
            .get(position)
            .is_some_and(|&expected| found != expected)
        {
            return unexpected(position);
        }
    }
    let (begin, end, header) = places(settings);
    for (position, &byte) in bytes.iter().enumerate().take(end).skip(begin) {
        let text = match settings.length {
            LengthField::Digits(_) => char::from(byte).to_string(),
            LengthField::Bcd(_) => format!("{byte:02x}"),
            _ => continue,
        };
        if !text.chars().all(|letter| "0123456789".contains(letter)) {
            return unexpected(position);
        }
    }
    let missing = |announced: Option<Extent>| First::More {
        needed: announced.map_or(header, Extent::length) - bytes.len(),
        announced,
    };
    let Some(field) = bytes.get(begin..end) else {
        return missing(None);
    };
    let mut field = field.to_vec();
    if settings.byte_order == ByteOrder::Little {
        field.reverse();
    }
    let hex: String = field.iter().map(|byte| format!("{byte:02x}")).collect();
    let number: i128 = match settings.length {
        LengthField::Digits(_) => String::from_utf8(field).unwrap().parse().unwrap(),
        LengthField::Bcd(_) => hex.parse().unwrap(),
        _ => i128::from_str_radix(&hex, 16).unwrap(),
    };
    let body = number + difference(settings);
    if body < 0 {
        return First::Refused(Refusal::Malformed);
    }
    if body > settings.max_body as i128 {
        return First::Refused(Refusal::TooLong);
    }
    let extent = Extent {
        head: header,
        body: usize::try_from(body).unwrap(),
        tail: 0,
    };
    let is_complete = bytes.len() >= extent.length();
    match (
        body == 0 && settings.empty == EmptyBody::Heartbeat,
        is_complete,
    ) {
        (true, true) => First::Heartbeat(header),
        (true, false) => First::More {
            needed: header - bytes.len(),
            announced: None,
        },
        (false, true) => First::Frame(extent),
        (false, false) => missing(Some(extent)),
    }
}

/// The frame of this body; none if it can't be said.
pub(crate) fn length_prefixed_frame(
    settings: &LengthPrefixedSettings,
    id: u64,
    body: &[u8],
) -> Option<Vec<u8>> {
    let (begin, end, header) = places(settings);
    let number = body.len() as i128 - difference(settings);
    let digits = end - begin;
    let text = match settings.length {
        LengthField::Digits(_) => format!("{number:0digits$}").into_bytes(),
        LengthField::Bcd(_) => bytes_of_hex(&format!("{number:0width$}", width = 2 * digits))?,
        _ => bytes_of_hex(&format!("{number:0width$x}", width = 2 * digits))?,
    };
    let is_empty_message = body.is_empty() && settings.empty == EmptyBody::Heartbeat;
    if number < 0 || text.len() != digits || body.len() > settings.max_body || is_empty_message {
        return None;
    }
    let mut frame = vec![0; header];
    frame[..settings.fixed.len()].copy_from_slice(&settings.fixed);
    for (at, byte) in text.into_iter().enumerate() {
        match settings.byte_order {
            ByteOrder::Big => frame[begin + at] = byte,
            ByteOrder::Little => frame[end - 1 - at] = byte,
        }
    }
    if let Some(field) = settings.id {
        for at in 0..field.width {
            let byte = (id >> (8 * at)) as u8;
            match field.byte_order {
                ByteOrder::Little => frame[field.offset + at] = byte,
                ByteOrder::Big => frame[field.offset + field.width - 1 - at] = byte,
            }
        }
    }
    frame.extend_from_slice(body);
    Some(frame)
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The end of the line that begins at `begin`, and where the next one begins.
fn line(delimiters: &[Octets], bytes: &[u8], begin: usize) -> Option<(usize, usize)> {
    (begin..=bytes.len()).find_map(|next| {
        let all = delimiters.iter().map(|delimiter| &delimiter[..]);
        let here = all.filter(|delimiter| bytes[begin..next].ends_with(delimiter));
        let longest = here.max_by_key(|delimiter| delimiter.len())?;
        Some((next - longest.len(), next))
    })
}

/// What these bytes begin with, sent this way, by [`Delimited`](millpond::framing::Delimited).
pub(crate) fn delimited(settings: &DelimitedSettings, way: Direction, bytes: &[u8]) -> First {
    let end = match way {
        Direction::Request => &EndOfReply::Line,
        Direction::Reply => &settings.reply,
    };
    let longest = settings.delimiters.iter().map(|delimiter| delimiter.len());
    let longest = longest.max().unwrap();
    let tail = match end {
        EndOfReply::Line | EndOfReply::Lines(_) => longest,
        EndOfReply::UntilLine(last) => longest + last.len() + longest,
        EndOfReply::UntilPrompt(prompt) => longest + prompt.len(),
        other => panic!("an end that the reference doesn't know: {other:?}"),
    };
    // A line feed alone, which other readers take for the end of a request.
    let both = settings.delimiters.len() == 1 && settings.delimiters[0][..] == *b"\r\n";
    let feed = bytes.iter().position(|&byte| byte == b'\n');
    if let (true, Direction::Request, Some(position)) = (both, way, feed) {
        let is_alone = position == 0 || bytes[position - 1] != b'\r';
        if is_alone && position >= settings.max_body + tail {
            return First::Refused(Refusal::TooLong);
        } else if is_alone {
            let found = b'\n';
            return First::Refused(Refusal::Unexpected { position, found });
        }
    }
    match lines(settings, end, bytes) {
        Ok((body, _)) if body > settings.max_body => First::Refused(Refusal::TooLong),
        Ok((body, end)) => First::Frame(Extent {
            head: 0,
            body,
            tail: end - body,
        }),
        // With one byte more it still wouldn't be short enough.
        Err(_) if bytes.len() >= settings.max_body + tail => First::Refused(Refusal::TooLong),
        Err(needed) => First::More {
            needed,
            announced: None,
        },
    }
}

/// Where the body and the frame end; or how many bytes are needed at least.
fn lines(
    settings: &DelimitedSettings,
    end: &EndOfReply,
    bytes: &[u8],
) -> Result<(usize, usize), usize> {
    // Where the text of the line before ends, and where this line begins.
    let (mut before, mut begin, mut count) = (0, 0, 0);
    loop {
        if let EndOfReply::UntilPrompt(prompt) = end {
            let rest = &bytes[begin..];
            if rest.starts_with(prompt) {
                return Ok((before, begin + prompt.len()));
            }
            if prompt.starts_with(rest) {
                return Err(prompt.len() - rest.len());
            }
        }
        let (text, next) = line(&settings.delimiters, bytes, begin).ok_or(1_usize)?;
        count += 1;
        match end {
            EndOfReply::Line => return Ok((text, next)),
            EndOfReply::Lines(all) if count == *all => return Ok((text, next)),
            EndOfReply::UntilLine(last) if bytes[begin..text] == last[..] => {
                return Ok((before, next));
            }
            _ => (before, begin) = (text, next),
        }
    }
}

/// A frame's parts, or a heartbeat's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The body; none for a heartbeat.
    pub(crate) body: Option<Vec<u8>>,
    /// All of it.
    pub(crate) whole: Vec<u8>,
}

/// A receiver that is given the bytes in these pieces, and compares what the framing says with what
/// the reference does after each piece. All items, and what ends them.
///
/// # Panics
///
/// They don't agree.
pub(crate) fn in_pieces<'b>(
    framing: &impl Framing,
    way: Direction,
    reference: &impl Fn(&[u8]) -> First,
    pieces: impl Iterator<Item = &'b [u8]>,
) -> (Vec<Item>, Result<Vec<u8>, Refusal>) {
    let context = match way {
        Direction::Request => Context::REQUEST,
        Direction::Reply => Context::REPLY,
    };
    let (mut held, mut items, mut scan) = (Vec::new(), Vec::new(), Scan::default());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let step = framing.next(context, &held, &mut scan);
            let first = reference(&held);
            let (body, length) = match (step, first) {
                (Ok(Step::Frame(found)), First::Frame(extent)) if found == extent => {
                    let body = held[extent.head..extent.head + extent.body].to_vec();
                    (Some(body), extent.length())
                }
                (Ok(Step::Heartbeat { length }), First::Heartbeat(expected))
                    if length == expected =>
                {
                    (None, length)
                }
                (Ok(Step::More { missing }), First::More { needed, announced })
                    if (1..=needed).contains(&missing) && scan.announced() == announced =>
                {
                    break;
                }
                (Err(error), First::Refused(refusal)) if Refusal::of(&error) == refusal => {
                    return (items, Err(refusal));
                }
                (step, first) => panic!(
                    "of \"{}\" it says {step:?}, and the reference {first:?}",
                    held.escape_ascii()
                ),
            };
            assert!(length <= framing.max_frame(), "{length}");
            let whole = held.drain(..length).collect();
            items.push(Item { body, whole });
            scan.reset();
        }
    }
    (items, Ok(held))
}

/// As they come, byte by byte, and in two pieces, cut everywhere: always the same.
///
/// # Panics
///
/// It isn't.
pub(crate) fn in_all_pieces(
    framing: &impl Framing,
    way: Direction,
    reference: &impl Fn(&[u8]) -> First,
    bytes: &[u8],
) -> Vec<Item> {
    let whole = in_pieces(framing, way, reference, std::iter::once(bytes));
    let one_by_one = in_pieces(framing, way, reference, bytes.chunks(1));
    assert_eq!(
        one_by_one,
        whole,
        "byte by byte: \"{}\"",
        bytes.escape_ascii()
    );
    for cut in 1..bytes.len() {
        let halves = [&bytes[..cut], &bytes[cut..]].into_iter();
        let halves = in_pieces(framing, way, reference, halves);
        assert_eq!(halves, whole, "cut at {cut}: \"{}\"", bytes.escape_ascii());
    }
    whole.0
}
