//! Settings: their defaults, each with its reason, and the one place where they are validated.

use std::time::Duration;

pub use millpond_words::InvalidSetting;

use super::limits::{HeartbeatLimit, LONGEST};
use crate::framed::validate_heartbeats;

/// A server's settings; the setters of [`ServerBuilder`](super::ServerBuilder) explain each.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_connections: usize,
    pub(super) max_connections_per_address: Option<usize>,
    pub(super) max_in_flight: usize,
    pub(super) max_handled: usize,
    pub(super) max_batch: usize,
    pub(super) max_bytes: usize,
    pub(super) max_bytes_per_connection: usize,
    pub(super) handshake_timeout: Duration,
    pub(super) header_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) least_rate: u32,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) handler_deadline: Option<Duration>,
    pub(super) heartbeat_interval: Duration,
    pub(super) heartbeat_limit: HeartbeatLimit,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
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
    /// There is no runtime here for its tasks.
    #[error("a server needs a tokio runtime to run on: call serve() inside one")]
    NoRuntime,
    /// The listener doesn't know where it listens.
    #[error("the listener can't tell where it listens")]
    Listener(#[source] std::io::Error),
}

impl Settings {
    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
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
        assert_eq!(Settings::default().validate(), Ok(()));
        let named = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
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
}
