//! What can go wrong in handshakes and streams, sorted by who has to act. It is here that rustls's
//! errors are told apart; nothing else looks into them.
//!
//! What rustls says is an error's source where it adds something for people, or tells it shorter
//! than the text does; a field where the text has put all of it into words.

use std::{io, time::Duration};

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError,
    pki_types::{ServerName, UnixTime},
};

/// How many of a certificate's names an error repeats.
const NAMED: usize = 8;

/// Which side of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We connected.
    Client,
    /// We accepted.
    Server,
}

/// Why a handshake, or a stream after it, failed. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificate has expired: whoever runs the peer has to renew it, unless the clock
    /// of this machine is wrong.
    #[error(
        "the peer's certificate expired{}: it has to be renewed there, unless this machine's clock is wrong",
        .ago.map(|ago| format!(" {} ago", words(ago))).unwrap_or_default()
    )]
    CertificateExpired {
        /// How long ago, if rustls says so.
        ago: Option<Duration>,
        /// What rustls says.
        source: Error,
    },
    /// The peer's certificate is not valid yet: usually one of the two clocks is wrong.
    #[error(
        "the peer's certificate isn't valid yet{}: check this machine's clock, and when the certificate was made to begin",
        .starts_in.map(|time| format!(", but in {}", words(time))).unwrap_or_default()
    )]
    CertificateNotYetValid {
        /// In how long it will be, if rustls says so.
        starts_in: Option<Duration>,
        /// What rustls says.
        source: Error,
    },
    /// The peer's certificate is for other names than the one by which it was reached.
    #[error(
        "the peer's certificate isn't for {expected:?}, but for {}: connect by such a name, or set it with server_name",
        list(presented)
    )]
    WrongName {
        /// The name that the certificate should hold; empty if rustls doesn't say.
        expected: String,
        /// The names that it holds, as far as rustls says.
        presented: Vec<String>,
        /// What rustls says.
        source: Error,
    },
    /// No CA that is trusted here has issued the peer's certificate.
    #[error(
        "no CA that is trusted here issued the peer's certificate: give its CA with {}, or let the peer send the intermediate certificates",
        match .side { Side::Client => "ca_file", Side::Server => "client_ca_file" }
    )]
    UnknownIssuer {
        /// Which side we are.
        side: Side,
        /// What rustls says.
        source: Error,
    },
    /// The peer shows the certificate of a CA as its own.
    #[error(
        "the peer's certificate is that of a CA, which can't be a peer's own as well: `openssl req -x509` makes such ones unless it \
         is told -addext basicConstraints=critical,CA:FALSE; it has to be replaced there"
    )]
    CaUsedAsEndEntity {
        /// What rustls says, which tells people nothing more.
        error: Error,
    },
    /// The peer's certificate is unfit in another way: revoked, forged, for another purpose.
    /// Whoever runs the peer has to act.
    #[error(
        "the peer's certificate can't be accepted, and has to be replaced there: {}",
        fault(error)
    )]
    CertificateRejected {
        /// What rustls says: told in the text, in words.
        error: Error,
    },
    /// The peer demands a certificate, and was given none.
    #[error("the peer demands a client certificate: give one with identity_files")]
    CertificateRequired {
        /// What rustls says.
        source: Error,
    },
    /// The client presented no certificate, and this server requires one.
    #[error(
        "the client presented no certificate, and this server requires one: give the client a certificate"
    )]
    CertificateMissing {
        /// What rustls says.
        source: Error,
    },
    /// The peer refused our certificate, or that there was none.
    #[error("the peer refused this side's certificate{}", refusal(source))]
    OwnCertificateRefused {
        /// What rustls says.
        source: Error,
    },
    /// The server knows nothing of the name that it was called by.
    #[error("the peer serves no such name: set the one that it serves with server_name")]
    NameNotServed {
        /// What rustls says.
        source: Error,
    },
    /// The two sides share no version, cipher or key exchange; or the peer isn't willing to say
    /// what it misses.
    #[error(
        "the two sides agree on no TLS version or cipher: look at min_version here and at the peer's settings; \
         some servers say the same if they miss a client certificate"
    )]
    NothingInCommon {
        /// What rustls says.
        source: Error,
    },
    /// The two sides share no protocol (ALPN).
    #[error("the two sides share no protocol (ALPN): look at what alpn was set to on both")]
    NoCommonProtocol {
        /// What rustls says.
        source: Error,
    },
    /// What came isn't TLS.
    #[error("{}", match .side {
        Side::Client => "the peer answered with something that isn't TLS: is this a plain port?",
        Side::Server => "a client sent something that isn't TLS: it must connect with TLS here",
    })]
    NotTls {
        /// Which side we are.
        side: Side,
        /// What rustls says.
        source: Error,
    },
    /// The peer closed or reset the connection during the handshake.
    #[error("the peer closed during the handshake: {}", match .side {
        Side::Client => "perhaps it speaks no TLS there, or refuses this address",
        Side::Server => "perhaps it only looked whether the port is open, or gave up waiting",
    })]
    ClosedDuringHandshake {
        /// Which side we are.
        side: Side,
        /// What the socket says.
        source: io::Error,
    },
    /// The stream ended without the goodbye that TLS has for that (close_notify): what was read
    /// last may be cut off.
    #[error("the peer closed without TLS's goodbye: what it sent last may be cut off")]
    Truncated,
    /// Anything else that rustls found.
    #[error("TLS failed")]
    Protocol(#[source] Error),
    /// The connection under it failed.
    #[error("the connection failed during the TLS handshake")]
    Io(#[source] io::Error),
}

impl TlsError {
    /// Explains the error that a handshake of `tokio-rustls` ended with.
    pub(super) fn of_handshake(error: io::Error, side: Side) -> TlsError {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match rustls_error(&error).cloned() {
            Some(source) if is_foreign(&source) => TlsError::NotTls { side, source },
            Some(source) => TlsError::explain(source, side),
            None => match error.kind() {
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
                    TlsError::ClosedDuringHandshake {
                        side,
                        source: error,
                    }
                }
                _ => TlsError::Io(error),
            },
        }
    }

    /// Explains the error that a read or a write of a TLS stream ended with after its handshake.
    /// `None` if it isn't TLS's doing.
    ///
    /// A server that speaks TLS 1.3 judges the client's certificate when the client's handshake has
    /// already ended: that a certificate is demanded or refused comes as an error of the first
    /// read.
    pub fn of_stream(error: &io::Error, side: Side) -> Option<TlsError> {
        match rustls_error(error) {
            Some(known) => Some(TlsError::explain(known.clone(), side)),
            // rustls has no type for it, and tokio's `read_exact` uses the same kind after a proper
            // goodbye: only the text tells them apart.
            None if error.kind() == io::ErrorKind::UnexpectedEof
                && error.to_string().contains("close_notify") =>
            {
                Some(TlsError::Truncated)
            }
            None => None,
        }
    }

    /// Whether the server has refused the client, for it showed no certificate or not the right
    /// one: nobody has read what the client sent after the handshake, if it has sent anything.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            TlsError::CertificateRequired { .. } | TlsError::OwnCertificateRefused { .. }
        )
    }

    fn explain(source: Error, side: Side) -> TlsError {
        match &source {
            Error::InvalidCertificate(fault) => {
                let fault = fault.clone();
                TlsError::of_certificate(&fault, source, side)
            }
            Error::NoCertificatesPresented if side == Side::Server => {
                TlsError::CertificateMissing { source }
            }
            Error::PeerIncompatible(_) => TlsError::NothingInCommon { source },
            Error::NoApplicationProtocol => TlsError::NoCommonProtocol { source },
            Error::AlertReceived(alert) => TlsError::of_alert(*alert, source),
            _ => TlsError::Protocol(source),
        }
    }

    fn of_certificate(fault: &CertificateError, source: Error, side: Side) -> TlsError {
        match fault {
            CertificateError::Expired => TlsError::CertificateExpired { ago: None, source },
            CertificateError::ExpiredContext { time, not_after } => TlsError::CertificateExpired {
                ago: Some(between(*not_after, *time)),
                source,
            },
            CertificateError::NotValidYet => TlsError::CertificateNotYetValid {
                starts_in: None,
                source,
            },
            CertificateError::NotValidYetContext { time, not_before } => {
                TlsError::CertificateNotYetValid {
                    starts_in: Some(between(*time, *not_before)),
                    source,
                }
            }
            CertificateError::NotValidForName => TlsError::WrongName {
                expected: String::new(),
                presented: Vec::new(),
                source,
            },
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => TlsError::WrongName {
                expected: name(expected),
                presented: presented.iter().map(|found| plain(found)).collect(),
                source,
            },
            CertificateError::UnknownIssuer => TlsError::UnknownIssuer { side, source },
            CertificateError::Other(OtherError(error))
                if error.to_string() == "CaUsedAsEndEntity" =>
            {
                TlsError::CaUsedAsEndEntity { error: source }
            }
            _ => TlsError::CertificateRejected { error: source },
        }
    }

    fn of_alert(alert: AlertDescription, source: Error) -> TlsError {
        use AlertDescription as Alert;
        match alert {
            Alert::CertificateRequired => TlsError::CertificateRequired { source },
            Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied => TlsError::OwnCertificateRefused { source },
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => {
                TlsError::NothingInCommon { source }
            }
            Alert::NoApplicationProtocol => TlsError::NoCommonProtocol { source },
            Alert::UnrecognisedName => TlsError::NameNotServed { source },
            _ => TlsError::Protocol(source),
        }
    }
}

/// The same error once more, if it is one of rustls: as [`TlsError::of_stream`] tells it.
#[doc(hidden)]
pub fn repeated(error: &io::Error) -> Option<io::Error> {
    Some(io::Error::new(error.kind(), rustls_error(error)?.clone()))
}

/// The error of rustls that tokio-rustls wrapped, if it is one.
fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether this is how rustls tells of bytes that were never meant as TLS, when they are the first
/// that came.
fn is_foreign(error: &Error) -> bool {
    use InvalidMessage::{
        InvalidContentType, InvalidEmptyPayload, MessageTooLarge, UnknownProtocolVersion,
    };
    matches!(
        error,
        Error::InvalidMessage(
            InvalidContentType | UnknownProtocolVersion | MessageTooLarge | InvalidEmptyPayload
        )
    )
}

fn between(earlier: UnixTime, later: UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}

fn name(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// webpki tells names as `DnsName("a.example")` and `IpAddress(10.0.0.1)`.
fn plain(presented: &str) -> String {
    let bare = presented
        .strip_suffix(')')
        .and_then(|text| text.split_once('('));
    match bare {
        Some((_, name)) => name.trim_matches('"').to_owned(),
        None => presented.to_owned(),
    }
}

/// What is wrong with a certificate. What rustls has no variant for is named by webpki, as
/// `UnsupportedCriticalExtension`.
fn fault(error: &Error) -> String {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = error else {
        return error.to_string();
    };
    let mut words = String::new();
    for character in other.to_string().chars() {
        match character.is_ascii_uppercase() {
            true if words.is_empty() => words.push(character.to_ascii_lowercase()),
            true => words.extend([' ', character.to_ascii_lowercase()]),
            false => words.push(character),
        }
    }
    words
}

/// A certificate's names, escaped: they come from the network.
fn list(presented: &[String]) -> String {
    if presented.is_empty() {
        return String::from("no name at all");
    }
    let mut text = presented
        .iter()
        .take(NAMED)
        .map(|name| name.escape_debug().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    if presented.len() > NAMED {
        text += &format!(" and {} more", presented.len() - NAMED);
    }
    text
}

/// What the peer has against our certificate, and what to do about it.
fn refusal(source: &Error) -> &'static str {
    use AlertDescription as Alert;
    match source {
        Error::AlertReceived(Alert::UnknownCA) => {
            ": it doesn't trust the CA that issued it; give the peer that CA, or add the intermediate certificates to ours"
        }
        Error::AlertReceived(Alert::CertificateExpired) => {
            ": it has expired, or isn't valid yet; renew it, or check the peer's clock"
        }
        Error::AlertReceived(Alert::CertificateRevoked) => ": it has been revoked; replace it",
        Error::AlertReceived(Alert::UnsupportedCertificate) => {
            ": its kind isn't supported there; check its algorithm and what it may be used for"
        }
        Error::AlertReceived(Alert::AccessDenied) => {
            ": it is valid, but isn't allowed in; ask those who run the peer"
        }
        _ => {
            ", or misses one: check that it is for the right name and from a CA that the peer trusts"
        }
    }
}

/// A span of time, in the largest unit of which it has two.
fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    match units.into_iter().find(|(unit, _)| seconds >= 2 * unit) {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests;
