//! Redis with requests and replies that are made at random, and with what is nearly one, beside a slow
//! reference, however they are cut.

use fastrand::Rng;
use millpond::framing::{
    Context, Direction, FrameError, Framing, Redis, RedisSettings, Scan, Step, conformance,
};

use crate::redis_reference::{Stop, first, judge};

fn limited(max_body: usize) -> Redis {
    Redis::from(RedisSettings {
        max_body,
        ..RedisSettings::default()
    })
}

fn context(way: Direction) -> Context<'static> {
    match way {
        Direction::Request => Context::REQUEST,
        Direction::Reply => Context::REPLY,
    }
}

fn random_bytes(random: &mut Rng) -> Vec<u8> {
    let length = [0, 1, 3, 9, 10, 17][random.usize(..6)];
    let usual = b"\r\n*$ab";
    let byte = |random: &mut Rng| match random.bool() {
        true => usual[random.usize(..usual.len())],
        false => random.u8(..),
    };
    (0..length).map(|_| byte(random)).collect()
}

fn put_string(kind: &str, text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{kind}{}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn random_request(random: &mut Rng) -> Vec<u8> {
    if random.u8(..4) == 0 {
        let lines = [
            "PING\r\n",
            "GET a\n",
            " \tset k 'a b'\r\n",
            "poster\n",
            "host: x\r\n",
            "GET / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\n",
            "x\u{e4}\n",
        ];
        return lines[random.usize(..lines.len())].as_bytes().to_vec();
    }
    let count = random.usize(1..12);
    let mut out = format!("*{count}\r\n").into_bytes();
    (0..count).for_each(|_| put_string("$", &random_bytes(random), &mut out));
    out
}

fn put_value(random: &mut Rng, depth: usize, is_top: bool, out: &mut Vec<u8>) {
    const LINES: [&str; 24] = [
        "+OK",
        "+",
        "-ERR a b",
        ":0",
        ":-12",
        ":+7",
        ":9223372036854775807",
        "$-1",
        "*-1",
        "_",
        "#t",
        "#f",
        ",1",
        ",-1.5e-7",
        ",inf",
        ",-nan",
        ",12.0E+10",
        "(123456789012345678901234567890",
        "(-1",
        "*0",
        "%0",
        "~0",
        "$?\r\n;0",
        "$?\r\n;2\r\n\r\n\r\n;1\r\n;\r\n;0",
    ];
    if random.u8(..8) == 0 {
        let pairs = random.usize(..3);
        out.extend_from_slice(format!("|{pairs}\r\n").as_bytes());
        (0..2 * pairs).for_each(|_| put_value(random, depth + 1, false, out));
    }
    match random.u8(..10) {
        0..=3 => {
            out.extend_from_slice(LINES[random.usize(..LINES.len())].as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        4 | 5 => put_string(["$", "!"][random.usize(..2)], &random_bytes(random), out),
        6 => put_string("=", &[b"txt:", &random_bytes(random)[..]].concat(), out),
        7 if is_top => {
            let kind = ['*', '~', '%'][random.usize(..3)];
            out.extend_from_slice(format!("{kind}?\r\n").as_bytes());
            (0..2 * random.usize(..3)).for_each(|_| put_value(random, depth + 1, false, out));
            out.extend_from_slice(b".\r\n");
        }
        8 if is_top => {
            let count = random.usize(1..4);
            out.extend_from_slice(format!(">{count}\r\n").as_bytes());
            (0..count).for_each(|_| put_value(random, depth + 1, false, out));
        }
        _ if depth > 5 => out.extend_from_slice(b"_\r\n"),
        _ => {
            let (kind, each) = [('*', 1), ('~', 1), ('%', 2)][random.usize(..3)];
            let count = random.usize(..4);
            out.extend_from_slice(format!("{kind}{count}\r\n").as_bytes());
            (0..each * count).for_each(|_| put_value(random, depth + 1, false, out));
        }
    }
}

fn random_frame(way: Direction, random: &mut Rng) -> Vec<u8> {
    match way {
        Direction::Request => random_request(random),
        Direction::Reply => {
            let mut out = Vec::new();
            put_value(random, 0, true, &mut out);
            out
        }
    }
}

/// With some changes, each to a byte that means something or anywhere.
fn mutated(mut bytes: Vec<u8>, random: &mut Rng) -> Vec<u8> {
    const USUAL: &[u8] = b"\r\n*$+-:_#,(!=%~>|;.?0123456789etfinax \0";
    for _ in 0..random.usize(1..3) {
        let at = random.usize(..bytes.len().max(1)).min(bytes.len());
        let byte = USUAL[random.usize(..USUAL.len())];
        match random.u8(..4) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            _ if at < bytes.len() => bytes[at] = byte,
            _ => {}
        }
    }
    bytes
}

const WAYS: [Direction; 2] = [Direction::Request, Direction::Reply];

#[test]
fn random_frames_end_where_the_reference_says_and_so_do_those_that_are_nearly_some() {
    let mut random = Rng::with_seed(1);
    for round in 0..600 {
        for way in WAYS {
            let redis = limited([60, 400, 1 << 20][round % 3]);
            let frame = random_frame(way, &mut random);
            let wire = [&frame[..], &random_frame(way, &mut random)].concat();
            judge(&redis, way, &wire);
            judge(&redis, way, &mutated(wire, &mut random));
        }
    }
}

#[test]
fn all_that_can_follow_some_beginnings_is_what_the_reference_says() {
    const REQUESTS: [&str; 6] = ["", "*", "*1\r\n", "*2\r\n$1\r\n", "P", "*1\r\n$11"];
    const REPLIES: [&str; 14] = [
        "",
        "*?\r\n",
        "%?\r\n",
        "~?\r\n_\r\n",
        "$?\r\n;",
        "$?\r\n;1\r\n",
        "*2\r\n",
        "|1\r\n_\r\n",
        "|0\r\n",
        "=4\r\n",
        "=5\r\ntx",
        ",1",
        "*1\r\n:-",
        ">1\r\n",
    ];
    for (way, beginnings, alphabet) in [
        (Direction::Request, &REQUESTS[..], &b"*$12\r\n a0"[..]),
        (Direction::Reply, &REPLIES[..], b"*%|>$=+:,#?.;01-\r\n"),
    ] {
        let redis = limited(1 << 20);
        let mut pending: Vec<(Vec<u8>, usize)> = Vec::new();
        pending.extend(beginnings.iter().map(|text| (text.as_bytes().to_vec(), 4)));
        while let Some((bytes, left)) = pending.pop() {
            let step = redis.next(context(way), &bytes, &mut Scan::default());
            match (&step, first(way, &bytes)) {
                (Ok(Step::Frame(extent)), Ok(length)) if extent.length() == length => {}
                (Ok(Step::More { .. }), Err(Stop::More(_))) => {
                    if left > 0 {
                        let longer = |&byte| ([&bytes[..], &[byte]].concat(), left - 1);
                        pending.extend(alphabet.iter().map(longer));
                    }
                }
                (Err(_), Err(Stop::Refused(_))) => {}
                (step, expected) => panic!("\"{}\": {step:?} {expected:?}", bytes.escape_ascii()),
            }
        }
    }
}

#[test]
fn the_contract_is_kept_however_frames_are_cut() {
    let mut random = Rng::with_seed(2);
    for round in 0..600 {
        for way in WAYS {
            let mut wire: Vec<u8> = (0..4)
                .flat_map(|_| random_frame(way, &mut random))
                .collect();
            if round % 2 == 0 {
                wire = mutated(wire, &mut random);
            }
            let redis = limited([60, 1 << 20][round / 2 % 2]);
            let checked = conformance::check(&redis, context(way), &wire);
            assert_eq!(checked, Ok(()), "\"{}\"", wire.escape_ascii());
        }
    }
}

#[test]
fn a_frame_is_allowed_by_a_limit_of_its_length_and_by_none_below() {
    let mut random = Rng::with_seed(3);
    for _ in 0..500 {
        for way in WAYS {
            let frame = random_frame(way, &mut random);
            if first(way, &frame) != Ok(frame.len()) {
                // A line of HTTP.
                continue;
            }
            assert_eq!(judge(&limited(frame.len()), way, &frame), [&frame[..]]);
            let mut scan = Scan::default();
            let below = limited(frame.len() - 1);
            let steps =
                (0..=frame.len()).map(|end| below.next(context(way), &frame[..end], &mut scan));
            let refused = steps.into_iter().find_map(Result::err);
            assert!(
                matches!(refused, Some(FrameError::TooLong { .. })),
                "\"{}\": {refused:?}",
                frame.escape_ascii()
            );
        }
    }
}

#[test]
fn pieces_of_any_size_find_the_same_frames() {
    let mut random = Rng::with_seed(4);
    for _ in 0..500 {
        for way in WAYS {
            let redis = limited(1 << 20);
            let mut wire: Vec<u8> = (0..3)
                .flat_map(|_| random_frame(way, &mut random))
                .collect();
            if random.bool() {
                wire = mutated(wire, &mut random);
            }
            let expected = judge(&redis, way, &wire);
            let (mut found, mut begin, mut end) = (Vec::new(), 0, 0);
            let mut scan = Scan::default();
            'wire: loop {
                loop {
                    match redis.next(context(way), &wire[begin..end], &mut scan) {
                        Ok(Step::Frame(extent)) => {
                            found.push(wire[begin..begin + extent.length()].to_vec());
                            begin += extent.length();
                            scan.reset();
                        }
                        Ok(_) => break,
                        Err(_) => break 'wire,
                    }
                }
                if end == wire.len() {
                    break;
                }
                end = (end + random.usize(1..30)).min(wire.len());
            }
            assert_eq!(found, expected, "\"{}\"", wire.escape_ascii());
        }
    }
}
