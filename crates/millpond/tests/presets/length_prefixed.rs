//! Length-prefixed frames beside the reference, over every split; what settings are refused, and
//! what known protocols look like.

use millpond::framing::{
    Answer, ByteOrder, Context, Counts, EmptyBody, Extent, FrameError, Framing, IdField, IdMode,
    IdSettings, LengthField, LengthPrefixed, LengthPrefixedSettings, Note, Octets, Scan, Step,
};
use proptest::prelude::*;

use crate::reference;

fn settings() -> impl Strategy<Value = LengthPrefixedSettings> {
    let length = prop_oneof![
        Just(LengthField::U8),
        Just(LengthField::U16),
        Just(LengthField::U24),
        Just(LengthField::U32),
        Just(LengthField::U64),
        (1_u8..20).prop_map(LengthField::Digits),
        (1_u8..10).prop_map(LengthField::Bcd),
    ];
    let order = || prop_oneof![Just(ByteOrder::Big), Just(ByteOrder::Little)];
    let mode = prop_oneof![Just(IdMode::Renumbered), Just(IdMode::Compared)];
    let id = (0_usize..16, 1_usize..9, order(), mode);
    let id = id.prop_map(|(offset, width, byte_order, mode)| IdSettings {
        offset,
        width,
        byte_order,
        mode,
    });
    let places = (
        prop::collection::vec(any::<u8>(), 0..3),
        prop::option::of(0_usize..8),
        prop::option::of(0_usize..24),
        prop::option::of(id),
    );
    let counts = prop_oneof![Just(Counts::Body), Just(Counts::Frame)];
    let adjustment = prop_oneof![4 => Just(0), 3 => -9..9_i32, 1 => any::<i32>()];
    let empty = prop_oneof![Just(EmptyBody::Message), Just(EmptyBody::Heartbeat)];
    let rest = (length, order(), counts, adjustment, empty, 0_usize..40);
    (places, rest).prop_map(|((fixed, offset, header, id), rest)| {
        let (length, byte_order, counts, adjustment, empty, max_body) = rest;
        LengthPrefixedSettings {
            fixed: Octets::from(fixed),
            offset,
            length,
            byte_order,
            counts,
            adjustment,
            id,
            header,
            empty,
            max_body,
        }
    })
}

/// Valid ones, and what they make.
fn protocol() -> impl Strategy<Value = LengthPrefixed> {
    settings().prop_filter_map("valid", |settings| LengthPrefixed::new(settings).ok())
}

/// Which of its bytes are overwritten, and with what.
fn damage() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((0_usize..60, any::<u8>()), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_split_gives_what_the_reference_finds(
        protocol in protocol(),
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        beats in any::<u8>(),
        damage in damage(),
        behind in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for (at, body) in bodies.iter().enumerate() {
            if let (Some(heartbeat), true) = (protocol.heartbeat(), beats >> at & 1 == 1) {
                wire.extend_from_slice(heartbeat);
                expected.push(None);
            }
            if protocol.encode(Context::REPLY, body, &mut wire).is_ok() {
                expected.push(Some(body.clone()));
            }
        }
        let first = |bytes: &[u8]| reference::length_prefixed(protocol.settings(), bytes);
        let way = millpond::framing::Direction::Request;
        let items = reference::in_all_pieces(&protocol, way, &first, &wire);
        let bodies: Vec<_> = items.into_iter().map(|item| item.body).collect();
        prop_assert_eq!(bodies, expected);
        wire.extend_from_slice(&behind);
        for (at, byte) in damage {
            if let Some(place) = wire.get_mut(at) {
                *place = byte;
            }
        }
        reference::in_all_pieces(&protocol, way, &first, &wire);
    }

    #[test]
    fn a_body_is_framed_as_the_reference_does(
        protocol in protocol(),
        id in any::<u64>(),
        body in prop::collection::vec(any::<u8>(), 0..48),
    ) {
        let note = Note::word(id);
        let state = Note::default();
        let settings = protocol.settings();
        for (context, id) in [(Context::reply(&note, &state), id), (Context::REQUEST, 0)] {
            let mut out = b"before".to_vec();
            let encoded = protocol.encode(context, &body, &mut out);
            match reference::length_prefixed_frame(settings, id, &body) {
                Some(frame) => {
                    prop_assert_eq!(encoded, Ok(()));
                    prop_assert_eq!(&out[6..], &frame[..]);
                }
                None => {
                    prop_assert!(encoded.is_err());
                    prop_assert_eq!(&out[..], b"before");
                }
            }
        }
    }

    #[test]
    fn no_settings_panic(settings in settings(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        match LengthPrefixed::new(settings.clone()) {
            Ok(protocol) => {
                let _ = protocol.next(Context::REQUEST, &bytes, &mut Scan::default());
                let _ = protocol.with_max_body(0).max_frame();
            }
            Err(error) => {
                let known = ["header", "length", "max_body", "empty", "byte_order", "offset"];
                prop_assert!(known.contains(&error.setting) || error.setting.starts_with("id."), "{error}");
            }
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_come_back_as_they_were_written(settings in settings()) {
        let json = serde_json::to_string(&settings).unwrap();
        prop_assert_eq!(&serde_json::from_str::<LengthPrefixedSettings>(&json).unwrap(), &settings);
        let toml = toml::to_string(&settings).unwrap();
        prop_assert_eq!(&toml::from_str::<LengthPrefixedSettings>(&toml).unwrap(), &settings, "{}", toml);
    }
}

fn default() -> LengthPrefixedSettings {
    LengthPrefixedSettings::default()
}

fn made(settings: LengthPrefixedSettings) -> LengthPrefixed {
    LengthPrefixed::new(settings).expect("valid settings")
}

fn encoded(protocol: &LengthPrefixed, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let encoded = protocol.encode(Context::REQUEST, body, &mut out);
    encoded.expect("it can be announced");
    out
}

fn refused(protocol: &LengthPrefixed, bytes: &[u8]) -> String {
    let step = protocol.next(Context::REQUEST, bytes, &mut Scan::default());
    step.expect_err("no frame").to_string()
}

#[test]
fn what_is_refused_is_told_with_the_setting_its_value_and_what_is_allowed() {
    let id = |offset, width| {
        Some(IdSettings {
            offset,
            width,
            ..IdSettings::default()
        })
    };
    let fixed: Octets = "MAGIC".into();
    let said = |settings: LengthPrefixedSettings| {
        let refused = LengthPrefixed::try_from(settings);
        refused.expect_err("refused").to_string()
    };
    for (settings, words) in [
        (
            LengthPrefixedSettings {
                length: LengthField::Digits(0),
                ..default()
            },
            "length.digits is 0, and must be 1 to 19",
        ),
        (
            LengthPrefixedSettings {
                length: LengthField::Digits(20),
                ..default()
            },
            "length.digits is 20, and must be 1 to 19",
        ),
        (
            LengthPrefixedSettings {
                length: LengthField::Bcd(255),
                ..default()
            },
            "length.bcd is 255, and must be 1 to 9",
        ),
        (
            LengthPrefixedSettings {
                length: LengthField::Bcd(2),
                byte_order: ByteOrder::Little,
                ..default()
            },
            "byte_order is \"little\", and must be \"big\": digits have no other",
        ),
        (
            LengthPrefixedSettings {
                fixed: fixed.clone(),
                offset: Some(4),
                ..default()
            },
            "offset is 4, and must be 5, where the fixed bytes end, to 4096",
        ),
        (
            LengthPrefixedSettings {
                offset: Some(usize::MAX),
                ..default()
            },
            &format!(
                "offset is {}, and must be 0, where the fixed bytes end, to 4096",
                usize::MAX
            ),
        ),
        (
            LengthPrefixedSettings {
                fixed: vec![0; 5_000].into(),
                ..default()
            },
            "fixed is 5000 bytes long, and must be at most 4096",
        ),
        (
            LengthPrefixedSettings {
                header: Some(3),
                ..default()
            },
            "header is 3, and must be 4, where its last field ends, to 4096",
        ),
        (
            LengthPrefixedSettings {
                header: Some(usize::MAX),
                ..default()
            },
            &format!(
                "header is {}, and must be 4, where its last field ends, to 4096",
                usize::MAX
            ),
        ),
        (
            LengthPrefixedSettings {
                id: id(4, 0),
                ..default()
            },
            "id.width is 0, and must be 1 to 8",
        ),
        (
            LengthPrefixedSettings {
                id: id(4, 9),
                ..default()
            },
            "id.width is 9, and must be 1 to 8",
        ),
        (
            LengthPrefixedSettings {
                id: id(3, 2),
                ..default()
            },
            "id.offset is 3, and must be such that no byte of it is of the length, 0 to 4",
        ),
        (
            LengthPrefixedSettings {
                offset: Some(2),
                id: id(1, 2),
                ..default()
            },
            "id.offset is 1, and must be such that no byte of it is of the length, 2 to 6",
        ),
        (
            LengthPrefixedSettings {
                fixed,
                id: id(2, 2),
                ..default()
            },
            "id.offset is 2, and must be 5, where the fixed bytes end, to 4096",
        ),
        (
            LengthPrefixedSettings {
                id: id(usize::MAX, 8),
                ..default()
            },
            &format!(
                "id.offset is {}, and must be 0, where the fixed bytes end, to 4096",
                usize::MAX
            ),
        ),
        (
            LengthPrefixedSettings {
                length: LengthField::U8,
                counts: Counts::Frame,
                header: Some(300),
                ..default()
            },
            "length is u8, and must be a field whose largest number stands for 300 bytes or more",
        ),
        (
            LengthPrefixedSettings {
                adjustment: 5,
                max_body: 4,
                ..default()
            },
            "max_body is 4, and must be at least 5, the shortest body with this adjustment",
        ),
        (
            LengthPrefixedSettings {
                adjustment: 5,
                empty: EmptyBody::Heartbeat,
                ..default()
            },
            "empty is \"heartbeat\", and must be \"message\": with this adjustment no body is empty",
        ),
    ] {
        assert_eq!(said(settings), words);
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_as_soon_as_it_is_there() {
    let protocol = LengthPrefixed::u32_be().with_max_body(9);
    let mut scan = Scan::default();
    let more = protocol.next(Context::REQUEST, b"\0\0\0", &mut scan);
    assert_eq!(more, Ok(Step::More { missing: 1 }));
    assert_eq!(
        refused(&protocol, b"\0\0\0\x0a"),
        "a body of 10 bytes is longer than the limit of 9; max_body raises it"
    );
    let named = protocol.limit_named("--max-frame");
    assert!(
        refused(&named, b"\xff\xff\xff\xff")
            .ends_with("4,294,967,295 bytes is longer than the limit of 9; --max-frame raises it")
    );
    // The length comes before the rest of the header.
    let early = made(LengthPrefixedSettings {
        header: Some(100),
        max_body: 9,
        ..default()
    });
    assert!(refused(&early, b"\0\0\0\x0a").starts_with("a body of 10 bytes"));
    let mut scan = Scan::default();
    let more = early.next(Context::REQUEST, b"\0\0\0\x09", &mut scan);
    assert_eq!(more, Ok(Step::More { missing: 105 }));
    assert_eq!(
        scan.announced(),
        Some(Extent {
            head: 100,
            body: 9,
            tail: 0
        })
    );
}

#[test]
fn a_length_field_that_can_say_no_more_is_no_settings_fault() {
    let protocol = made(LengthPrefixedSettings {
        length: LengthField::U8,
        ..default()
    });
    assert_eq!((protocol.max_body(), protocol.max_frame()), (255, 256));
    let error = protocol.encode(Context::REQUEST, &[0; 256], &mut Vec::new());
    assert_eq!(
        error,
        Err(FrameError::TooLong {
            length: 256,
            limit: 255,
            setting: None
        })
    );
}

#[test]
fn no_length_overflows() {
    let u64_with = |adjustment, counts| {
        made(LengthPrefixedSettings {
            length: LengthField::U64,
            adjustment,
            counts,
            max_body: usize::MAX,
            ..default()
        })
    };
    for adjustment in [0, 1, i32::MAX] {
        let protocol = u64_with(adjustment, Counts::Body);
        assert!(
            refused(&protocol, &[0xff; 8])
                .starts_with("a body of 18,446,744,073,709,551,615 bytes is longer")
        );
    }
    let protocol = u64_with(i32::MIN, Counts::Frame);
    assert_eq!(
        refused(&protocol, &[0; 8]),
        "the frame is malformed: it announces 0 bytes in all, and its header alone has 8, the \
         adjustment considered"
    );
    let longest = protocol.max_body() as u64;
    let announced = longest + 8 + (1 << 31);
    let mut scan = Scan::default();
    let step = protocol.next(Context::REQUEST, &announced.to_be_bytes(), &mut scan);
    assert_eq!(
        step,
        Ok(Step::More {
            missing: protocol.max_body()
        })
    );
    assert!(scan.announced().expect("its length").length() < usize::MAX);
    assert!(refused(&protocol, &(announced + 1).to_be_bytes()).contains("longer"));
    let digits = made(LengthPrefixedSettings {
        length: LengthField::Digits(19),
        ..default()
    });
    assert!(refused(&digits, &[b'9'; 19]).contains("9,999,999,999,999,999,999 bytes"));
}

#[test]
fn a_length_that_is_less_than_its_header_is_malformed() {
    let protocol = made(LengthPrefixedSettings {
        counts: Counts::Frame,
        ..default()
    });
    assert_eq!(
        refused(&protocol, b"\0\0\0\x03"),
        "the frame is malformed: it announces 3 bytes in all, and its header alone has 4"
    );
    let adjusted = made(LengthPrefixedSettings {
        adjustment: -2,
        ..default()
    });
    assert_eq!(
        refused(&adjusted, b"\0\0\0\x01"),
        "the frame is malformed: with the adjustment, its length of 1 is below 0"
    );
    let longer = made(LengthPrefixedSettings {
        adjustment: 2,
        ..default()
    });
    let short = longer.encode(Context::REQUEST, b"1", &mut Vec::new());
    assert_eq!(
        short.expect_err("too short").to_string(),
        "the frame is malformed: a body of 1 bytes can't be announced, for with this adjustment \
         the shortest has 2"
    );
}

#[test]
fn the_first_byte_that_cannot_stand_there_is_named_at_once() {
    let protocol = made(LengthPrefixedSettings {
        fixed: [0xCA, 0xFE].into(),
        length: LengthField::Digits(4),
        ..default()
    });
    for (bytes, words) in [
        (
            &b"\xCA\xFF"[..],
            "byte 1 of a frame is 0xFF, and 0xFE was expected",
        ),
        (
            b"\xCA\xFE0x",
            "byte 3 of a frame is 'x', and one of 4 digits was expected",
        ),
        (b"\xCA\xFE0003ab", ""),
    ] {
        let step = protocol.next(Context::REQUEST, bytes, &mut Scan::default());
        assert_eq!(
            step.err().map_or(String::new(), |error| error.to_string()),
            words
        );
    }
    let bcd = made(LengthPrefixedSettings {
        length: LengthField::Bcd(2),
        ..default()
    });
    assert_eq!(
        refused(&bcd, b"\x0A"),
        "byte 0 of a frame is 0x0A, and two of 4 decimal digits was expected"
    );
}

#[test]
fn known_protocols_look_as_their_documents_say() {
    let of = |settings: LengthPrefixedSettings, body: &[u8]| encoded(&made(settings), body);
    let length = |length| LengthPrefixedSettings {
        length,
        ..default()
    };
    assert_eq!(encoded(&LengthPrefixed::default(), b"ab"), b"\0\0\0\x02ab");
    assert_eq!(encoded(&LengthPrefixed::u16_be(), b"ab"), b"\0\x02ab");
    assert_eq!(of(length(LengthField::Digits(4)), b"0800"), b"00040800");
    assert_eq!(
        of(length(LengthField::Bcd(2)), &[7; 123])[..3],
        [0x01, 0x23, 7]
    );
    assert_eq!(of(length(LengthField::U24), b"a"), b"\0\0\x01a");
    // The examples of Netty's LengthFieldBasedFrameDecoder, with "HELLO, WORLD" behind.
    let hello = b"HELLO, WORLD";
    let netty = [
        (
            LengthPrefixedSettings {
                counts: Counts::Frame,
                ..length(LengthField::U16)
            },
            &b"\x00\x0e"[..],
        ),
        (
            LengthPrefixedSettings {
                fixed: [0xCA, 0xFE].into(),
                ..length(LengthField::U24)
            },
            b"\xCA\xFE\x00\x00\x0c",
        ),
        (
            LengthPrefixedSettings {
                header: Some(5),
                adjustment: 0,
                ..length(LengthField::U24)
            },
            b"\x00\x00\x0c\x00\x00",
        ),
        (
            LengthPrefixedSettings {
                fixed: [0xCA].into(),
                header: Some(4),
                counts: Counts::Frame,
                ..length(LengthField::U16)
            },
            b"\xCA\x00\x10\x00",
        ),
    ];
    for (settings, header) in netty {
        assert_eq!(of(settings, hello), [header, hello].concat());
    }
}

#[test]
fn an_empty_body_is_a_message_or_a_heartbeat() {
    let protocol = LengthPrefixed::u32_be();
    let step = protocol.next(
        Context::REQUEST,
        &encoded(&protocol, b""),
        &mut Scan::default(),
    );
    assert_eq!(
        step,
        Ok(Step::Frame(Extent {
            head: 4,
            body: 0,
            tail: 0
        }))
    );
    assert_eq!(protocol.heartbeat(), None);
    let beating = made(LengthPrefixedSettings {
        length: LengthField::Digits(4),
        counts: Counts::Frame,
        empty: EmptyBody::Heartbeat,
        ..default()
    });
    assert_eq!(beating.heartbeat(), Some(&b"0004"[..]));
    let step = beating.next(Context::REQUEST, b"0004", &mut Scan::default());
    assert_eq!(step, Ok(Step::Heartbeat { length: 4 }));
    let none = beating.encode(Context::REQUEST, b"", &mut Vec::new());
    assert_eq!(
        none.expect_err("a heartbeat").to_string(),
        "the frame is malformed: a frame with an empty body would be a heartbeat"
    );
}

#[test]
fn ids_are_renumbered_by_the_caller_or_compared_here() {
    let with = |mode| {
        let id = IdSettings {
            offset: 4,
            width: 2,
            mode,
            ..IdSettings::default()
        };
        made(LengthPrefixedSettings {
            id: Some(id),
            ..default()
        })
    };
    let plain = LengthPrefixed::u32_be();
    assert!(!plain.looks_at_requests() && plain.id().is_none());
    let renumbered = with(IdMode::Renumbered);
    assert!(renumbered.looks_at_requests());
    assert_eq!(renumbered.id(), Some(IdField::new(4, 2, ByteOrder::Big)));
    let compared = with(IdMode::Compared);
    assert!(compared.looks_at_requests() && compared.id().is_none());

    let state = &mut Note::default();
    let (request, other) = (b"\0\0\0\x01\x12\x34?", b"\0\0\0\x01\x12\x35!");
    let note_of = |protocol: &LengthPrefixed| {
        let noted = std::cell::RefCell::new(Note::default());
        let demand = protocol.demand(request, &Note::default());
        let same = |id| demand == millpond::framing::Demand::default().noting(Note::word(id));
        if same(0x1234) {
            *noted.borrow_mut() = Note::word(0x1234);
        } else {
            assert!(same(0));
        }
        noted.into_inner()
    };
    let (none, asked) = (note_of(&renumbered), note_of(&compared));
    assert_eq!((none.as_word(), asked.as_word()), (0, 0x1234));
    assert_eq!(
        renumbered.answers(Some(&none), other, state),
        Answer::Last,
        "its caller compares"
    );
    assert_eq!(
        compared.answers(Some(&asked), other, state),
        Answer::Mismatch
    );
    let mut reply = Vec::new();
    compared
        .encode(Context::reply(&asked, state), b"!", &mut reply)
        .expect("a frame");
    assert_eq!(reply, b"\0\0\0\x01\x12\x34!");
    assert_eq!(compared.answers(Some(&asked), &reply, state), Answer::Last);
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_as_people_write_them() {
    let read = |text: &str| toml::from_str::<LengthPrefixedSettings>(text);
    assert_eq!(read("").expect("defaults"), default());
    let settings = read(
        r#"
        fixed = [0xCA, 0xFE]
        offset = 4
        length = { digits = 4 }
        counts = "frame"
        adjustment = -2
        header = 16
        empty = "heartbeat"
        max_body = 4096
        id = { offset = 8, width = 2, byte_order = "little", mode = "compared" }
        "#,
    );
    let expected = LengthPrefixedSettings {
        fixed: [0xCA, 0xFE].into(),
        offset: Some(4),
        length: LengthField::Digits(4),
        byte_order: ByteOrder::Big,
        counts: Counts::Frame,
        adjustment: -2,
        id: Some(IdSettings {
            offset: 8,
            width: 2,
            byte_order: ByteOrder::Little,
            mode: IdMode::Compared,
        }),
        header: Some(16),
        empty: EmptyBody::Heartbeat,
        max_body: 4_096,
    };
    assert_eq!(settings.expect("settings"), expected);
    let magic = read("fixed = \"MAGIC\"\nlength = \"u24\"").expect("settings");
    assert_eq!(
        (&magic.fixed[..], magic.length),
        (&b"MAGIC"[..], LengthField::U24)
    );
    for (text, words) in [
        ("max-body = 1", "unknown field `max-body`"),
        ("id = { ofset = 1 }", "unknown field `ofset`"),
        ("length = \"u48\"", "unknown variant `u48`"),
        ("fixed = [256]", "expected u8"),
        (
            "fixed = true",
            "expected a text, or a list of numbers from 0 to 255",
        ),
        ("counts = \"all\"", "unknown variant `all`"),
    ] {
        let said = read(text).expect_err(text).to_string();
        assert!(said.contains(words), "{said}");
    }
}
