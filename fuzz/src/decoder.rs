//! The decoder and encoder of the `length:` protocol against the reference, however the bytes are
//! cut, in both directions.

use millpond::framing::{Context, Direction, Extent, FrameError, Framing, LengthJson, Scan, Step};

use crate::{
    pieces,
    reference::{self, End, First, Item, Refusal},
};

/// Inputs up to this length are cut at every position: the work is their square.
const SHORT: usize = 64;

/// Limits on bodies: one that short inputs reach, and the default.
const LIMITS: [usize; 2] = [48, LengthJson::DEFAULT_MAX_BODY];

/// Decodes the bytes as they are, and in pieces that they choose themselves; short ones also byte
/// by byte, and in two pieces for each place where they can be cut. And encodes them as a body.
///
/// # Panics
///
/// The decoder finds something else than the reference, or finds it later; what is encoded isn't
/// what is decoded.
pub fn run(bytes: &[u8]) {
    for limit in LIMITS {
        let protocol = LengthJson::with_max_body(limit);
        for way in [Direction::Request, Direction::Reply] {
            let expected = reference::all(way, limit, bytes);
            let decode = |pieces: &[&[u8]]| {
                let found = in_pieces(&protocol, way, pieces);
                assert_eq!(found, expected, "{way:?}, in {pieces:?}");
            };
            decode(&[bytes]);
            decode(&pieces::by_themselves(bytes));
            if bytes.len() <= SHORT {
                decode(&bytes.chunks(1).collect::<Vec<_>>());
                (1..bytes.len()).for_each(|cut| decode(&[&bytes[..cut], &bytes[cut..]]));
            }
            encode(&protocol, way, bytes);
            encode_again(&protocol, way, &expected.0, bytes);
        }
    }
}

/// A receiver that is given the bytes in these pieces, and compares with the reference after each.
fn in_pieces(protocol: &LengthJson, way: Direction, pieces: &[&[u8]]) -> (Vec<Item>, End) {
    let (mut held, mut items, mut scan) = (Vec::new(), Vec::new(), Scan::default());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let step = protocol.next(context(way), &held, &mut scan);
            agree(&step, reference::first(way, protocol.max_body(), &held));
            let taken = match step {
                Ok(Step::More { .. }) => break,
                Ok(Step::Frame(extent)) => {
                    items.push(Item::Frame(
                        held[extent.head..extent.head + extent.body].to_vec(),
                    ));
                    extent.length()
                }
                Ok(Step::Heartbeat { length }) => {
                    items.push(Item::Heartbeat);
                    length
                }
                Err(error) => return (items, End::Refused(Refusal::of(&error))),
            };
            held.drain(..taken);
            scan = Scan::default();
        }
    }
    (items, End::Open(held))
}

/// Compares what was found at a boundary with what is there.
fn agree(step: &Result<Step, FrameError>, first: First<'_>) {
    let agree = match (step, first) {
        (Ok(Step::Frame(extent)), First::Frame(body)) => {
            let (head, body) = (20, body.len());
            *extent
                == Extent {
                    head,
                    body,
                    tail: 0,
                }
        }
        (Ok(Step::Heartbeat { length }), First::Heartbeat) => *length == 9,
        (Ok(Step::More { missing }), First::Announced { missing: exactly }) => *missing == exactly,
        (Ok(Step::More { missing }), First::Begun { most }) => (1..=most).contains(missing),
        (Err(error), First::Refused(refusal)) => Refusal::of(error) == refusal,
        _ => false,
    };
    assert!(agree, "{step:?}, and the reference says {first:?}");
}

/// The bytes as a body.
fn encode(protocol: &LengthJson, way: Direction, body: &[u8]) {
    let mut out = b"before".to_vec();
    let encoded = protocol.encode(context(way), body, &mut out);
    let behind = out.strip_prefix(b"before").expect("what was there stays");
    if body.len() > protocol.max_body() {
        let (length, limit) = (body.len() as u64, protocol.max_body() as u64);
        let setting = Some("LengthJson::with_max_body".into());
        assert_eq!(
            encoded,
            Err(FrameError::TooLong {
                length,
                limit,
                setting
            })
        );
        assert!(behind.is_empty(), "a body that is refused leaves nothing");
    } else {
        assert_eq!(encoded, Ok(()));
        assert_eq!(behind, reference::frame(body));
    }
}

/// A frame can be written in one way only: what was decoded, encoded again, is what came.
fn encode_again(protocol: &LengthJson, way: Direction, items: &[Item], bytes: &[u8]) {
    let mut again = Vec::new();
    for item in items {
        match item {
            Item::Frame(body) => protocol
                .encode(context(way), body, &mut again)
                .expect("it was within the limit"),
            Item::Heartbeat => again.extend_from_slice(protocol.heartbeat().expect("it has one")),
        }
    }
    assert!(
        bytes.starts_with(&again),
        "what was decoded is encoded differently"
    );
}

fn context(way: Direction) -> Context<'static> {
    match way {
        Direction::Request => Context::REQUEST,
        Direction::Reply => Context::REPLY,
    }
}
