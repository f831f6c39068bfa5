//! Delimited frames beside the reference, over every split; each case that the documentation
//! settles; and what settings are refused.

use millpond::framing::{
    Context, Delimited, DelimitedSettings,
    Direction::{self, Reply, Request},
    EndOfReply, Failure, Framing, Octets, Scan, Step, Told,
};
use proptest::prelude::*;

use crate::reference;

/// Few letters, so that delimiters, prompts and last lines come about in all ways.
fn text(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let letter = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), Just(b'>')];
    prop::collection::vec(letter, lengths)
}

fn settings() -> impl Strategy<Value = DelimitedSettings> {
    let usual = |delimiters: &[&str]| -> Vec<Octets> {
        delimiters
            .iter()
            .map(|&delimiter| delimiter.into())
            .collect()
    };
    let delimiters = prop_oneof![
        Just(usual(&["\n"])),
        Just(usual(&["\r\n"])),
        Just(usual(&["\r\n", "\n"])),
        Just(usual(&["\n", "\r\n"])),
        Just(usual(&["\n\n"])),
        prop::collection::vec(text(1..4).prop_map(Octets::from), 1..4),
    ];
    let mark = |lengths| text(lengths).prop_map(Octets::from);
    let reply = prop_oneof![
        Just(EndOfReply::Line),
        mark(0..4).prop_map(EndOfReply::UntilLine),
        mark(1..4).prop_map(EndOfReply::UntilPrompt),
        (1_u32..5).prop_map(EndOfReply::Lines),
    ];
    let failure = prop::option::of("[>a\r\n]{0,3}(\\{message\\})?");
    (delimiters, reply, failure, 0_usize..24).prop_map(|(delimiters, reply, failure, max_body)| {
        DelimitedSettings {
            delimiters,
            reply,
            failure,
            max_body,
        }
    })
}

fn protocol() -> impl Strategy<Value = Delimited> {
    settings().prop_filter_map("valid", |settings| Delimited::new(settings).ok())
}

fn context(way: Direction) -> Context<'static> {
    match way {
        Request => Context::REQUEST,
        Reply => Context::REPLY,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn every_split_gives_what_the_reference_finds(protocol in protocol(), wire in text(0..48)) {
        for way in [Request, Reply] {
            let first = |bytes: &[u8]| reference::delimited(protocol.settings(), way, bytes);
            reference::in_all_pieces(&protocol, way, &first, &wire);
        }
    }

    #[test]
    fn what_is_sent_is_received_or_else_refused(protocol in protocol(), bodies in prop::collection::vec(text(0..28), 0..5)) {
        for way in [Request, Reply] {
            let (mut wire, mut sent) = (Vec::new(), Vec::new());
            for body in &bodies {
                let before = wire.clone();
                match protocol.encode(context(way), body, &mut wire) {
                    Ok(()) => sent.push(body.clone()),
                    Err(_) => prop_assert_eq!(&wire, &before),
                }
            }
            let first = |bytes: &[u8]| reference::delimited(protocol.settings(), way, bytes);
            let items = reference::in_all_pieces(&protocol, way, &first, &wire);
            let received: Vec<_> = items.into_iter().filter_map(|item| item.body).collect();
            prop_assert_eq!(received, sent);
        }
    }

    #[test]
    fn a_body_that_was_received_can_be_sent(protocol in protocol(), wire in text(0..48)) {
        // With another delimiter than the first its end may read differently.
        prop_assume!(protocol.settings().delimiters.len() == 1);
        for way in [Request, Reply] {
            let first = |bytes: &[u8]| reference::delimited(protocol.settings(), way, bytes);
            for item in reference::in_pieces(&protocol, way, &first, std::iter::once(&wire[..])).0 {
                let body = item.body.clone().expect("it has no heartbeats");
                let mut out = Vec::new();
                prop_assert_eq!(protocol.encode(context(way), &body, &mut out), Ok(()));
                // A reply of one empty line and one of none have the same body.
                prop_assert!(out == item.whole || body.is_empty(), "{:?}", item);
            }
        }
    }

    #[test]
    fn every_failure_is_told_as_one_reply_or_by_closing(protocol in protocol(), message in "[>a\r\n\u{1b}é]{0,30}") {
        let mut out = b"before".to_vec();
        match protocol.encode_failure(Context::REPLY, b"?", &Failure::refused(message), &mut out) {
            Told::ByReply => {
                let first = reference::delimited(protocol.settings(), Reply, &out[6..]);
                let reference::First::Frame(extent) = first else {
                    panic!("{first:?}");
                };
                prop_assert_eq!(extent.length(), out.len() - 6);
            }
            Told::ByClosing => {
                prop_assert!(protocol.settings().failure.is_none(), "the empty message fits");
                prop_assert_eq!(&out[..], b"before");
            }
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_come_back_as_they_were_written(settings in settings()) {
        let json = serde_json::to_string(&settings).unwrap();
        prop_assert_eq!(&serde_json::from_str::<DelimitedSettings>(&json).unwrap(), &settings);
        let toml = toml::to_string(&settings).unwrap();
        prop_assert_eq!(&toml::from_str::<DelimitedSettings>(&toml).unwrap(), &settings, "{}", toml);
    }
}

fn made(delimiters: &[&str], reply: EndOfReply) -> Delimited {
    let delimiters = delimiters.iter().map(|&delimiter| delimiter.into());
    let settings = DelimitedSettings {
        delimiters: delimiters.collect(),
        reply,
        failure: Some("ERROR {message}".into()),
        ..DelimitedSettings::default()
    };
    Delimited::new(settings).expect("valid settings")
}

/// The bodies of all frames, and what is left.
fn bodies(protocol: &Delimited, way: Direction, wire: &str) -> (Vec<String>, String) {
    let first = |bytes: &[u8]| reference::delimited(protocol.settings(), way, bytes);
    let wire = std::iter::once(wire.as_bytes());
    let (items, end) = reference::in_pieces(protocol, way, &first, wire);
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    let bodies = items.into_iter().filter_map(|item| item.body).map(text);
    (bodies.collect(), text(end.expect("nothing is refused")))
}

fn found(bodies: &[&str], rest: &str) -> (Vec<String>, String) {
    (
        bodies.iter().map(|&body| body.into()).collect(),
        rest.into(),
    )
}

#[test]
fn a_line_ends_with_the_longest_delimiter_that_ends_there() {
    for delimiters in [["\r\n", "\n"], ["\n", "\r\n"]] {
        let protocol = made(&delimiters, EndOfReply::Line);
        let wire = "a\r\nb\n\r\n\nc\rd\r\r\n\r";
        let expected = found(&["a", "b", "", "", "c\rd\r"], "\r");
        assert_eq!(bodies(&protocol, Request, wire), expected, "{delimiters:?}");
    }
    let zeros = made(&["\0"], EndOfReply::Line);
    assert_eq!(bodies(&zeros, Reply, "a\nb\0c"), found(&["a\nb"], "c"));
    let doubled = made(&["\n\n"], EndOfReply::Line);
    assert_eq!(
        bodies(&doubled, Reply, "a\nb\n\n\nc"),
        found(&["a\nb"], "\nc")
    );
}

#[test]
fn a_line_feed_alone_is_refused_in_requests_whose_lines_end_with_both() {
    let protocol = made(&["\r\n"], EndOfReply::Line);
    for (wire, position) in [
        ("a\nb\r\n", 1),
        ("\n\r\n", 0),
        ("a\n", 1),
        ("a\rb\n\r\n", 3),
    ] {
        let step = protocol.next(Context::REQUEST, wire.as_bytes(), &mut Scan::default());
        let found = step.expect_err("it is refused");
        let expected = reference::Refusal::Unexpected {
            position,
            found: b'\n',
        };
        assert_eq!(reference::Refusal::of(&found), expected, "{wire:?}");
        assert_eq!(
            bodies(&protocol, Reply, &format!("{wire}\r\n")).0.len(),
            wire.matches("\r\n").count() + 1
        );
    }
    let sent = protocol.encode(Context::REQUEST, b"a\nb", &mut Vec::new());
    let refused = "byte 1 of a frame is 0x0A, and a carriage return before it was expected";
    assert_eq!(sent.expect_err("it is refused").to_string(), refused);
    for others in [&["\n"][..], &["\r\n", "\n"], &["\r\n", "\0"]] {
        let protocol = made(others, EndOfReply::Line);
        assert!(!bodies(&protocol, Request, "a\nb\r\n").0.is_empty());
    }
}

#[test]
fn a_reply_ends_as_is_set_and_a_request_with_its_line() {
    let end = || EndOfReply::UntilLine("END".into());
    let stats = made(&["\r\n", "\n"], end());
    let wire = "a\r\nb END\r\nENDS\nEND\r\nEND\n\r\nEND\nx\r\n";
    let expected = found(&["a\r\nb END\r\nENDS", "", ""], "x\r\n");
    assert_eq!(bodies(&stats, Reply, wire), expected);
    assert_eq!(
        bodies(&stats, Request, "a\nEND\n"),
        found(&["a", "END"], "")
    );
    let blank = made(&["\n"], EndOfReply::UntilLine("".into()));
    assert_eq!(
        bodies(&blank, Reply, "a: b\nc: d\n\n\n"),
        found(&["a: b\nc: d", ""], "")
    );
    let shell = made(&["\n"], EndOfReply::UntilPrompt("> ".into()));
    let expected = found(&["a > b\n>c", "", ""], ">");
    assert_eq!(bodies(&shell, Reply, "a > b\n>c\n> > \n> >"), expected);
    let three = made(&["\n"], EndOfReply::Lines(3));
    let expected = found(&["a\n\nb", "\n\n"], "c\n\n");
    assert_eq!(bodies(&three, Reply, "a\n\nb\n\n\n\nc\n\n"), expected);
}

#[test]
fn a_body_that_would_be_several_frames_is_not_sent() {
    let said = |protocol: &Delimited, way, body: &str| {
        let mut out = b"before".to_vec();
        let encoded = protocol.encode(context(way), body.as_bytes(), &mut out);
        let said = encoded.map_or_else(|error| error.to_string(), |()| "sent".into());
        assert!(said == "sent" || out == b"before");
        said
    };
    let at = |byte| {
        format!(
            "the frame is malformed: at byte {byte} of the body the frame would end, and the rest \
             be another"
        )
    };
    let lines = made(&["\n", "\r\n"], EndOfReply::Lines(2));
    assert_eq!(said(&lines, Request, "PING\nPING"), at(4));
    assert_eq!(said(&lines, Request, "PING\r\n"), at(4));
    assert_eq!(
        said(&lines, Request, "PING\r"),
        at(4),
        "with the delimiter's \\n"
    );
    assert_eq!(said(&lines, Reply, "a\nb"), "sent");
    assert_eq!(said(&lines, Reply, "a\nb\nc"), at(3));
    assert_eq!(
        said(&lines, Reply, "a"),
        "the frame is malformed: the body has fewer lines than a reply must have"
    );
    let stats = made(&["\n"], EndOfReply::UntilLine("END".into()));
    assert_eq!(said(&stats, Reply, "a\nEND\nb"), at(1));
    assert_eq!(said(&stats, Request, "END"), "sent");
    let shell = made(&["\n"], EndOfReply::UntilPrompt("> ".into()));
    assert_eq!(said(&shell, Reply, "a\n> b"), at(1));
    assert_eq!(
        said(&shell.with_max_body(2), Reply, "abc"),
        "a body of 3 bytes is longer than the limit of 2; max_body raises it"
    );
}

#[test]
fn a_reply_is_written_with_what_ends_it() {
    for (reply, wire, error) in [
        (EndOfReply::Line, "PONG\n", "ERROR no  luck\n"),
        (
            EndOfReply::UntilLine("END".into()),
            "PONG\nEND\n",
            "ERROR no  luck\nEND\n",
        ),
        (
            EndOfReply::UntilPrompt("> ".into()),
            "PONG\n> ",
            "ERROR no  luck\n> ",
        ),
        (EndOfReply::Lines(1), "PONG\n", "ERROR no  luck\n"),
    ] {
        let protocol = made(&["\n"], reply);
        let mut out = Vec::new();
        protocol
            .encode(Context::REPLY, b"PONG", &mut out)
            .expect("a reply");
        assert_eq!(out, wire.as_bytes());
        out.clear();
        let told = protocol.encode_failure(
            Context::REPLY,
            b"",
            &Failure::refused("no\r\nluck"),
            &mut out,
        );
        assert_eq!((told, &out[..]), (Told::ByReply, error.as_bytes()));
    }
    let three = made(&["\n"], EndOfReply::Lines(3));
    let mut out = Vec::new();
    three.encode_failure(Context::REPLY, b"", &Failure::refused("no"), &mut out);
    assert_eq!(out, b"ERROR no\n\n\n");
    assert!(!three.looks_at_requests() && !three.failure_needs_request());
    let silent = Delimited::default();
    let told = silent.encode_failure(Context::REPLY, b"", &Failure::refused("no"), &mut out);
    assert_eq!((told, silent.heartbeat()), (Told::ByClosing, None));
}

#[test]
fn a_message_that_would_end_the_failures_reply_elsewhere_is_left_out() {
    let protocol = |failure: &str, delimiter: &str| {
        let settings = DelimitedSettings {
            delimiters: vec![delimiter.into()],
            reply: EndOfReply::UntilLine("END".into()),
            failure: Some(failure.into()),
            max_body: 20,
        };
        Delimited::new(settings).expect("valid settings")
    };
    let told = |protocol: &Delimited, message: &str| {
        let mut out = Vec::new();
        let told =
            protocol.encode_failure(Context::REPLY, b"", &Failure::refused(message), &mut out);
        assert_eq!(told, Told::ByReply);
        String::from_utf8(out).expect("a text")
    };
    let bare = protocol("{message}", "\n");
    assert_eq!(told(&bare, "no"), "no\nEND\n");
    assert_eq!(told(&bare, "END"), "END\n");
    assert_eq!(
        told(&protocol("!{message}", "\n"), "more than twenty bytes"),
        "!\nEND\n"
    );
    assert_eq!(
        told(&protocol("!{message}", "||"), "a||b|"),
        "!||END||",
        "with its delimiter it ends too early"
    );
    assert_eq!(told(&protocol("!{message}", "||"), "a||b"), "!a b||END||");
}

#[test]
fn more_bytes_than_a_frame_may_have_are_refused_before_its_end() {
    for (reply, most) in [
        (EndOfReply::Line, 9 + 2),
        (EndOfReply::UntilLine("END".into()), 9 + 2 + 3 + 2),
        (EndOfReply::UntilPrompt("> ".into()), 9 + 2 + 2),
        (EndOfReply::Lines(3), 9 + 2),
    ] {
        let protocol = made(&["\r\n", "\n"], reply)
            .with_max_body(9)
            .limit_named("--max-frame");
        assert_eq!(protocol.max_frame(), most);
        let mut scan = Scan::default();
        let bytes = vec![b'a'; most];
        for length in 0..most {
            let step = protocol.next(Context::REPLY, &bytes[..length], &mut scan);
            assert!(matches!(step, Ok(Step::More { .. })), "{length}");
        }
        let refused = protocol.next(Context::REPLY, &bytes, &mut scan);
        let said = refused.expect_err("too long").to_string();
        assert_eq!(
            said,
            format!("a body of {most} bytes is longer than the limit of 9; --max-frame raises it")
        );
    }
}

#[test]
fn what_is_refused_is_told_with_the_setting_its_value_and_what_is_allowed() {
    let said = |delimiters: &[&str], reply, failure: Option<&str>| {
        let delimiters = delimiters.iter().map(|&delimiter| delimiter.into());
        let settings = DelimitedSettings {
            delimiters: delimiters.collect(),
            reply,
            failure: failure.map(Into::into),
            ..DelimitedSettings::default()
        };
        let refused = Delimited::try_from(settings);
        refused.map_or_else(|error| error.to_string(), |_| "taken".into())
    };
    let line = || EndOfReply::Line;
    let until_line = |last: &str| EndOfReply::UntilLine(last.into());
    let until_prompt = |prompt: &str| EndOfReply::UntilPrompt(prompt.into());
    let long = "x".repeat(65);
    let within = "such that none is in another, but at its end";
    for (told, words) in [
        (
            said(&[], line(), None),
            "delimiters is a list of 0, and must be 1 to 3",
        ),
        (
            said(&["a", "b", "c", "d"], line(), None),
            "delimiters is a list of 4, and must be 1 to 3",
        ),
        (
            said(&["\n", ""], line(), None),
            "delimiters is 0 bytes long, and must be 1 to 16",
        ),
        (
            said(&[&long[..17]], line(), None),
            "delimiters is 17 bytes long, and must be 1 to 16",
        ),
        (
            said(&["\r", "\r\n"], line(), None),
            &format!(r#"delimiters is ["\r", "\r\n"], and must be {within}"#),
        ),
        (
            said(&["abc", "b"], line(), None),
            &format!(r#"delimiters is ["abc", "b"], and must be {within}"#),
        ),
        (
            said(&["a", "a"], line(), None),
            &format!(r#"delimiters is ["a", "a"], and must be {within}"#),
        ),
        (
            said(&["\n"], until_line(&long), None),
            "reply.until_line is 65 bytes long, and must be 0 to 64",
        ),
        (
            said(&["\n"], until_line("END\n"), None),
            r#"reply.until_line is "END\n", and must be free of delimiters"#,
        ),
        (
            said(&["\n", "\r\n"], until_line("END\r"), None),
            r#"reply.until_line is "END\r", and must be such that with the first delimiter it makes no other delimiter"#,
        ),
        (
            said(&["\n"], until_prompt(""), None),
            "reply.until_prompt is 0 bytes long, and must be 1 to 64",
        ),
        (
            said(&["\n"], until_prompt("a\nb"), None),
            r#"reply.until_prompt is "a\nb", and must be free of delimiters"#,
        ),
        (
            said(&["\n"], EndOfReply::Lines(0), None),
            "reply.lines is 0, and must be 1 to 1048576",
        ),
        (
            said(&["\n"], EndOfReply::Lines(u32::MAX), None),
            "reply.lines is 4294967295, and must be 1 to 1048576",
        ),
        (
            said(&["\n"], line(), Some("two\nlines {message}")),
            "failure is \"two\\nlines {message}\", and must be a line that can be sent as a reply \
             (the frame is malformed: at byte 3 of the body the frame would end, and the rest be another)",
        ),
        (
            said(&["\n"], EndOfReply::Lines(1 << 20), Some("no")),
            "failure is \"no\", and must be a line that can be sent as a reply (a body of 1,048,577 bytes is longer than the limit of 1,048,576; max_body raises it)",
        ),
        (
            said(&["\r\n", "\n"], until_prompt("> "), Some("{message}")),
            "taken",
        ),
    ] {
        assert_eq!(told, words);
    }
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_as_people_write_them() {
    let read = |text: &str| toml::from_str::<DelimitedSettings>(text);
    assert_eq!(read("").expect("defaults"), DelimitedSettings::default());
    let settings = read(
        r#"
        delimiters = ["\r\n", [0xFF, 0]]
        reply = { until_line = "END" }
        failure = "ERROR {message}"
        max_body = 512
        "#,
    );
    let expected = DelimitedSettings {
        delimiters: vec!["\r\n".into(), [0xFF, 0].into()],
        reply: EndOfReply::UntilLine("END".into()),
        failure: Some("ERROR {message}".into()),
        max_body: 512,
    };
    assert_eq!(settings.expect("settings"), expected);
    for (text, reply) in [
        ("reply = \"line\"", EndOfReply::Line),
        (
            "reply = { until_prompt = \"> \" }",
            EndOfReply::UntilPrompt("> ".into()),
        ),
        ("reply = { lines = 3 }", EndOfReply::Lines(3)),
    ] {
        assert_eq!(read(text).expect(text).reply, reply);
    }
    for (text, words) in [
        ("max-body = 1", "unknown field `max-body`"),
        ("reply = \"prompt\"", "unknown variant `prompt`"),
        ("delimiters = \"\\n\"", "expected a sequence"),
    ] {
        let said = read(text).expect_err(text).to_string();
        assert!(said.contains(words), "{said}");
    }
}
