//! Upstreams at one instant.

use std::{sync::Arc, time::Duration};

/// One of several upstreams, at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct UpstreamSnapshot {
    /// Its endpoint.
    pub endpoint: Arc<str>,
    /// Connections to it that are open.
    pub open: u32,
    /// Dials under way.
    pub connecting: u32,
    /// How many of both it may have; `None` if only the pool limits them.
    pub max_size: Option<u32>,
    /// Consecutive failures.
    pub failures: u32,
    /// It is ejected.
    pub is_ejected: bool,
    /// For how long it has been.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "ejected_seconds",
            serialize_with = "or_none",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub ejected_for: Option<Duration>,
    /// For how long it is still spared, before it is dialled again, or probed if it is ejected.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "spared_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub spared: Duration,
    /// Its last failure, for people who may see addresses.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub last_failure: Option<UpstreamFailure>,
    /// What has happened since it was made.
    pub totals: UpstreamTotals,
}

/// Why a dial of an upstream, or what it had opened, came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct UpstreamFailure {
    /// What went wrong.
    pub cause: Arc<str>,
    /// How long ago.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "age_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub age: Duration,
}

/// What has happened at an upstream since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct UpstreamTotals {
    /// Connections that were opened, probes not among them.
    pub opened: u64,
    /// Dials and probes that failed, and connections that ended before they had served.
    pub failed: u64,
    /// How often it was ejected.
    pub ejections: u64,
}

#[cfg(feature = "serde")]
fn or_none<S: serde::Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => millpond_words::seconds::serialize(time, to),
        None => to.serialize_none(),
    }
}
