//! Replies whose parts are known, and bytes that are no reply.

use super::*;

fn elements(reply: &[u8]) -> Vec<String> {
    let texts = Elements::of(reply).map(|element| element.escape_ascii().to_string());
    texts.collect()
}

#[test]
fn a_type_is_what_follows_the_attributes() {
    for (reply, expected) in [
        (&b"+OK\r\n"[..], b'+'),
        (b"*0\r\n", b'*'),
        (b"|0\r\n_\r\n", b'_'),
        (b"|1\r\n+k\r\n*2\r\n:1\r\n:2\r\n>1\r\n+a\r\n", b'>'),
        (b"|1\r\n|1\r\n:1\r\n:2\r\n:3\r\n:4\r\n|0\r\n-E\r\n", b'-'),
        (b"", 0),
        (b"|1\r\n+k\r\n", 0),
        (b"|x\r\n+k\r\n", 0),
    ] {
        assert_eq!(kind(reply), expected, "{}", reply.escape_ascii());
    }
}

#[test]
fn errors_have_a_code() {
    for (reply, code) in [
        (&b"-MOVED 1 a:1\r\n"[..], &b"MOVED"[..]),
        (b"-ERR\r\n", b"ERR"),
        (b"-\r\n", b""),
        (b"!21\r\nSYNTAX invalid syntax\r\n", b"SYNTAX"),
        (b"|0\r\n!3\r\nA B\r\n", b"A"),
    ] {
        assert!(is_error(reply));
        assert_eq!(error_code(reply), code, "{}", reply.escape_ascii());
    }
    for other in [&b"+ERR a\r\n"[..], b"*1\r\n-ERR\r\n", b"", b"|1\r\n-E\r\n"] {
        assert!(!is_error(other));
        assert_eq!(error_code(other), b"");
    }
}

#[test]
fn elements_are_the_bytes_of_each() {
    for (reply, expected) in [
        (&b"*0\r\n"[..], &[][..]),
        (b"*-1\r\n", &[]),
        (
            b"*2\r\n$-1\r\n*1\r\n:1\r\n",
            &["$-1\\r\\n", "*1\\r\\n:1\\r\\n"],
        ),
        (b"%1\r\n+a\r\n$1\r\nb\r\n", &["+a\\r\\n", "$1\\r\\nb\\r\\n"]),
        (b"~1\r\n_\r\n", &["_\\r\\n"]),
        (b"|1\r\n:1\r\n:2\r\n>1\r\n+a\r\n", &["+a\\r\\n"]),
        (b"*1\r\n|0\r\n+a\r\n", &["|0\\r\\n+a\\r\\n"]),
        (
            b"*?\r\n+a\r\n$?\r\n;0\r\n.\r\n",
            &["+a\\r\\n", "$?\\r\\n;0\\r\\n"],
        ),
        (b"%?\r\n+a\r\n_\r\n.\r\n", &["+a\\r\\n", "_\\r\\n"]),
        (b"$?\r\n;0\r\n", &[]),
        (b"$3\r\n+a\r\n", &[]),
        (b"+a\r\n", &[]),
    ] {
        assert_eq!(elements(reply), expected, "{}", reply.escape_ascii());
    }
}

#[test]
fn a_text_and_a_number_are_of_their_types() {
    for (element, expected) in [
        (&b"+a b\r\n"[..], Some(&b"a b"[..])),
        (b"$3\r\n\r\n\xff\r\n", Some(b"\r\n\xff")),
        (b"$0\r\n\r\n", Some(b"")),
        (b"=5\r\ntxt:a\r\n", Some(b"a")),
        (b"|0\r\n+a\r\n", Some(b"a")),
        (b"$-1\r\n", None),
        (b"$?\r\n;1\r\na\r\n;0\r\n", None),
        (b"-a\r\n", None),
        (b":1\r\n", None),
    ] {
        assert_eq!(text(element), expected, "{}", element.escape_ascii());
    }
    assert_eq!(integer(b":-9223372036854775808\r\n"), Some(i64::MIN));
    assert_eq!(integer(b"|0\r\n:+7\r\n"), Some(7));
    assert_eq!(integer(b"$1\r\n7\r\n"), None);
}

#[test]
fn bytes_that_are_no_reply_have_nothing_and_do_no_harm() {
    let alphabet = b"*$|+:%=!>1?\r\n";
    let mut pending = vec![Vec::new()];
    while let Some(bytes) = pending.pop() {
        kind(&bytes);
        error_code(&bytes);
        text(&bytes);
        integer(&bytes);
        assert!(Elements::of(&bytes).count() <= bytes.len());
        if bytes.len() < 5 {
            let longer = alphabet.iter().map(|&byte| [&bytes[..], &[byte]].concat());
            pending.extend(longer);
        }
    }
    for hostile in [
        &b"*18446744073709551615\r\n+a\r\n"[..],
        b"%18446744073709551615\r\n+a\r\n",
        b"|18446744073709551615\r\n+a\r\n",
        b"$18446744073709551615\r\n+a\r\n",
        b"=1\r\na\r\n",
    ] {
        assert!(Elements::of(hostile).count() <= 1);
        assert_eq!(text(hostile), None);
    }
}
