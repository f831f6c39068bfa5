//! The TLS handshake with a destination, done twice: what was agreed upon, what the certificate
//! says, what it takes, and whether the second one could resume the first. Judges nothing.

use std::time::Duration;

use millpond::{
    Chain,
    net::{ConnectError, ConnectFailure, Dialer, Stream, tls::TlsError},
};
use rustls::HandshakeKind;

use crate::{certificate::Certificate, commands::tls::refusal};

/// A handshake that succeeded.
#[derive(Debug)]
pub(super) struct Shaken {
    pub(super) version: String,
    pub(super) cipher: String,
    pub(super) key_exchange: Option<String>,
    pub(super) alpn: Option<String>,
    /// How many certificates the server has sent.
    pub(super) chain: usize,
    /// What the server's own says, or why it can't be read.
    pub(super) certificate: Result<Certificate, String>,
    pub(super) took: Duration,
    pub(super) second: Option<Second>,
}

/// The second handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Second {
    pub(super) resumed: bool,
    pub(super) took: Duration,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: String,
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
    /// It wants to know who we are.
    Identity,
    /// The error says what there is to say.
    Read,
}

/// Shakes hands. The stream is the last one that there was.
pub(super) async fn shake(dialer: &Dialer) -> (Result<Shaken, Broken>, Option<Stream>) {
    let mut dialled = match dialer.dial().await {
        Ok(dialled) => dialled,
        Err(error) => return (Err(broken(&error)), None),
    };
    if let Some(refused) = refusal(&mut dialled.stream).await {
        return (Err(of_tls(&refused)), Some(dialled.stream));
    }
    let mut shaken = match shaken(&dialled.stream, dialled.timings.tls.unwrap_or_default()) {
        Some(shaken) => shaken,
        None => {
            let error = String::from("the stream is no TLS stream");
            return (
                Err(Broken {
                    error,
                    cure: Cure::Read,
                }),
                Some(dialled.stream),
            );
        }
    };
    let Ok(again) = dialer.dial().await else {
        return (Ok(shaken), Some(dialled.stream));
    };
    shaken.second = again.stream.tls().map(|session| Second {
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        took: again.timings.tls.unwrap_or_default(),
    });
    (Ok(shaken), Some(dialled.stream))
}

fn shaken(stream: &Stream, took: Duration) -> Option<Shaken> {
    let session = stream.tls()?;
    let chain = session.peer_certificates().unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let cipher = session.negotiated_cipher_suite();
    Some(Shaken {
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

fn broken(error: &ConnectError) -> Broken {
    match &error.cause {
        ConnectFailure::Tls { error, .. } => of_tls(error),
        other => Broken {
            error: Chain(other).to_string(),
            cure: Cure::Read,
        },
    }
}

fn of_tls(error: &TlsError) -> Broken {
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
    let told = error.to_string();
    let (what, _) = told.split_once(": ").unwrap_or((&told, ""));
    let error = match (cure, error) {
        // Behind the colon is why the peer refused it.
        (Cure::Read, _) => Chain(error).to_string(),
        (_, TlsError::OwnCertificateRefused { .. }) => told,
        // Behind the colon is what to do in the library's terms, which the cure says in the
        // program's.
        _ => what.to_owned(),
    };
    Broken { error, cure }
}
