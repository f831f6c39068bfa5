//! Two TLS handshakes with a destination: what was agreed upon, what the certificate says, how long
//! it takes, and whether the second resumed the first. Judges nothing.

use std::time::Duration;

use millpond::{
    Chain,
    net::{ConnectError, ConnectFailure, Dialer, Stream, tls::TlsError},
};
use rustls::HandshakeKind;

use crate::{certificate::Certificate, commands::tls::refusal};

/// A handshake that succeeded.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) version: String,
    pub(super) cipher: String,
    pub(super) key_exchange: Option<String>,
    pub(super) alpn: Option<String>,
    /// How many certificates the server has sent.
    pub(super) chain: usize,
    /// The server's own certificate, or why it can't be read.
    pub(super) certificate: Result<Certificate, String>,
    pub(super) took: Duration,
    pub(super) second: Option<SecondHandshake>,
}

/// The second handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecondHandshake {
    pub(super) resumed: bool,
    pub(super) took: Duration,
}

/// A handshake that failed.
#[derive(Debug)]
pub(super) struct HandshakeError {
    pub(super) text: String,
    pub(super) cure: Cure,
}

/// What would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// The server's certificate has to be replaced.
    Renew,
    /// It is for another name.
    Name,
    /// Its issuer isn't trusted here.
    Trust,
    /// It demands a client certificate.
    Identity,
    /// Nothing beyond what the error says.
    Read,
}

/// Shakes hands twice, and returns the first stream as well, if there was one.
pub(super) async fn shake_hands(
    dialer: &Dialer,
) -> (Result<Handshake, HandshakeError>, Option<Stream>) {
    let mut dialled = match dialer.dial().await {
        Ok(dialled) => dialled,
        Err(error) => return (Err(of_dial(&error)), None),
    };
    if let Some(refused) = refusal(&mut dialled.stream).await {
        return (Err(of_tls(&refused)), Some(dialled.stream));
    }
    let mut handshake = match read(&dialled.stream, dialled.timings.tls.unwrap_or_default()) {
        Some(handshake) => handshake,
        None => {
            let text = String::from("the stream is no TLS stream");
            return (
                Err(HandshakeError {
                    text,
                    cure: Cure::Read,
                }),
                Some(dialled.stream),
            );
        }
    };
    let Ok(again) = dialer.dial().await else {
        return (Ok(handshake), Some(dialled.stream));
    };
    handshake.second = again.stream.tls().map(|session| SecondHandshake {
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        took: again.timings.tls.unwrap_or_default(),
    });
    (Ok(handshake), Some(dialled.stream))
}

fn read(stream: &Stream, took: Duration) -> Option<Handshake> {
    let session = stream.tls()?;
    let chain = session.peer_certificates().unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let cipher = session.negotiated_cipher_suite();
    Some(Handshake {
        version: match session
            .protocol_version()
            .as_ref()
            .and_then(|version| version.as_str())
        {
            Some("TLSv1_3") => String::from("TLS 1.3"),
            Some("TLSv1_2") => String::from("TLS 1.2"),
            other => other.unwrap_or("an unknown version").to_owned(),
        },
        cipher: cipher
            .and_then(|cipher| cipher.suite().as_str())
            .unwrap_or("an unknown cipher suite")
            .to_owned(),
        key_exchange: session
            .negotiated_key_exchange_group()
            .and_then(|group| Some(group.name().as_str()?.to_owned())),
        alpn: session.alpn_protocol().map(text),
        chain: chain.len(),
        certificate: match chain.first() {
            Some(first) => Certificate::read(first),
            None => Err(String::from("the server sent none")),
        },
        took,
        second: None,
    })
}

fn of_dial(error: &ConnectError) -> HandshakeError {
    match &error.cause {
        ConnectFailure::Tls { error, .. } => of_tls(error),
        other => HandshakeError {
            text: Chain(other).to_string(),
            cure: Cure::Read,
        },
    }
}

fn of_tls(error: &TlsError) -> HandshakeError {
    let cure = match error {
        TlsError::CertificateExpired { .. } | TlsError::CertificateNotYetValid { .. } => {
            Cure::Renew
        }
        TlsError::WrongName { .. } | TlsError::NameNotServed { .. } => Cure::Name,
        TlsError::UnknownIssuer { .. } => Cure::Trust,
        TlsError::CertificateRequired { .. } | TlsError::OwnCertificateRefused { .. } => {
            Cure::Identity
        }
        _ => Cure::Read,
    };
    let all = error.to_string();
    let (what, _) = all.split_once(": ").unwrap_or((&all, ""));
    let text = match (cure, error) {
        // The part after the colon is the peer's reason.
        (Cure::Read, _) => Chain(error).to_string(),
        (_, TlsError::OwnCertificateRefused { .. }) => all,
        // The part after the colon says what to do in the library's terms. The cure says it in the
        // program's.
        _ => what.to_owned(),
    };
    HandshakeError { text, cure }
}
