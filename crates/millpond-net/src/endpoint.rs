//! Endpoints: where to dial or to listen, as a value and as text.
//!
//! A text is judged whole, here and before anything is dialled; what it means never depends on a
//! resolver's leniency. Names are not looked up here, and port 0 is left to those who know whether
//! they dial or listen.

mod error;
mod parse;
mod scheme;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

pub use self::error::EndpointError;

/// Where to dial or to listen.
///
/// | text | endpoint |
/// |---|---|
/// | `host:port`, `tcp://host:port` | [`Tcp`](Endpoint::Tcp) |
/// | `tls://host:port`, with the feature `tls` | `Tls` |
/// | `unix:///absolute/path` | [`Unix`](Endpoint::Unix) |
///
/// A host is an IPv4 address, an IPv6 address in brackets, or a [name](HostName); schemes and names
/// may be written in capitals. Nothing follows the port: no path, no query, not even a slash; and
/// there is no user info, so no endpoint holds a password. [`Display`](fmt::Display) writes the
/// canonical text, scheme included, and the same endpoint is read from it. With the feature `serde`
/// an endpoint is that text.
///
/// ```
/// use millpond_net::Endpoint;
///
/// let endpoint: Endpoint = "DB.example.com:5432".parse()?;
/// assert_eq!(endpoint.to_string(), "tcp://db.example.com:5432");
///
/// let error = "tpc://db.example.com:5432".parse::<Endpoint>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"unknown scheme at character 1 of "tpc://db.example.com:5432"; did you mean tcp://?"#
/// );
/// # Ok::<_, millpond_net::EndpointError>(())
/// ```
///
/// # Errors
///
/// Reading a text fails with an [`EndpointError`], which knows the place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String"))]
#[non_exhaustive]
pub enum Endpoint {
    /// Plain TCP.
    Tcp(HostPort),
    /// TLS over TCP.
    #[cfg(feature = "tls")]
    Tls(HostPort),
    /// A Unix stream socket, by its path. A path that is read from text is absolute, fits into a
    /// socket's address (107 bytes on Linux), and has neither control characters nor a slash at
    /// its end; percent signs are literal. A path that was put here otherwise may have no text
    /// that leads back to it: it is written as well as it can be, and refuses to be serialized.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(to) => write!(f, "tcp://{to}"),
            #[cfg(feature = "tls")]
            Endpoint::Tls(to) => write!(f, "tls://{to}"),
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Plain TCP. The scope and the flow label of an IPv6 address are not kept: an endpoint has none,
/// since a scope means something on one machine only.
impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint::Tcp(HostPort {
            host: Host::Address(address.ip()),
            port: address.port(),
        })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;

        let text = self.to_string();
        match text.parse::<Endpoint>() {
            Ok(same) if same == *self => serializer.serialize_str(&text),
            Ok(_) => Err(S::Error::custom(
                "a socket's path that isn't UTF-8 has no text; rename it",
            )),
            Err(error) => Err(S::Error::custom(error)),
        }
    }
}

/// A host and a port: `db.example.com:5432`, `127.0.0.1:80`, `[::1]:80`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port. 0 leaves the choice to the system when listening, and can't be dialled.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A host: an address, or a name that is looked up at each dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address. IPv6 is written in brackets.
    Address(IpAddr),
    /// A name.
    Name(HostName),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Name(name) => write!(f, "{name}"),
        }
    }
}

/// The name of a host, in small letters.
///
/// As RFC 1123 has it, and with underscores, which names in practice have: at most 253 characters;
/// labels of 1 to 63 letters, digits, `-` and `_`, which neither begin nor end with `-`; one dot at
/// the end is allowed, and kept, for it keeps resolvers from trying search domains. Other than
/// ASCII has to be written as `xn--…`. What resolvers take for a number, and therefore for an
/// address (`1.2.3`, `0127.0.0.1`, `0x7f.1`), is no name.
///
/// ```
/// use millpond_net::HostName;
///
/// assert_eq!("DB_1.example.com.".parse::<HostName>()?.as_str(), "db_1.example.com.");
/// # Ok::<_, millpond_net::EndpointError>(())
/// ```
///
/// # Errors
///
/// Reading a text fails with an [`EndpointError`] whose position is that in the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
