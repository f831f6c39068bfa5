//! The settings that a route has beside those of its server and its client.

use std::time::Duration;

/// A route's settings, as [`RouteBuilder`](super::RouteBuilder) sets them; its methods document each, with its default
/// and the reason for it. Those of the clients' side are the [server](crate::server)'s, those of the
/// upstream's side the [client](crate::client)'s.
///
/// With the feature `serde` they serialize and deserialize. Times are in seconds, as
/// `max_pin_age_seconds`, and `"never"` stands for a time without limit. What isn't named keeps its
/// default, and an unknown name is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RouteSettings {
    /// See [`RouteBuilder::session`](super::RouteBuilder::session).
    pub session: bool,
    /// See [`RouteBuilder::max_pins`](super::RouteBuilder::max_pins).
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_pins: Option<u32>,
    /// See [`RouteBuilder::max_pin_age`](super::RouteBuilder::max_pin_age).
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "max_pin_age_seconds",
            with = "millpond_words::seconds::or_never"
        )
    )]
    pub max_pin_age: Option<Duration>,
}

impl Default for RouteSettings {
    fn default() -> Self {
        RouteSettings {
            session: false,
            max_pins: None,
            max_pin_age: Some(Duration::from_secs(10 * 60)),
        }
    }
}
