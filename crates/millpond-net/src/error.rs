//! Why an endpoint could not be reached: in which phase, at which addresses, after how long, and
//! what to do about it. What the system, TLS or a hook said is the source; [`Chain`](crate::Chain)
//! prints it behind the rest.

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use millpond_words::{Plain, Span};

/// What a dial does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DialPhase {
    /// It looks the name up.
    Resolve,
    /// It connects to one address or two.
    Connect,
    /// It shakes hands.
    Tls,
    /// The connection is being prepared, by a hook on its stream.
    Hook,
    /// A client logs in on it.
    Login,
}

impl DialPhase {
    /// As it goes on after "while".
    pub fn doing(self) -> &'static str {
        match self {
            DialPhase::Resolve => "resolving the name",
            DialPhase::Connect => "connecting",
            DialPhase::Tls => "in the TLS handshake",
            DialPhase::Hook => "preparing the connection",
            DialPhase::Login => "logging in",
        }
    }
}

/// An endpoint that could not be reached.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectError {
    /// The endpoint, as text.
    pub endpoint: Arc<str>,
    /// How long it took to find out.
    pub elapsed: Duration,
    /// Why.
    pub cause: ConnectFailure,
}

/// Why an endpoint could not be reached.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The name could not be looked up, and no earlier answer is known.
    Resolve(io::Error),
    /// The name is known, and has no address.
    NoAddress,
    /// Every address that was tried failed or didn't answer.
    Unreachable {
        /// What was tried, in the order in which it failed. A Unix socket has no address.
        attempts: Vec<ConnectAttempt>,
        /// That looking the name up again failed, if it did: the addresses are of an earlier
        /// answer.
        stale: Option<io::Error>,
    },
    /// A phase other than connecting took longer than its limit.
    TimedOut {
        /// Which.
        phase: DialPhase,
        /// Its limit.
        limit: Duration,
    },
    /// The system's certificate authorities, which TLS endpoints are checked by unless told
    /// otherwise, could not be read.
    #[cfg(feature = "tls")]
    TlsSettings(Box<super::tls::TlsConfigError>),
    /// The handshake failed.
    #[cfg(feature = "tls")]
    Tls {
        /// With whom.
        address: SocketAddr,
        /// Why.
        error: Box<super::tls::TlsError>,
    },
    /// The name of the endpoint can't be checked against a certificate.
    #[cfg(feature = "tls")]
    NoServerName,
    /// The port 0 can be listened on, but not be dialled.
    PortZero,
    /// The stream isn't dialled but opened by a function, which failed.
    Open(Box<dyn Error + Send + Sync>),
    /// The hook that prepares a connection failed.
    Hook(Box<dyn Error + Send + Sync>),
    /// A client's login on the connection failed.
    Login(Box<dyn Error + Send + Sync>),
}

/// An endpoint that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {endpoint}")]
#[non_exhaustive]
pub struct ListenError {
    /// The endpoint, as text.
    pub endpoint: Arc<str>,
    /// Why.
    #[source]
    pub cause: ListenFailure,
}

/// Why an endpoint could not be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenFailure {
    /// The name could not be looked up.
    #[error("its name could not be looked up")]
    Resolve(#[source] io::Error),
    /// The name has no address.
    #[error("its name has no address")]
    NoAddress,
    /// The system refused.
    #[error("{}", listening_hint(.0))]
    Socket(#[from] io::Error),
    /// There is a file at the socket's path that is no socket.
    #[error(
        "there is a file or a folder at this path, and no socket: choose another path, or remove it"
    )]
    NotASocket,
    /// A TLS endpoint, and no certificate to show.
    #[cfg(feature = "tls")]
    #[error("it speaks TLS, and no certificate was given: set ListenOptions::tls")]
    NoTlsSettings,
}

fn listening_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "somebody listens there already; stop that, or choose another",
        io::ErrorKind::AddrNotAvailable => "that isn't an address of this machine",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 and others' folders are not for everybody; choose another, or run it with that right"
        }
        io::ErrorKind::NotFound => "the folder doesn't exist",
        _ => "the system refuses",
    }
}

/// One address, tried in vain.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectAttempt {
    /// Which.
    pub address: Option<SocketAddr>,
    /// Why.
    pub error: io::Error,
    /// What that means, and what to do. `None` where there is nothing to add, and always without
    /// the feature `kernel`.
    pub explanation: Option<String>,
}

impl fmt::Display for ConnectAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address}: ")?;
        }
        match &self.explanation {
            Some(explanation) => write!(f, "{} ({explanation})", Plain(&self.error)),
            None => Plain(&self.error).fmt(f),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} could not be reached, after {}: {}",
            self.endpoint,
            Span(self.elapsed),
            self.cause
        )
    }
}

impl ConnectError {
    /// Whether nothing listens there: every address refused, or the Unix socket's file doesn't
    /// exist, or the function that opens streams has said either.
    pub fn is_refused(&self) -> bool {
        let refused = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            )
        };
        match &self.cause {
            ConnectFailure::Unreachable { attempts, .. } => {
                attempts.iter().all(|attempt| refused(&attempt.error))
            }
            ConnectFailure::Open(error) => error.downcast_ref().is_some_and(refused),
            _ => false,
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectFailure::Resolve(_) => f.write_str("its name could not be looked up"),
            ConnectFailure::NoAddress => f.write_str("its name has no address"),
            ConnectFailure::Unreachable { attempts, stale } => {
                if let Some(error) = stale {
                    write!(f, "looking its name up again failed: {}; ", Plain(error))?;
                }
                write_attempts(f, attempts)
            }
            ConnectFailure::TimedOut { phase, limit } => {
                write!(f, "no answer within {}, while {}", Span(*limit), phase.doing())
            }
            #[cfg(feature = "tls")]
            ConnectFailure::Tls { address, .. } => write!(f, "the TLS handshake with {address} failed"),
            #[cfg(feature = "tls")]
            ConnectFailure::TlsSettings(_) => f.write_str("there are no CA certificates to check its certificate by"),
            #[cfg(feature = "tls")]
            ConnectFailure::NoServerName => f.write_str(
                "its name can be in no certificate: set the name that the server's certificate is for with server_name",
            ),
            ConnectFailure::PortZero => f.write_str("port 0 can't be dialled: give the port that the server listens on"),
            ConnectFailure::Open(_) => f.write_str("opening the stream failed"),
            ConnectFailure::Hook(_) => f.write_str("preparing the connection failed"),
            ConnectFailure::Login(_) => f.write_str("the login failed"),
        }
    }
}

/// All attempts; what the last one failed by is the source.
fn write_attempts(f: &mut fmt::Formatter<'_>, attempts: &[ConnectAttempt]) -> fmt::Result {
    let Some((last, before)) = attempts.split_last() else {
        return f.write_str("no address was tried");
    };
    for attempt in before {
        write!(f, "{attempt}; ")?;
    }
    match (last.address, &last.explanation) {
        (Some(address), Some(explanation)) => write!(f, "{address} ({explanation})"),
        (Some(address), None) => write!(f, "{address}"),
        (None, Some(explanation)) => f.write_str(explanation),
        (None, None) => f.write_str("connecting failed"),
    }
}

/// The text has the cause's in it; the source is the cause's.
impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

impl Error for ConnectFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ConnectFailure::Resolve(error) => Some(error),
            ConnectFailure::Unreachable { attempts, .. } => Some(&attempts.last()?.error),
            ConnectFailure::TimedOut { .. }
            | ConnectFailure::NoAddress
            | ConnectFailure::PortZero => None,
            #[cfg(feature = "tls")]
            ConnectFailure::Tls { error, .. } => Some(&**error),
            #[cfg(feature = "tls")]
            ConnectFailure::TlsSettings(error) => Some(&**error),
            #[cfg(feature = "tls")]
            ConnectFailure::NoServerName => None,
            ConnectFailure::Open(error)
            | ConnectFailure::Hook(error)
            | ConnectFailure::Login(error) => Some(&**error),
        }
    }
}

/// The kernel chose as our own port the one that we connect to, and TCP connected the socket with
/// itself (simultaneous open): what nobody listens on seems to be there, and echoes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectedToItself;

impl fmt::Display for ConnectedToItself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the socket connected to itself, for nothing listens on that port and it is one that the system hands out")
    }
}

impl Error for ConnectedToItself {}

impl From<ConnectedToItself> for io::Error {
    /// Refused: that is what it would have been with any other port of our own.
    fn from(error: ConnectedToItself) -> Self {
        io::Error::new(io::ErrorKind::ConnectionRefused, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(code: i32, explanation: Option<&str>) -> ConnectAttempt {
        ConnectAttempt {
            address: Some(([10, 0, 0, 1], 80).into()),
            error: io::Error::from_raw_os_error(code),
            explanation: explanation.map(str::to_owned),
        }
    }

    fn error(cause: ConnectFailure) -> ConnectError {
        ConnectError {
            endpoint: Arc::from("tcp://db:80"),
            elapsed: Duration::from_millis(1_200),
            cause,
        }
    }

    #[test]
    fn an_error_names_the_endpoint_the_addresses_and_the_time() {
        let refused = attempt(111, Some("nothing listens there"));
        let unreachable = error(ConnectFailure::Unreachable {
            attempts: vec![refused, attempt(110, None)],
            stale: None,
        });
        assert_eq!(
            millpond_words::Chain(&unreachable).to_string(),
            "tcp://db:80 could not be reached, after 1.2 s: 10.0.0.1:80: connection refused (nothing listens there); \
             10.0.0.1:80: connection timed out"
        );
        let slow = error(ConnectFailure::TimedOut {
            phase: DialPhase::Tls,
            limit: Duration::from_secs(1),
        });
        assert_eq!(
            slow.to_string(),
            "tcp://db:80 could not be reached, after 1.2 s: no answer within 1 s, while in the TLS handshake"
        );
    }

    #[test]
    fn what_failed_last_is_the_source_and_not_in_the_text() {
        let system = io::Error::from_raw_os_error;
        let unreachable = |attempts, stale| ConnectFailure::Unreachable { attempts, stale };
        for cause in [
            ConnectFailure::Resolve(system(110)),
            unreachable(vec![attempt(111, None)], None),
            unreachable(vec![attempt(111, Some("nothing listens there"))], None),
            unreachable(
                vec![attempt(113, None), attempt(111, None)],
                Some(system(5)),
            ),
            ConnectFailure::Open(Box::new(system(111))),
            ConnectFailure::Hook(Box::new(system(104))),
            #[cfg(feature = "tls")]
            ConnectFailure::Tls {
                address: ([10, 0, 0, 1], 443).into(),
                error: Box::new(crate::tls::TlsError::Truncated),
            },
            #[cfg(feature = "tls")]
            ConnectFailure::TlsSettings(Box::new(crate::tls::TlsConfigError::NoIdentity)),
        ] {
            let error = error(cause);
            let source = error.source().expect("a cause").to_string();
            let plain = source
                .split(" (os error")
                .next()
                .expect("words")
                .to_lowercase();
            assert!(
                !error.to_string().to_lowercase().contains(&plain),
                "{error}: {source}"
            );
        }
    }

    #[test]
    fn refused_by_some_addresses_is_not_refused() {
        let is_refused = |codes: &[i32]| {
            let attempts = codes.iter().map(|&code| attempt(code, None)).collect();
            error(ConnectFailure::Unreachable {
                attempts,
                stale: None,
            })
            .is_refused()
        };
        assert!(is_refused(&[111, 111]));
        assert!(is_refused(&[2]), "a Unix socket's file");
        assert!(!is_refused(&[111, 113, 111]));
        let hook = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(
            !error(ConnectFailure::Hook(hook.into())).is_refused(),
            "the endpoint was reached"
        );
        let opening = |code| ConnectFailure::Open(io::Error::from_raw_os_error(code).into());
        assert!(error(opening(111)).is_refused());
        assert!(!error(opening(113)).is_refused());
        assert_eq!(
            io::Error::from(ConnectedToItself).kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}
