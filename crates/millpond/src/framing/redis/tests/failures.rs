//! How failures are told, and what tells of a server that can't serve.

use super::{Scene, array};
use crate::framing::{Context, Failure, Framing, Note, Redis, Scan, Step, Told};

fn told(failure: &Failure) -> String {
    let redis = Redis::default();
    let mut out = b"+OK\r\n".to_vec();
    let told = redis.encode_failure(Context::REPLY, b"", failure, &mut out);
    assert_eq!(told, Told::ByReply);
    let frame = &out[5..];
    let step = redis.next(Context::REPLY, frame, &mut Scan::default());
    assert!(matches!(step, Ok(Step::Frame(extent)) if extent.length() == frame.len()));
    String::from_utf8(frame.to_vec()).expect("text")
}

#[test]
fn failures_are_told_in_one_line() {
    for (failure, text) in [
        (Failure::refused("no"), "-ERR millpond: no\r\n"),
        (
            Failure::refused("a\r\n+OK\r\nb"),
            "-ERR millpond: a  +OK  b\r\n",
        ),
        (Failure::refused("NOAUTH first"), "-NOAUTH first\r\n"),
        (Failure::refused("ERR no"), "-ERR no\r\n"),
        (Failure::refused("ERRATIC"), "-ERR millpond: ERRATIC\r\n"),
        (
            Failure::timed_out("NOAUTH late"),
            "-ERR millpond: NOAUTH late\r\n",
        ),
        (
            Failure::malformed("no array"),
            "-ERR Protocol error: no array\r\n",
        ),
        (Failure::overloaded("busy"), "-ERR millpond: busy\r\n"),
    ] {
        assert_eq!(told(&failure), text);
    }
}

#[test]
fn what_is_quoted_of_a_request_is_short_and_plain() {
    let scene = Scene::new();
    let command = format!("\"{}\"", "\\r\\n+OK".repeat(100));
    let refusal = scene.refusal(&command);
    assert!(
        refusal.len() < 200 && refusal.contains("'..+OK..+OK"),
        "{refusal}"
    );
}

#[test]
fn a_server_that_cannot_serve_now_says_so() {
    let redis = Redis::default();
    let script = redis.demand(&array("EVAL x 0"), &Note::default());
    let error = b"-LOADING says a script\r\n";
    assert!(
        !redis.is_unfit(script.note(), error),
        "its author may say anything"
    );
    for (reply, unfit) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", true),
        (
            "-READONLY You can't write against a read only replica.\r\n",
            true,
        ),
        ("-MASTERDOWN Link with MASTER is down\r\n", true),
        ("-CLUSTERDOWN The cluster is down\r\n", true),
        ("-LOADINGS\r\n", false),
        ("-ERR LOADING\r\n", false),
        ("+LOADING\r\n", false),
        ("$7\r\nLOADING\r\n", false),
        ("", false),
    ] {
        assert_eq!(
            redis.is_unfit(&Note::default(), reply.as_bytes()),
            unfit,
            "{reply}"
        );
    }
}
