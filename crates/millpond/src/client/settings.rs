//! A client's settings: their defaults, and the one place where they are validated.

use std::time::Duration;

use millpond_words::Span;

use super::pipelined::Pipelining;
use crate::{
    framed::{HeartbeatLimit, validate_heartbeats},
    pool::InvalidSetting,
};

/// Longer pauses are a mistake.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a reply that is an error object stands for. It is legal data as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ErrorReplies {
    /// The request has failed: [`RequestError::Refused`](super::RequestError::Refused). The default, for that is how our server
    /// means it.
    #[default]
    AreErrors,
    /// It is a reply like any other.
    AreReplies,
}

/// A client's settings, as [`ClientBuilder`](super::ClientBuilder) sets them; its methods document
/// each, with its default and the reason for it. The framing, the login and the pool's settings are
/// not among them.
///
/// With the feature `serde` they serialize and deserialize. Times are in seconds, as
/// `deadline_seconds`. `"unlimited"` stands for a number of bytes without limit. What isn't named
/// keeps its default, and an unknown name is an error.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use millpond::client::{Client, ClientSettings};
///
/// let settings: ClientSettings = serde_json::from_str(
///     r#"{"deadline_seconds": 2.5, "pipelining": {"depth": 32}, "error_replies": "are_replies"}"#,
/// )?;
/// let builder = Client::to("localhost:7000")?.settings(settings);
/// # let _ = builder;
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct ClientSettings {
    /// See [`ClientBuilder::deadline`](super::ClientBuilder::deadline).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "deadline_seconds", with = "millpond_words::seconds")
    )]
    pub deadline: Duration,
    /// See [`ClientBuilder::error_replies`](super::ClientBuilder::error_replies).
    pub error_replies: ErrorReplies,
    /// See [`ClientBuilder::heartbeat_interval`](super::ClientBuilder::heartbeat_interval).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "heartbeat_interval_seconds",
            with = "millpond_words::seconds"
        )
    )]
    pub heartbeat_interval: Duration,
    /// See [`ClientBuilder::heartbeat_limit`](super::ClientBuilder::heartbeat_limit).
    pub heartbeat_limit: HeartbeatLimit,
    /// See [`ClientBuilder::connect_pause`](super::ClientBuilder::connect_pause).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "connect_pause_seconds", with = "millpond_words::seconds")
    )]
    pub connect_pause: Duration,
    /// See [`ClientBuilder::request_pause`](super::ClientBuilder::request_pause).
    #[cfg_attr(
        feature = "serde",
        serde(rename = "request_pause_seconds", with = "millpond_words::seconds")
    )]
    pub request_pause: Duration,
    /// See [`ClientBuilder::pipelined`](super::ClientBuilder::pipelined). `None`: one exchange on a
    /// connection at a time.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub pipelining: Option<Pipelining>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            deadline: Duration::from_secs(30),
            error_replies: ErrorReplies::default(),
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_limit: HeartbeatLimit::default(),
            connect_pause: Duration::ZERO,
            request_pause: Duration::ZERO,
            pipelining: None,
        }
    }
}

impl ClientSettings {
    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        if self.deadline.is_zero() {
            return Err(InvalidSetting::new("deadline", "0ns".into(), "more than 0"));
        }
        validate_heartbeats(self.heartbeat_interval, self.heartbeat_limit)?;
        for (setting, pause) in [
            ("connect_pause", self.connect_pause),
            ("request_pause", self.request_pause),
        ] {
            if pause >= YEAR {
                return Err(InvalidSetting::new(
                    setting,
                    Span(pause).to_string(),
                    "less than a year",
                ));
            }
        }
        if !self.request_pause.is_zero() && self.pipelining.is_some() {
            let (value, expected) = (
                Span(self.request_pause).to_string(),
                "0 for a pipelined client",
            );
            return Err(InvalidSetting::new("request_pause", value, expected));
        }
        self.pipelining
            .map_or(Ok(()), |pipelining| pipelining.validate())
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClientSettings, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn settings_come_back_as_they_were_written() {
        assert_eq!(read("{}").expect("settings"), ClientSettings::default());
        let settings = ClientSettings {
            deadline: Duration::from_nanos(1_000_000_001),
            error_replies: ErrorReplies::AreReplies,
            heartbeat_interval: Duration::ZERO,
            heartbeat_limit: HeartbeatLimit {
                burst: 14,
                per_second: 15,
            },
            connect_pause: Duration::from_millis(16),
            request_pause: Duration::from_millis(17),
            pipelining: Some(
                Pipelining::default()
                    .depth(7)
                    .max_bytes(8)
                    .max_waiting_bytes(9),
            ),
        };
        for settings in [settings, ClientSettings::default()] {
            let text = serde_json::to_string(&settings).expect("JSON");
            assert_eq!(read(&text).expect("settings"), settings, "{text}");
        }
        let value = serde_json::to_value(ClientSettings::default()).expect("JSON");
        assert_eq!(value["deadline_seconds"], 30.0);
        assert_eq!(value["error_replies"], "are_errors");
        assert_eq!(value["heartbeat_interval_seconds"], 10.0);
        assert_eq!(value["pipelining"], serde_json::Value::Null);
        let partly = read(r#"{"pipelining": {"depth": 3}}"#).expect("settings");
        assert_eq!(partly.pipelining, Some(Pipelining::default().depth(3)));
    }

    #[test]
    fn an_unknown_name_and_what_is_no_time_are_refused() {
        for text in [
            r#"{"dedline_seconds": 1}"#,
            r#"{"deadline": 1}"#,
            r#"{"deadline_seconds": -1}"#,
            r#"{"deadline_seconds": "1 s"}"#,
            r#"{"pipelining": {"dephth": 3}}"#,
            r#"{"heartbeat_limit": {"bust": 3}}"#,
            r#"{"error_replies": "maybe"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let named = |text: &str| {
            let settings = read(text).expect("settings");
            settings.validate().map_err(|error| error.setting)
        };
        assert_eq!(named("{}"), Ok(()));
        assert_eq!(named(r#"{"deadline_seconds": 0}"#), Err("deadline"));
        assert_eq!(
            named(r#"{"heartbeat_interval_seconds": 1e9}"#),
            Err("heartbeat_interval")
        );
        for (text, setting) in [
            (r#"{"connect_pause_seconds": 1e9}"#, "connect_pause"),
            (r#"{"request_pause_seconds": 1e9}"#, "request_pause"),
            (
                r#"{"request_pause_seconds": 0.1, "pipelining": {}}"#,
                "request_pause",
            ),
        ] {
            assert_eq!(named(text), Err(setting));
        }
        assert_eq!(
            named(r#"{"pipelining": {"max_waiting_bytes": 0}}"#),
            Err("max_waiting_bytes")
        );
        assert_eq!(
            named(r#"{"pipelining": {"depth": 0}}"#),
            Err("depth"),
            "what is written by hand is told, and not mended"
        );
    }
}
