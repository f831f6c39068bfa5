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
    /// For how long it is still spared, before it is dialled again, or probed if it is ejected.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "spared_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub spared: Duration,
}
