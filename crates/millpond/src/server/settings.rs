//! ServerSettings: their defaults, each with its reason, and the one place where they are
//! validated.

use std::time::Duration;

pub use millpond_words::InvalidSetting;

use super::limits::{HeartbeatLimit, LONGEST};
use crate::framed::validate_heartbeats;

/// A server's settings, as [`ServerBuilder`](super::ServerBuilder) sets them; its methods document
/// each, with its default and the reason for it.
///
/// With the feature `serde` they serialize and deserialize. Times are in seconds, as
/// `idle_timeout_seconds`. `"never"` stands for a time without limit, `"unlimited"` for a number
/// of connections from one address or a number of bytes without limit; in the latter that is
/// [`usize::MAX`]. What isn't named keeps its default, and an unknown name is an error.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use millpond::server::{Server, ServerSettings, raw};
///
/// let settings: ServerSettings = serde_json::from_str(
///     r#"{"max_connections": 500, "handler_deadline_seconds": 2.5, "idle_timeout_seconds": "never"}"#,
/// )?;
/// let builder = Server::builder(raw(async |body: bytes::Bytes| Ok(body))).settings(settings);
/// # let _ = builder;
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct ServerSettings {
    /// See [`ServerBuilder::max_connections`](super::ServerBuilder::max_connections).
    pub max_connections: usize,
    /// See [`ServerBuilder::max_connections_per_address`](super::ServerBuilder::max_connections_per_address).
    #[cfg_attr(feature = "serde", serde(with = "millpond_words::counts"))]
    pub max_connections_per_address: Option<usize>,
    /// See [`ServerBuilder::max_in_flight`](super::ServerBuilder::max_in_flight).
    pub max_in_flight: usize,
    /// See [`ServerBuilder::max_handled`](super::ServerBuilder::max_handled).
    pub max_handled: usize,
    /// See [`ServerBuilder::max_batch`](super::ServerBuilder::max_batch).
    #[cfg_attr(
        feature = "serde",
        serde(with = "millpond_words::counts::max_is_unlimited")
    )]
    pub max_batch: usize,
    /// See [`ServerBuilder::max_bytes`](super::ServerBuilder::max_bytes).
    #[cfg_attr(
        feature = "serde",
        serde(with = "millpond_words::counts::max_is_unlimited")
    )]
    pub max_bytes: usize,
    /// See [`ServerBuilder::max_bytes_per_connection`](super::ServerBuilder::max_bytes_per_connection).
    #[cfg_attr(
        feature = "serde",
        serde(with = "millpond_words::counts::max_is_unlimited")
    )]
    pub max_bytes_per_connection: usize,
    /// See [`ServerBuilder::handshake_timeout`](super::ServerBuilder::handshake_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "handshake_timeout_seconds", with = "millpond_words::seconds")
    )]
    pub handshake_timeout: Duration,
    /// See [`ServerBuilder::header_timeout`](super::ServerBuilder::header_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "header_timeout_seconds", with = "millpond_words::seconds")
    )]
    pub header_timeout: Duration,
    /// See [`ServerBuilder::body_timeout`](super::ServerBuilder::body_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "body_timeout_seconds", with = "millpond_words::seconds")
    )]
    pub body_timeout: Duration,
    /// See [`ServerBuilder::write_timeout`](super::ServerBuilder::write_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "write_timeout_seconds", with = "millpond_words::seconds")
    )]
    pub write_timeout: Duration,
    /// See [`ServerBuilder::least_rate`](super::ServerBuilder::least_rate).
    pub least_rate: u32,
    /// See [`ServerBuilder::idle_timeout`](super::ServerBuilder::idle_timeout).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "idle_timeout_seconds",
            with = "millpond_words::seconds::or_never"
        )
    )]
    pub idle_timeout: Option<Duration>,
    /// See [`ServerBuilder::handler_deadline`](super::ServerBuilder::handler_deadline).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "handler_deadline_seconds",
            with = "millpond_words::seconds::or_never"
        )
    )]
    pub handler_deadline: Option<Duration>,
    /// See [`ServerBuilder::heartbeat_interval`](super::ServerBuilder::heartbeat_interval).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "heartbeat_interval_seconds",
            with = "millpond_words::seconds"
        )
    )]
    pub heartbeat_interval: Duration,
    /// See [`ServerBuilder::heartbeat_limit`](super::ServerBuilder::heartbeat_limit).
    pub heartbeat_limit: HeartbeatLimit,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            max_connections: 10_000,
            max_connections_per_address: Some(1_000),
            max_in_flight: 16,
            max_handled: 1_000,
            max_batch: 64 << 10,
            max_bytes: 256 << 20,
            max_bytes_per_connection: 4 << 20,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            least_rate: 16 << 10,
            idle_timeout: Some(Duration::from_secs(3_600)),
            handler_deadline: Some(Duration::from_secs(30)),
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_limit: HeartbeatLimit::default(),
        }
    }
}

/// Why a server didn't begin to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// `serve` was called outside a tokio runtime.
    #[error("a server needs a tokio runtime to run on: call serve() inside one")]
    NoRuntime,
    /// The listener's own address can't be read.
    #[error("the listener can't tell where it listens")]
    Listener(#[source] std::io::Error),
}

impl ServerSettings {
    /// Checks that each is within its range, as [`ServerBuilder::serve`](super::ServerBuilder::serve)
    /// does: for programs that read settings before they listen.
    ///
    /// # Errors
    ///
    /// Names the first that isn't.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let counts = [
            ("max_connections", self.max_connections),
            (
                "max_connections_per_address",
                self.max_connections_per_address.unwrap_or(1),
            ),
            ("max_in_flight", self.max_in_flight),
            ("max_handled", self.max_handled),
            ("max_batch", self.max_batch),
            ("max_bytes", self.max_bytes),
            ("max_bytes_per_connection", self.max_bytes_per_connection),
            ("least_rate", to_usize(self.least_rate)),
        ];
        for (setting, value) in counts {
            if value == 0 {
                return Err(InvalidSetting::new(setting, "0".into(), "at least 1"));
            }
        }
        let times = [
            ("handshake_timeout", Some(self.handshake_timeout)),
            ("header_timeout", Some(self.header_timeout)),
            ("body_timeout", Some(self.body_timeout)),
            ("write_timeout", Some(self.write_timeout)),
            ("idle_timeout", self.idle_timeout),
            ("handler_deadline", self.handler_deadline),
        ];
        for (setting, time) in times {
            if time.is_some_and(|time| time.is_zero() || time > LONGEST) {
                let value = format!("{:?}", time.unwrap_or_default());
                return Err(InvalidSetting::new(
                    setting,
                    value,
                    "above zero, and a year at most",
                ));
            }
        }
        validate_heartbeats(self.heartbeat_interval, self.heartbeat_limit)
    }
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_zeros_and_ages_are_named() {
        assert_eq!(ServerSettings::default().validate(), Ok(()));
        let named = |change: fn(&mut ServerSettings)| {
            let mut settings = ServerSettings::default();
            change(&mut settings);
            settings.validate().map_err(|error| error.setting)
        };
        assert_eq!(named(|s| s.max_in_flight = 0), Err("max_in_flight"));
        assert_eq!(
            named(|s| s.write_timeout = Duration::ZERO),
            Err("write_timeout")
        );
        assert_eq!(
            named(|s| s.idle_timeout = Some(Duration::MAX)),
            Err("idle_timeout")
        );
        assert_eq!(
            named(|s| s.heartbeat_interval = Duration::MAX),
            Err("heartbeat_interval")
        );
        assert_eq!(
            named(|s| s.heartbeat_interval = Duration::ZERO),
            Ok(()),
            "none are sent"
        );
        assert_eq!(named(|s| s.idle_timeout = None), Ok(()));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_come_back_as_they_were_written() {
        let read = |text: &str| serde_json::from_str::<ServerSettings>(text);
        assert_eq!(read("{}").expect("settings"), ServerSettings::default());
        let settings = ServerSettings {
            max_connections: 7,
            max_connections_per_address: None,
            max_in_flight: 8,
            max_handled: 9,
            max_batch: 10,
            max_bytes: 11,
            max_bytes_per_connection: 12,
            handshake_timeout: Duration::from_millis(1_250),
            header_timeout: Duration::from_nanos(1_000_000_001),
            body_timeout: Duration::from_micros(3),
            write_timeout: LONGEST,
            least_rate: 13,
            idle_timeout: None,
            handler_deadline: Some(Duration::from_millis(1)),
            heartbeat_interval: Duration::ZERO,
            heartbeat_limit: HeartbeatLimit {
                burst: 14,
                per_second: 15,
            },
        };
        for settings in [settings, ServerSettings::default()] {
            let text = serde_json::to_string(&settings).expect("JSON");
            assert_eq!(read(&text).expect("settings"), settings, "{text}");
        }
        let value = serde_json::to_value(ServerSettings::default()).expect("JSON");
        assert_eq!(value["handshake_timeout_seconds"], 10.0);
        assert_eq!(value["idle_timeout_seconds"], 3_600.0);
        assert_eq!(value["heartbeat_limit"]["per_second"], 20);

        // TOML has no null, so no limit is a word; where there is null it means the same.
        let text =
            r#"{"idle_timeout_seconds": "never", "max_connections_per_address": "unlimited"}"#;
        for text in [
            text,
            &text
                .replace("\"never\"", "null")
                .replace("\"unlimited\"", "null"),
        ] {
            let settings = read(text).expect("settings");
            assert_eq!(settings.idle_timeout, None, "{text}");
            assert_eq!(settings.max_connections_per_address, None, "{text}");
            let value = serde_json::to_value(&settings).expect("JSON");
            assert_eq!(value["idle_timeout_seconds"], "never");
            assert_eq!(value["max_connections_per_address"], "unlimited");
        }
        let whole = read(r#"{"handler_deadline_seconds": 2, "max_connections_per_address": 3}"#);
        let whole = whole.expect("settings");
        assert_eq!(whole.handler_deadline, Some(Duration::from_secs(2)));
        assert_eq!(whole.max_connections_per_address, Some(3));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_setting_that_is_unknown_or_no_time_is_refused_with_its_name() {
        let refused = |text: &str| {
            let read = serde_json::from_str::<ServerSettings>(text);
            read.expect_err(text).to_string()
        };
        for unknown in [
            r#"{"max_conections": 1}"#,
            r#"{"idle_timeout": 1}"#,
            r#"{"heartbeat_limit": {"burst": 1, "per_seconds": 1}}"#,
        ] {
            assert!(refused(unknown).starts_with("unknown field"), "{unknown}");
        }
        for wrong in [
            r#"{"idle_timeout_seconds": "ever"}"#,
            r#"{"idle_timeout_seconds": "10 s"}"#,
        ] {
            let expected = "a number of seconds, or \"never\"";
            assert!(refused(wrong).contains(expected), "{wrong}");
        }
        for wrong in ["-1", "1.5", "\"never\""] {
            let text = format!(r#"{{"max_connections_per_address": {wrong}}}"#);
            assert!(refused(&text).contains("a number, or"), "{text}");
        }
        for no_time in ["-1", "1e300", "-0.5"] {
            let text = format!(r#"{{"write_timeout_seconds": {no_time}}}"#);
            assert!(
                refused(&text).contains("expected a number of seconds"),
                "{text}"
            );
            let text = format!(r#"{{"idle_timeout_seconds": {no_time}}}"#);
            assert!(
                refused(&text).contains("expected a number of seconds"),
                "{text}"
            );
        }
    }
}
