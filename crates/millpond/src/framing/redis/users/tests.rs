//! What lists of commands stand for.

use super::*;

fn commands(names: &[&str]) -> RedisCommands {
    RedisCommands::new(names.iter().copied()).expect("they are known")
}

fn told(name: &str) -> String {
    RedisCommands::new([name]).expect_err(name).to_string()
}

#[test]
fn a_name_stands_for_its_command_and_all_of_its_subcommands() {
    let some = commands(&["get", "XGROUP|create", "Object"]);
    for permitted in ["GET", "xgroup create", "OBJECT ENCODING", "object freq"] {
        assert!(some.contains(permitted), "{permitted}");
    }
    for other in [
        "MGET",
        "XGROUP DESTROY",
        "XGROUP",
        "SET",
        "GE",
        "",
        "OBJECT NOSUCH",
    ] {
        assert!(!some.contains(other), "{other}");
    }
    assert_eq!(some.names(), ["get", "XGROUP|create", "Object"]);
    assert!(!commands(&[]).contains("GET"));
}

#[test]
fn what_only_reads_keys_changes_nothing_and_runs_no_script() {
    let read = commands(&["@read"]);
    for permitted in ["GET", "MGET", "SCAN", "HSCAN", "XREAD", "TTL", "JSON.GET"] {
        assert!(read.contains(permitted), "{permitted}");
    }
    for command in commands::all() {
        if !read.permits(command) {
            continue;
        }
        assert!(command.only_reads, "{}", command.name);
        assert!(
            !matches!(command.decision, Decision::Refused(_) | Decision::Here(_)),
            "{}",
            command.name
        );
        let first = command.name.split([' ', '.']).next().expect("a name");
        assert!(
            !["EVAL_RO", "EVALSHA_RO", "FCALL_RO", "SCRIPT", "FUNCTION"].contains(&first),
            "{}",
            command.name
        );
    }
}

#[test]
fn the_groups_are_what_belongs_together() {
    let names = |group| -> Vec<&str> {
        let group = commands(&[group]);
        let mut names: Vec<_> = (commands::all().iter())
            .filter(|command| group.permits(command))
            .map(|command| command.name)
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(
        names("@transaction"),
        ["DISCARD", "EXEC", "MULTI", "UNWATCH", "WATCH"]
    );
    assert_eq!(
        names("@pubsub"),
        [
            "PSUBSCRIBE",
            "PUBLISH",
            "PUNSUBSCRIBE",
            "SPUBLISH",
            "SSUBSCRIBE",
            "SUBSCRIBE",
            "SUNSUBSCRIBE",
            "UNSUBSCRIBE"
        ]
    );
}

#[test]
fn a_name_that_is_none_is_told_with_the_nearest() {
    for (name, said) in [
        ("GTE", "there is no command GTE; did you mean GET?"),
        (
            "hgetal",
            "there is no command hgetal; did you mean HGETALL?",
        ),
        ("@reads", "there is no command @reads; did you mean @read?"),
        ("@write", "there is no command @write"),
        ("", "there is no command "),
        (
            "xgroup|creat",
            "there is no command xgroup|creat; did you mean XGROUP CREATE?",
        ),
        (
            "an-unheard-of-command",
            "there is no command an-unheard-of-command",
        ),
        (
            "shutdown",
            "SHUTDOWN is never sent: it would stop the server for all of its clients",
        ),
        (
            "config|get",
            "CONFIG is never sent: it would tell or change the server's settings, its passwords among them",
        ),
        (
            "client kill",
            "CLIENT KILL is never sent: it is about the connections of other clients",
        ),
    ] {
        assert_eq!(told(name), said);
    }
}

#[test]
fn the_distance_of_two_words_is_how_many_letters_differ() {
    for (one, other, expected) in [
        ("", "", 0),
        ("", "GET", 3),
        ("GET", "", 3),
        ("GET", "GET", 0),
        ("GTE", "GET", 1),
        ("GT", "GET", 1),
        ("GEET", "GET", 1),
        ("SET", "GET", 1),
        ("MSET", "GET", 2),
    ] {
        assert_eq!(distance(one, other), expected, "{one} {other}");
    }
}
