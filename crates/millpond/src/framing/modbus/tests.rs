//! Modbus against the examples of its specification.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let byte = |text| u8::from_str_radix(text, 16).expect("hexadecimal");
    text.split_whitespace().map(byte).collect()
}

/// A frame of unit 1 with this function and data.
fn frame(body: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    let body = [vec![1], hex(body)].concat();
    let encoded = Modbus::default().encode(Context::REQUEST, &body, &mut frame);
    encoded.expect("short");
    frame
}

fn answers(request: &str, reply: &[u8]) -> Answer {
    let modbus = Modbus::default();
    let demand = modbus.demand(&frame(request), &Note::default());
    assert_eq!(demand.refusal(), None, "{request}");
    modbus.answers(Some(demand.note()), reply, &mut Note::default())
}

/// The examples of the specification, section 6: function and data of requests and their replies,
/// and whether the request only reads.
const EXAMPLES: [(&str, &str, bool); 19] = [
    ("01 00 13 00 13", "01 03 CD 6B 05", true),
    ("02 00 C4 00 16", "02 03 AC DB 35", true),
    ("03 00 6B 00 03", "03 06 02 2B 00 00 00 64", true),
    ("04 00 08 00 01", "04 02 00 0A", true),
    ("05 00 AC FF 00", "05 00 AC FF 00", false),
    ("06 00 01 00 03", "06 00 01 00 03", false),
    ("07", "07 6D", true),
    ("08 00 00 A5 37", "08 00 00 A5 37", true),
    ("08 00 01 00 00", "08 00 01 00 00", false),
    ("0B", "0B FF FF 01 08", true),
    ("0C", "0C 08 00 00 01 08 01 21 20 00", true),
    ("0F 00 13 00 0A 02 CD 01", "0F 00 13 00 0A", false),
    ("10 00 01 00 02 04 00 0A 01 02", "10 00 01 00 02", false),
    ("11", "11 03 01 FF 02", true),
    (
        "14 07 06 00 04 00 01 00 02",
        "14 06 05 06 0D FE 00 20",
        true,
    ),
    (
        "15 0D 06 00 04 00 07 00 03 06 AF 04 BE 10 0D",
        "15 0D 06 00 04 00 07 00 03 06 AF 04 BE 10 0D",
        false,
    ),
    ("16 00 04 00 F2 00 25", "16 00 04 00 F2 00 25", false),
    (
        "17 00 03 00 06 00 0E 00 03 06 00 FF 00 FF 00 FF",
        "17 0C 00 FE 0A CD 00 01 00 03 00 0D 00 FF",
        false,
    ),
    ("18 04 DE", "18 00 06 00 02 01 B8 12 84", true),
];

#[test]
fn the_specifications_replies_are_those_of_their_requests_and_of_no_other() {
    for (request, reply, only_reads) in EXAMPLES {
        assert_eq!(answers(request, &frame(reply)), Answer::Last, "{request}");
        let mut longer = frame(reply);
        longer.push(0);
        let is_free = request.starts_with("08");
        assert_eq!(
            answers(request, &longer) == Answer::Last,
            is_free,
            "{request}"
        );
        let exception = format!("{:02X} 02", hex(request)[0] | 0x80);
        assert_eq!(answers(request, &frame(&exception)), Answer::Last);
        let mut other_unit = frame(reply);
        other_unit[HEAD] = 2;
        assert_eq!(answers(request, &other_unit), Answer::Mismatch, "{request}");
        for (other, its_reply, _) in EXAMPLES {
            if other[..2] != request[..2] {
                assert_eq!(answers(request, &frame(its_reply)), Answer::Mismatch);
                let exception = format!("{:02X} 02", hex(other)[0] | 0x80);
                assert_eq!(answers(request, &frame(&exception)), Answer::Mismatch);
            }
        }
        let demand = Modbus::default().demand(&frame(request), &Note::default());
        assert_eq!(demand.is_idempotent(), only_reads, "{request}");
        let careful = Modbus::from(ModbusSettings {
            read_only: true,
            ..ModbusSettings::default()
        });
        let demand = careful.demand(&frame(request), &Note::default());
        let kind = demand.refusal().map(Failure::kind);
        assert_eq!(kind.is_none(), only_reads, "{request}");
        assert!(only_reads || kind == Some(FailureKind::Refused));
    }
    // The identification of a device, by function 43.
    let identification = "2B 0E 01 00 00 01 00 03 41 42 43";
    assert_eq!(answers("2B 0E 01 00", &frame(identification)), Answer::Last);
    assert_eq!(
        answers("2B 0D 01 00", &frame(identification)),
        Answer::Mismatch
    );
    // What vendors have made.
    assert_eq!(answers("5A 00 02", &frame("5A FE 01 02 03")), Answer::Last);
    assert_eq!(answers("5A 00 02", &frame("5B FE")), Answer::Mismatch);
}

#[test]
fn a_reply_of_another_address_or_number_is_no_reply() {
    for (request, other) in [
        ("03 00 6B 00 03", "03 04 02 2B 00 00"),
        ("03 00 6B 00 03", "03 04 02 2B 00 00 00 64"),
        ("01 00 13 00 13", "01 02 CD 6B"),
        ("05 00 AC FF 00", "05 00 AD FF 00"),
        ("10 00 01 00 02 04 00 0A 01 02", "10 00 02 00 02"),
        ("10 00 01 00 02 04 00 0A 01 02", "10 00 01 00 63"),
        ("06 00 01 00 03", "06 00 01 00 04"),
        ("16 00 04 00 F2 00 25", "16 00 04 00 F3 00 25"),
        (
            "15 0D 06 00 04 00 07 00 03 06 AF 04 BE 10 0D",
            "15 0D 06 00 05 00 07 00 03 06 AF 04 BE 10 0D",
        ),
        ("08 00 00 A5 37", "08 00 01 A5 37"),
        ("07", "87"),
        ("07", "87 01 02"),
    ] {
        assert_eq!(answers(request, &frame(other)), Answer::Mismatch, "{other}");
    }
    let unasked = Modbus::default().answers(None, &frame("07 00"), &mut Note::default());
    assert_eq!(unasked, Answer::Mismatch);
}

#[test]
fn requests_that_devices_would_read_in_several_ways_are_refused() {
    for request in ["00", "80", "83 00 00 00 01"] {
        let demand = Modbus::default().demand(&frame(request), &Note::default());
        let kind = demand.refusal().map(Failure::kind);
        assert_eq!(kind, Some(FailureKind::Refused), "{request}");
    }
    for request in [
        "05 00 AC 00 01",
        "14 00",
        "14 08 06 00 04 00 01 00 02 00",
        "15 02 06 00",
        "17 00 03 00 06 00 0E 00 00 00",
        "01 00 13 00",
        "01 00 13 00 13 00",
        "01 00 13 00 00",
        "01 00 13 07 D1",
        "03 00 00 00 7E",
        "04 00 00 00 00",
        "06 00",
        "07 00",
        "08 00",
        "0F 00 13 00 0A 02 CD",
        "0F 00 13 00 0A 01 CD 01",
        "10 00 01 00 02 04 00 0A 01",
        "10 00 01 00 02 03 00 0A 01 02",
        "14 07 06 00 04",
        "14",
        "16 00 04 00 F2 00",
        "17 00 03 00 06",
        "17 00 03 00 06 00 0E 00 03 05 00 FF 00 FF 00 FF",
        "18 04",
        "2B",
    ] {
        let demand = Modbus::default().demand(&frame(request), &Note::default());
        let kind = demand.refusal().map(Failure::kind);
        assert_eq!(kind, Some(FailureKind::Malformed), "{request}");
    }
}

#[test]
fn a_broadcast_gets_no_reply_where_unit_zero_is_one() {
    let mut request = frame("05 00 AC FF 00");
    request[HEAD] = 0;
    let asks = |settings| {
        Modbus::from(settings)
            .demand(&request, &Note::default())
            .awaits()
    };
    assert_eq!(asks(ModbusSettings::default()), Replies::One);
    let gateway = ModbusSettings {
        unit_zero: ModbusUnitZero::Broadcast,
        ..ModbusSettings::default()
    };
    assert_eq!(asks(gateway.clone()), Replies::None);
    // Nor when it isn't sent.
    let gateway = Modbus::from(ModbusSettings {
        read_only: true,
        ..gateway
    });
    let demand = gateway.demand(&request, &Note::default());
    assert!(demand.refusal().is_some() && demand.awaits() == Replies::None);
}

#[test]
fn failures_are_exceptions_of_the_requests_unit_and_function() {
    let modbus = Modbus::default();
    let request = frame("03 00 6B 00 03");
    for (failure, exception) in [
        (Failure::refused(""), 1),
        (Failure::malformed(""), 3),
        (Failure::handler_failed(""), 4),
        (Failure::overloaded(""), 6),
        (Failure::not_taken(""), 6),
        (Failure::unavailable(""), 10),
        (Failure::timed_out(""), 11),
    ] {
        let mut out = Vec::new();
        let told = modbus.encode_failure(Context::REPLY, &request, &failure, &mut out);
        assert_eq!(told, Told::ByReply);
        assert_eq!(out, [0, 0, 0, 0, 0, 3, 1, 0x83, exception]);
        assert_eq!(answers("03 00 6B 00 03", &out), Answer::Last);
    }
}

#[test]
fn what_is_no_frame_is_refused_as_soon_as_it_is_known() {
    let modbus = Modbus::default();
    let first = |bytes: &[u8]| modbus.next(Context::REPLY, bytes, &mut Scan::default());
    assert!(matches!(
        first(b"GET"),
        Err(FrameError::Unexpected { position: 2, .. })
    ));
    assert!(matches!(
        first(&[0, 1, 0, 9]),
        Err(FrameError::Unexpected { position: 3, .. })
    ));
    assert!(matches!(
        first(&[0, 1, 0, 0, 0, 1]),
        Err(FrameError::Malformed { .. })
    ));
    for length in [255_u16, 0x100, u16::MAX] {
        let [high, low] = length.to_be_bytes();
        let refused = first(&[0, 1, 0, 0, high, low]);
        assert!(matches!(
            refused,
            Err(FrameError::TooLong { limit: 254, .. })
        ));
    }
    let setting = |max_body| {
        let modbus = Modbus::from(ModbusSettings {
            max_body,
            ..ModbusSettings::default()
        });
        let refused = modbus.next(Context::REPLY, &[0, 1, 0, 0, 0, 255], &mut Scan::default());
        match refused {
            Err(FrameError::TooLong { setting, .. }) => setting,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(setting(100).as_deref(), Some("max_body"));
    assert_eq!(setting(300), None, "the protocol allows no more");
    assert_eq!(first(&[0, 1, 0, 0]), Ok(Step::More { missing: 4 }));
    let longest = [&[9, 9, 0, 0, 0, 254][..], &[7; 254]].concat();
    assert!(matches!(first(&longest), Ok(Step::Frame(_))));
    let mut out = Vec::new();
    assert!(modbus.encode(Context::REQUEST, &[1], &mut out).is_err());
    assert!(
        modbus
            .encode(Context::REQUEST, &[1; 255], &mut out)
            .is_err()
    );
    assert!(out.is_empty());
}
