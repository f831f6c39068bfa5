//! The registry: what it holds, how it is read and written, and that a protocol is its framing.

use super::*;

#[test]
fn each_preset_is_found_by_its_name() {
    for preset in Protocol::presets() {
        assert!(
            !preset.about.is_empty() && preset.about.len() < 100,
            "{preset}"
        );
        let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(preset.name.chars().all(kebab), "{preset}");
        match Protocol::named(preset.name) {
            Ok(protocol) => assert_eq!(protocol.preset(), *preset),
            Err(unknown) => panic!("{unknown}"),
        }
    }
}

#[test]
fn an_unknown_name_is_refused_with_those_there_are() {
    let refused = "length-jason".parse::<Protocol>().unwrap_err().to_string();
    for preset in Protocol::presets() {
        assert!(refused.contains(preset.name), "{refused}");
    }
    assert!(refused.contains("`length-jason`"), "{refused}");
}

#[test]
fn a_protocol_answers_as_its_framing_does() {
    let (protocol, own) = (Protocol::from(LengthJson::default()), LengthJson::default());
    let (mut wire, mut owns) = (Vec::new(), Vec::new());
    protocol
        .encode(Context::REQUEST, b"[1]", &mut wire)
        .unwrap();
    own.encode(Context::REQUEST, b"[1]", &mut owns).unwrap();
    assert_eq!(wire, owns);
    let next = |framing: &dyn Framing| framing.next(Context::REQUEST, &wire, &mut Scan::default());
    assert_eq!(next(&protocol), next(&own));
    assert_eq!(
        (
            protocol.max_frame(),
            protocol.heartbeat(),
            Framing::name(&protocol),
            protocol.looks_at_requests(),
            protocol.id(),
            protocol.failure_needs_request(),
        ),
        (
            own.max_frame(),
            own.heartbeat(),
            own.name(),
            own.looks_at_requests(),
            own.id(),
            own.failure_needs_request(),
        )
    );
    let told = |framing: &dyn Framing| {
        let mut out = Vec::new();
        let told = framing.encode_failure(Context::REPLY, b"", &Failure::refused("no"), &mut out);
        (told, out)
    };
    assert_eq!(told(&protocol), told(&own));
}

#[test]
fn a_limit_is_called_by_the_name_of_what_set_it() {
    let too_long = |protocol: &Protocol| {
        let body = vec![b'1'; 2 << 20];
        let refused = protocol.encode(Context::REQUEST, &body, &mut Vec::new());
        refused.unwrap_err().to_string()
    };
    let plain = Protocol::named("length-json").unwrap();
    assert!(too_long(&plain).ends_with("; max_body raises it"));
    let limited = plain.limited(9, String::from("--max-frame"));
    assert!(too_long(&limited).ends_with("limit of 9; --max-frame raises it"));
}

#[test]
fn the_echo_of_a_request_is_its_body() {
    let protocol = Protocol::from(LengthJson::default());
    let mut wire = Vec::new();
    protocol
        .encode(Context::REQUEST, b"[1]", &mut wire)
        .unwrap();
    let step = protocol.next(Context::REQUEST, &wire, &mut Scan::default());
    let Ok(Step::Frame(extent)) = step else {
        panic!("{step:?}");
    };
    let frame = Frame::new(wire.into(), extent);
    assert_eq!(protocol.echo(&frame), Ok(vec![Bytes::from("[1]")]));
}

#[cfg(feature = "serde")]
mod documents {
    use super::*;
    use crate::framing::{MllpEnhanced, MllpFailures, MllpSettings};

    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    struct Route {
        framing: Protocol,
    }

    fn read(document: &str) -> Result<Route, toml::de::Error> {
        toml::from_str(document)
    }

    #[test]
    fn a_document_names_a_preset_or_has_a_table_of_its_settings() {
        for (document, max_body) in [
            ("framing = 'length-json'", LengthJson::DEFAULT_MAX_BODY),
            (
                "framing = { length-json = {} }",
                LengthJson::DEFAULT_MAX_BODY,
            ),
            ("framing = { length-json = { max_body = 7 } }", 7),
            ("[framing.length-json]\nmax_body = 7", 7),
        ] {
            let route = read(document).expect(document);
            assert_eq!(route.framing.max_frame(), 20 + max_body, "{document}");
            let written = toml::to_string(&route).expect("TOML");
            let expected = format!("[framing.length-json]\nmax_body = {max_body}\n");
            assert_eq!(written, expected);
            let again = read(&written).expect(&written);
            assert_eq!(format!("{again:?}"), format!("{route:?}"));
        }
        let json = serde_json::to_string(&Protocol::named("length-json").unwrap()).unwrap();
        assert_eq!(json, r#"{"length-json":{"max_body":1048576}}"#);
        assert!(serde_json::from_str::<Protocol>(&json).is_ok());
    }

    #[test]
    fn a_document_can_say_all_that_can_be_set_of_mllp() {
        let document = "[framing.mllp]\nmax_body = 7\nenhanced = \"same_connection\"\nfailures = \"acknowledge\"\n";
        let route = read(document).expect(document);
        let own = Mllp::from(MllpSettings {
            max_body: 7,
            enhanced: MllpEnhanced::SameConnection,
            failures: MllpFailures::Acknowledge,
        });
        assert_eq!(
            format!("{:?}", route.framing),
            format!("{:?}", Protocol::from(own))
        );
        assert_eq!(toml::to_string(&route).expect("TOML"), document);
        let plain = read("framing = 'mllp'").expect("its defaults").framing;
        assert_eq!(plain.max_frame(), Mllp::DEFAULT_MAX_BODY + 3);
        assert_eq!(plain.limited(9, "--max-frame").max_frame(), 12);
        let misspelt = read("[framing.mllp]\nenhanced = 'same'")
            .unwrap_err()
            .to_string();
        for words in ["line 2, column 12", "`same`", "later_exchange"] {
            assert!(misspelt.contains(words), "{misspelt}");
        }
    }

    #[test]
    fn a_document_can_say_all_that_can_be_set_of_modbus() {
        let document =
            "[framing.modbus]\nmax_body = 7\nread_only = true\nunit_zero = \"broadcast\"\n";
        let route = read(document).expect(document);
        assert_eq!(toml::to_string(&route).expect("TOML"), document);
        assert_eq!(route.framing.max_frame(), 13);
        let plain = read("framing = 'modbus'").expect("its defaults").framing;
        assert_eq!(plain.max_frame(), 260);
        // The protocol allows no more.
        assert_eq!(plain.limited(1 << 20, "--max-frame").max_frame(), 260);
    }

    #[test]
    fn what_is_wrong_in_a_document_is_said_with_its_line_and_column() {
        for (document, place, words) in [
            (
                "\nframing = 'mlpp'",
                "line 2, column 11",
                "no framing named `mlpp`; there are: length-json",
            ),
            (
                "\n\n[framing.mlpp]\nmax_body = 7",
                "line 3, column 10",
                "no framing named `mlpp`",
            ),
            (
                "[framing.length-json]\nmax-boby = 7",
                "line 2, column 1",
                "unknown field `max-boby`, expected `max_body`",
            ),
            (
                "[framing.length-json]\nmax_body = 'x'",
                "line 2, column 12",
                "invalid type",
            ),
            (
                "[framing.length-json]\nmax_body = -1",
                "line 2, column 12",
                "invalid value",
            ),
            (
                "[framing]\nlength-json = {}\nother = {}",
                "line 3, column 1",
                "`other` is a second",
            ),
            (
                "framing = {}",
                "line 1, column 11",
                "there are: length-json",
            ),
            (
                "framing = 7",
                "line 1, column 11",
                "a framing's name, or a table",
            ),
        ] {
            let error = read(document).expect_err(document).to_string();
            assert!(
                error.contains(place) && error.contains(words),
                "{document}: {error}"
            );
        }
    }
}
