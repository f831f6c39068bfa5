//! Encoding and decoding of a short body by each framing that comes with the library, beside the
//! same written by hand over slices. No socket is involved.

use std::{hint::black_box, time::Instant};

use anyhow::Context;
use millpond::framing::{
    self, Delimited, DelimitedSettings, EndOfReply, Framing, IdSettings, LengthField, LengthJson,
    LengthPrefixed, LengthPrefixedSettings, Mllp, Scan, Step,
};
use serde_json::json;

use crate::{
    slices::{BODY, append_frame, body_length},
    verdict::Middle,
};

/// Puts the body into a frame, and finds it again: the body's length.
type Codec = Box<dyn Fn(&[u8], &mut Vec<u8>) -> usize>;

/// A framing, the same by hand, and what is to be reached.
struct Contest {
    name: &'static str,
    ours: Codec,
    by_hand: Codec,
    target: &'static str,
}

pub(crate) fn codec(rounds: u32) -> anyhow::Result<()> {
    for contest in contests()? {
        let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(nanoseconds(&contest.ours));
            by_hand.push(nanoseconds(&contest.by_hand));
        }
        let ratio = ours.iter().zip(&by_hand).map(|(ours, hand)| ours / hand);
        let ratio = Middle::of(ratio).context("rounds")?;
        let ours = Middle::of(ours).context("rounds")?;
        let by_hand = Middle::of(by_hand).context("rounds")?;
        println!(
            "\n{}, encode + decode of {BODY} bytes: {:.1} ns, by hand {:.1} ns",
            contest.name, ours.median, by_hand.median
        );
        println!("  ours / by hand {ratio}; target: {}", contest.target);
        println!(
            "{}",
            json!({"kind": "codec", "framing": contest.name, "ns": ours, "by_hand_ns": by_hand, "ratio": ratio})
        );
    }
    Ok(())
}

fn nanoseconds(codec: &Codec) -> f64 {
    const TIMES: u32 = 2_000_000;
    let (body, mut out) = (black_box([b'7'; BODY]), Vec::with_capacity(128));
    let began = Instant::now();
    for _ in 0..TIMES {
        out.clear();
        assert_eq!(black_box(codec(&body, &mut out)), BODY);
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
}

fn contests() -> anyhow::Result<Vec<Contest>> {
    let near = "at most 1.3, or 10 ns more";
    let length_prefixed = |settings| LengthPrefixed::new(settings).map(ours);
    let delimited = |delimiters: &[&str], reply| {
        let delimiters = delimiters.iter().map(|&end| end.into());
        let settings = DelimitedSettings {
            delimiters: delimiters.collect(),
            reply,
            ..DelimitedSettings::default()
        };
        Delimited::new(settings).map(ours)
    };
    Ok(vec![
        Contest {
            name: "length-json",
            ours: ours(LengthJson::default()),
            by_hand: Box::new(length_json_by_hand),
            target: "at most 1.2",
        },
        Contest {
            name: "length-prefixed, a u32",
            ours: length_prefixed(LengthPrefixedSettings::default())?,
            by_hand: Box::new(u32_by_hand),
            target: near,
        },
        Contest {
            name: "length-prefixed, a u32 and an id of 4 bytes",
            ours: length_prefixed(LengthPrefixedSettings {
                id: Some(IdSettings {
                    offset: 4,
                    ..IdSettings::default()
                }),
                ..LengthPrefixedSettings::default()
            })?,
            by_hand: Box::new(u32_with_id_by_hand),
            target: near,
        },
        Contest {
            name: "length-prefixed, 4 digits",
            ours: length_prefixed(LengthPrefixedSettings {
                length: LengthField::Digits(4),
                ..LengthPrefixedSettings::default()
            })?,
            by_hand: Box::new(digits_by_hand),
            target: near,
        },
        Contest {
            name: "delimited, \\n",
            ours: delimited(&["\n"], EndOfReply::Line)?,
            by_hand: Box::new(line_by_hand),
            target: near,
        },
        Contest {
            name: "delimited, \\r\\n and \\n",
            ours: delimited(&["\r\n", "\n"], EndOfReply::Line)?,
            by_hand: Box::new(lenient_line_by_hand),
            target: near,
        },
        Contest {
            name: "delimited, until a line",
            ours: delimited(&["\n"], EndOfReply::UntilLine("END".into()))?,
            by_hand: Box::new(until_line_by_hand),
            target: near,
        },
        Contest {
            name: "mllp",
            ours: ours(Mllp::default()),
            by_hand: Box::new(mllp_by_hand),
            target: near,
        },
    ])
}

/// As a reply: that is what has an end of its own.
fn ours(framing: impl Framing) -> Codec {
    let context = framing::Context::REPLY;
    Box::new(move |body, out| {
        let encoded = framing.encode(context, body, out);
        encoded.expect("short enough");
        match framing.next(context, out, &mut Scan::default()) {
            Ok(Step::Frame(extent)) => extent.body,
            other => panic!("{other:?}"),
        }
    })
}

/// The header's digits, and the body's place.
fn length_json_by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    append_frame(body, out);
    body_length(out.first_chunk().expect("just appended")).expect("just appended")
}

fn u32_by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    let length = u32::try_from(body.len()).expect("short enough");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    let length = out.first_chunk().expect("just appended");
    u32::from_be_bytes(*length) as usize
}

fn u32_with_id_by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    let length = u32::try_from(body.len()).expect("short enough");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(body);
    let length = out.first_chunk().expect("just appended");
    u32::from_be_bytes(*length) as usize
}

fn digits_by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    let mut digits = [b'0'; 4];
    let mut rest = body.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    out.extend_from_slice(&digits);
    out.extend_from_slice(body);
    let digits: &[u8; 4] = out.first_chunk().expect("just appended");
    digits.iter().fold(0, |length, digit| {
        assert!(digit.is_ascii_digit());
        10 * length + usize::from(digit - b'0')
    })
}

/// Where the first line ends that begins there.
fn end_of_line(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    end.expect("just appended")
}

fn line_by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    assert!(!body.contains(&b'\n'));
    out.extend_from_slice(body);
    out.push(b'\n');
    end_of_line(out)
}

fn lenient_line_by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    assert!(!body.contains(&b'\n'));
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
    let end = end_of_line(out);
    end - usize::from(out[..end].ends_with(b"\r"))
}

fn until_line_by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    assert!(body.split(|&byte| byte == b'\n').all(|line| line != b"END"));
    out.extend_from_slice(body);
    out.extend_from_slice(b"\nEND\n");
    let mut begin = 0;
    loop {
        let end = begin + end_of_line(&out[begin..]);
        if &out[begin..end] == b"END" {
            return begin - 1;
        }
        begin = end + 1;
    }
}

fn mllp_by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    assert!(!body.iter().any(|&byte| byte == 0x0b || byte == 0x1c));
    out.push(0x0b);
    out.extend_from_slice(body);
    out.extend_from_slice(&[0x1c, 0x0d]);
    let end = out.iter().position(|&byte| byte == 0x1c);
    end.expect("just appended") - 1
}
