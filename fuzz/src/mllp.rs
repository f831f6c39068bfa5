//! HL7 over MLLP against a reference, however the bytes are cut: where blocks end, what each message
//! asks for, and whether the next one acknowledges it.

use millpond::framing::{
    Answer, Context, Failure, FrameError, Framing, Mllp, MllpEnhanced, MllpFailures, MllpSettings,
    Note, Replies, Scan, Step, Told,
};

use crate::pieces;

/// Inputs up to this length are cut at every position: the work is their square.
const SHORT: usize = 64;

/// Limits on bodies: one that short inputs reach, and the default.
const LIMITS: [usize; 2] = [48, Mllp::DEFAULT_MAX_BODY];

/// Decodes the bytes as they are, and in pieces that they choose themselves; short ones also byte
/// by byte, and in two pieces for each place where they can be cut. Encodes them as a body. Takes
/// each block for a request and the one behind it for its reply.
///
/// # Panics
///
/// Something else is found than by the reference.
pub fn run(bytes: &[u8]) {
    for max_body in LIMITS {
        let mllp = Mllp::from(MllpSettings {
            max_body,
            ..MllpSettings::default()
        });
        let expected = reference(max_body, bytes);
        let decode = |pieces: &[&[u8]]| {
            assert_eq!(in_pieces(&mllp, pieces), expected, "in {pieces:?}");
        };
        decode(&[bytes]);
        decode(&pieces::by_themselves(bytes));
        if bytes.len() <= SHORT {
            decode(&bytes.chunks(1).collect::<Vec<_>>());
            (1..bytes.len()).for_each(|cut| decode(&[&bytes[..cut], &bytes[cut..]]));
        }
        encode(&mllp, max_body, bytes);
        let (bodies, _) = expected;
        for (index, request) in bodies.iter().enumerate() {
            let reply = bodies.get(index + 1).map_or(bytes, |body| body);
            for enhanced in [
                MllpEnhanced::Refuse,
                MllpEnhanced::SameConnection,
                MllpEnhanced::LaterExchange,
            ] {
                exchange(enhanced, request, reply);
            }
        }
    }
}

/// What comes of bytes: the bodies, and at which position from its boundary on what follows is
/// refused.
pub(crate) type Decoded = (Vec<Vec<u8>>, Option<usize>);

/// By trying each end.
pub(crate) fn reference(max_body: usize, mut bytes: &[u8]) -> Decoded {
    let mut bodies = Vec::new();
    'blocks: while let Some((&first, rest)) = bytes.split_first() {
        if first != 0x0b {
            return (bodies, Some(0));
        }
        for (length, &byte) in rest.iter().enumerate() {
            match byte {
                0x1c => match rest.get(length + 1) {
                    None => return (bodies, None),
                    Some(0x0d) => {
                        bodies.push(rest[..length].to_vec());
                        bytes = &rest[length + 2..];
                        continue 'blocks;
                    }
                    Some(_) => return (bodies, Some(1 + length + 1)),
                },
                0x0b => return (bodies, Some(1 + length)),
                _ if length == max_body => return (bodies, Some(1 + length)),
                _ => {}
            }
        }
        return (bodies, None);
    }
    (bodies, None)
}

fn in_pieces(mllp: &Mllp, pieces: &[&[u8]]) -> Decoded {
    let (mut held, mut bodies, mut scan) = (Vec::new(), Vec::new(), Scan::default());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match mllp.next(Context::REPLY, &held, &mut scan) {
                Ok(Step::More { missing }) => {
                    assert!((1..=3).contains(&missing));
                    break;
                }
                Ok(Step::Frame(extent)) => {
                    let whole: Vec<_> = held.drain(..extent.length()).collect();
                    bodies.push(whole[extent.head..extent.head + extent.body].to_vec());
                    scan.reset();
                }
                Ok(step @ Step::Heartbeat { .. }) => panic!("{step:?}"),
                Err(FrameError::Unexpected {
                    position, found, ..
                }) => {
                    assert_eq!(held[position], found);
                    return (bodies, Some(position));
                }
                Err(FrameError::TooLong { length, .. }) => {
                    return (bodies, Some(usize::try_from(length).expect("a length")));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    (bodies, None)
}

/// The bytes as a body.
fn encode(mllp: &Mllp, max_body: usize, body: &[u8]) {
    let mut out = b"before".to_vec();
    let encoded = mllp.encode(Context::REQUEST, body, &mut out);
    let can_be = body.len() <= max_body && !body.contains(&0x0b) && !body.contains(&0x1c);
    assert_eq!(encoded.is_ok(), can_be, "{encoded:?}");
    let behind = out.strip_prefix(b"before").expect("what was there stays");
    match can_be {
        true => assert_eq!(behind, block(body)),
        false => assert!(behind.is_empty(), "a body that is refused leaves nothing"),
    }
}

pub(crate) fn block(body: &[u8]) -> Vec<u8> {
    [b"\x0b", body, b"\x1c\x0d"].concat()
}

/// A message as a list of segments, each of them a list of fields; nothing if it is none.
pub(crate) fn segments(body: &[u8]) -> Option<Vec<Vec<&[u8]>>> {
    let [b'M', b'S', b'H', separator, ..] = *body else {
        return None;
    };
    if !separator.is_ascii_punctuation() {
        return None;
    }
    let lines = body.split(|byte| b"\r\n".contains(byte));
    let all: Vec<Vec<_>> = lines
        .map(|line| line.split(|&byte| byte == separator).collect())
        .collect();
    let encoding = all[0].get(1)?;
    let is_encoding = (1..=5).contains(&encoding.len());
    let again = all[1..].iter().any(|one| one[0].starts_with(b"MSH"));
    (is_encoding && encoding.iter().all(u8::is_ascii_punctuation) && !again).then_some(all)
}

/// How many acknowledgments come, by the table in the documentation; nothing if it is refused.
pub(crate) fn asked(enhanced: MllpEnhanced, header: &[&[u8]]) -> Option<&'static str> {
    let field = |number: usize| header.get(number - 1).copied().unwrap_or_default();
    if field(10).is_empty() {
        return None;
    }
    let condition = |number| match field(number) {
        b"" | b"\"\"" => Some(""),
        b"AL" => Some("AL"),
        b"NE" => Some("NE"),
        b"ER" => Some("ER"),
        b"SU" => Some("SU"),
        _ => None,
    };
    let (accept, application) = (condition(15)?, condition(16)?);
    if (accept, application) == ("", "") {
        let kind = field(9).split(|&byte| byte == field(2)[0]).next();
        return Some(if kind == Some(b"ACK") { "" } else { "A" });
    }
    let application = match (enhanced, application) {
        (MllpEnhanced::LaterExchange, _) | (_, "") => "NE",
        (MllpEnhanced::Refuse, "AL" | "ER" | "SU") => return None,
        (_, application) => application,
    };
    match (accept, application) {
        ("" | "NE", "NE") => Some(""),
        ("" | "NE", "AL") => Some("A"),
        ("AL", "NE") => Some("C"),
        ("AL", "AL") => Some("CA"),
        ("ER", "AL") => Some("E"),
        _ => None,
    }
}

/// What a first reply is to a message that asks so.
fn answer(asks: &str, code: &[u8]) -> Answer {
    match (asks, code) {
        ("A", b"AA" | b"AE" | b"AR") => Answer::Last,
        ("C", b"AA" | b"AE" | b"AR" | b"CA" | b"CE" | b"CR") => Answer::Last,
        ("CA", b"CA") => Answer::More,
        ("CA", b"CE" | b"CR") => Answer::Last,
        ("E", b"AA" | b"AE" | b"AR" | b"CE" | b"CR") => Answer::Last,
        _ => Answer::Mismatch,
    }
}

fn exchange(enhanced: MllpEnhanced, request: &[u8], reply: &[u8]) {
    let mllp = Mllp::from(MllpSettings {
        enhanced,
        failures: MllpFailures::Acknowledge,
        ..MllpSettings::default()
    });
    let header = segments(request).map(|all| all[0].clone());
    let asks = header.as_ref().and_then(|header| asked(enhanced, header));
    let whole = block(request);
    let demand = mllp.demand(&whole, &Note::default());
    let mut out = Vec::new();
    let failure = Failure::refused("no");
    let told = mllp.encode_failure(Context::REPLY, &whole, &failure, &mut out);
    let (Some(header), Some(asks)) = (header, asks) else {
        assert!(
            demand.refusal().is_some() && told == Told::ByClosing,
            "{demand:?}"
        );
        return;
    };
    assert_eq!(demand.refusal(), None);
    let replies = match asks {
        "" => Replies::None,
        "CA" => Replies::Several,
        _ => Replies::One,
    };
    assert_eq!(demand.awaits(), replies);
    let note = Some(demand.note());
    let acknowledged = segments(reply).and_then(|all| {
        let mut found = all.iter().filter(|one| one[0].starts_with(b"MSA"));
        match (found.next(), found.next()) {
            (Some(one), None) if one[0] == b"MSA" => Some((*one.get(1)?, *one.get(2)?)),
            _ => None,
        }
    });
    let expected = match acknowledged {
        Some((code, id)) if id == header[9] => answer(asks, code),
        _ => Answer::Mismatch,
    };
    let mut state = Note::default();
    assert_eq!(mllp.answers(note, &block(reply), &mut state), expected);
    assert_eq!(state == Note::default(), expected != Answer::More);
    if told == Told::ByReply {
        let answer = mllp.answers(note, &out, &mut Note::default());
        assert_eq!(answer, Answer::Last, "its own refusal");
    } else {
        assert!(asks.is_empty(), "each message that asks can be refused");
    }
}
