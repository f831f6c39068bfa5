//! When upstreams are ejected.

use std::time::Duration;

/// When an upstream is ejected, and when it is probed. See
/// [`StreamConnector::among`](crate::connectors::StreamConnector::among).
///
/// Fields may be added in a minor release: end a literal with `..Ejection::default()`.
///
/// With the feature `serde` it is read from, and written to, any serde format, as
/// [`PoolSettings`](crate::pool::PoolSettings) are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct Ejection {
    /// After how many consecutive failures. 3: one may be chance, such as a full backlog; two may be
    /// one restart, met before it and in it; and each dial of a third costs a caller time. Zero is
    /// one.
    pub after: u32,
    /// How many upstreams are never ejected, one at the least. `None` is half of them, rounded up:
    /// if more seem to be down, the fault is as likely on this side, and the few that are left
    /// wouldn't bear the load of all.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub floor: Option<u32>,
    /// How long an upstream is spared after its first failure; twice as long after each further one.
    /// 100 ms: a process that restarts is back within a few of these. Each pause is shortened by up
    /// to a half, by chance, so that many clients don't come at once.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "pause_seconds", with = "millpond_words::seconds")
    )]
    pub pause: Duration,
    /// The longest pause, and so the longest that an upstream that works again stays ejected. 5 s: a
    /// fleet of clients doesn't hammer one that is down for hours. At most a year counts.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "max_pause_seconds", with = "millpond_words::seconds")
    )]
    pub max_pause: Duration,
    /// How often each upstream is probed that isn't ejected; `None`, the default: never. One that
    /// fails its probe is ejected at once, if the floor allows it. For upstreams that go on
    /// accepting when they can't serve any more; others are found by the dials of callers.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "probe_interval_seconds",
            with = "millpond_words::seconds::or_never"
        )
    )]
    pub probe_interval: Option<Duration>,
    /// How long a probe may take: the dial, a login, and the [probe](crate::client::ClientBuilder::probe)'s
    /// own exchange. 3 s, as a dial.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "probe_timeout_seconds", with = "millpond_words::seconds")
    )]
    pub probe_timeout: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection {
            after: 3,
            floor: None,
            pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(5),
            probe_interval: None,
            probe_timeout: Duration::from_secs(3),
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_from_documents_and_written_to_them() {
        let read: Ejection = toml::from_str("after = 5\npause_seconds = 0.25").expect("settings");
        let expected = Ejection {
            after: 5,
            pause: Duration::from_millis(250),
            ..Ejection::default()
        };
        assert_eq!(read, expected);
        for settings in [
            Ejection::default(),
            Ejection {
                floor: Some(1),
                probe_interval: Some(Duration::from_secs(2)),
                ..expected
            },
        ] {
            let written = toml::to_string(&settings).expect("a document");
            assert_eq!(toml::from_str(&written), Ok(settings), "{written}");
        }
        toml::from_str::<Ejection>("pause = 1").expect_err("no such field");
    }
}
