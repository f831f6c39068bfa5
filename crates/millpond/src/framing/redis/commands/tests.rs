//! What is done with commands, where it matters most; and that the lookup finds exactly the table.

use std::collections::BTreeSet;

use super::{groups::GROUPS, timeout::Timeout, *};

mod snapshots;
mod timeouts;

fn decision(words: &str) -> Option<Decision> {
    let mut words = words.split(' ').map(str::as_bytes);
    let name = words.next().expect("split gives one at least");
    command(name, words.next()).map(|command| command.decision)
}

fn is_refused(words: &str) -> bool {
    matches!(decision(words), Some(Decision::Refused(_)))
}

#[test]
fn keys_are_read_and_written_on_any_connection() {
    for words in [
        "GET k",
        "SET k",
        "EVAL s",
        "PUBLISH c",
        "MGET",
        "SWAPDB 0",
        "FLUSHALL",
        "JSON.GET k",
    ] {
        assert_eq!(decision(words), Some(Decision::Plain), "{words}");
    }
    let only_reads =
        |name: &str| command(name.as_bytes(), None).is_some_and(|found| found.only_reads);
    assert!(only_reads("GET") && only_reads("EVAL_RO") && only_reads("TIME"));
    assert!(!only_reads("SET") && !only_reads("EVAL") && !only_reads("PUBLISH"));
    assert_eq!(decision("HSCAN k"), Some(Decision::Cursor));
}

#[test]
fn what_is_a_clients_own_state_is_answered_here_or_pins() {
    for (words, expected) in [
        ("SELECT 1", Decision::Here(Here::Select)),
        ("AUTH secret", Decision::Here(Here::Auth)),
        ("HELLO 3", Decision::Here(Here::Hello)),
        ("CLIENT SETNAME", Decision::Here(Here::ClientSetName)),
        ("RESET", Decision::Here(Here::Reset)),
        ("MULTI", Decision::Pins(Pin::Multi)),
        ("WATCH k", Decision::Pins(Pin::Watch)),
        ("PSUBSCRIBE *", Decision::Pins(Pin::PSubscribe)),
        ("CLIENT TRACKING", Decision::Pins(Pin::Tracking)),
        ("BLPOP k", Decision::Pins(Pin::Blocks(Timeout::Last))),
        (
            "XREAD BLOCK",
            Decision::Pins(Pin::Blocks(Timeout::AfterBlock(0))),
        ),
    ] {
        assert_eq!(decision(words), Some(expected), "{words}");
    }
}

#[test]
fn what_would_harm_other_clients_or_tell_of_the_upstream_is_refused() {
    for words in [
        "SHUTDOWN",
        "REPLICAOF NO",
        "PSYNC",
        "MIGRATE",
        "CONFIG GET",
        "CONFIG",
        "ACL WHOAMI",
        "MODULE LOAD",
        "DEBUG SLEEP",
        "CLIENT KILL",
        "CLIENT REPLY",
        "CLIENT NO-EVICT",
        "WAIT 1",
        "CLUSTER SLOTS",
        "CLUSTER NODES",
        "ASKING",
        "READONLY",
        "SCRIPT KILL",
        "SLOWLOG GET",
        "HIMPORT PREPARE",
        "FT.CURSOR READ",
        "SCRIPT DEBUG",
        "MEMORY PURGE",
        "SENTINEL MASTERS",
    ] {
        assert!(is_refused(words), "{words}");
    }
}

#[test]
fn case_does_not_matter() {
    assert_eq!(command(b"gEt", None).map(|found| found.name), Some("GET"));
    assert_eq!(command(b"vsim", None).map(|found| found.name), Some("VSIM"));
    let found = command(b"client", Some(b"Kill"));
    assert_eq!(found.map(|found| found.name), Some("CLIENT KILL"));
    // Letters only: these differ from G by the bit that tells capitals.
    assert_eq!(command(b"'ET", None), None);
}

#[test]
fn a_subcommand_counts_where_there_are_some() {
    assert!(is_refused("CLIENT") && is_refused("XINFO"));
    assert_eq!(decision("COMMAND"), Some(Decision::Plain));
    assert_eq!(decision("CLIENT UNHEARD-OF"), None);
    assert_eq!(decision("COMMAND UNHEARD-OF"), None);
    // A key that is called as a subcommand of something else.
    assert_eq!(decision("GET KILL"), Some(Decision::Plain));
    // Refused as a whole, so what servers add later is refused too.
    assert!(is_refused("CONFIG UNHEARD-OF"));
}

#[test]
fn names_of_strangers_are_none_of_ours() {
    let long = vec![b'G'; 1 << 20];
    for name in [
        &b""[..],
        b" ",
        b"GE",
        b"GETT",
        b"\xff\xfe",
        b"G\0T",
        b"GET ",
        b"\xe7ET",
        &long,
    ] {
        assert_eq!(
            command(name, None),
            None,
            "{:?}",
            &name[..name.len().min(9)]
        );
        assert_eq!(command(b"CLIENT", Some(name)), None);
    }
    // The name of a subcommand isn't one of a command, wherever the space is.
    assert_eq!(command(b"CLIENT KILL", None), None);
    assert_eq!(command(b"CLIENT KILL", Some(b"")), None);
    assert_eq!(command(b"CLIENT", Some(b" KILL")), None);
    assert_eq!(command(b"CLIENT ", Some(b"KILL")), None);
    assert_eq!(command(b"CLIENT KIL", Some(b"L")), None);
}

#[test]
fn every_name_is_found_and_no_name_is_there_twice() {
    let mut names = BTreeSet::new();
    for expected in &COMMANDS {
        assert!(
            names.insert(expected.name),
            "{} is there twice",
            expected.name
        );
        let (name, subcommand) = match expected.name.split_once(' ') {
            Some((name, subcommand)) => (name, Some(subcommand)),
            None => (expected.name, None),
        };
        let found = command(name.as_bytes(), subcommand.map(str::as_bytes));
        assert_eq!(found, Some(expected));
        let lower = expected.name.to_ascii_lowercase();
        assert_ne!(lower, expected.name, "in capitals");
        if subcommand.is_some() {
            let container = command(name.as_bytes(), None).expect("the table has it");
            assert!(container.has_subcommands, "{name}");
        }
    }
    for container in COMMANDS.iter().filter(|command| command.has_subcommands) {
        let mut subcommands = names.range(container.name..).skip(1);
        let next = subcommands.next().expect("a subcommand");
        assert!(
            next.starts_with(&format!("{} ", container.name)),
            "{}",
            container.name
        );
    }
}

#[test]
fn the_names_of_a_group_are_in_order() {
    for group in GROUPS {
        let names: Vec<_> = group.names.split(',').map(str::trim).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.iter().all(|name| !name.is_empty()));
    }
}

#[test]
fn a_refusal_goes_on_where_the_name_ends() {
    for group in GROUPS {
        if let Decision::Refused(why) = group.decision {
            let first = why.chars().next().expect("a reason");
            assert!(first.is_ascii_lowercase() && !why.ends_with('.'), "{why}");
        }
    }
}
