//! What a server makes of requests before anybody behind it sees them.

use std::{collections::BTreeMap, time::Duration};

use super::{Scene, array};
use crate::framing::{
    Context, FailureKind, Framing, Note, Redis, RedisCommands, RedisSettings, RedisUser, Replies,
    Scan,
};

/// Each with the commands that it may send; `None`: all.
fn users(users: &[(&str, Option<&[&str]>)]) -> BTreeMap<String, RedisUser> {
    let user = |(name, commands): &(&str, Option<&[&str]>)| {
        let commands = commands.map(|names| RedisCommands::new(names.iter().copied()));
        let commands = commands.transpose().expect("they are known");
        (String::from(*name), RedisUser { commands })
    };
    users.iter().map(user).collect()
}

#[test]
fn what_concerns_the_clients_connection_is_answered_by_the_server() {
    let mut scene = Scene::new();
    assert_eq!(scene.local("PING"), "+PONG\r\n");
    assert_eq!(scene.local("ping 'hello there'"), "$11\r\nhello there\r\n");
    assert_eq!(scene.local("select 0"), "+OK\r\n");
    assert_eq!(scene.local("CLIENT ID"), ":1\r\n");
    assert_eq!(scene.local("CLIENT GETNAME"), "$-1\r\n");
    assert_eq!(scene.local("CLIENT SETNAME joe"), "+OK\r\n");
    assert_eq!(scene.local("CLIENT SETINFO LIB-NAME any"), "+OK\r\n");
    assert_eq!(scene.local("client getname"), "$3\r\njoe\r\n");
    assert_eq!(scene.local("CLIENT SETNAME ''"), "+OK\r\n");
    assert_eq!(scene.local("client getname"), "$-1\r\n");
    assert_eq!(
        scene.local("AUTH default any"),
        "+OK\r\n",
        "as without a password"
    );
    for (line, refusal) in [
        (
            "PING a b",
            "ERR wrong number of arguments for 'ping' command",
        ),
        ("SELECT 1", "this route is of database 0 alone"),
        ("SELECT a", "ERR invalid DB index"),
        ("SELECT -1", "ERR invalid DB index"),
        (
            "CLIENT SETNAME",
            "ERR wrong number of arguments for 'client|setname' command",
        ),
        (
            "AUTH a b",
            "WRONGPASS invalid username-password pair or user is disabled.",
        ),
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        (
            "HELLO x",
            "ERR Protocol version is not an integer or out of range",
        ),
        ("HELLO 3 AUTH a", "ERR Syntax error in HELLO"),
        (
            "HELLO 3 AUTH a b",
            "WRONGPASS invalid username-password pair or user is disabled.",
        ),
    ] {
        assert_eq!(scene.refusal(line), refusal, "{line}");
    }
    let long = format!("CLIENT SETNAME {}", "x".repeat(257));
    assert_eq!(
        scene.refusal(&long),
        "a client's name has 256 bytes at most"
    );
    assert!(
        scene
            .refusal("CLIENT SETNAME 'a b'")
            .starts_with("ERR Client names cannot")
    );
    assert!(
        scene
            .refusal("AUTH a")
            .starts_with("ERR AUTH <password> called without")
    );
    assert!(scene.is_at_rest());
}

#[test]
fn a_hello_changes_the_version_and_the_lane() {
    let mut scene = Scene::new();
    assert_eq!(scene.redis.lane(&scene.client), 0);
    let greeting = scene.local("HELLO 3 SETNAME joe");
    assert!(
        greeting.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        "{greeting}"
    );
    assert!(greeting.contains("$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n"));
    assert_eq!(scene.redis.lane(&scene.client), 1);
    assert_eq!(scene.local("CLIENT GETNAME"), "$3\r\njoe\r\n");
    assert!(
        scene.local("HELLO").contains("proto\r\n:3\r\n"),
        "it stays what it is"
    );
    assert_eq!(
        scene.admit("HELLO 3").local().expect("a reply").lane(),
        None
    );
    assert_eq!(
        scene.admit("HELLO 2").local().expect("a reply").lane(),
        Some(0)
    );
    let context = Context::reply(&scene.upstream, &scene.client);
    let step = scene
        .redis
        .next(context, greeting.as_bytes(), &mut Scan::default());
    assert!(step.is_ok(), "it is a value: {step:?}");
    assert!(scene.local("HELLO 2").starts_with("*14\r\n"));
    assert_eq!(scene.redis.lane(&scene.client), 0);
    scene.local("HELLO 3");
    assert_eq!(scene.local("RESET"), "+RESET\r\n");
    assert_eq!(scene.redis.lane(&scene.client), 0);
    assert_eq!(scene.local("CLIENT GETNAME"), "$-1\r\n");
    assert_eq!(
        scene.local("CLIENT ID"),
        ":1\r\n",
        "it is still the same connection"
    );
}

#[test]
fn each_lane_is_logged_in_as_what_it_is() {
    let settings = RedisSettings {
        database: 3,
        ..RedisSettings::default()
    };
    let redis = Redis::from(settings);
    let bodies = |lane| -> Vec<Vec<u8>> {
        let login = redis.lane_login(lane);
        login.into_iter().map(|(body, _)| body).collect()
    };
    assert_eq!(bodies(0), [b"SELECT 3"]);
    assert_eq!(bodies(1), [&b"HELLO 3"[..], b"SELECT 3"]);
    assert!(Redis::default().lane_login(0).is_empty());
    for (body, _) in redis.lane_login(1) {
        let mut frame = Vec::new();
        redis
            .encode(Context::REQUEST, &body, &mut frame)
            .expect("a command");
        assert!(redis.demand(&frame, &Note::default()).is_pinning());
    }
}

#[test]
fn requests_ask_for_what_their_command_does() {
    let scene = Scene::new();
    let demand = |line: &str| scene.redis.demand(&array(line), &Note::default());
    for line in ["GET a", "mget a b", "SCAN 0", "EVAL_RO x 0"] {
        assert!(
            demand(line).is_idempotent() && !demand(line).is_pinning(),
            "{line}"
        );
    }
    for line in ["SET a 1", "INCR a", "LPOP a", "EVAL x 0"] {
        assert!(
            !demand(line).is_idempotent() && !demand(line).is_pinning(),
            "{line}"
        );
    }
    assert_eq!(demand("BLPOP a 1.5").waits(), Duration::from_millis(1_500));
    assert_eq!(demand("BLPOP a 0").waits(), Duration::MAX);
    assert!(demand("BLPOP a 0").is_pinning());
    assert!(!demand("XREAD STREAMS a 0").is_pinning());
    assert!(demand("XREAD BLOCK 10 STREAMS a 0").is_pinning());
    assert_eq!(demand("SUBSCRIBE a").awaits(), Replies::Several);
    for refused in [
        "SHUTDOWN",
        "CONFIG GET a",
        "NOSUCH",
        "CLIENT KILL 1",
        "ACL WHOAMI",
        "QUIT",
    ] {
        assert!(demand(refused).refusal().is_some(), "{refused}");
    }
    assert!(
        scene
            .refusal("nosuch a")
            .starts_with("unknown command 'nosuch'")
    );
    assert!(
        scene
            .refusal("client nosuch")
            .starts_with("unknown subcommand 'nosuch' of CLIENT")
    );
    assert!(
        scene
            .refusal("CLIENT TRACKING ON REDIRECT 3")
            .contains("redirect")
    );
    let settings = RedisSettings {
        unknown_commands: true,
        ..RedisSettings::default()
    };
    let scene = Scene::of(settings);
    assert!(!scene.sent("NOSUCH a"));
    assert!(
        scene
            .refusal("CLIENT nosuch")
            .starts_with("unknown subcommand")
    );
    let hidden = "XREAD \"block\\x00\" 0 STREAMS a $";
    assert!(scene.sent(hidden), "the server reads it as BLOCK");
}

#[test]
fn a_line_is_passed_on_as_an_array() {
    let scene = Scene::new();
    let admission = scene.redis.admit(b"get  \"a b\"\r\n", &scene.client);
    let array = &b"*2\r\n$3\r\nget\r\n$3\r\na b\r\n"[..];
    assert_eq!(admission.rewritten_frame(), Some(array));
    assert!(admission.demand().is_idempotent());
    let unbalanced = scene.redis.admit(b"get \"a\r\n", &scene.client);
    let failure = unbalanced.demand().refusal().expect("refused");
    assert!(failure.closes() && failure.kind() == FailureKind::Malformed);
    assert!(
        scene
            .redis
            .admit(b"ping\r\n", &scene.client)
            .local()
            .is_some()
    );
}

#[test]
fn who_must_log_in_can_do_nothing_else_before() {
    let settings = RedisSettings {
        users: users(&[("default", None), ("ann", None)]),
        ..RedisSettings::default()
    };
    let mut scene = Scene::of(settings);
    for line in [
        "PING",
        "GET a",
        "SELECT 0",
        "MULTI",
        "SUBSCRIBE a",
        "NOSUCH",
        "SHUTDOWN",
    ] {
        assert_eq!(
            scene.refusal(line),
            "NOAUTH Authentication required.",
            "{line}"
        );
    }
    assert!(
        scene
            .refusal("HELLO 3")
            .starts_with("NOAUTH HELLO must be called")
    );
    let limit = vec![b'x'; 17 << 10];
    let long = [b"*2\r\n$3\r\nGET\r\n$17408\r\n", &limit[..]].concat();
    let next = |scene: &Scene, frame: &[u8]| {
        let context = Context::request(&scene.client);
        scene.redis.next(context, frame, &mut Scan::default())
    };
    assert!(next(&scene, &long).is_err() && next(&scene, b"*11\r\n").is_err());
    assert!(next(&scene, b"*10\r\n").is_ok());

    let admission = scene.admit("AUTH sesame");
    let reply = admission.local().expect("a reply");
    let credentials = reply.credentials().expect("they are checked");
    assert_eq!(
        (&credentials.user[..], &credentials.secret[..]),
        (&b"default"[..], &b"sesame"[..])
    );
    // A failure changes nothing, and the server does ask for the reply only if they are right.
    let note = admission.demand().note().clone();
    scene
        .redis
        .answers(Some(&note), b"-WRONGPASS no\r\n", &mut scene.client);
    assert_eq!(scene.refusal("GET a"), "NOAUTH Authentication required.");
    scene.local("HELLO 3 AUTH ann sesame");
    assert!(!scene.sent("GET a"));
    assert!(next(&scene, &long).is_ok());
    scene.local("RESET");
    assert_eq!(scene.refusal("GET a"), "NOAUTH Authentication required.");
    // One that isn't among them stays nobody, whatever is said of its secret.
    scene.local("AUTH eve sesame");
    assert_eq!(scene.refusal("GET a"), "NOAUTH Authentication required.");
    assert_eq!(scene.local("QUIT"), "+OK\r\n");
    assert!(scene.admit("QUIT").local().expect("a reply").closes());
}

#[test]
fn a_user_may_send_what_its_list_says() {
    let settings = RedisSettings {
        users: users(&[
            ("app", None),
            ("nothing", Some(&[])),
            ("reports", Some(&["@read", "multi", "exec"])),
        ]),
        unknown_commands: true,
        ..RedisSettings::default()
    };
    let mut scene = Scene::of(settings);
    let forbidden = |user: &str, command: &str| {
        format!("NOPERM User {user} has no permissions to run the '{command}' command")
    };
    scene.local("AUTH reports sesame");
    for line in ["GET a", "mget a b", "SCAN 0"] {
        scene.sent(line);
    }
    for (line, command) in [
        ("SET a 1", "set"),
        ("XGROUP CREATE a b 0", "xgroup|create"),
        ("EVAL_RO x 0", "eval_ro"),
        ("SUBSCRIBE a", "subscribe"),
        ("CLIENT TRACKING ON", "client|tracking"),
        ("SHUTDOWN", "shutdown"),
        ("NoSuch a", "nosuch"),
    ] {
        assert_eq!(scene.refusal(line), forbidden("reports", command), "{line}");
    }
    assert_eq!(scene.local("PING"), "+PONG\r\n");
    assert_eq!(scene.local("CLIENT SETNAME joe"), "+OK\r\n");
    // Another of its connections may be what the next login is.
    scene.local("HELLO 2 AUTH app sesame");
    scene.sent("SET a 1");
    scene.sent("NOSUCH a");
    scene.local("AUTH nothing sesame");
    assert_eq!(scene.refusal("GET a"), forbidden("nothing", "get"));
    assert_eq!(scene.local("PING"), "+PONG\r\n");
    scene.local("RESET");
    assert_eq!(scene.refusal("GET a"), "NOAUTH Authentication required.");
    // The server would execute the transaction without what it never saw.
    scene.local("AUTH reports sesame");
    scene.ask("MULTI", &["+OK"]);
    scene.ask("GET a", &["+QUEUED"]);
    let told = forbidden("reports", "set");
    assert_eq!(scene.refusal("SET a 1"), told);
}

#[test]
fn a_wrong_secret_and_an_unknown_user_are_told_in_the_same_words() {
    let settings = RedisSettings {
        users: users(&[("ann", None)]),
        ..RedisSettings::default()
    };
    let scene = Scene::of(settings);
    for line in ["AUTH ann a", "AUTH eve a", "AUTH a", "HELLO 3 AUTH eve a"] {
        let admission = scene.admit(line);
        let otherwise = admission.local().and_then(|reply| reply.otherwise());
        assert_eq!(
            otherwise.expect("they are checked").message(),
            "WRONGPASS invalid username-password pair or user is disabled.",
            "{line}"
        );
    }
}
