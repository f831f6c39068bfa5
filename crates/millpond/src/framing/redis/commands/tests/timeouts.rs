//! How long commands wait.

use super::*;

/// As the command line has it.
fn wait(line: &str) -> Option<Wait> {
    let mut words = line.split(' ').map(str::as_bytes);
    let name = words.next().expect("split gives one at least");
    match command(name, None).expect("known").decision {
        Decision::Pins(Pin::Blocks(timeout)) => timeout.of(words),
        other => panic!("{line}: {other:?}"),
    }
}

fn milliseconds(milliseconds: u64) -> Option<Wait> {
    Some(Wait::For(std::time::Duration::from_millis(milliseconds)))
}

#[test]
fn the_time_is_where_the_command_has_it() {
    for line in [
        "BLPOP a b c 1.5",
        "BRPOP a 1.5",
        "BZPOPMIN a 1.5",
        "BZPOPMAX a b 1.5",
        "BLMOVE a b LEFT RIGHT 1.5",
        "BLMOVEM a b LEFT RIGHT 1.5 COUNT 7 OBO",
        "BRPOPLPUSH a b 1.5",
        "BLMPOP 1.5 2 a b LEFT COUNT 7",
        "BZMPOP 1.5 1 a MIN",
        "BZMOVE a b MIN 1.5",
        "XREAD BLOCK 1500 STREAMS a $",
        "XREAD COUNT 7 block 1500 STREAMS a $",
        "XREADGROUP GROUP g c NOACK BLOCK 1500 STREAMS a >",
        "XREADGROUP GROUP BLOCK 7 CLAIM 7 BLOCK 1500 STREAMS a >",
        "XREAD BLOCK 7 BLOCK 1500 STREAMS a $",
        "XREAD MAXCOUNT BLOCK MAXSIZE 7 BLOCK 1500 STREAMS a $",
        "TS.READ BLOCK 7 MAX_COUNT 7 BLOCK 1500 7",
        "XREAD UNHEARD-OF BLOCK 1500 STREAMS a $",
    ] {
        assert_eq!(wait(line), milliseconds(1500), "{line}");
    }
}

#[test]
fn a_read_of_streams_that_does_not_say_block_does_not_wait() {
    for line in [
        "XREAD STREAMS a $",
        "XREAD COUNT 7 STREAMS BLOCK 7",
        "XREADGROUP GROUP BLOCK 7 STREAMS a >",
        "XREADGROUP GROUP g BLOCK STREAMS a >",
        "XREAD COUNT BLOCK STREAMS a 1",
        "XREAD MAXCOUNT BLOCK STREAMS a 1",
        "XREAD MAXSIZE BLOCK STREAMS a 1",
        "XREADGROUP GROUP g c CLAIM BLOCK STREAMS a >",
        "TS.READ BLOCK 7 MAX_COUNT 7",
        "TS.READ k 0 MAX_COUNT BLOCK 7",
        // The server doesn't take them.
        "XREAD",
        "XREAD BLOCK",
        "XREADGROUP GROUP",
        "BLMPOP",
        "BRPOPLPUSH a b",
    ] {
        assert_eq!(wait(line), None, "{line}");
    }
}

#[test]
fn no_time_is_for_ever_and_so_is_one_that_is_not_plain() {
    for time in [
        "0", "0.0", "-0", "-1", "inf", "nan", "1e400", "0x10", "soon", "", "1 ",
    ] {
        let timeout = Timeout::Last.of([&b"key"[..], time.as_bytes()]);
        assert_eq!(timeout, Some(Wait::Forever), "{time}");
    }
    for time in ["0", "-1", "1.5", "0x10", "99999999999999999999", ""] {
        let timeout = Timeout::AfterBlock(0).of([&b"BLOCK"[..], time.as_bytes()]);
        assert_eq!(timeout, Some(Wait::Forever), "{time}");
    }
}

#[test]
fn a_fraction_of_a_millisecond_is_one() {
    for (time, expected) in [
        ("0.0001", 1),
        ("0.001", 1),
        ("0.0011", 2),
        ("1e1", 10_000),
        (".5", 500),
    ] {
        assert_eq!(
            wait(&format!("BLPOP a {time}")),
            milliseconds(expected),
            "{time}"
        );
    }
}
