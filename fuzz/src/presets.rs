//! The protocols that are made of settings, beside their references: the first bytes of an input say
//! which protocol it is and its settings, the rest is what comes over the wire, however it is cut,
//! in both directions.

use millpond::framing::{
    ByteOrder, Context, Counts, Delimited, DelimitedSettings, Direction, EmptyBody, EndOfReply,
    Failure, Framing, IdMode, IdSettings, LengthField, LengthPrefixed, LengthPrefixedSettings,
    Note, Octets, Told,
};

use crate::{
    pieces,
    preset_references::{self as references, First, Item},
};

/// Wires up to this length are cut at every position: the work is their square.
const SHORT: usize = 64;

/// Settings as a program would read them that has but bytes: 0 where there are no more.
struct Choices<'b>(&'b [u8]);

impl<'b> Choices<'b> {
    fn byte(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    fn below(&mut self, count: u8) -> usize {
        usize::from(self.byte() % count)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let count = u8::try_from(all.len()).expect("a few");
        all[self.below(count)]
    }

    fn perhaps<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let is_there = self.byte() % 2 == 1;
        is_there.then(|| what(self))
    }

    fn bytes(&mut self, count: usize) -> &'b [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn octets(&mut self, most: u8) -> Octets {
        let count = self.below(most + 1);
        self.bytes(count).into()
    }
}

/// Reads the settings, and judges what comes over the wire, and the wire as a body.
///
/// # Panics
///
/// A framing finds something else than its reference; or what it sends isn't what it receives.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    match choices.byte() % 2 {
        0 => {
            let settings = length_prefixed(&mut choices);
            match LengthPrefixed::new(settings) {
                Ok(protocol) => judge_length_prefixed(&protocol, choices.0),
                Err(error) => assert!(error.to_string().contains(", and must be ")),
            }
        }
        _ => {
            let settings = delimited(&mut choices);
            match Delimited::new(settings) {
                Ok(protocol) => judge_delimited(&protocol, choices.0),
                Err(error) => assert!(error.to_string().contains(", and must be ")),
            }
        }
    }
}

fn length_prefixed(choices: &mut Choices<'_>) -> LengthPrefixedSettings {
    let orders = [ByteOrder::Big, ByteOrder::Little];
    let length = match choices.below(7) {
        0 => LengthField::U8,
        1 => LengthField::U16,
        2 => LengthField::U24,
        3 => LengthField::U32,
        4 => LengthField::U64,
        5 => LengthField::Digits(choices.byte()),
        _ => LengthField::Bcd(choices.byte()),
    };
    LengthPrefixedSettings {
        length,
        byte_order: choices.one_of(&orders),
        counts: choices.one_of(&[Counts::Body, Counts::Frame]),
        empty: choices.one_of(&[EmptyBody::Message, EmptyBody::Heartbeat]),
        max_body: usize::from(choices.byte()),
        adjustment: match choices.byte() {
            // Far away as well.
            0x80 => i32::MIN,
            0x7F => i32::MAX,
            near => i32::from(near as i8),
        },
        fixed: choices.octets(4),
        offset: choices.perhaps(|choices| choices.below(16)),
        header: choices.perhaps(|choices| choices.below(48)),
        id: choices.perhaps(|choices| IdSettings {
            offset: choices.below(24),
            width: choices.below(10),
            byte_order: choices.one_of(&orders),
            mode: choices.one_of(&[IdMode::Renumbered, IdMode::Compared]),
        }),
    }
}

fn delimited(choices: &mut Choices<'_>) -> DelimitedSettings {
    let usual: [&[&str]; 5] = [&["\n"], &["\r\n"], &["\r\n", "\n"], &["\0"], &["||", "|\n"]];
    let delimiters = match choices.below(6) {
        5 => (0..choices.below(5)).map(|_| choices.octets(4)).collect(),
        usual_one => usual[usual_one].iter().map(|&end| end.into()).collect(),
    };
    DelimitedSettings {
        delimiters,
        reply: match choices.below(4) {
            0 => EndOfReply::Line,
            1 => EndOfReply::UntilLine(choices.octets(4)),
            2 => EndOfReply::UntilPrompt(choices.octets(4)),
            _ => EndOfReply::Lines(choices.byte().into()),
        },
        failure: choices.perhaps(|choices| {
            let before = choices.bytes(2);
            String::from_utf8_lossy(before).into_owned() + "{message}"
        }),
        max_body: usize::from(choices.byte()),
    }
}

/// In pieces that the bytes choose themselves; short ones in all pieces.
fn judge(
    framing: &impl Framing,
    way: Direction,
    reference: &impl Fn(&[u8]) -> First,
    wire: &[u8],
) -> Vec<Item> {
    let whole = references::in_pieces(framing, way, reference, std::iter::once(wire));
    let chosen = pieces::by_themselves(wire);
    let cut = references::in_pieces(framing, way, reference, chosen.into_iter());
    assert_eq!(cut, whole, "in pieces");
    match wire.len() <= SHORT {
        true => references::in_all_pieces(framing, way, reference, wire),
        false => whole.0,
    }
}

fn judge_length_prefixed(protocol: &LengthPrefixed, wire: &[u8]) {
    let settings = protocol.settings();
    let first = |bytes: &[u8]| references::length_prefixed(settings, bytes);
    for way in [Direction::Request, Direction::Reply] {
        for item in judge(protocol, way, &first, wire) {
            if let Some(body) = item.body {
                let mut out = Vec::new();
                let again = protocol.encode(context(way), &body, &mut out);
                assert_eq!(again, Ok(()), "what was received can be sent");
                assert_eq!(out.len(), item.whole.len());
            }
        }
    }
    // The wire as a body.
    let (id, state) = (u64::from_le_bytes([0xA5; 8]), Note::default());
    let asked = Note::word(id);
    let mut out = b"before".to_vec();
    let encoded = protocol.encode(Context::reply(&asked, &state), wire, &mut out);
    let frame = references::length_prefixed_frame(settings, id, wire);
    assert_eq!(encoded.is_ok(), frame.is_some(), "{encoded:?}");
    assert_eq!(out, [&b"before"[..], &frame.unwrap_or_default()].concat());
}

fn judge_delimited(protocol: &Delimited, wire: &[u8]) {
    for way in [Direction::Request, Direction::Reply] {
        let first = |bytes: &[u8]| references::delimited(protocol.settings(), way, bytes);
        judge(protocol, way, &first, wire);
        // The wire as a body: it comes out as it went in, or it is refused.
        let mut out = Vec::new();
        match protocol.encode(context(way), wire, &mut out) {
            Ok(()) => {
                let items = judge(protocol, way, &first, &out);
                let body = Some(wire.to_vec());
                assert_eq!(items, [Item { body, whole: out }]);
            }
            Err(_) => assert!(out.is_empty(), "what is refused leaves nothing"),
        }
    }
    let failure = Failure::refused(String::from_utf8_lossy(wire));
    let mut out = Vec::new();
    let told = protocol.encode_failure(Context::REPLY, b"", &failure, &mut out);
    let expected = match protocol.settings().failure {
        Some(_) => Told::ByReply,
        None => Told::ByClosing,
    };
    assert_eq!(told, expected);
    if told == Told::ByReply {
        match references::delimited(protocol.settings(), Direction::Reply, &out) {
            First::Frame(extent) if extent.length() == out.len() => {}
            first => panic!("{first:?}"),
        }
    }
}

fn context(way: Direction) -> Context<'static> {
    match way {
        Direction::Request => Context::REQUEST,
        Direction::Reply => Context::REPLY,
    }
}
