//! How much work a header is that comes byte by byte. What frames are, `tests/presets` asks.

use super::*;

#[test]
fn a_long_header_is_looked_at_once_in_however_small_pieces_it_comes() {
    let protocol = |empty| {
        let settings = LengthPrefixedSettings {
            fixed: vec![b'x'; 1_000].into(),
            length: LengthField::Digits(4),
            header: Some(4_000),
            empty,
            ..LengthPrefixedSettings::default()
        };
        LengthPrefixed::new(settings).expect("valid settings")
    };
    for (empty, body) in [
        (EmptyBody::Message, &b"0100"[..]),
        (EmptyBody::Heartbeat, b"0000"),
    ] {
        let protocol = protocol(empty);
        let mut wire = protocol.header.to_vec();
        wire[1_000..1_004].copy_from_slice(body);
        wire.extend_from_slice(&[0; 100]);
        let (mut scan, mut looked_at) = (Scan::default(), 0);
        for length in 1..=wire.len() {
            let is_known = scan.announced().is_some() || scan.note() == BEGUN_HEARTBEAT;
            let header = length.min(protocol.layout.end);
            looked_at += if is_known {
                0
            } else {
                header - scan.searched()
            };
            let step = protocol.next(Context::REQUEST, &wire[..length], &mut scan);
            match step.expect("no error") {
                Step::More { .. } => {}
                Step::Heartbeat { length: found } => {
                    assert_eq!((found, length), (4_000, 4_000));
                    break;
                }
                Step::Frame(extent) => assert_eq!((extent.length(), length), (4_100, 4_100)),
            }
        }
        assert_eq!(looked_at, 1_004);
    }
}
