//! Arguments as redis-server reads them, and as they are written.

use super::*;
use crate::framing::{
    Scan, Step,
    redis::resp::{self, Limits},
};

fn arguments(request: &[u8]) -> Vec<&[u8]> {
    Arguments::of(request).collect()
}

#[test]
fn an_array_has_its_arguments_as_they_are() {
    let request = b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\n\r\n\0$\r\n";
    let all = Arguments::of(request);
    assert_eq!(all.len(), 3);
    let copy = all.clone();
    assert_eq!(all.collect::<Vec<_>>(), [&b"SET"[..], b"", b"\r\n\0$"]);
    assert_eq!(copy.count(), 3);
    assert!(!is_inline(request));
}

#[test]
fn of_what_is_no_such_array_there_is_no_argument() {
    for other in [
        &b""[..],
        b"*",
        b"*1",
        b"*1\r\n",
        b"*1\r\n$1\r\nab\r\n",
        b"*1\r\n$9\r\nab\r\n",
        b"*99999999999999999999999\r\n",
        b"*18446744073709551615\r\n",
        b"*1\r\n$18446744073709551615\r\na\r\n",
        b"*-1\r\n",
        b"$1\r\na\r\n",
        b"PING\r\n",
    ] {
        assert!(arguments(other).is_empty(), "{}", other.escape_ascii());
    }
    assert_eq!(arguments(b"*2\r\n$1\r\na\r\n$1\r\nbc"), [b"a"], "up to it");
    assert!(is_inline(b"PING\r\n"));
    assert!(!is_inline(b""));
}

#[test]
fn what_is_written_is_a_request_with_these_arguments() {
    for arguments in [
        &[&b"PING"[..]][..],
        &[b"SET", b"", b"\r\n\0\xff"],
        &[&[b'x'; 1_234]],
        &[b"", b"", b"", b"", b"", b"", b"", b"", b"", b"", b""],
    ] {
        let mut out = b"before".to_vec();
        put_array(arguments, &mut out);
        let request = out.strip_prefix(b"before").expect("what was there");
        let step = resp::request(request, &mut Scan::default(), &Limits::LARGEST);
        assert!(matches!(step, Ok(Step::Frame(extent)) if extent.length() == request.len()));
        assert_eq!(Arguments::of(request).collect::<Vec<_>>(), arguments);
    }
    let mut out = Vec::new();
    put_array(&["GET", "k"], &mut out);
    assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
}

#[test]
fn a_lines_words_are_those_that_redis_server_reads() {
    let cases: [(&[u8], &[&[u8]]); 19] = [
        (b"PING\r\n", &[b"PING"]),
        (b"  GET\t key \n", &[b"GET", b"key"]),
        (b"", &[]),
        (b" \t\r\n\x0b\x0c", &[]),
        (b"a\x0bb", &[b"a\x0bb"]),
        (b"\x0ba", &[b"a"]),
        (b"SET k \"a b\"", &[b"SET", b"k", b"a b"]),
        (b"\"\"", &[b""]),
        (b"''", &[b""]),
        (b"\"\\x41\\x0a\\xfF\\x00\"", &[b"A\n\xff\0"]),
        (b"\"\\xg1\\x1g\\x\"", &[b"xg1x1gx"]),
        (b"\"\\n\\r\\t\\b\\a\\\\\\\"\\q\"", &[b"\n\r\t\x08\x07\\\"q"]),
        (b"'\\n\\x41\\\\a'", &[b"\\n\\x41\\\\a"]),
        (b"'it\\'s'", &[b"it's"]),
        (b"a\"b c\"", &[b"ab c"]),
        (b"a'b c' d", &[b"ab c", b"d"]),
        (b"\"a'b\" 'c\"d'", &[b"a'b", b"c\"d"]),
        (b"\"a\"\x0b\"b\"", &[b"a", b"b"]),
        (b"a\\ b \xe4", &[b"a\\", b"b", b"\xe4"]),
    ];
    for (line, words) in cases {
        let found = of_line(line).expect("balanced");
        assert_eq!(found, words, "{}", line.escape_ascii());
    }
}

#[test]
fn quotes_that_are_not_balanced_are_an_error() {
    for line in [
        &b"\""[..],
        b"'",
        b"GET \"key",
        b"GET 'key",
        b"\"a\"b",
        b"'a'b",
        b"\"a\"\"b\"",
        b"\"a\\\"",
        b"'a\\'",
        b"\"a\\",
        b"GET \"key\r\n",
    ] {
        let error = of_line(line).expect_err("unbalanced");
        let expected = "the frame is malformed: an inline command's quotes are unbalanced";
        assert_eq!(error.to_string(), expected, "{}", line.escape_ascii());
    }
}
