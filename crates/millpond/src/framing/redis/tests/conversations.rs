//! What comes and goes on a connection, and what it makes of the state on both sides.

use super::Scene;
use crate::framing::{Answer, Framing, Redis, RedisSettings};

const LAST: [Answer; 1] = [Answer::Last];

#[test]
fn a_transaction_is_over_with_exec_or_discard() {
    for end in ["EXEC", "DISCARD"] {
        for reply in ["*1 +OK", "*-1", "-EXECABORT", "+OK"] {
            let mut scene = Scene::new();
            if end == "DISCARD" && reply == "-EXECABORT" {
                continue;
            }
            assert_eq!(scene.ask("WATCH a", &["+OK"]), LAST);
            assert!(!scene.is_at_rest());
            assert_eq!(scene.ask("MULTI", &["+OK"]), LAST);
            assert_eq!(scene.ask("SET a 1", &["+QUEUED"]), LAST);
            assert_eq!(scene.ask("PING", &["+QUEUED"]), LAST);
            assert_eq!(scene.ask("UNWATCH", &["+QUEUED"]), LAST);
            assert_eq!(scene.ask("MULTI", &["-ERR"]), LAST);
            assert!(!scene.is_at_rest());
            assert_eq!(scene.ask(end, &[reply]), LAST);
            assert!(scene.is_at_rest(), "{end} {reply}");
        }
    }
    let mut scene = Scene::new();
    scene.ask("WATCH a", &["+OK"]);
    scene.ask("EXEC", &["-ERR"]);
    assert!(
        !scene.is_at_rest(),
        "EXEC without MULTI leaves the keys watched"
    );
    scene.ask("UNWATCH", &["+OK"]);
    assert!(scene.is_at_rest());
    scene.ask("MULTI", &["-LOADING"]);
    assert!(scene.is_at_rest());
}

#[test]
fn a_transaction_with_a_command_that_was_refused_is_never_executed() {
    let refused = [
        "AUTH a b",
        "HELLO 3",
        "SELECT 0",
        "CLIENT SETNAME a",
        "CLIENT ID",
        "SUBSCRIBE a",
        "UNSUBSCRIBE",
        "MONITOR",
        "CLIENT TRACKING ON",
        "SHUTDOWN",
        "NOSUCH",
    ];
    for line in refused {
        let mut scene = Scene::new();
        scene.ask("MULTI", &["+OK"]);
        scene.ask("SET a 1", &["+QUEUED"]);
        let admission = scene.admit(line);
        let demand = admission.demand();
        assert!(
            demand.refusal().is_some_and(|failure| !failure.closes()),
            "{line}"
        );
        assert!(
            demand.is_pinning(),
            "nothing behind it is read before it is told"
        );
        scene
            .redis
            .failed(Some(demand.note()), b"-ERR no\r\n", &mut scene.client);
        assert_eq!(scene.local("SET a 2"), "+QUEUED\r\n", "it isn't sent");
        let exec = scene.admit("EXEC");
        let reply = exec
            .local()
            .unwrap_or_else(|| panic!("{line}: EXEC is sent"));
        assert!(
            reply.resets() && reply.frame().starts_with(b"-EXECABORT "),
            "{line}"
        );
        scene.local("EXEC");
        assert!(
            scene.sent("MULTI") && scene.local("PING") == "+PONG\r\n",
            "{line}"
        );
        assert!(!scene.is_at_rest(), "its connection is closed");
    }
    let mut scene = Scene::new();
    scene.ask("MULTI", &["+OK"]);
    let note = scene.admit("NOSUCH").demand().note().clone();
    scene
        .redis
        .failed(Some(&note), b"-ERR no\r\n", &mut scene.client);
    assert!(scene.admit("DISCARD").local().expect("a reply").resets());
    assert_eq!(scene.local("DISCARD"), "+OK\r\n");
    assert_eq!(scene.client, scene.redis.accepted(0));
    let mut scene = Scene::new();
    scene.ask("MULTI", &["+OK"]);
    assert!(scene.sent("BLPOP a 0") && scene.sent("EXEC"));
    assert!(scene.admit("RESET").local().expect("a reply").resets());
    assert!(scene.admit("QUIT").local().expect("a reply").closes());
}

#[test]
fn a_transaction_that_fails_before_the_server_is_broken() {
    // Not even its beginning was sent: what comes behind it must not run outside of it.
    let mut scene = Scene::new();
    let note = scene.admit("MULTI").demand().note().clone();
    scene
        .redis
        .failed(Some(&note), b"-ERR busy\r\n", &mut scene.client);
    assert_eq!(scene.local("INCR a"), "+QUEUED\r\n");
    assert!(scene.local("EXEC").starts_with("-EXECABORT "));
    assert_eq!(scene.client, scene.redis.accepted(0));
    // A command of it, and EXEC itself.
    for fails in ["SET a 1", "EXEC"] {
        let mut scene = Scene::new();
        scene.ask("MULTI", &["+OK"]);
        assert!(
            scene.sent(fails),
            "nothing behind it is read before it is answered"
        );
        let note = scene.admit(fails).demand().note().clone();
        scene
            .redis
            .failed(Some(&note), b"-ERR busy\r\n", &mut scene.client);
        assert_eq!(scene.local("GET a"), "+QUEUED\r\n");
        assert!(
            scene.admit("EXEC").local().expect("a reply").resets(),
            "{fails}"
        );
        assert!(scene.local("EXEC").starts_with("-EXECABORT "), "{fails}");
        assert!(!scene.is_at_rest(), "its connection is closed");
    }
    // Elsewhere a failure leaves nothing behind.
    let mut scene = Scene::new();
    let note = scene.admit("WATCH a").demand().note().clone();
    scene
        .redis
        .failed(Some(&note), b"-ERR busy\r\n", &mut scene.client);
    assert_eq!(scene.client, scene.redis.accepted(0));
}

#[test]
fn an_error_to_exec_that_does_not_end_the_transaction_keeps_its_connection() {
    let mut scene = Scene::new();
    scene.ask("MULTI", &["+OK"]);
    scene.ask("EXEC", &["-NOPERM"]);
    assert!(!scene.is_at_rest());
    scene.ask("EXEC", &["-EXECABORT"]);
    assert!(scene.is_at_rest());
    for line in ["MULTI a", "EXEC a", "DISCARD a"] {
        assert!(
            scene
                .refusal(line)
                .starts_with("ERR wrong number of arguments"),
            "{line}"
        );
    }
}

#[test]
fn subscriptions_are_counted_in_resp2() {
    let mut scene = Scene::new();
    let more = [Answer::More, Answer::Last];
    let replies = ["*3 $9 subscribe $1 a :1", "*3 $9 subscribe $1 b :2"];
    assert_eq!(scene.ask("SUBSCRIBE a b", &replies), more);
    assert!(!scene.is_at_rest() && scene.redis.may_push(&scene.client));
    assert_eq!(
        scene.ask("PSUBSCRIBE c*", &["*3 $10 psubscribe $2 c* :3"]),
        LAST
    );
    assert_eq!(scene.unasked("*3 $7 message $1 a $1 1"), Answer::Push);
    assert_eq!(
        scene.unasked("*4 $8 pmessage $2 c* $2 cd $1 1"),
        Answer::Push
    );
    assert_eq!(scene.unasked("*3 $5 hello $1 a $1 1"), Answer::Mismatch);
    assert_eq!(scene.unasked("+OK"), Answer::Mismatch);
    assert!(
        scene
            .refusal("GET a")
            .starts_with("ERR Can't execute 'get'")
    );
    assert!(
        scene
            .refusal("SHUTDOWN")
            .starts_with("ERR Can't execute 'shutdown'")
    );
    assert_eq!(scene.ask("PING", &["*2 $4 pong $0 "]), LAST);
    // A message may come before a reply and between two.
    let replies = [
        "*3 $7 message $1 a $1 1",
        "*3 $11 unsubscribe $1 a :2",
        "*3 $7 message $1 b $1 1",
        "*3 $11 unsubscribe $1 b :1",
    ];
    let answers = [Answer::Push, Answer::More, Answer::Push, Answer::Last];
    assert_eq!(scene.ask("UNSUBSCRIBE", &replies), answers);
    assert!(!scene.is_at_rest());
    assert_eq!(
        scene.ask("PUNSUBSCRIBE c*", &["*3 $12 punsubscribe $2 c* :0"]),
        LAST
    );
    assert!(scene.is_at_rest() && !scene.redis.may_push(&scene.client));
    assert_eq!(
        scene.ask("UNSUBSCRIBE", &["*3 $11 unsubscribe $-1 :0"]),
        LAST
    );
    assert_eq!(
        scene.ask("SSUBSCRIBE a", &["*3 $10 ssubscribe $1 a :1"]),
        LAST
    );
    assert_eq!(scene.unasked("*3 $8 smessage $1 a $1 1"), Answer::Push);
    assert_eq!(
        scene.unasked("*3 $12 sunsubscribe $1 a :0"),
        Answer::Push,
        "its slot has moved"
    );
    assert!(scene.is_at_rest());
    assert_eq!(
        scene.ask("SUBSCRIBE a b", &["-NOPERM"]),
        LAST,
        "it is refused as a whole"
    );
    assert!(scene.is_at_rest());
}

#[test]
fn in_resp3_a_subscriber_may_go_on_with_all_else() {
    let mut scene = Scene::new();
    scene.local("HELLO 3");
    let hello = scene
        .redis
        .demand(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", &scene.upstream);
    let note = hello.note().clone();
    scene
        .redis
        .answers(Some(&note), b"%0\r\n", &mut scene.upstream);
    let at_rest = scene.upstream.clone();
    assert_eq!(scene.ask("SUBSCRIBE a", &[">3 $9 subscribe $1 a :1"]), LAST);
    assert_eq!(scene.unasked(">3 $7 message $1 a $1 1"), Answer::Push);
    let replies = [">3 $7 message $1 a $1 1", "$1 x"];
    assert_eq!(scene.ask("GET a", &replies), [Answer::Push, Answer::Last]);
    // What looks like a message is the value that was asked for.
    assert_eq!(
        scene.ask("LRANGE l 0 -1", &["*3 $7 message $1 a $1 1"]),
        LAST
    );
    assert_eq!(scene.local("PING"), "+PONG\r\n");
    assert_eq!(scene.unasked(">2 $10 invalidate *1 $1 a"), Answer::Mismatch);
    assert_eq!(scene.unasked("*3 $7 message $1 a $1 1"), Answer::Mismatch);
    assert!(
        scene
            .refusal("HELLO 2")
            .starts_with("the version can't be changed")
    );
    assert_eq!(
        scene.ask("UNSUBSCRIBE a", &[">3 $11 unsubscribe $1 a :0"]),
        LAST
    );
    assert_eq!(scene.upstream, at_rest);
    assert_eq!(scene.unasked(">3 $7 message $1 a $1 1"), Answer::Mismatch);
}

#[test]
fn tracking_and_monitoring_bring_what_nobody_asks_for() {
    let mut scene = Scene::new();
    assert_eq!(scene.ask("CLIENT TRACKING ON BCAST", &["+OK"]), LAST);
    assert!(scene.redis.may_push(&scene.client));
    assert_eq!(scene.unasked(">2 $10 invalidate *1 $1 a"), Answer::Push);
    assert_eq!(scene.ask("CLIENT CACHING YES", &["+OK"]), LAST);
    assert_eq!(scene.ask("CLIENT TRACKING OFF", &["+OK"]), LAST);
    assert!(!scene.is_at_rest(), "the server keeps what it has read");
    let mut scene = Scene::new();
    assert!(scene.sent("CLIENT TRACKING \"on\\x00\""));
    scene.ask("CLIENT TRACKING \"on\\x00\"", &["+OK"]);
    assert!(!scene.is_at_rest(), "the server reads it as on");
    assert!(
        scene
            .refusal("CLIENT TRACKING ON \"redirect\\x00\" 3")
            .contains("redirect")
    );
    let mut scene = Scene::new();

    assert_eq!(scene.ask("MONITOR", &["+OK"]), LAST);
    assert_eq!(
        scene.unasked("+1700000000.1 [0 127.0.0.1:1] \"GET\""),
        Answer::Push
    );
    assert_eq!(scene.unasked("$1 a"), Answer::Mismatch);
    assert_eq!(
        scene.refusal("GET a"),
        "ERR only QUIT and RESET are allowed in this context"
    );
    scene.local("RESET");
    assert!(!scene.redis.may_push(&scene.client));
    assert!(
        !scene.is_at_rest(),
        "the upstream's connection isn't asked to reset: it is closed"
    );
}

#[test]
fn scans_pin_until_all_have_ended_where_cursors_differ() {
    let settings = RedisSettings {
        pin_scans: true,
        ..RedisSettings::default()
    };
    let mut scene = Scene::of(settings);
    let (goes_on, ends) = ("*2 $2 17 *0", "*2 $1 0 *0");
    assert!(scene.sent("SCAN 0"));
    scene.ask("SCAN 0 COUNT 10", &[ends]);
    assert!(scene.is_at_rest());
    scene.ask("SCAN 0", &[goes_on]);
    scene.ask("HSCAN h 0", &[goes_on]);
    scene.ask("SCAN 17", &[goes_on]);
    scene.ask("SCAN 17", &[ends]);
    assert!(!scene.is_at_rest());
    scene.ask("HSCAN h 17", &["-WRONGTYPE"]);
    assert!(!scene.is_at_rest());
    scene.ask("HSCAN h 17", &[ends]);
    assert!(scene.is_at_rest());
    assert!(scene.refusal("SCAN 17").contains("has a cursor of no scan"));
    scene.ask("MULTI", &["+OK"]);
    assert!(scene.refusal("SCAN 0").contains("part of a transaction"));
    assert!(!Scene::new().sent("SCAN 0"));
}

#[test]
fn on_a_connection_of_ones_own_a_login_is_a_change() {
    let scene = Scene::new();
    let redis = Redis::default();
    let after = |lines: &[(&str, &str)]| {
        let mut state = scene.upstream.clone();
        for (line, reply) in lines {
            let demand = redis.demand(&super::array(line), &state);
            assert!(demand.is_pinning(), "{line}");
            let reply = format!("{reply}\r\n");
            redis.answers(Some(demand.note()), reply.as_bytes(), &mut state);
        }
        state
    };
    let logged_in = after(&[("AUTH a", "+OK")]);
    assert_ne!(logged_in, scene.upstream);
    assert_ne!(after(&[("AUTH a", "+OK"), ("AUTH b", "+OK")]), logged_in);
    assert_eq!(
        after(&[("AUTH a", "+OK"), ("AUTH b", "-WRONGPASS")]),
        logged_in
    );
    assert_ne!(after(&[("SELECT 4", "+OK")]), after(&[("SELECT 5", "+OK")]));
    assert_eq!(
        after(&[("SELECT 4", "+OK"), ("SELECT 0", "+OK")]),
        scene.upstream
    );
    assert_ne!(after(&[("CLIENT SETNAME a", "+OK")]), scene.upstream);
    assert_eq!(
        after(&[("AUTH a", "+OK"), ("SELECT 4", "+OK"), ("RESET", "+RESET")]),
        scene.upstream
    );
}

#[test]
fn nothing_that_comes_is_a_reply_to_nothing() {
    let mut scene = Scene::new();
    for reply in ["+OK", "$1 a", "*0", ">1 $1 a", "-ERR", "%0", "|1 +a +b +OK"] {
        assert_eq!(scene.unasked(reply), Answer::Mismatch, "{reply}");
    }
    assert_eq!(
        scene.ask("GET a", &[">3 $7 message $1 a $1 1"]),
        [Answer::Mismatch]
    );
    assert!(scene.is_at_rest());
}
