//! Each error of rustls and of sockets, as the one it is told as.

use std::sync::Arc;

use rustls::PeerIncompatible;

use super::*;

/// As tokio-rustls hands it out.
fn wrapped(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// The name of an error's variant.
fn kind(error: &TlsError) -> String {
    let text = format!("{error:?}");
    let end = text
        .find(|character: char| !character.is_alphanumeric())
        .unwrap_or(text.len());
    text[..end].to_owned()
}

type Case = (Error, Side, &'static str, &'static str);

/// What rustls says, to which side; the variant that becomes of it, and words that its text has.
#[rustfmt::skip]
fn cases() -> Vec<Case> {
    use Side::{Client, Server};
    let certificate = |fault| Error::InvalidCertificate(fault);
    let expired = CertificateError::ExpiredContext {
        time: at(10 * 86_400),
        not_after: at(7 * 86_400),
    };
    let early = CertificateError::NotValidYetContext {
        time: at(0),
        not_before: at(7_200),
    };
    let named = CertificateError::NotValidForNameContext {
        expected: ServerName::try_from("b.example").expect("a name"),
        presented: vec![
            String::from("DnsName(\"a.example\")"),
            String::from("IpAddress(10.0.0.1)"),
        ],
    };
    let other = |name: &str| CertificateError::Other(OtherError(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(name))));
    let alert = Error::AlertReceived;
    vec![
        (certificate(expired), Client, "CertificateExpired", "expired 3 days ago"),
        (certificate(CertificateError::Expired), Client, "CertificateExpired", "expired: it has to be renewed"),
        (certificate(early), Client, "CertificateNotYetValid", "but in 2 hours"),
        (certificate(CertificateError::NotValidYet), Client, "CertificateNotYetValid", "clock"),
        (certificate(named), Client, "WrongName", "\"b.example\", but for a.example, 10.0.0.1: connect"),
        (certificate(CertificateError::NotValidForName), Client, "WrongName", "server_name"),
        (certificate(CertificateError::UnknownIssuer), Client, "UnknownIssuer", "with ca_file"),
        (certificate(CertificateError::UnknownIssuer), Server, "UnknownIssuer", "with client_ca_file"),
        (certificate(CertificateError::Revoked), Client, "CertificateRejected", "Revoked"),
        (certificate(CertificateError::BadSignature), Client, "CertificateRejected", "replaced"),
        (certificate(other("CaUsedAsEndEntity")), Client, "CaUsedAsEndEntity", "basicConstraints=critical,CA:FALSE"),
        (certificate(other("UnsupportedCriticalExtension")), Client, "CertificateRejected", "there: unsupported critical extension"),
        (Error::NoCertificatesPresented, Server, "CertificateMissing", "requires one"),
        (Error::NoCertificatesPresented, Client, "Protocol", "TLS failed"),
        (alert(AlertDescription::CertificateRequired), Client, "CertificateRequired", "identity_files"),
        (alert(AlertDescription::BadCertificate), Client, "OwnCertificateRefused", "or misses one"),
        (alert(AlertDescription::UnknownCA), Client, "OwnCertificateRefused", "doesn't trust the CA"),
        (alert(AlertDescription::CertificateExpired), Server, "OwnCertificateRefused", "renew it"),
        (alert(AlertDescription::CertificateRevoked), Client, "OwnCertificateRefused", "revoked"),
        (alert(AlertDescription::UnsupportedCertificate), Client, "OwnCertificateRefused", "algorithm"),
        (alert(AlertDescription::CertificateUnknown), Client, "OwnCertificateRefused", "right name"),
        (alert(AlertDescription::AccessDenied), Client, "OwnCertificateRefused", "isn't allowed in"),
        (alert(AlertDescription::ProtocolVersion), Client, "NothingInCommon", "min_version"),
        (alert(AlertDescription::HandshakeFailure), Client, "NothingInCommon", "client certificate"),
        (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), Server, "NothingInCommon", "NoCipherSuitesInCommon"),
        (alert(AlertDescription::NoApplicationProtocol), Client, "NoCommonProtocol", "alpn"),
        (Error::NoApplicationProtocol, Server, "NoCommonProtocol", "alpn"),
        (alert(AlertDescription::UnrecognisedName), Client, "NameNotServed", "server_name"),
        (alert(AlertDescription::InternalError), Client, "Protocol", "InternalError"),
        (InvalidMessage::InvalidContentType.into(), Client, "NotTls", "is this a plain port?"),
        (InvalidMessage::InvalidContentType.into(), Server, "NotTls", "a client sent something"),
        (InvalidMessage::UnknownProtocolVersion.into(), Client, "NotTls", "plain port"),
        (InvalidMessage::MessageTooLarge.into(), Client, "NotTls", "plain port"),
        (InvalidMessage::InvalidKeyUpdate.into(), Client, "Protocol", "InvalidKeyUpdate"),
        (Error::DecryptError, Client, "Protocol", "decrypt"),
    ]
}

#[test]
fn every_error_of_a_handshake_names_its_cause_and_what_to_do() {
    for (error, side, expected, words) in cases() {
        let shown = TlsError::of_handshake(wrapped(error.clone()), side);
        assert_eq!(kind(&shown), expected, "{error:?}");
        let said = millpond_words::Chain(&shown).to_string();
        assert!(said.contains(words), "{said} has no {words:?}");
        assert!(!said.contains("Other("), "{said}");
        let source = match &shown {
            // Its text would show what is only for programs, or what the error's says already.
            TlsError::CaUsedAsEndEntity { error } | TlsError::CertificateRejected { error } => {
                Some(error)
            }
            _ => {
                std::error::Error::source(&shown).and_then(|source| source.downcast_ref::<Error>())
            }
        };
        // By their text, for errors of others aren't equal to themselves.
        assert_eq!(
            format!("{source:?}"),
            format!("{:?}", Some(&error)),
            "the source is kept"
        );
    }
}

#[test]
fn a_socket_that_fails_in_a_handshake_is_told_by_what_happened() {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, PermissionDenied, UnexpectedEof};
    for (cause, expected) in [
        (UnexpectedEof, "ClosedDuringHandshake"),
        (ConnectionReset, "ClosedDuringHandshake"),
        (BrokenPipe, "ClosedDuringHandshake"),
        (PermissionDenied, "Io"),
    ] {
        for side in [Side::Client, Side::Server] {
            let shown = TlsError::of_handshake(io::Error::from(cause), side);
            assert_eq!(kind(&shown), expected);
            let source = std::error::Error::source(&shown)
                .and_then(|source| source.downcast_ref::<io::Error>());
            assert_eq!(
                source.map(io::Error::kind),
                Some(cause),
                "the source is kept"
            );
        }
    }
}

#[test]
fn after_the_handshake_only_what_tls_did_is_explained() {
    let explain =
        |error: io::Error| TlsError::of_stream(&error, Side::Client).map(|shown| kind(&shown));
    let refused = Error::AlertReceived(AlertDescription::CertificateRequired);
    assert_eq!(
        explain(wrapped(refused)).as_deref(),
        Some("CertificateRequired")
    );
    let unannounced = io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "closed without sending TLS close_notify",
    );
    assert_eq!(explain(unannounced).as_deref(), Some("Truncated"));
    assert_eq!(explain(io::ErrorKind::UnexpectedEof.into()), None);
    assert_eq!(explain(io::ErrorKind::ConnectionReset.into()), None);
    // It spoke TLS until now.
    let garbage = wrapped(InvalidMessage::InvalidContentType.into());
    assert_eq!(explain(garbage).as_deref(), Some("Protocol"));
}

#[test]
fn names_from_the_network_are_escaped_and_few() {
    let presented: Vec<_> = (0..20)
        .map(|number| format!("DnsName(\"\u{1b}{number}.example\")"))
        .collect();
    let error = TlsError::of_handshake(
        wrapped(Error::InvalidCertificate(
            CertificateError::NotValidForNameContext {
                expected: ServerName::from(std::net::IpAddr::from([127, 0, 0, 1])),
                presented,
            },
        )),
        Side::Client,
    );
    let said = error.to_string();
    assert!(
        said.contains("\"127.0.0.1\", but for \\u{1b}0.example, "),
        "{said}"
    );
    assert!(said.contains("7.example and 12 more"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}

#[test]
fn a_span_of_time_is_told_in_a_unit_of_which_it_has_two() {
    for (seconds, expected) in [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 minutes"),
        (7_200, "2 hours"),
        (86_400 * 400, "400 days"),
    ] {
        assert_eq!(words(Duration::from_secs(seconds)), expected);
    }
}
