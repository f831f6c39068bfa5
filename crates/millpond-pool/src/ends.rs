//! Between which addresses a connection lies, and what the system knows of the way between them:
//! for snapshots, and for a connector to tell which connections a change concerns. The pool itself
//! makes nothing of either.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(untagged))]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// Anything else that has a name: a path.
    Named(Arc<str>),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Ip(address)
    }
}

impl From<Arc<str>> for Address {
    fn from(name: Arc<str>) -> Self {
        Address::Named(name)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Named(name) => name.fmt(f),
        }
    }
}

/// Both ends of a connection, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Ends {
    /// Ours.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub local: Option<Address>,
    /// The other.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub peer: Option<Address>,
}

impl Ends {
    /// A connection of which only the peer is known.
    pub fn to(peer: impl Into<Address>) -> Ends {
        Ends {
            local: None,
            peer: Some(peer.into()),
        }
    }

    /// A connection from one address to another.
    pub fn between(local: impl Into<Address>, peer: impl Into<Address>) -> Ends {
        Ends {
            local: Some(local.into()),
            peer: Some(peer.into()),
        }
    }
}

/// What the system knows of how a connection transmits. A connector that can tell sets the fields of
/// a `Transmission::default()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Transmission {
    /// The smoothed round-trip time.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "rtt_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub rtt: Duration,
    /// How much it varies.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "rtt_variance_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub rtt_variance: Duration,
    /// Segments sent again since the connection was opened.
    pub retransmits: u32,
    /// Segments sent that the peer has not acknowledged yet.
    pub unacknowledged: u32,
}
