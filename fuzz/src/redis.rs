//! Redis: where requests and replies end, by the reference of the library's own tests, after each
//! byte; and by the crate `redis-protocol`, which wasn't written for this and is laxer, and stricter in
//! places.
//!
//! It is laxer where two readers could differ: it doesn't look at the line end behind a string, nor
//! for the colon of a verbatim string; it reads `+5` and `05` as lengths, whatever stands behind `_` and
//! in a big number, doubles such as `.5`, lone line feeds in a line, and pushes within other values. So
//! what it accepts may be refused here, but must not end elsewhere. What is accepted here it must
//! accept as well, but for what it doesn't know: see [`knows`].

use millpond::framing::{Context, Direction, Framing, Note, Redis, RedisSettings, Scan, Step};
use redis_protocol::{
    resp2,
    resp3::{
        self,
        types::{DecodedRangeFrame, RangeFrame},
    },
};

use crate::{pieces, redis_reference::judge};

/// The work is the square of the length, and the references recurse.
const LONGEST: usize = 400;

/// Reads a direction and a limit from the first byte, and judges the rest.
///
/// # Panics
///
/// The framing finds something else than a reference.
pub fn run(bytes: &[u8]) {
    let Some((&choice, wire)) = bytes.split_first() else {
        return;
    };
    let wire = &wire[..wire.len().min(LONGEST)];
    let way = [Direction::Request, Direction::Reply][usize::from(choice % 2)];
    let redis = Redis::from(RedisSettings {
        max_body: [1 << 20, 40][usize::from(choice / 2 % 2)],
        ..RedisSettings::default()
    });
    let frames = judge(&redis, way, wire);
    assert_eq!(in_pieces(&redis, way, &pieces::by_themselves(wire)), frames);
    let mut rest = wire;
    for frame in &frames {
        accepted_by_oracle(way, frame);
        is_sent_as_it_is(&redis, way, frame);
        rest = &rest[frame.len()..];
    }
    // What isn't accepted here may be by it, but isn't incomplete here and complete there.
    let step = redis.next(context(way), rest, &mut Scan::default());
    if let (Ok(Step::More { .. }), false) = (step, rest.is_empty()) {
        assert_ne!(resp2_end(rest), Ok(true), "\"{}\"", rest.escape_ascii());
        let is_reply = way == Direction::Reply;
        assert!(
            !(is_reply && resp3_end(rest).is_some()),
            "\"{}\"",
            rest.escape_ascii()
        );
    }
}

fn context(way: Direction) -> Context<'static> {
    match way {
        Direction::Request => Context::REQUEST,
        Direction::Reply => Context::REPLY,
    }
}

/// The frames that are found if the bytes come in these pieces.
fn in_pieces(redis: &Redis, way: Direction, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut held, mut frames, mut scan) = (Vec::new(), Vec::new(), Scan::default());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match redis.next(context(way), &held, &mut scan) {
                Ok(Step::Frame(extent)) => frames.push(held.drain(..extent.length()).collect()),
                Ok(_) => break,
                Err(_) => return frames,
            }
            scan.reset();
        }
    }
    frames
}

/// Whether these are one frame and nothing more, by RESP2; an error if they are none.
fn resp2_end(bytes: &[u8]) -> Result<bool, ()> {
    let found = resp2::decode::decode_range(bytes).map_err(drop)?;
    Ok(found.is_some_and(|(_, length)| length <= bytes.len()))
}

/// Where the frame ends, by RESP3; the parts of a streamed one are put together.
fn resp3_end(bytes: &[u8]) -> Option<usize> {
    let (first, mut at) = resp3::decode::streaming::decode_range(bytes).ok()??;
    if let DecodedRangeFrame::Complete(_) = first {
        return Some(at);
    }
    loop {
        let rest = bytes.get(at..)?;
        let (part, length) = resp3::decode::streaming::decode_range(rest).ok()??;
        at += length;
        match part {
            DecodedRangeFrame::Complete(frame) if frame == RangeFrame::new_end_stream() => {
                return Some(at);
            }
            DecodedRangeFrame::Complete(_) => {}
            DecodedRangeFrame::Streaming(_) => return None,
        }
    }
}

fn accepted_by_oracle(way: Direction, frame: &[u8]) {
    let shown = frame.escape_ascii();
    match (way, frame.first()) {
        (Direction::Request, Some(b'*')) => {
            let (found, length) = resp2::decode::decode(frame)
                .expect("an array")
                .expect("a whole one");
            assert_eq!(length, frame.len(), "{shown}");
            let resp2::types::OwnedFrame::Array(arguments) = found else {
                panic!("{found:?} of {shown}");
            };
            let is_string = |one| matches!(one, &resp2::types::OwnedFrame::BulkString(_));
            assert!(!arguments.is_empty() && arguments.iter().all(is_string));
            let before = resp2::decode::decode_range(&frame[..length - 1]);
            assert!(matches!(before, Ok(None)), "{shown}");
        }
        (Direction::Request, _) => {}
        (Direction::Reply, _) => {
            if is_resp2(frame) {
                let found = resp2::decode::decode_range(frame).expect("a value");
                assert_eq!(
                    found.map(|(_, length)| length),
                    Some(frame.len()),
                    "{shown}"
                );
            }
            match resp3_end(frame) {
                Some(length) => assert_eq!(length, frame.len(), "{shown}"),
                None => assert!(!knows(frame), "{shown}"),
            }
        }
    }
}

/// The types of all lines, among them those of lines within strings.
fn lines(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    frame.split(|&byte| byte == b'\n')
}

fn is_resp2(frame: &[u8]) -> bool {
    let is_it = |line: &[u8]| line.first().is_none_or(|kind| b"+-:$*".contains(kind));
    lines(frame).all(|line| is_it(line) && !line.contains(&b'?'))
}

/// Whether a reply has nothing that the crate's RESP3 doesn't know: the nulls of RESP2, formats other
/// than `txt` and `mkd`, attributes of nulls and of attributes, keys and members that it can't hash, and
/// streamed strings in other values. Where there could be such, it isn't asked.
fn knows(frame: &[u8]) -> bool {
    let is_known = |line: &[u8]| {
        let is_of_resp3 = matches!(line, [b'=' | b'%' | b'~' | b'|', ..]);
        !is_of_resp3 && !matches!(line, [b'$' | b'*', b'-' | b'?', ..])
    };
    lines(frame).all(is_known)
}

/// What has been received can be sent, and what is made of it panics nowhere.
fn is_sent_as_it_is(redis: &Redis, way: Direction, frame: &[u8]) {
    let state = Note::default();
    let mut out = Vec::new();
    let encoded = redis.encode(context(way), frame, &mut out);
    match (way, frame.first()) {
        (Direction::Request, Some(b'*')) | (Direction::Reply, _) => {
            assert_eq!((encoded, &out[..]), (Ok(()), frame));
        }
        // A line is sent as an array, if its quotes are balanced and that isn't too long.
        _ => assert!(encoded.is_err() == out.is_empty() && !out.starts_with(b"*0")),
    }
    let demand = redis.demand(frame, &state);
    redis.answers(Some(demand.note()), frame, &mut Note::default());
    redis.answers(None, frame, &mut Note::default());
    redis.is_unfit(demand.note(), frame);
    redis.failed(Some(demand.note()), frame, &mut Note::default());
}
