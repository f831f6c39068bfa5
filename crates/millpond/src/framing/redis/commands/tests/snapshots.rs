//! What servers say of their commands, beside the decisions. The snapshots are written by the test
//! that asks a real server.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SNAPSHOTS: [(&str, &str); 4] = [
    (
        "redis-7.0.15",
        include_str!("../../../../../tests/presets/redis/redis-7.0.15.txt"),
    ),
    (
        "redis-8.2.3",
        include_str!("../../../../../tests/presets/redis/redis-8.2.3.txt"),
    ),
    (
        "redis-8.12",
        include_str!("../../../../../tests/presets/redis/redis-8.12.txt"),
    ),
    (
        "valkey-9.1.2",
        include_str!("../../../../../tests/presets/redis/valkey-9.1.2.txt"),
    ),
];

/// What follows for a decision from what a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// What may wait pins its connection, or is refused; nothing else pins for waiting.
    Blocking,
    /// What is for operators is refused.
    Admin,
    /// What is called dangerous isn't sent.
    Dangerous,
    /// What only reads may be sent twice, and nothing else.
    OnlyReads,
    /// What is about channels pins.
    Channels,
    /// What is about transactions pins.
    Transactions,
    /// What is about the connection isn't sent on any connection.
    Connection,
    /// What a script must not do isn't sent on any connection.
    NoScript,
    /// What can't be in a transaction begins one, or is refused.
    NoMulti,
}

/// Where a decision is another one than the rule says, and why.
const EXCEPTIONS: [(Rule, &str, &str); 13] = [
    (Rule::Admin, "MONITOR", "it pins: it disturbs nobody else"),
    (
        Rule::Dangerous,
        "MONITOR",
        "it pins: it disturbs nobody else",
    ),
    (
        Rule::Dangerous,
        "FLUSHALL, FLUSHDB, RESTORE, SWAPDB",
        "they write as any client may, as far as the server's own rules for its login allow it",
    ),
    (
        Rule::Dangerous,
        "KEYS, SORT, SORT_RO",
        "they are only slow, and so are scripts",
    ),
    (
        Rule::Dangerous,
        "INFO, LASTSAVE, ROLE",
        "clients ask for them when they connect, or to learn whether a server is well",
    ),
    (
        Rule::OnlyReads,
        "CLIENT HELP, CLUSTER HELP, COMMAND HELP, FUNCTION HELP, MEMORY HELP, OBJECT HELP, \
         PUBSUB HELP, SCRIPT HELP, XGROUP HELP, XINFO HELP",
        "a text that never changes",
    ),
    (
        Rule::OnlyReads,
        "CLUSTER COUNTKEYSINSLOT, CLUSTER GETKEYSINSLOT, CLUSTER INFO, CLUSTER KEYSLOT, \
         CLUSTER MYID, CLUSTER MYSHARDID, CLUSTER SLOT-STATS, COMMAND, COMMAND COUNT, COMMAND DOCS, \
         COMMAND GETKEYS, COMMAND GETKEYSANDFLAGS, COMMAND INFO, COMMAND LIST, ECHO, FUNCTION DUMP, \
         FUNCTION LIST, FUNCTION STATS, INFO, LASTSAVE, MEMORY STATS, PUBSUB CHANNELS, \
         PUBSUB NUMPAT, PUBSUB NUMSUB, PUBSUB SHARDCHANNELS, PUBSUB SHARDNUMSUB, ROLE, \
         SCRIPT EXISTS, SCRIPT SHOW, TIME",
        "servers call reading what reads keys; these read something else",
    ),
    (
        Rule::OnlyReads,
        "SCRIPT LOAD",
        "the same script is there after it, however often it is sent",
    ),
    (
        Rule::Channels,
        "PUBLISH, PUBSUB CHANNELS, PUBSUB NUMPAT, PUBSUB NUMSUB, PUBSUB SHARDCHANNELS, \
         PUBSUB SHARDNUMSUB, SPUBLISH",
        "they subscribe to nothing",
    ),
    (
        Rule::Connection,
        "CLIENT HELP, COMMAND, COMMAND COUNT, COMMAND DOCS, COMMAND GETKEYS, \
         COMMAND GETKEYSANDFLAGS, COMMAND HELP, COMMAND INFO, COMMAND LIST, ECHO",
        "each connection answers the same, and stays as it is",
    ),
    (
        Rule::NoScript,
        "EVAL, EVALSHA, EVALSHA_RO, EVAL_RO, FCALL, FCALL_RO",
        "scripts don't call scripts",
    ),
    (
        Rule::NoScript,
        "FUNCTION DELETE, FUNCTION DUMP, FUNCTION FLUSH, FUNCTION LIST, FUNCTION LOAD, \
         FUNCTION RESTORE, FUNCTION STATS, SCRIPT EXISTS, SCRIPT FLUSH, SCRIPT LOAD, SCRIPT SHOW",
        "scripts are told nothing of scripts; they are the server's, and no connection's",
    ),
    (
        Rule::NoScript,
        "ROLE",
        "it reads what scripts mustn't depend on",
    ),
];

/// A line of a snapshot.
struct Said<'t> {
    /// As the table has it: `CLIENT KILL`.
    name: String,
    flags: Vec<&'t str>,
    categories: Vec<&'t str>,
}

impl Said<'_> {
    fn parse(line: &str) -> Said<'_> {
        let mut parts = line.split(' ');
        let name = parts.next().expect("a name");
        let arity = parts.next().map(str::parse::<i32>);
        assert!(matches!(arity, Some(Ok(_))), "{line}");
        let mut words = || parts.next().expect("words").split(',').collect();
        Said {
            name: name.to_ascii_uppercase().replace('|', " "),
            flags: words(),
            categories: words(),
        }
    }

    fn command(&self) -> Option<&'static Command> {
        let mut words = self.name.split(' ').map(str::as_bytes);
        command(words.next().expect("a name"), words.next())
    }

    /// The rules that a decision doesn't follow.
    fn broken(&self, command: &Command) -> Vec<Rule> {
        let flag = |flag| self.flags.contains(&flag);
        let category = |category| self.categories.contains(&category);
        let refused = matches!(command.decision, Decision::Refused(_));
        let blocks = matches!(command.decision, Decision::Pins(Pin::Blocks(_)));
        let pins = matches!(command.decision, Decision::Pins(_));
        let shared = matches!(command.decision, Decision::Plain | Decision::Cursor);
        let rules = [
            (
                Rule::Blocking,
                if flag("blocking") {
                    blocks || refused
                } else {
                    !blocks
                },
            ),
            (Rule::Admin, !flag("admin") || refused),
            (Rule::Dangerous, !category("dangerous") || refused),
            (
                Rule::OnlyReads,
                !(shared || blocks) || flag("readonly") == command.only_reads,
            ),
            (Rule::Channels, !flag("pubsub") || pins),
            (Rule::Transactions, !category("transaction") || pins),
            (Rule::Connection, !category("connection") || !shared),
            (Rule::NoScript, !flag("noscript") || !shared),
            (Rule::NoMulti, !flag("no_multi") || refused || pins),
        ];
        let broken = rules.into_iter().filter(|(_, followed)| !followed);
        broken.map(|(rule, _)| rule).collect()
    }
}

fn said() -> impl Iterator<Item = (&'static str, Said<'static>)> {
    SNAPSHOTS.into_iter().flat_map(|(server, lines)| {
        let lines = lines.lines().filter(|line| !line.starts_with('#'));
        lines.map(move |line| (server, Said::parse(line)))
    })
}

#[test]
fn every_command_of_every_server_has_a_decision() {
    let mut count = BTreeMap::new();
    for (server, said) in said() {
        *count.entry(server).or_insert(0) += 1;
        assert!(said.command().is_some(), "{server}: {}", said.name);
    }
    assert_eq!(count.len(), SNAPSHOTS.len());
    for (server, count) in count {
        assert!(count > 300, "{server} has {count} commands");
    }
}

#[test]
fn decisions_follow_from_what_servers_say_but_for_the_listed_exceptions() {
    let mut broken = BTreeSet::new();
    for (_, said) in said() {
        let command = said.command().expect("a decision");
        let rules = said.broken(command).into_iter();
        broken.extend(rules.map(|rule| (rule, said.name.clone())));
    }
    let mut listed = BTreeSet::new();
    for (rule, names, why) in EXCEPTIONS {
        for name in names.split(", ") {
            assert!(
                listed.insert((rule, name.to_owned())),
                "{name} twice: {why}"
            );
        }
    }
    let unlisted: Vec<_> = broken.difference(&listed).collect();
    let needless: Vec<_> = listed.difference(&broken).collect();
    assert!(
        unlisted.is_empty() && needless.is_empty(),
        "against a rule, and not listed: {unlisted:?}; listed, and not against it: {needless:?}"
    );
}

/// What blocks in one version only, such as of a module, no snapshot tells.
#[test]
fn what_is_written_of_a_command_of_several_servers_is_the_same_kind() {
    let mut kinds: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for (_, said) in said() {
        let writes = said.flags.contains(&"write");
        kinds.entry(said.name).or_default().insert(writes);
    }
    kinds.retain(|_, kinds| kinds.len() > 1);
    assert!(kinds.is_empty(), "writes for one server only: {kinds:?}");
}
