//! Clients that log in at a route: each is who it has shown to be, and may do what that user may.

use std::collections::BTreeMap;

use millpond::{
    framing::{RedisCommands, RedisUser},
    proxy::Users,
};

use super::{store::Server, *};

// What a hash costs is not what is tested here: these take 8 KiB.
const APP: (&str, &str) = (
    "app's secret",
    "$argon2id$v=19$m=8,t=1,p=1$4tMsanojk/vL5a9pd4SDPQ$T/uXZsZVXupud+lP9CSda2bBr8OWVm+8COm51kEVuZ0",
);
const REPORTS: (&str, &str) = (
    "secret of reports",
    "$argon2id$v=19$m=8,t=1,p=1$+m3VgwLIlg0Y5dhsgYlI0Q$KK89cSBdDpKaDImG6k0slzahc/nM4EImLHs0TWw3la8",
);

const WRONG: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NOBODY: &str = "NOAUTH Authentication required.";

fn error(text: &str) -> Value {
    Value::Error(text.to_owned())
}

fn ok() -> Value {
    Value::text("OK")
}

/// The user `app` may all; `reports` may read, and look into its own transactions.
fn settings() -> RedisSettings {
    let commands = RedisCommands::new(["@read", "MULTI", "EXEC"]);
    let commands = Some(commands.expect("they are known"));
    let reports = RedisUser { commands };
    RedisSettings {
        users: BTreeMap::from([
            (String::from("app"), RedisUser::default()),
            (String::from("reports"), reports),
        ]),
        ..RedisSettings::default()
    }
}

fn users() -> Users {
    let hash = |(_, hash): (&str, &str)| hash.parse().expect("a hash");
    Users::new()
        .user("app", hash(APP))
        .user("reports", hash(REPORTS))
}

async fn site(server: &Server, mode: Mode) -> Site {
    Site::with(server.port, mode, settings(), |route| {
        route.users(users()).session(mode == Mode::Session)
    })
    .await
}

impl Conversation {
    async fn ask(&mut self, words: &[&str]) -> Value {
        self.send(words).await;
        self.next().await
    }

    /// Whether the route has closed it.
    async fn is_over(&mut self) -> bool {
        let next = timeout(PATIENCE, Value::read(&mut self.reads)).await;
        next.expect("an end in time").is_none()
    }
}

async fn connect(site: &Site) -> Conversation {
    Conversation::begin(site.port, "c", false).await
}

#[tokio::test]
async fn who_logs_in_is_served_as_that_user_and_nobody_else() {
    let server = Server::start().await;
    for mode in [Mode::Exchange, Mode::Pipeline, Mode::Session] {
        let site = site(&server, mode).await;
        let (mut app, mut reports) = (connect(&site).await, connect(&site).await);
        assert_eq!(app.ask(&["AUTH", "app", APP.0]).await, ok());
        let greeting = reports
            .ask(&["HELLO", "3", "AUTH", "reports", REPORTS.0])
            .await;
        assert!(matches!(greeting, Value::Map(_)), "{greeting:?}");
        assert_eq!(app.ask(&["SET", "c:a", "1"]).await, ok());
        assert_eq!(reports.ask(&["GET", "c:a"]).await, Value::text("1"));
        let forbidden = "NOPERM User reports has no permissions to run the 'set' command";
        assert_eq!(reports.ask(&["SET", "c:a", "2"]).await, error(forbidden));
        assert_eq!(app.ask(&["GET", "c:a"]).await, Value::text("1"));
        // The secret of one is none of the other.
        let mut third = connect(&site).await;
        for (user, secret) in [("app", REPORTS.0), ("reports", APP.0), ("default", APP.0)] {
            assert_eq!(third.ask(&["AUTH", user, secret]).await, error(WRONG));
            assert_eq!(third.ask(&["GET", "c:a"]).await, error(NOBODY));
        }
        // A failed login changes nothing, RESET ends one.
        assert_eq!(app.ask(&["AUTH", "reports", "guess"]).await, error(WRONG));
        assert_eq!(app.ask(&["SET", "c:a", "3"]).await, ok());
        assert_eq!(app.ask(&["AUTH", "reports", REPORTS.0]).await, ok());
        assert_eq!(app.ask(&["SET", "c:a", "4"]).await, error(forbidden));
        assert_eq!(app.ask(&["RESET"]).await, Value::text("RESET"));
        assert_eq!(app.ask(&["GET", "c:a"]).await, error(NOBODY));
        let totals = site.route.snapshot().totals;
        assert_eq!((totals.logins, totals.logins_failed), (3, 4), "{mode:?}");
        assert!(
            totals.secrets_hashed <= 2 + 4,
            "what was right is remembered"
        );
        drop((app, reports, third));
        site.running.drain(PATIENCE).await;
    }
}

#[tokio::test]
async fn before_a_login_nothing_goes_upstream_whatever_is_sent() {
    let server = Server::start().await;
    let site = site(&server, Mode::Exchange).await;
    let words = [
        "GET",
        "SET",
        "c:a",
        "1",
        "MULTI",
        "EXEC",
        "SUBSCRIBE",
        "BLPOP",
        "0",
        "NOSUCH",
        "PING",
        "CLIENT",
        "ID",
        "SETNAME",
        "INFO",
        "SHUTDOWN",
        "EVAL",
        "WATCH",
        "MONITOR",
        "SELECT",
        "AUTH",
        "HELLO",
        "3",
        "2",
        "app",
        "reports",
        "default",
        "guess",
        "RESET",
    ];
    for _ in 0..40 {
        let mut client = connect(&site).await;
        for _ in 0..10 {
            let count = fastrand::usize(1..5);
            let request: Vec<_> = (0..count)
                .map(|_| *fastrand::choice(&words).expect("there are some"))
                .collect();
            let sent = client.writes.write_all(&command(&request)).await;
            let Some(reply) = Value::read(&mut client.reads)
                .await
                .filter(|_| sent.is_ok())
            else {
                // It was closed behind too many failures.
                break;
            };
            let is_nothing = match &reply {
                Value::Error(told) => ["NOAUTH ", "WRONGPASS ", "NOPROTO ", "ERR "]
                    .iter()
                    .any(|code| told.starts_with(code)),
                Value::Text(told) => told == "RESET",
                _ => false,
            };
            assert!(is_nothing, "{request:?}: {reply:?}");
        }
    }
    let snapshot = site.route.snapshot();
    assert_eq!((snapshot.totals.answered, snapshot.totals.logins), (0, 0));
    let opened = |pool: &millpond::pool::PoolSnapshot| pool.totals.opened;
    assert_eq!(opened(&snapshot.upstream.pool), 0);
    assert_eq!(opened(&snapshot.other_lanes[0].pool), 0);
}

#[tokio::test]
async fn guesses_are_limited_and_their_connections_closed() {
    let server = Server::start().await;
    let site = site(&server, Mode::Exchange).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let mut client = connect(&site).await;
        for _ in 0..5 {
            told.push(client.ask(&["AUTH", "app", "guess"]).await);
        }
        assert!(client.is_over().await, "the fifth failure closes it");
    }
    let limited = error("ERR millpond: too many logins have failed; try again in some seconds");
    assert!(
        told[..10].iter().all(|told| *told == error(WRONG)),
        "{told:?}"
    );
    // Of the last ten some may be taken again, one each second.
    assert!(told[10..].contains(&limited), "{told:?}");
    assert!(
        told[10..]
            .iter()
            .all(|told| *told == limited || *told == error(WRONG))
    );
    let totals = site.route.snapshot().totals;
    assert_eq!(totals.logins_failed + totals.logins_refused, 20);
    assert_eq!(totals.secrets_hashed, totals.logins_failed);
    let mut other = connect(&site).await;
    assert_eq!(
        other.ask(&["AUTH", "reports", REPORTS.0]).await,
        ok(),
        "another user is let in"
    );
}

/// Each client is now this user, now that, and connects anew; what it may must be what the user may
/// that it is now.
#[tokio::test]
async fn no_client_ever_has_the_rights_of_another() {
    let server = Server::start().await;
    for mode in [Mode::Exchange, Mode::Pipeline] {
        let site = site(&server, mode).await;
        let clients: Vec<_> = (0..16)
            .map(|number| tokio::spawn(changes(site.port, number)))
            .collect();
        for client in clients {
            client.await.expect("every reply is right");
        }
        assert!(site.route.snapshot().totals.secrets_hashed <= 8);
        site.running.drain(PATIENCE).await;
    }
    assert_eq!(server.store.complaints(), [""; 0]);
}

async fn changes(port: u16, number: u32) {
    let name = format!("u{number}");
    let mut client = Conversation::begin(port, &name, false).await;
    let (mut user, key) = (None, client.key("a"));
    for _ in 0..60 {
        match fastrand::u8(..6) {
            0 => {
                client = Conversation::begin(port, &name, false).await;
                user = None;
            }
            1 => {
                assert_eq!(client.ask(&["AUTH", "app", APP.0]).await, ok());
                user = Some("app");
            }
            2 => {
                assert_eq!(client.ask(&["AUTH", "reports", REPORTS.0]).await, ok());
                user = Some("reports");
            }
            3 => {
                assert_eq!(client.ask(&["RESET"]).await, Value::text("RESET"));
                user = None;
            }
            // The login and what follows it come together.
            4 => {
                client.send(&["AUTH", "reports", REPORTS.0]).await;
                client.send(&["SET", &key, "x"]).await;
                client.send(&["AUTH", "app", APP.0]).await;
                client.send(&["SET", &key, "y"]).await;
                let forbidden = "NOPERM User reports has no permissions to run the 'set' command";
                for expected in [ok(), error(forbidden), ok(), ok()] {
                    assert_eq!(client.next().await, expected);
                }
                user = Some("app");
            }
            _ => {
                let expected = match user {
                    None => error(NOBODY),
                    Some("app") => ok(),
                    Some(user) => error(&format!(
                        "NOPERM User {user} has no permissions to run the 'set' command"
                    )),
                };
                assert_eq!(
                    client.ask(&["SET", &key, "z"]).await,
                    expected,
                    "as {user:?}"
                );
            }
        }
    }
}
