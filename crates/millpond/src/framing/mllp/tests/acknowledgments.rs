//! Which acknowledgments messages ask for, whose they are, and how they are written.

use proptest::prelude::*;

use super::*;

const REFUSE: MllpEnhanced = MllpEnhanced::Refuse;
const SAME: MllpEnhanced = MllpEnhanced::SameConnection;
const LATER: MllpEnhanced = MllpEnhanced::LaterExchange;

fn mllp(enhanced: MllpEnhanced) -> Mllp {
    Mllp::from(MllpSettings {
        enhanced,
        ..MllpSettings::default()
    })
}

/// A message that asks for acknowledgments so.
fn asking(accept: &str, application: &str) -> Vec<u8> {
    let header = "MSH|^~\\&|HIS|EAST|LAB|WEST|20260102||ADT^A01|ID1|P|2.5|||";
    block(format!("{header}{accept}|{application}\rPID|1\r").as_bytes())
}

fn acknowledging(code: &str, id: &str) -> Vec<u8> {
    block(format!("MSH|^~\\&|LAB|WEST|||||ACK|9|P|2.5\rMSA|{code}|{id}\r").as_bytes())
}

fn demand(mllp: &Mllp, request: &[u8]) -> Result<Demand, Failure> {
    let mut demand = mllp.demand(request, &Note::default());
    demand.refusal.take().map_or(Ok(demand), Err)
}

fn refused(request: &[u8]) -> String {
    let refused = demand(&mllp(SAME), request).expect_err("refused");
    assert_eq!(refused.kind(), FailureKind::Refused);
    refused.message().to_owned()
}

/// What each of the codes is, in turn, to a message that asks so; until the last, or a mismatch.
fn answers(framing: &Mllp, request: &[u8], codes: &[&str]) -> Vec<Answer> {
    let demand = demand(framing, request).expect("a demand");
    let mut state = Note::default();
    let mut all = Vec::new();
    for code in codes {
        let answer = framing.answers(Some(&demand.note), &acknowledging(code, "ID1"), &mut state);
        all.push(answer);
        match answer {
            Answer::Last => assert_eq!(state, Note::default(), "at rest"),
            Answer::More => assert_ne!(state, Note::default(), "one is still to come"),
            _ => break,
        }
    }
    all
}

#[test]
fn what_a_message_asks_for_is_decided_by_its_two_fields_and_the_setting() {
    // With the setting refuse, same_connection and later_exchange.
    let (no, none) = (None, Some(Replies::None));
    let (one, both) = (Some(Replies::One), Some(Replies::Several));
    for (accept, application, expected) in [
        ("", "", [one, one, one]),
        ("\"\"", "\"\"", [one, one, one]),
        ("NE", "NE", [none, none, none]),
        ("NE", "", [none, none, none]),
        ("", "NE", [none, none, none]),
        ("AL", "NE", [one, one, one]),
        ("AL", "", [one, one, one]),
        ("AL", "\"\"", [one, one, one]),
        ("NE", "AL", [no, one, none]),
        ("", "AL", [no, one, none]),
        ("AL", "AL", [no, both, one]),
        ("ER", "AL", [no, one, no]),
        ("SU", "AL", [no, no, no]),
        ("AL", "ER", [no, no, one]),
        ("AL", "SU", [no, no, one]),
        ("NE", "ER", [no, no, none]),
        ("NE", "SU", [no, no, none]),
        ("", "ER", [no, no, none]),
        ("ER", "", [no, no, no]),
        ("ER", "NE", [no, no, no]),
        ("SU", "NE", [no, no, no]),
        ("ER", "ER", [no, no, no]),
        ("ER", "SU", [no, no, no]),
        ("SU", "ER", [no, no, no]),
        ("SU", "SU", [no, no, no]),
        ("al", "NE", [no, no, no]),
        ("AL", "ne", [no, no, no]),
    ] {
        let found = [REFUSE, SAME, LATER].map(|enhanced| {
            let demand = demand(&mllp(enhanced), &asking(accept, application));
            demand.ok().map(|demand| {
                assert!(!demand.idempotent && !demand.pins);
                assert_eq!(demand.note.as_bytes(), b"ID1");
                demand.replies
            })
        });
        assert_eq!(found, expected, "{accept:?} {application:?}");
    }
    assert_eq!(mllp(REFUSE), Mllp::default(), "the safe side");
}

#[test]
fn a_message_that_is_refused_is_told_which_field_it_is_and_what_would_do() {
    let with_default = demand(&Mllp::default(), &asking("AL", "AL")).unwrap_err();
    for words in ["MSH-16", "same_connection", "later_exchange", "NE"] {
        assert!(with_default.message().contains(words), "{with_default}");
    }
    for (accept, application, words) in [
        ("SU", "NE", "MSH-15 asks for an acknowledgment by SU"),
        ("AL", "ER", "MSH-16 asks for an acknowledgment by ER"),
        ("al", "NE", "MSH-15 is none of AL, NE, ER and SU"),
    ] {
        let told = refused(&asking(accept, application));
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn what_is_no_single_message_with_a_control_id_is_refused() {
    for (body, words) in [
        (&b""[..], "doesn't begin with the segment MSH"),
        (b"MS", "doesn't begin with the segment MSH"),
        (b"MSH", "doesn't begin with the segment MSH"),
        (b"PID|1\rMSH|^~\\&", "doesn't begin with the segment MSH"),
        (b"\rMSH|^~\\&", "doesn't begin with the segment MSH"),
        (b"FHS|^~\\&|", "batches"),
        (b"BHS|^~\\&|", "batches"),
        (b"MSHA^~\\&AA", "field separator"),
        (b"MSH\r^~\\&", "field separator"),
        (b"MSH\xc2\xa7^~\\&", "field separator"),
        (b"MSH|", "MSH-2"),
        (b"MSH||a", "MSH-2"),
        (b"MSH|^~\\&#+|a", "MSH-2"),
        (b"MSH|^~A&|a", "MSH-2"),
        (b"MSH|^~\\&|||||||ADT", "MSH-10"),
        (b"MSH|^~\\&|||||||ADT||P", "MSH-10"),
        (b"MSH|^~\\&|||||||ADT\r|7|P", "MSH-10"),
        (
            b"MSH|^~\\&|||||||ADT|7\rMSH|^~\\&|||||||ADT|8",
            "more than one",
        ),
        (b"MSH|^~\\&|||||||ADT|7\nMSH|", "more than one"),
    ] {
        let told = refused(&block(body));
        assert!(told.contains(words), "{body:?}: {told}");
    }
    for short in [&b""[..], b"\x0b", b"\x1c\r", b"\x0b\x1c\r"] {
        assert!(demand(&mllp(SAME), short).is_err());
    }
    let inside = b"MSH|^~\\&|||||||ADT|7\rNTE|1||the MSH of a message";
    assert!(demand(&mllp(SAME), &block(inside)).is_ok());
}

#[test]
fn an_acknowledgment_that_is_sent_is_not_acknowledged_unless_it_asks() {
    let ack = b"MSH|^~\\&|||||||ACK^A01|9|P|2.5\rMSA|AA|1\r";
    assert_eq!(
        demand(&mllp(REFUSE), &block(ack)).unwrap().replies,
        Replies::None
    );
    let asks = b"MSH|^~\\&|||||||ACK^A01|9|P|2.5|||AL|NE\rMSA|AA|1\r";
    assert_eq!(
        demand(&mllp(REFUSE), &block(asks)).unwrap().replies,
        Replies::One
    );
}

#[test]
fn the_acknowledgments_that_were_asked_for_come_in_their_order_and_no_others() {
    use Answer::{Last, Mismatch, More};
    for (accept, application, codes, expected) in [
        ("", "", &["AA"][..], &[Last][..]),
        ("", "", &["AE"], &[Last]),
        ("", "", &["AR"], &[Last]),
        ("", "", &["CA"], &[Mismatch]),
        ("", "", &[""], &[Mismatch]),
        ("", "", &["aa"], &[Mismatch]),
        ("", "", &["AAA"], &[Mismatch]),
        ("AL", "NE", &["CA"], &[Last]),
        ("AL", "NE", &["CE"], &[Last]),
        ("AL", "NE", &["CR"], &[Last]),
        ("AL", "NE", &["AA"], &[Last]),
        ("NE", "AL", &["AE"], &[Last]),
        ("NE", "AL", &["CA"], &[Mismatch]),
        ("AL", "AL", &["CA", "AA"], &[More, Last]),
        ("AL", "AL", &["CA", "AR"], &[More, Last]),
        ("AL", "AL", &["CE"], &[Last]),
        ("AL", "AL", &["CR"], &[Last]),
        ("AL", "AL", &["CA", "CA"], &[More, Mismatch]),
        ("AL", "AL", &["CA", "CR"], &[More, Mismatch]),
        ("AL", "AL", &["AA"], &[Mismatch]),
        ("ER", "AL", &["AA"], &[Last]),
        ("ER", "AL", &["CE"], &[Last]),
        ("ER", "AL", &["CR"], &[Last]),
        ("ER", "AL", &["CA"], &[Mismatch]),
    ] {
        let found = answers(&mllp(SAME), &asking(accept, application), codes);
        assert_eq!(found, expected, "{accept} {application} {codes:?}");
    }
}

#[test]
fn an_accept_acknowledgment_is_remembered_for_its_own_message_only() {
    let mllp = mllp(SAME);
    let note = demand(&mllp, &asking("AL", "AL")).unwrap().note;
    let mut state = Note::bytes(b"ID0");
    let answer =
        |code, state: &mut Note| mllp.answers(Some(&note), &acknowledging(code, "ID1"), state);
    assert_eq!(answer("AA", &mut state), Answer::Mismatch);
    assert_eq!(answer("CA", &mut state), Answer::More);
    assert_eq!(answer("AA", &mut state), Answer::Last);
}

#[test]
fn an_acknowledgment_of_another_message_or_of_none_is_a_mismatch() {
    let mllp = Mllp::default();
    let note = demand(&mllp, &asking("", "")).unwrap().note;
    let answer = |reply: &[u8]| mllp.answers(Some(&note), reply, &mut Note::default());
    for id in ["ID2", "ID", "ID11", "id1", " ID1", "ID1 ", "ID1^1", ""] {
        assert_eq!(answer(&acknowledging("AA", id)), Answer::Mismatch, "{id:?}");
    }
    for body in [
        &b""[..],
        b"\x06",
        b"MSA|AA|ID1",
        b"MSH|^~\\&|\r",
        b"MSH|^~\\&|\rERR|MSA|AA|ID1\r",
        b"MSH|^~\\&|\rMSA\r",
        b"MSH|^~\\&|\rMSA|AA\r",
        b"MSH|^~\\&|\rMSA*AA*ID1\r",
        b"MSH|^~\\&|\rMSAX|AA|ID1\r",
        b"MSH|^~\\&|\rMSA|AA|ID1\rMSA|AA|ID1\r",
        b"MSH|^~\\&|\rMSA|AA|ID1\rMSH|^~\\&|\rMSA|AA|ID2\r",
        b"MSH|^~\\&|\rMSA|AA|ID1\rMSH|^~\\&|\r",
    ] {
        assert_eq!(answer(&block(body)), Answer::Mismatch, "{body:?}");
    }
    assert_eq!(
        mllp.answers(
            Some(&Note::default()),
            &acknowledging("AA", ""),
            &mut Note::default()
        ),
        Answer::Mismatch
    );
}

#[test]
fn each_message_is_read_with_its_own_separators_and_line_ends() {
    let mllp = Mllp::default();
    let note = demand(
        &mllp,
        &block(b"MSH#*~\\&#A#B#C#D###ADT*A01#ID|1#P#2.5\rPID#1"),
    );
    let note = note.unwrap().note;
    assert_eq!(note.as_bytes(), b"ID|1");
    let answer = |reply: &[u8]| mllp.answers(Some(&note), reply, &mut Note::default());
    for reply in [
        &b"MSH#^~\\&#\rMSA#AA#ID|1\r"[..],
        b"MSH$^~\\&$\nMSA$AA$ID|1",
        b"MSH$^~\\&$\r\nMSA$AA$ID|1$said\r\n",
        b"MSH$^~\\&$\rERR$1\rMSA$AA$ID|1\rERR$2\r",
    ] {
        assert_eq!(answer(&block(reply)), Answer::Last, "{reply:?}");
    }
    let parted = b"MSH|^~\\&|\rMSA|AA|ID|1\r";
    assert_eq!(answer(&block(parted)), Answer::Mismatch);
}

fn frame(body: &[u8]) -> Frame {
    let (head, tail) = (1, 2);
    let body_length = body.len();
    let extent = Extent {
        head,
        body: body_length,
        tail,
    };
    Frame::new(block(body).into(), extent)
}

#[test]
fn an_echo_answers_what_was_asked_for() {
    for (accept, application, codes) in [
        ("", "", &["AA"][..]),
        ("AL", "NE", &["CA"]),
        ("NE", "AL", &["AA"]),
        ("AL", "AL", &["CA", "AA"]),
        ("ER", "AL", &["AA"]),
        ("NE", "NE", &[]),
    ] {
        let (mllp, request) = (mllp(SAME), asking(accept, application));
        let bodies = mllp.echo(&frame(body_of(&request))).unwrap();
        assert_eq!(bodies.len(), codes.len());
        let note = demand(&mllp, &request).unwrap().note;
        let mut state = Note::default();
        for (index, (body, code)) in bodies.iter().zip(codes).enumerate() {
            let expected = format!(
                "MSH|^~\\&|LAB|WEST|HIS|EAST|20260102||ACK^A01|ID1|P|2.5\rMSA|{code}|ID1\r"
            );
            assert_eq!(String::from_utf8_lossy(body), expected);
            let answer = mllp.answers(Some(&note), &block(body), &mut state);
            assert_eq!(answer == Answer::Last, index + 1 == codes.len());
        }
    }
    assert!(Mllp::default().echo(&frame(b"hello")).is_err());
}

#[test]
fn an_acknowledgment_has_what_its_message_had() {
    let of = |message: &[u8], code| {
        let bytes = Mllp::acknowledgment(message, code).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert_eq!(
        of(RESULT, AckCode::CommitReject),
        "MSH|^~\\&|HIS|EAST|LAB|WEST|20260102040506||ACK^R01^ACK|R.42|P|2.5.1||||||UNICODE UTF-8\r\
         MSA|CR|R.42\r"
    );
    assert_eq!(
        of(b"MSH#*~\\&#A####now##QRY#1", AckCode::ApplicationError),
        "MSH#*~\\&###A##now##ACK#1##\rMSA#AE#1\r"
    );
    assert!(Mllp::acknowledgment(b"hello", AckCode::ApplicationAccept).is_err());
}

#[test]
fn a_failure_closes_the_connection_unless_it_is_to_be_acknowledged() {
    let told = |failures, request: &[u8], failure: &Failure| {
        let mllp = Mllp::from(MllpSettings {
            failures,
            enhanced: SAME,
            ..MllpSettings::default()
        });
        assert_eq!(
            mllp.failure_needs_request(),
            failures == MllpFailures::Acknowledge
        );
        let mut out = b"before".to_vec();
        let told = mllp.encode_failure(Context::REPLY, request, failure, &mut out);
        let code = Acknowledged::read(body_of(&out[6..])).map(|read| read.code.as_str());
        assert_eq!(code.is_some(), told == Told::ByReply);
        assert!(code.is_some() || out == b"before");
        code
    };
    let failed = Failure::handler_failed("no");
    assert_eq!(told(MllpFailures::Close, &asking("", ""), &failed), None);
    for (accept, application, failure, code) in [
        ("", "", Failure::handler_failed("no"), Some("AE")),
        ("", "", Failure::malformed("no"), Some("AE")),
        ("", "", Failure::timed_out("no"), Some("AE")),
        ("", "", Failure::not_taken("no"), Some("AR")),
        ("", "", Failure::overloaded("no"), Some("AR")),
        ("", "", Failure::unavailable("no"), Some("AR")),
        ("NE", "AL", Failure::refused("no"), Some("AE")),
        ("AL", "NE", Failure::refused("no"), Some("CE")),
        ("AL", "AL", Failure::not_taken("no"), Some("CR")),
        ("ER", "AL", Failure::refused("no"), Some("CE")),
        ("NE", "NE", Failure::refused("no"), None),
        ("SU", "NE", Failure::refused("no"), None),
    ] {
        let request = asking(accept, application);
        let found = told(MllpFailures::Acknowledge, &request, &failure);
        assert_eq!(found, code, "{accept} {application} {failure:?}");
    }
    assert_eq!(told(MllpFailures::Acknowledge, b"hello", &failed), None);
}

/// Bytes that look like messages, and then don't.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    const BEGINNINGS: [&[u8]; 4] = [
        b"",
        b"MSH|^~\\&|",
        b"MSH|^~\\&|||||||ADT|ID1|P|",
        b"MSH|^~\\&|\rMSA|AA|ID1",
    ];
    const PARTS: [&[u8]; 18] = [
        b"MSH",
        b"MSA",
        b"BHS",
        b"PID",
        b"AA",
        b"CA",
        b"AL",
        b"NE",
        b"ER",
        b"ID1",
        b"ACK",
        b"\"\"",
        b"|",
        b"||||",
        b"^~\\&",
        b"\r",
        b"\rMSA|AA|ID1",
        b"\n",
    ];
    let part = prop_oneof![
        4 => prop::sample::select(&PARTS[..]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let parts = prop::collection::vec(part, 0..12);
    let beginning = prop::sample::select(&BEGINNINGS[..]);
    (beginning, parts).prop_map(|(beginning, parts)| [beginning, &parts.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_bytes_make_it_panic_and_what_is_acknowledged_is_its_own(
        request in hostile(), reply in hostile(), failing in any::<bool>(),
    ) {
        for enhanced in [REFUSE, SAME, LATER] {
            let mllp = Mllp::from(MllpSettings {
                enhanced, failures: MllpFailures::Acknowledge, ..MllpSettings::default()
            });
            for (request, reply) in [(&request, &reply), (&block(&request), &block(&reply))] {
                let mut out = Vec::new();
                let failure = Failure::refused("no");
                let told = mllp.encode_failure(Context::REPLY, request, &failure, &mut out);
                let Ok(demand) = demand(&mllp, request) else {
                    prop_assert_eq!(told, Told::ByClosing);
                    continue;
                };
                let mut state = if failing { demand.note.clone() } else { Note::default() };
                let answer = mllp.answers(Some(&demand.note), reply, &mut state);
                if answer != Answer::Mismatch {
                    let text = String::from_utf8_lossy(reply);
                    let id = String::from_utf8_lossy(demand.note.as_bytes()).into_owned();
                    prop_assert!(text.contains(&*id));
                    prop_assert!(text.contains("MSA"));
                }
                if told == Told::ByReply {
                    let answer = mllp.answers(Some(&demand.note), &out, &mut Note::default());
                    prop_assert_eq!(answer, Answer::Last, "{:?}", out);
                }
            }
        }
    }
}
