//! Frames that are accepted and refused, cut everywhere; and how many bytes are looked at.

use super::{line::EXAMINED, *};
use crate::framing::{Extent, FrameError, Scan, Step};

type Read = fn(&[u8], &mut Scan, &Limits) -> Result<Step, FrameError>;

fn limits(max_body: usize, max_arguments: usize) -> Limits {
    Limits {
        max_body,
        max_arguments,
        named: "max_body".into(),
    }
}

fn fresh(read: Read, bytes: &[u8], limits: &Limits) -> Result<Step, FrameError> {
    read(bytes, &mut Scan::default(), limits)
}

/// What these bytes are as a whole; the same if they come byte by byte, or in two pieces.
fn read_in_all_pieces(read: Read, bytes: &[u8], limits: &Limits) -> Result<Step, FrameError> {
    let shown = bytes.escape_ascii();
    let whole = fresh(read, bytes, limits);
    let mut scan = Scan::default();
    let mut last = Ok(Step::More { missing: 1 });
    for end in 0..=bytes.len() {
        last = read(&bytes[..end], &mut scan, limits);
        assert_eq!(last, fresh(read, &bytes[..end], limits), "{end} of {shown}");
        let Ok(Step::More { missing }) = last else {
            break;
        };
        assert!(scan.searched() <= end, "{shown}");
        if let Ok(Step::Frame(extent)) = whole {
            assert!(
                end + missing <= extent.length(),
                "{missing} at {end} of {shown}"
            );
            let announced = scan.announced().unwrap_or(extent);
            assert_eq!(announced, extent, "at {end} of {shown}");
        }
        let mut two = scan;
        let rest = read(bytes, &mut two, limits);
        assert_eq!(
            rest.as_ref().ok(),
            whole.as_ref().ok(),
            "cut at {end}: {shown}"
        );
    }
    assert_eq!(last.is_err(), whole.is_err(), "{shown}");
    if let (Err(FrameError::TooLong { .. }), Err(error)) = (&last, &whole) {
        assert!(
            matches!(error, FrameError::TooLong { .. }),
            "{shown}: {error}"
        );
        return whole;
    }
    assert_eq!(last, whole, "{shown}");
    whole
}

/// Each is one frame, whatever follows.
fn are_frames(read: Read, frames: &[&str], limits: &Limits) {
    for frame in frames {
        let extent = Extent {
            head: 0,
            body: frame.len(),
            tail: 0,
        };
        for behind in ["", "+", "\r\n"] {
            let bytes = [frame.as_bytes(), behind.as_bytes()].concat();
            let found = read_in_all_pieces(read, &bytes, limits);
            assert_eq!(found, Ok(Step::Frame(extent)), "{frame:?}");
        }
    }
}

/// Each is refused at its last byte, and not before.
fn are_refused(read: Read, frames: &[&str], limits: &Limits) {
    for bytes in frames {
        let found = read_in_all_pieces(read, bytes.as_bytes(), limits);
        assert!(found.is_err(), "{bytes:?}: {found:?}");
        let before = fresh(read, &bytes.as_bytes()[..bytes.len() - 1], limits);
        assert!(
            matches!(before, Ok(Step::More { .. })),
            "{bytes:?}: {before:?}"
        );
    }
}

#[test]
fn a_request_is_an_array_of_bulk_strings_or_a_line() {
    let frames = [
        "*1\r\n$4\r\nPING\r\n",
        "*1\r\n$0\r\n\r\n",
        "*2\r\n$3\r\nGET\r\n$3\r\n\r\n\0\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$11\r\n*1\r\n$1\r\nx\r\n\r\n",
        "*10\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n",
        "PING\r\n",
        "PING\n",
        "p\n",
        " \t PING \t\n",
        "GET key\n",
        "SET \"a b\" 'c'\r\n",
        "poster\n",
        "hosts:\n",
        "host : x\n",
        "$3\r\n",
        " *1\r\n",
        "GET / HTTP/1.1 \r\n",
        "GETHTTP/1.1\r\n",
        "GET / HTTP/1.x\r\n",
        "SET k \u{e4}\u{1}\r\n",
    ];
    are_frames(request, &frames, &limits(1_000, 10));
}

#[test]
fn what_could_be_read_otherwise_is_refused_at_the_first_byte_that_shows_it() {
    let frames = [
        "*0",
        "*-",
        "*+",
        "* ",
        "*\r",
        "*a",
        "*1a",
        "*1\n",
        "*1\r\r",
        "*1\r\n*",
        "*1\r\n+",
        "*1\r\n\r",
        "*1\r\n$-",
        "*1\r\n$\r",
        "*1\r\n$00",
        "*1\r\n$01",
        "*1\r\n$1\n",
        "*1\r\n$1\r\r",
        "*1\r\n$1\r\nxx",
        "*1\r\n$1\r\nx\n",
        "*1\r\n$1\r\nx\rx",
        "*1\r\n$0\r\nx",
        "*2\r\n$1\r\nx\rx",
        "*2\r\n$1\r\nx\r\nx",
        "*11",
        "*99",
        "\r",
        "\n",
        " \r",
        "\t\n",
        "\0",
        " \0",
        "\u{1}",
        "\x7f",
        "a\0",
        "a\rb",
        "a\r\r",
    ];
    are_refused(request, &frames, &limits(1_000, 10));
    let error = fresh(request, b"*1\r\n$1\r\nxx", &limits(1_000, 10));
    let error = error.map_err(|error| error.to_string());
    let expected = "byte 9 of a frame is 'x', and a carriage return was expected";
    assert_eq!(error, Err(expected.into()));
}

#[test]
fn strangers_are_recognised() {
    let limits = limits(1_000, 10);
    for (bytes, expected) in [
        (&b"POST "[..], FrameError::Http),
        (b"post\r", FrameError::Http),
        (b"  Post\t", FrameError::Http),
        (b"Host: ", FrameError::Http),
        (b"HOST:\n", FrameError::Http),
        (b"GET / HTTP/1.1\r\n", FrameError::Http),
        (b"get  /x?HTTP  HTTP/1.0\n", FrameError::Http),
        (b"PRI * HTTP/2.0\r\n", FrameError::Http),
        (b"\x16\x03", FrameError::Tls),
    ] {
        let found = read_in_all_pieces(request, bytes, &limits);
        assert_eq!(found, Err(expected), "{}", bytes.escape_ascii());
        let before = fresh(request, &bytes[..bytes.len() - 1], &limits);
        assert!(before.is_ok(), "{}", bytes.escape_ascii());
    }
    for (bytes, expected) in [
        (&b"HTTP/"[..], FrameError::HttpServer),
        (b"SSH-", FrameError::SshServer),
        (b"\x15\x03", FrameError::TlsServer),
    ] {
        assert_eq!(read_in_all_pieces(reply, bytes, &limits), Err(expected));
        let before = fresh(reply, &bytes[..bytes.len() - 1], &limits);
        assert!(before.is_ok(), "{}", bytes.escape_ascii());
    }
    are_refused(request, &["\u{16}x"], &limits);
    are_refused(reply, &["x", "HTTQ", "\u{15}\u{1}", "\r"], &limits);
}

#[test]
fn a_reply_is_a_value_with_all_that_is_in_it() {
    let frames = [
        "+OK\r\n",
        "+\r\n",
        "-ERR no\r\n",
        ":0\r\n",
        ":-1\r\n",
        ":+1\r\n",
        ":007\r\n",
        ":9223372036854775807\r\n",
        ":-9223372036854775808\r\n",
        "$0\r\n\r\n",
        "$5\r\n\r\n+\r\n\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*1\r\n$-1\r\n",
        "*2\r\n:1\r\n$2\r\nab\r\n",
        "*2\r\n$2\r\nab\r\n:1\r\n",
        "*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n*1\r\n+a\r\n",
        "_\r\n",
        "#t\r\n",
        "#f\r\n",
        ",1\r\n",
        ",-1.5\r\n",
        ",10e3\r\n",
        ",+1.25E-17\r\n",
        ",inf\r\n",
        ",-inf\r\n",
        ",nan\r\n",
        ",-nan\r\n",
        "(3492890328409238509324850943850943825024385\r\n",
        "(-1\r\n",
        "!5\r\nERR a\r\n",
        "=4\r\ntxt:\r\n",
        "=15\r\ntxt:Some string\r\n",
        "*2\r\n=4\r\nmkd:\r\n=5\r\ntxt:x\r\n",
        "%0\r\n",
        "%2\r\n+a\r\n:1\r\n+b\r\n%1\r\n:1\r\n:2\r\n",
        "~2\r\n+a\r\n+b\r\n",
        ">2\r\n+a\r\n+b\r\n",
        "|0\r\n+a\r\n",
        "|1\r\n+k\r\n:1\r\n+a\r\n",
        "|1\r\n+k\r\n*1\r\n:1\r\n*1\r\n|1\r\n+k\r\n:1\r\n+a\r\n",
        "|1\r\n|1\r\n+k\r\n:1\r\n+k\r\n:1\r\n>1\r\n+a\r\n",
        "$?\r\n;4\r\nHell\r\n;1\r\no\r\n;0\r\n",
        "$?\r\n;0\r\n",
        "*2\r\n$?\r\n;1\r\n;\r\n;0\r\n$1\r\nx\r\n",
        "*?\r\n.\r\n",
        "*?\r\n:1\r\n*2\r\n:1\r\n:2\r\n.\r\n",
        "~?\r\n$1\r\n.\r\n$?\r\n;0\r\n.\r\n",
        "%?\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n.\r\n",
        "*?\r\n|1\r\n:1\r\n:2\r\n:3\r\n.\r\n",
        "|1\r\n:1\r\n:2\r\n*?\r\n.\r\n",
    ];
    are_frames(reply, &frames, &limits(1_000, 1));
}

#[test]
fn what_is_no_value_is_refused_at_the_first_byte_that_shows_it() {
    let frames = [
        "+a\n",
        "+a\rb",
        "-\n",
        ":\r",
        ":a",
        ":-\r",
        ":1a",
        ":1-",
        ":--",
        ":9223372036854775808",
        ":-9223372036854775809",
        ":00000000000000000000",
        "$a",
        "$+",
        "$\r",
        "$01",
        "$-2",
        "$-1a",
        "$?a",
        "$1\r\nab",
        "$1\r\na\n",
        "$1\r\na\ra",
        "*+",
        "*-2",
        "*1\r\nx",
        "*1\r\n.",
        "*1\r\n;",
        "*1\r\n>",
        "~-",
        "%-",
        "!-",
        "!?",
        "=?",
        "=-",
        ">?",
        "|?",
        "|-",
        ">0\r\n",
        "|1\r\n>",
        "|1\r\n*1\r\n>",
        "*?\r\n>",
        "_a",
        "_\n",
        "#a",
        "#\r",
        "#ta",
        ",\r",
        ",-\r",
        ",.",
        ",1.\r",
        ",1..",
        ",1e\r",
        ",1e+\r",
        ",infi",
        ",na\r",
        ",1 ",
        "(\r",
        "(-\r",
        "(1.",
        "(--",
        "=3\r\n",
        "=4\r\ntxtx",
        "*2\r\n=5\r\ntxt;",
        ";",
        ".",
        "$?\r\n.",
        "$?\r\n;1\r\nab",
        "$?\r\n;-",
        "$?\r\n;?",
        "$?\r\n;0\r\r",
        "*?a",
        "*1\r\n*?",
        "*?\r\n*?",
        "|1\r\n~?",
        "*?\r\n|1\r\n:1\r\n:2\r\n.",
        "%?\r\n:1\r\n.",
        "%?\r\n:1\r\n:2\r\n:3\r\n.",
        "*?\r\n.a",
    ];
    are_refused(reply, &frames, &limits(1_000, 1));
    let long = format!(",{}", "1".repeat(256));
    are_refused(reply, &[&long], &limits(1_000, 1));
}

#[test]
fn a_frame_that_is_too_long_is_refused_as_soon_as_a_length_says_so() {
    let request = |bytes: &str, max: usize| (request as Read, bytes.to_owned(), max);
    let reply = |bytes: &str, max: usize| (reply as Read, bytes.to_owned(), max);
    for (read, bytes, max) in [
        request("*1\r\n$10\r\n", 20),
        request("*1\r\n$21", 20),
        request("*2\r\n$1\r\n", 16),
        request("*2\r\n$1\r\na\r\n$1\r\n", 17),
        request("*3\r\n", 21),
        request("*22", 21),
        request("abc", 3),
        request("abc\r", 4),
        request("   ", 3),
        reply("$10\r\n", 16),
        reply("$20", 19),
        reply("*5\r\n", 18),
        reply("%3\r\n", 21),
        reply("|3\r\n", 24),
        reply("*2\r\n*2\r\n", 16),
        reply("*2\r\n#", 10),
        reply("*2\r\n$4\r\n", 16),
        reply("+abcd", 6),
        reply("*2\r\n+ab", 11),
        reply("$?\r\n;3\r\n", 16),
        reply("*?\r\n+", 9),
        reply("%9", 8),
        reply("(123", 5),
        reply(",123", 5),
        reply(":123", 5),
    ] {
        let found = read_in_all_pieces(read, bytes.as_bytes(), &limits(max, 100));
        assert!(
            matches!(found, Err(FrameError::TooLong { length, limit, .. }) if length > limit),
            "{bytes:?}: {found:?}"
        );
        let before = &bytes.as_bytes()[..bytes.len() - 1];
        let before = fresh(read, before, &limits(max, 100));
        assert!(
            matches!(before, Ok(Step::More { .. })),
            "{bytes:?}: {before:?}"
        );
        let allowed = fresh(read, bytes.as_bytes(), &limits(max + 1, 100));
        let is_allowed = !matches!(allowed, Err(FrameError::TooLong { .. }));
        assert!(is_allowed, "{bytes:?}: {allowed:?}");
    }
}

#[test]
fn an_inline_command_has_64_kib_at_most_whatever_is_allowed() {
    let line = "a".repeat(65_536);
    let limits = limits(1 << 20, 1);
    for (end, length) in [("\n", 65_537), ("\r\n", 65_538)] {
        let found = fresh(request, [&line, end].concat().as_bytes(), &limits);
        assert!(matches!(found, Ok(Step::Frame(extent)) if extent.body == length));
    }
    for longer in ["a", "a\n"] {
        let found = fresh(request, [&line, longer].concat().as_bytes(), &limits);
        let error = FrameError::TooLong {
            length: 65_537,
            limit: 65_536,
            setting: None,
        };
        assert_eq!(found, Err(error));
    }
}

#[test]
fn the_sum_is_what_counts_to_the_byte() {
    for (read, frame) in [
        (request as Read, "*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n"),
        (request as Read, "GET 0123456789\r\n"),
        (request as Read, "GET 0123456789\n"),
        (reply as Read, "*3\r\n$3\r\nabc\r\n#t\r\n%1\r\n_\r\n(12\r\n"),
        (reply as Read, "$?\r\n;3\r\nabc\r\n;0\r\n"),
        (reply as Read, "%?\r\n+a\r\n,1.5\r\n.\r\n"),
        (reply as Read, "|1\r\n+a\r\n:15\r\n=6\r\ntxt:ab\r\n"),
    ] {
        let length = frame.len();
        are_frames(read, &[frame], &limits(length, 100));
        let found = read_in_all_pieces(read, frame.as_bytes(), &limits(length - 1, 100));
        assert!(
            matches!(found, Err(FrameError::TooLong { .. })),
            "{frame:?}: {found:?}"
        );
    }
}

#[test]
fn counts_beyond_all_bounds_overflow_nothing() {
    let largest = Limits::LARGEST;
    for digits in [
        "9223372036854775808",
        "18446744073709551616",
        &"9".repeat(100),
    ] {
        for kind in ["*", "%", "~", ">", "|", "$", "!", "=", "*?\r\n*", "$?\r\n;"] {
            let bytes = format!("{kind}{digits}\r\n");
            let found = read_in_all_pieces(reply, bytes.as_bytes(), &largest);
            let is_too_long = matches!(found, Err(FrameError::TooLong { setting: None, .. }));
            assert!(is_too_long, "{bytes:?}: {found:?}");
        }
        for kind in ["*", "*1\r\n$"] {
            let bytes = format!("{kind}{digits}\r\n");
            let found = read_in_all_pieces(request, bytes.as_bytes(), &largest);
            assert!(found.is_err(), "{bytes:?}: {found:?}");
        }
    }
    let nested = "*357913940\r\n".repeat(2);
    let found = read_in_all_pieces(reply, nested.as_bytes(), &largest);
    assert!(
        matches!(found, Err(FrameError::TooLong { .. })),
        "{found:?}"
    );
}

#[test]
fn more_arguments_than_allowed_are_refused_by_their_count() {
    let found = fresh(request, b"*1000", &limits(1_000_000, 999));
    assert_eq!(
        found.map_err(|error| error.to_string()),
        Err(String::from(
            "the frame is malformed: it has 1,000 arguments or more, and the limit is 999; \
             max_arguments raises it"
        ))
    );
    let found = fresh(request, b"*1000\r\n", &limits(1_000_000, 1_000));
    assert_eq!(found, Ok(Step::More { missing: 6_000 }));
}

#[test]
fn depth_is_only_a_number() {
    let deep = "*1\r\n".repeat(200_000) + ":1\r\n";
    let found = fresh(reply, deep.as_bytes(), &limits(1 << 20, 1));
    assert!(matches!(found, Ok(Step::Frame(extent)) if extent.body == deep.len()));
    let attributes = "|1\r\n".repeat(10_000) + &"_\r\n".repeat(20_001);
    let found = fresh(reply, attributes.as_bytes(), &limits(1 << 20, 1));
    assert!(matches!(found, Ok(Step::Frame(extent)) if extent.body == attributes.len()));
}

#[test]
fn the_end_is_announced_as_soon_as_it_is_known() {
    for (read, head, tail) in [
        (request as Read, "*2\r\n$3\r\nGET\r\n$3\r\n", "key\r\n"),
        (reply as Read, "$3\r\n", "key\r\n"),
        (reply as Read, "*2\r\n:1\r\n$3\r\n", "key\r\n"),
        (reply as Read, "=7\r\ntxt:", "key\r\n"),
    ] {
        let whole = [head, tail].concat();
        for end in 0..whole.len() {
            let mut scan = Scan::default();
            let step = read(&whole.as_bytes()[..end], &mut scan, &limits(100, 2));
            let announced = scan.announced().map(Extent::length);
            let is_known = end >= head.len();
            assert_eq!(
                announced,
                is_known.then_some(whole.len()),
                "{end} of {whole:?}"
            );
            if is_known {
                let missing = whole.len() - end;
                assert_eq!(step, Ok(Step::More { missing }));
            }
        }
    }
}

/// How many bytes were looked at for each that has come, in pieces of this length.
fn work(read: Read, wire: &[u8], piece: usize) -> f64 {
    EXAMINED.set(0);
    let (mut begin, mut scan, mut end) = (0, Scan::default(), 0);
    let limits = limits(1 << 20, 1 << 20);
    while end < wire.len() {
        end = (end + piece).min(wire.len());
        loop {
            let step = read(&wire[begin..end], &mut scan, &limits);
            match step.expect("well-formed") {
                Step::Frame(extent) => begin += extent.length(),
                Step::More { .. } => break,
                Step::Heartbeat { .. } => unreachable!("there is none"),
            }
            scan.reset();
        }
    }
    EXAMINED.get() as f64 / wire.len() as f64
}

#[test]
fn no_byte_is_looked_at_more_than_three_times_in_any_pieces() {
    let many = |head: &str, element: &str, count: usize, end: &str| {
        [head, &element.repeat(count), end].concat()
    };
    let requests = [
        "*1\r\n$0\r\n\r\n".to_owned(),
        "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n".to_owned(),
        many("*1000\r\n", "$0\r\n\r\n", 1_000, ""),
        many("*1000\r\n", "$10\r\n0123456789\r\n", 1_000, ""),
        many("*1\r\n$10000\r\n", "x", 10_000, "\r\n"),
        many("*2\r\n$10000\r\n", "x", 10_000, "\r\n$0\r\n\r\n"),
        "PING\r\n".to_owned(),
        "a\n".to_owned(),
        many("", " ", 10_000, "x\n"),
        many("", "x", 10_000, "\r\n"),
    ];
    let replies = [
        "+OK\r\n".to_owned(),
        ":1\r\n".to_owned(),
        ":-9223372036854775808\r\n".to_owned(),
        ":9223372036854775807\r\n".to_owned(),
        "$-1\r\n".to_owned(),
        "$0\r\n\r\n".to_owned(),
        "_\r\n#t\r\n".to_owned(),
        ",-1.2345678901234567e-300\r\n".to_owned(),
        "=4\r\ntxt:\r\n".to_owned(),
        many("+", "x", 10_000, "\r\n"),
        many("(", "1", 10_000, "\r\n"),
        many("$10000\r\n", "x", 10_000, "\r\n"),
        many("*2\r\n$10000\r\n", "x", 10_000, "\r\n_\r\n"),
        many("", "*1\r\n", 10_000, "_\r\n"),
        many("*1000\r\n", "$-1\r\n", 1_000, ""),
        many("*1000\r\n", ":9223372036854775807\r\n", 1_000, ""),
        many("*1000\r\n", "=4\r\ntxt:\r\n", 1_000, ""),
        many("%500\r\n", "_\r\n#f\r\n", 500, ""),
        many("*?\r\n", "*0\r\n", 1_000, ".\r\n"),
        many("$?\r\n", ";1\r\nx\r\n", 1_000, ";0\r\n"),
        many("", "|0\r\n", 1_000, "_\r\n"),
    ];
    let requests = requests.into_iter().map(|wire| (request as Read, wire));
    for (read, wire) in requests.chain(replies.into_iter().map(|wire| (reply as Read, wire))) {
        let whole = wire.repeat((6_000 / wire.len()).max(1)).into_bytes();
        for piece in [1, 2, 3, 7, 1_000, whole.len()] {
            let work = work(read, &whole, piece);
            let wire = &wire[..wire.len().min(40)];
            assert!(
                work <= 3.0,
                "{work} looks at each of {wire:?} in pieces of {piece}"
            );
        }
    }
}
