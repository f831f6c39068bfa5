//! Blocks against a slow reference over every split, and how much work they are. What messages ask
//! for, and whose acknowledgment is whose, is in [`acknowledgments`].

mod acknowledgments;

use proptest::prelude::*;

use super::*;

/// An admission, as a ward sends it.
pub(super) const ADMISSION: &[u8] =
    b"MSH|^~\\&|HIS|EAST|LAB|WEST|20260102030405||ADT^A01^ADT_A01|MSG-0001|P|2.5.1\r\
EVN|A01|20260102030400\r\
PID|1||4711^^^EAST^MR||Doe^Jane^Q||19700101|F|||1 Main St^^Springfield\r\
PV1|1|I|W^389^1^EAST||||0148^Adams^John\r";

/// A laboratory's result with a number, a text with escape sequences, and a document in base64.
pub(super) const RESULT: &[u8] =
    b"MSH|^~\\&|LAB|WEST|HIS|EAST|20260102040506||ORU^R01^ORU_R01|R.42|P|2.5.1|||AL|NE||UNICODE UTF-8\r\
PID|1||4711^^^EAST^MR||M\xc3\xbcller^Jane\r\
OBR|1|A1|B2|1554-5^GLUCOSE^LN|||20260102035959\r\
OBX|1|NM|1554-5^GLUCOSE^LN||182|mg/dL|70_105|H|||F\r\
OBX|2|TX|NOTE^Note^L||fasting \\T\\ resting, see MSH and MSA\r\
OBX|3|ED|PDF^Report^L||LAB^AP^^Base64^JVBERi0xLjQKJcfs\r";

pub(super) fn block(body: &[u8]) -> Vec<u8> {
    [b"\x0b", body, b"\x1c\x0d"].concat()
}

fn limited(max_body: usize) -> Mllp {
    Mllp::from(MllpSettings {
        max_body,
        ..MllpSettings::default()
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Waiting,
    Refused(FrameError),
}

/// The protocol as slowly as it can be said: byte after byte.
fn reference(max_body: usize, bytes: &[u8]) -> (Vec<Vec<u8>>, End) {
    let (mut bodies, mut open, mut ending) = (Vec::new(), None::<Vec<u8>>, false);
    let mut begin = 0;
    for (at, &found) in bytes.iter().enumerate() {
        let refused = |begin: usize, expected: &str| {
            End::Refused(FrameError::Unexpected {
                position: at - begin,
                found,
                expected: expected.to_owned().into(),
            })
        };
        let end = match (open.as_mut(), found) {
            (None, 0x0b) => {
                open = Some(Vec::new());
                begin = at;
                continue;
            }
            (None, _) => refused(at, "0x0B, which begins an MLLP block,"),
            (Some(body), 0x0d) if ending => {
                bodies.push(std::mem::take(body));
                (open, ending) = (None, false);
                continue;
            }
            (Some(_), _) if ending => refused(begin, "0x0D behind 0x1C"),
            (Some(_), 0x0b) => refused(begin, "a byte of a message, or 0x1C and 0x0D,"),
            (Some(_), 0x1c) => {
                ending = true;
                continue;
            }
            (Some(body), _) if body.len() == max_body => End::Refused(FrameError::TooLong {
                length: max_body as u64 + 1,
                limit: max_body as u64,
                setting: Some("max_body".into()),
            }),
            (Some(body), byte) => {
                body.push(byte);
                continue;
            }
        };
        return (bodies, end);
    }
    (bodies, End::Waiting)
}

/// A receiver that is given the bytes in these pieces. `examined` counts what is looked at again.
fn in_pieces<'b>(
    mllp: &Mllp,
    pieces: impl Iterator<Item = &'b [u8]>,
    examined: &mut usize,
) -> (Vec<Vec<u8>>, End) {
    let (mut held, mut bodies, mut scan) = (Vec::new(), Vec::new(), Scan::default());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            *examined += held.len() - scan.searched().min(held.len());
            match mllp.next(Context::REQUEST, &held, &mut scan) {
                Ok(step @ Step::More { .. }) => {
                    let checked = step.checked(held.len(), &scan, mllp.max_frame());
                    assert_eq!(checked, Ok(step));
                    break;
                }
                Ok(Step::Frame(extent)) => {
                    assert_eq!((extent.head, extent.tail), (1, 2));
                    bodies.push(held[1..1 + extent.body].to_vec());
                    assert_eq!(body_of(&held[..extent.length()]), &held[1..1 + extent.body]);
                    held.drain(..extent.length());
                    scan.reset();
                }
                Ok(Step::Heartbeat { .. }) => panic!("it has none"),
                Err(error) => return (bodies, End::Refused(error)),
            }
        }
    }
    (bodies, End::Waiting)
}

/// What comes over a wire: mostly right, and then not.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(32_u8..127, 0..18);
    let item = prop_oneof![
        8 => body.prop_map(|body| block(&body)),
        1 => prop::collection::vec(prop_oneof![Just(0x0b), Just(0x1c), Just(0x0d), Just(b'a')], 0..8),
        1 => prop::collection::vec(any::<u8>(), 0..8),
        1 => Just(b"\x0bMSH".to_vec()),
    ];
    prop::collection::vec(item, 0..5).prop_map(|items| items.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_way_to_split_the_bytes_gives_what_the_reference_finds(wire in wire()) {
        let (mllp, mut examined) = (limited(16), 0);
        let expected = reference(16, &wire);
        let mut found = |pieces: &[&[u8]]| in_pieces(&mllp, pieces.iter().copied(), &mut examined);
        prop_assert_eq!(&found(&[&wire]), &expected, "all at once");
        prop_assert_eq!(&found(&wire.chunks(1).collect::<Vec<_>>()), &expected, "byte by byte");
        for cut in 0..=wire.len() {
            prop_assert_eq!(&found(&[&wire[..cut], &wire[cut..]]), &expected, "cut at {}", cut);
        }
    }

    #[test]
    fn what_is_encoded_is_what_is_decoded(body in prop::collection::vec(any::<u8>(), 0..40)) {
        let (mllp, mut wire) = (limited(32), b"before".to_vec());
        let encoded = mllp.encode(Context::REQUEST, &body, &mut wire);
        let wrong = body.iter().position(|byte| [0x0b, 0x1c].contains(byte));
        match wrong {
            _ if body.len() > 32 => {
                let is_told = matches!(encoded, Err(FrameError::TooLong { limit: 32, .. }));
                prop_assert!(is_told);
            }
            Some(at) => {
                let is_told = matches!(
                    encoded, Err(FrameError::Unexpected { position, .. }) if position == 1 + at
                );
                prop_assert!(is_told);
            }
            None => prop_assert_eq!(encoded.clone(), Ok(())),
        }
        if encoded.is_err() {
            prop_assert_eq!(&wire, b"before");
        } else {
            let found = in_pieces(&mllp, std::iter::once(&wire[6..]), &mut 0);
            prop_assert_eq!(found, (vec![body], End::Waiting));
        }
    }
}

#[test]
fn byte_by_byte_no_byte_is_looked_at_more_than_three_times() {
    let body = vec![b'x'; 50_000];
    let wire = block(&body);
    let mut examined = 0;
    let found = in_pieces(&Mllp::default(), wire.chunks(1), &mut examined);
    assert_eq!(found, (vec![body], End::Waiting));
    assert!(examined <= 3 * wire.len(), "{examined} of {}", wire.len());
}

#[test]
fn a_body_beyond_the_limit_is_refused_when_its_first_byte_too_many_is_there() {
    let mllp = limited(4);
    let next = |bytes: &[u8]| mllp.next(Context::REPLY, bytes, &mut Scan::default());
    assert_eq!(next(b"\x0babcd"), Ok(Step::More { missing: 2 }));
    assert_eq!(next(b"\x0babcd\x1c"), Ok(Step::More { missing: 1 }));
    let frame = Step::Frame(Extent {
        head: 1,
        body: 4,
        tail: 2,
    });
    assert_eq!(next(b"\x0babcd\x1c\x0d\x0babcde"), Ok(frame));
    for more in [&b""[..], b"f", b"\x1c\x0d"] {
        let refused = next(&[b"\x0babcde", more].concat()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a body of 5 bytes is longer than the limit of 4; max_body raises it"
        );
    }
    let named = limited(4).limit_named("--max-frame");
    let refused = named.encode(Context::REQUEST, b"abcde", &mut Vec::new());
    assert!(refused.unwrap_err().to_string().contains("--max-frame"));
}

#[test]
fn what_has_no_place_in_a_block_is_refused_where_it_stands() {
    for (bytes, words) in [
        (
            &b"GET / HTTP"[..],
            "byte 0 of a frame is 'G', and 0x0B, which begins an MLLP block, was expected",
        ),
        (
            b"\x0bab\x0b",
            "byte 3 of a frame is 0x0B, and a byte of a message, or 0x1C and 0x0D, was expected",
        ),
        (
            b"\x0bab\x1cc",
            "byte 4 of a frame is 'c', and 0x0D behind 0x1C was expected",
        ),
        (
            b"\x0bab\x1c\x0b",
            "byte 4 of a frame is 0x0B, and 0x0D behind 0x1C was expected",
        ),
    ] {
        let refused = Mllp::default().next(Context::REQUEST, bytes, &mut Scan::default());
        assert_eq!(refused.unwrap_err().to_string(), words);
    }
}

#[test]
fn real_messages_are_framed_as_they_are() {
    for message in [ADMISSION, RESULT] {
        let mut wire = Vec::new();
        let mllp = Mllp::default();
        mllp.encode(Context::REQUEST, message, &mut wire).unwrap();
        assert_eq!(wire, block(message));
        assert!(mllp.demand(&wire, &Note::default()).refusal().is_none());
    }
    assert_eq!(
        (Mllp::default().name(), Mllp::default().max_frame()),
        ("HL7 over MLLP", (16 << 20) + 3)
    );
    assert!(Mllp::default().looks_at_requests());
}
