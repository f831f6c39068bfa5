//! Settings of pools, clients, servers, diallers and listeners as people write them, in TOML: it has
//! no null, but has NaN and infinities. All have one form.

#![cfg(all(unix, feature = "serde"))]

use std::{fmt::Debug, time::Duration};

use millpond::{
    client::{ClientSettings, ErrorReplies, Pipelining},
    net::{DialerSettings, ListenSettings},
    pool::{Order, PoolSettings, Probe},
    server::ServerSettings,
};
use serde::{Serialize, de::DeserializeOwned};

const POOL: &str = r#"
name = "orders"
max_size = 32
acquire_timeout_seconds = 0.5
connect_timeout_seconds = 3
idle_timeout_seconds = "never"
order = "fifo"
probe = { when_idle_for_seconds = 30 }

[backoff]
base_seconds = 0.05
max_seconds = 5
"#;

const CLIENT: &str = r#"
deadline_seconds = 2.5
error_replies = "are_replies"
heartbeat_interval_seconds = 0

[heartbeat_limit]
burst = 10

[pipelining]
depth = 32
"#;

const SERVER: &str = r#"
max_connections = 500
max_connections_per_address = "unlimited"
idle_timeout_seconds = "never"
handler_deadline_seconds = 2.5
write_timeout_seconds = 20
"#;

const DIALER: &str = r#"
refresh_seconds = 10

[limits]
connect_seconds = 0.5

[tcp]
bind = "10.0.0.7:0"
keepalive = { idle_seconds = 15, probes = 5 }
user_timeout_seconds = "never"
"#;

const LISTENER: &str = r#"
unix_mode = "0660"

[tcp]
keepalive = "never"
user_timeout_seconds = 30
"#;

/// Reads a document, and again what is written of it.
fn read<T: Serialize + DeserializeOwned + PartialEq + Debug>(document: &str) -> T {
    let settings: T = toml::from_str(document).expect(document);
    let written = toml::to_string(&settings).expect("TOML");
    assert_eq!(
        toml::from_str::<T>(&written).expect(&written),
        settings,
        "{written}"
    );
    settings
}

#[test]
fn settings_of_all_kinds_are_read_and_written() {
    let pool: PoolSettings = read(POOL);
    assert_eq!(pool.name.as_deref(), Some("orders"));
    assert_eq!(pool.acquire_timeout, Some(Duration::from_millis(500)));
    assert_eq!(pool.connect_timeout, Duration::from_secs(3));
    assert_eq!((pool.idle_timeout, pool.order), (None, Order::Fifo));
    let probe = Probe::WhenIdleFor(Duration::from_secs(30));
    assert_eq!(pool.probe, Some(probe));
    assert_eq!(pool.backoff.base, Duration::from_millis(50));

    let client: ClientSettings = read(CLIENT);
    assert_eq!(client.deadline, Duration::from_millis(2_500));
    assert_eq!(client.error_replies, ErrorReplies::AreReplies);
    assert_eq!(client.heartbeat_interval, Duration::ZERO);
    assert_eq!(client.heartbeat_limit.burst, 10);
    assert!(client.pipelining.is_some());

    let server: ServerSettings = read(SERVER);
    assert_eq!(server.max_connections, 500);
    assert_eq!(server.max_connections_per_address, None);
    assert_eq!(server.idle_timeout, None);
    assert_eq!(server.handler_deadline, Some(Duration::from_millis(2_500)));
    assert_eq!(server.write_timeout, Duration::from_secs(20));

    let dialer: DialerSettings = read(DIALER);
    assert_eq!(dialer.refresh, Duration::from_secs(10));
    assert_eq!(dialer.limits.connect, Duration::from_millis(500));
    assert_eq!(dialer.tcp.user_timeout, None);
    let keepalive = dialer.tcp.keepalive.expect("a keepalive");
    assert_eq!(
        (keepalive.idle, keepalive.probes),
        (Duration::from_secs(15), 5)
    );

    let listener: ListenSettings = read(LISTENER);
    assert_eq!((listener.unix_mode, listener.tcp.keepalive), (0o660, None));
    assert_eq!(listener.tcp.user_timeout, Some(Duration::from_secs(30)));
}

/// Numbers of bytes that may be without limit.
const SERVERS_BYTES: [&str; 3] = ["max_batch", "max_bytes", "max_bytes_per_connection"];
const PIPELINES_BYTES: [&str; 2] = ["max_bytes", "max_waiting_bytes"];

#[test]
fn bytes_without_limit_are_written_as_a_word_and_read_from_it() {
    let endless = |names: &[&str]| -> String {
        let lines = names.iter().map(|name| format!("{name} = \"unlimited\"\n"));
        lines.collect()
    };
    let server: ServerSettings = read(&endless(&SERVERS_BYTES));
    let mut expected = ServerSettings::default();
    expected.max_batch = usize::MAX;
    expected.max_bytes = usize::MAX;
    expected.max_bytes_per_connection = usize::MAX;
    assert_eq!(server, expected);

    let client: ClientSettings = read(&format!("[pipelining]\n{}", endless(&PIPELINES_BYTES)));
    let pipelining = Pipelining::default()
        .max_bytes(usize::MAX)
        .max_waiting_bytes(usize::MAX);
    assert_eq!(client.pipelining, Some(pipelining));

    let (server, client) = (
        serde_json::to_value(&server).expect("JSON"),
        serde_json::to_value(&client).expect("JSON"),
    );
    for name in SERVERS_BYTES {
        assert_eq!(server[name], "unlimited", "{name}");
    }
    for name in PIPELINES_BYTES {
        assert_eq!(client["pipelining"][name], "unlimited", "{name}");
    }
    let again: ServerSettings = serde_json::from_value(server).expect("settings");
    assert_eq!(again, expected);
    let again: ClientSettings = serde_json::from_value(client).expect("settings");
    assert_eq!(again.pipelining, Some(pipelining));
}

#[test]
fn another_word_for_bytes_is_refused_with_what_is_allowed() {
    let expected = "expected a number, or \"unlimited\"";
    for wrong in ["\"never\"", "\"64 MiB\"", "-1", "1.5"] {
        let mut said = Vec::new();
        for name in SERVERS_BYTES {
            said.push(refused::<ServerSettings>(&format!("{name} = {wrong}")));
            let json = format!("{{\"{name}\": {wrong}}}");
            let json = serde_json::from_str::<ServerSettings>(&json);
            said.push(json.expect_err(wrong).to_string());
        }
        for name in PIPELINES_BYTES {
            let toml = format!("[pipelining]\n{name} = {wrong}");
            said.push(refused::<ClientSettings>(&toml));
            let json = format!("{{\"pipelining\": {{\"{name}\": {wrong}}}}}");
            let json = serde_json::from_str::<ClientSettings>(&json);
            said.push(json.expect_err(wrong).to_string());
        }
        for said in said {
            assert!(said.contains(expected), "{said}");
        }
    }
}

#[test]
fn what_is_not_named_has_its_default() {
    assert_eq!(read::<PoolSettings>(""), PoolSettings::default());
    assert_eq!(read::<ClientSettings>(""), ClientSettings::default());
    assert_eq!(read::<ServerSettings>(""), ServerSettings::default());
    assert_eq!(read::<DialerSettings>(""), DialerSettings::default());
    assert_eq!(read::<ListenSettings>(""), ListenSettings::default());
}

fn refused<T: DeserializeOwned + Debug>(document: &str) -> String {
    toml::from_str::<T>(document)
        .expect_err(document)
        .to_string()
}

#[test]
fn an_unknown_field_is_refused_by_its_name() {
    for said in [
        refused::<PoolSettings>("acquire_timeout = 1"),
        refused::<ClientSettings>("acquire_timeout = 1"),
        refused::<ServerSettings>("acquire_timeout = 1"),
        refused::<DialerSettings>("acquire_timeout = 1"),
        refused::<ListenSettings>("acquire_timeout = 1"),
        refused::<PoolSettings>("[backoff]\nacquire_timeout = 1"),
        refused::<ClientSettings>("[pipelining]\nacquire_timeout = 1"),
        refused::<ClientSettings>("[heartbeat_limit]\nacquire_timeout = 1"),
        refused::<DialerSettings>("[limits]\nacquire_timeout = 1"),
        refused::<ListenSettings>("[tcp]\nacquire_timeout = 1"),
        refused::<ListenSettings>("[tcp.keepalive]\nacquire_timeout = 1"),
    ] {
        assert!(said.contains("unknown field `acquire_timeout`"), "{said}");
    }
}

#[test]
fn what_is_no_time_is_refused_wherever_a_time_is() {
    let huge = i64::MAX.to_string();
    for wrong in [
        "nan", "inf", "-inf", "-1", "-0.5", "1e300", &huge, "\"1 s\"",
    ] {
        let time = |name: &str| format!("{name}_seconds = {wrong}");
        let within = |table: &str, name: &str| format!("[{table}]\n{name}_seconds = {wrong}");
        let mut said = Vec::new();
        for name in [
            "acquire_timeout",
            "connect_timeout",
            "check_timeout",
            "close_timeout",
            "idle_timeout",
            "max_lifetime",
            "outage_grace",
            "leak_threshold",
        ] {
            said.push(refused::<PoolSettings>(&time(name)));
        }
        for name in ["base", "max", "max_while_waiting", "max_when_reached"] {
            said.push(refused::<PoolSettings>(&within("backoff", name)));
        }
        said.push(refused::<PoolSettings>(&within("probe", "when_idle_for")));
        for name in ["deadline", "heartbeat_interval"] {
            said.push(refused::<ClientSettings>(&time(name)));
        }
        for name in [
            "handshake_timeout",
            "header_timeout",
            "body_timeout",
            "write_timeout",
            "idle_timeout",
            "handler_deadline",
            "heartbeat_interval",
        ] {
            said.push(refused::<ServerSettings>(&time(name)));
        }
        said.push(refused::<DialerSettings>(&time("refresh")));
        for name in ["resolve", "connect", "tls"] {
            said.push(refused::<DialerSettings>(&within("limits", name)));
        }
        said.push(refused::<ListenSettings>(&within("tcp", "user_timeout")));
        for name in ["idle", "interval"] {
            said.push(refused::<ListenSettings>(&within("tcp.keepalive", name)));
        }
        for said in said {
            assert!(said.contains("expected a number of seconds"), "{said}");
            assert!(said.contains("_seconds = "), "the line is shown: {said}");
        }
    }
}
