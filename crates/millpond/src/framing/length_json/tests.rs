//! The decoder against a slow reference, over every split; what is refused, and where.

use proptest::prelude::*;

use super::*;

/// What the bytes hold, item by item, and what ends them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Frame(Vec<u8>),
    Heartbeat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Nothing, or an item that isn't complete.
    Waiting,
    Refused,
}

/// The protocol as slowly as it can be said: a frame is what one can be made of.
fn reference(max_body: usize, mut bytes: &[u8]) -> (Vec<Item>, End) {
    let mut items = Vec::new();
    loop {
        if bytes.is_empty() {
            return (items, End::Waiting);
        }
        if bytes.starts_with(HEARTBEAT) {
            items.push(Item::Heartbeat);
            bytes = &bytes[9..];
            continue;
        }
        // Only the first bytes of something could become it.
        if HEARTBEAT.starts_with(bytes)
            || CLIENTS
                .iter()
                .any(|(words, _)| bytes.len() < words.len() && words.starts_with(bytes))
        {
            return (items, End::Waiting);
        }
        let header = &bytes[..bytes.len().min(20)];
        let (label, digits) = header.split_at(header.len().min(7));
        if !b"length:".starts_with(label) || !digits.iter().all(u8::is_ascii_digit) {
            return (items, End::Refused);
        }
        if header.len() < 20 {
            return (items, End::Waiting);
        }
        let digits: String = digits.iter().map(|&digit| char::from(digit)).collect();
        let length: u64 = digits.parse().unwrap();
        if length > max_body as u64 {
            return (items, End::Refused);
        }
        let end = 20 + usize::try_from(length).unwrap();
        if bytes.len() < end {
            return (items, End::Waiting);
        }
        items.push(Item::Frame(bytes[20..end].to_vec()));
        bytes = &bytes[end..];
    }
}

/// A receiver that is given the bytes in these pieces, and shows to the framing what it has after
/// each.
fn in_pieces<'b>(
    protocol: &LengthJson,
    pieces: impl Iterator<Item = &'b [u8]>,
) -> (Vec<Item>, End) {
    let (mut held, mut items, mut scan) = (Vec::new(), Vec::new(), Scan::default());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let taken = match protocol.next(Context::REQUEST, &held, &mut scan) {
                Ok(Step::More { missing }) => {
                    assert!(missing > 0, "nothing is missing");
                    break;
                }
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
                Err(_) => return (items, End::Refused),
            };
            held.drain(..taken);
            scan = Scan::default();
        }
    }
    (items, End::Waiting)
}

/// What comes over a wire: mostly right, and then not.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(b"HeartBeat".to_vec()),
        Just(b"length:0000000000003abc".to_vec()),
    ];
    let item = prop_oneof![
        6 => body.prop_map(|body| {
            let mut out = Vec::new();
            LengthJson::default().encode(Context::REPLY, &body, &mut out).unwrap();
            out
        }),
        3 => Just(HEARTBEAT.to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
        1 => "(length:|Length:|lengt|Heart|HEAD |GET /|POST|\\x16\\x03)[0-9+ x-]{0,14}".prop_map(String::into_bytes),
        1 => (0_u64..200).prop_map(|length| format!("length:{length:013}").into_bytes()),
    ];
    prop::collection::vec(item, 0..6).prop_map(|items| items.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_way_to_split_the_bytes_gives_what_the_reference_finds(wire in wire(), cuts in prop::collection::vec(1_usize..25, 1..40)) {
        let protocol = LengthJson::with_max_body(64);
        let expected = reference(64, &wire);
        prop_assert_eq!(&in_pieces(&protocol, std::iter::once(&wire[..])), &expected, "all at once");
        prop_assert_eq!(&in_pieces(&protocol, wire.chunks(1)), &expected, "byte by byte");
        for cut in 0..=wire.len() {
            let halves = [&wire[..cut], &wire[cut..]];
            prop_assert_eq!(&in_pieces(&protocol, halves.into_iter()), &expected, "cut at {}", cut);
        }
        let (mut rest, mut pieces) = (&wire[..], Vec::new());
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(&in_pieces(&protocol, pieces.into_iter()), &expected, "in pieces");
    }

    #[test]
    fn a_header_says_every_length_that_thirteen_digits_can(length in 0..=LengthJson::LARGEST_BODY, digits in 0_u32..13) {
        let length = length / 10_u64.pow(digits);
        let mut header = Vec::new();
        write_header(usize::try_from(length).unwrap(), &mut header);
        let expected = format!("length:{length:013}");
        prop_assert_eq!(&header, expected.as_bytes());
        prop_assert_eq!(announced(header.first_chunk().unwrap()), Some(length));
    }

    #[test]
    fn what_is_encoded_is_what_is_decoded(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let (protocol, mut wire) = (LengthJson::default(), Vec::new());
        protocol.encode(Context::REQUEST, &body, &mut wire).unwrap();
        let step = protocol.next(Context::REQUEST, &wire, &mut Scan::default()).unwrap();
        prop_assert_eq!(step, Step::Frame(Extent { head: 20, body: body.len(), tail: 0 }));
        prop_assert_eq!(&wire[20..], &body[..]);
    }
}

fn next(bytes: &[u8]) -> Result<Step, FrameError> {
    LengthJson::default().next(Context::REQUEST, bytes, &mut Scan::default())
}

#[test]
fn the_reference_exchange_is_framed_as_published() {
    for (body, header) in [
        ("{\"a\":\"a\"}", "length:0000000000009"),
        (
            "\"服务端的数据数据:{\\\"a\\\":\\\"a\\\"}\"",
            "length:0000000000040",
        ),
        ("\"Tue, 03 Apr 2018 06:12:37 GMT\"", "length:0000000000031"),
        (
            "\"服务端的数据数据:\\\"Tue, 03 Apr 2018 06:12:37 GMT\\\"\"",
            "length:0000000000060",
        ),
    ] {
        let mut wire = Vec::new();
        LengthJson::default()
            .encode(Context::REQUEST, body.as_bytes(), &mut wire)
            .unwrap();
        assert_eq!(String::from_utf8(wire).unwrap(), format!("{header}{body}"));
    }
}

#[test]
fn a_header_that_is_none_is_refused_at_its_first_wrong_byte() {
    for (header, position) in [
        ("length:+000000000009", 7),
        ("length:-000000000009", 7),
        ("length: 000000000009", 7),
        ("length:000000000000x", 19),
        ("length:0x00000000009", 8),
        ("length:000000000009{", 19),
        ("length:00000000000\u{663}", 18),
        ("LENGTH:0000000000009", 0),
        ("lENGTH:0000000000009", 1),
        ("length;", 6),
        ("Heartbeat", 5),
        ("heartBeat", 0),
        ("{\"a\":1}", 0),
        ("\n", 0),
        ("\u{16}\u{4}", 0),
        ("GETT", 0),
    ] {
        let found = next(header.as_bytes());
        assert!(
            matches!(found, Err(FrameError::Unexpected { position: at, .. }) if at == position),
            "{header}: {found:?}"
        );
        // And no later than it has arrived.
        assert!(
            next(&header.as_bytes()[..=position]).is_err()
                || header.starts_with("GET")
                || position == 0,
            "{header}"
        );
    }
    // Fourteen digits: the last is the body's.
    assert_eq!(
        next(b"length:00000000000019").unwrap(),
        Step::Frame(Extent {
            head: 20,
            body: 1,
            tail: 0
        })
    );
}

#[test]
fn a_length_beyond_the_limit_is_refused_when_it_is_announced() {
    assert_eq!(
        next(b"length:0000001048576").unwrap(),
        Step::More { missing: 1 << 20 }
    );
    assert_eq!(
        next(b"length:0000001048577").unwrap_err().to_string(),
        "a body of 1,048,577 bytes is longer than the limit of 1,048,576; LengthJson::with_max_body raises it"
    );
    assert!(next(b"length:9999999999999").is_err());
    assert_eq!(
        next(b"length:0000000000000").unwrap(),
        Step::Frame(Extent {
            head: 20,
            body: 0,
            tail: 0
        })
    );
    let mut out = b"before".to_vec();
    let error = LengthJson::with_max_body(3).encode(Context::REQUEST, b"four", &mut out);
    assert_eq!(error, Err(too_long(4, 3)));
    assert_eq!(out, b"before");
    assert_eq!(
        LengthJson::with_max_body(usize::MAX).max_body() as u64,
        LengthJson::LARGEST_BODY
    );
}

#[test]
fn a_heartbeat_is_recognised_before_a_header_could_be_there() {
    assert_eq!(next(b"HeartBeat").unwrap(), Step::Heartbeat { length: 9 });
    assert_eq!(
        next(b"HeartBeatHeart").unwrap(),
        Step::Heartbeat { length: 9 }
    );
    assert_eq!(next(b"HeartBea").unwrap(), Step::More { missing: 1 });
    assert_eq!(
        next(b"HeartBeatlength:").unwrap(),
        Step::Heartbeat { length: 9 }
    );
}

fn too_long(length: u64, limit: u64) -> FrameError {
    FrameError::TooLong {
        length,
        limit,
        setting: Some("LengthJson::with_max_body".into()),
    }
}

#[test]
fn what_is_too_long_is_told_with_its_length_the_limit_and_the_setting() {
    let announced = next(b"length:9999999999999").unwrap_err();
    assert_eq!(
        announced.to_string(),
        "a body of 9,999,999,999,999 bytes is longer than the limit of 1,048,576; LengthJson::with_max_body raises it"
    );
    let error = FrameError::TooLong {
        length: 2_000,
        limit: 1_000,
        setting: None,
    };
    assert_eq!(
        error.to_string(),
        "a body of 2,000 bytes is longer than the limit of 1,000"
    );
}

#[test]
fn servers_of_other_protocols_are_recognised_by_how_they_answer() {
    let reply =
        |bytes: &[u8]| LengthJson::default().next(Context::REPLY, bytes, &mut Scan::default());
    for (words, error, told) in [
        (&b"HTTP/1.1 400 Bad Request"[..], FrameError::HttpServer, 5),
        (b"SSH-2.0-OpenSSH_9.6", FrameError::SshServer, 4),
        (&[0x15, 0x03, 0x03, 0, 2, 2, 70], FrameError::TlsServer, 2),
    ] {
        assert_eq!(reply(words), Err(error.clone()));
        assert_eq!(reply(&words[..told]), Err(error.clone()));
        for length in 1..told {
            assert!(
                matches!(reply(&words[..length]), Ok(Step::More { .. })),
                "{error}"
            );
        }
        assert!(
            matches!(next(words), Err(FrameError::Unexpected { .. })),
            "no client begins so: {error}"
        );
    }
    for request in [&b"HEAD /"[..], b"GET /", &[0x16, 0x03, 0x01]] {
        assert!(matches!(reply(request), Err(FrameError::Unexpected { .. })));
    }
}

#[test]
fn visitors_of_other_protocols_are_recognised_by_their_fourth_byte() {
    for request in [
        "GET / HTTP/1.1",
        "POST /x",
        "HEAD /",
        "PUT /",
        "DELETE /",
        "OPTIONS *",
        "PATCH /",
        "CONNECT a:1",
        "TRACE /",
    ] {
        assert_eq!(next(request.as_bytes()), Err(FrameError::Http), "{request}");
        assert_eq!(
            next(&request.as_bytes()[..4]),
            Err(FrameError::Http),
            "{request}"
        );
        assert!(
            matches!(
                next(&request.as_bytes()[..3]),
                Ok(Step::More { missing: 1 })
            ),
            "{request}"
        );
    }
    assert_eq!(next(&[0x16, 0x03, 0x01]), Err(FrameError::Tls));
    assert_eq!(next(&[0x16]).unwrap(), Step::More { missing: 1 });
}

#[test]
fn a_body_of_the_limit_can_be_sent_and_one_byte_more_cannot() {
    let protocol = LengthJson::with_max_body(3);
    let mut out = Vec::new();
    protocol.encode(Context::REQUEST, b"123", &mut out).unwrap();
    assert_eq!(out, b"length:0000000000003123");
    let error = protocol
        .encode(Context::REQUEST, b"1234", &mut out)
        .unwrap_err();
    assert_eq!(error, too_long(4, 3));
    assert_eq!(out.len(), 23, "as it was");
}

#[test]
fn it_says_what_it_is_and_beats_as_the_protocol_does() {
    let protocol = LengthJson::default();
    assert_eq!(protocol.heartbeat(), Some(&b"HeartBeat"[..]));
    assert_eq!(protocol.name(), "the length: protocol with JSON bodies");
    assert!(
        !protocol.failure_needs_request(),
        "an error reply repeats nothing of it"
    );
}

#[test]
fn a_header_has_all_its_digits_whatever_the_length() {
    for length in [
        0,
        7,
        99_999_999,
        100_000_000,
        100_000_001,
        1_234_567_890_123,
    ] {
        let mut out = Vec::new();
        write_header(length, &mut out);
        assert_eq!(out, format!("length:{length:013}").as_bytes());
    }
}

#[test]
fn of_half_a_header_or_heartbeat_the_other_half_is_missing() {
    // Of a stranger's words as much as says whose they are.
    for whole in [&b"length:0000000000009"[..], b"HeartBeat", b"PUT "] {
        for length in 1..whole.len() {
            let missing = whole.len() - length;
            assert_eq!(next(&whole[..length]).unwrap(), Step::More { missing });
        }
    }
}
