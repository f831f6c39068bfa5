//! What both sides of a handshake are made of, whether it comes from files or from the caller: an
//! identity, trusted roots, versions, protocol names. Put together they are in `client.rs` and
//! `server.rs`.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    Error, InconsistentKeys, RootCertStore, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer},
    version::{TLS12, TLS13},
};

use super::{TlsConfigError, files};

/// A version of TLS. Older ones than these are never spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// This and all later versions, the latest first.
pub(super) fn versions_from(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match oldest {
        TlsVersion::Tls12 => &BOTH,
        TlsVersion::Tls13 => &BOTH[..1],
    }
}

/// The cryptography that millpond is built with, whatever the process has installed as rustls's
/// default.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Certificates, and where they come from.
#[derive(Clone)]
pub(super) enum Certificates {
    File(PathBuf),
    Given(Vec<CertificateDer<'static>>),
}

impl Certificates {
    pub(super) fn load(&self) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        match self {
            Certificates::File(path) => files::certificates(path),
            Certificates::Given(certificates) => Ok(certificates.clone()),
        }
    }

    /// These as trust anchors. Those that can't be parsed are left out, for large bundles hold
    /// ancient ones; at least one must be left.
    pub(super) fn load_roots(&self) -> Result<Arc<RootCertStore>, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        let (_, ignored) = roots.add_parsable_certificates(self.load()?);
        if roots.is_empty() {
            return Err(TlsConfigError::NoUsableRoot {
                origin: self.to_string(),
                ignored,
            });
        }
        if ignored > 0 {
            tracing::warn!(
                target: "millpond::net",
                origin = %self,
                ignored,
                used = roots.len(),
                "CA certificates that can't be parsed are left out"
            );
        }
        Ok(Arc::new(roots))
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Certificates::File(path) => Some(path),
            Certificates::Given(_) => None,
        }
    }
}

impl fmt::Display for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Certificates::File(path) => path.display().fmt(f),
            Certificates::Given(_) => f.write_str("the certificates that were given"),
        }
    }
}

/// A private key, and where it comes from.
pub(super) enum Key {
    File(PathBuf),
    Given(PrivateKeyDer<'static>),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::File(path) => path.display().fmt(f),
            Key::Given(_) => f.write_str("the key that was given"),
        }
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        match self {
            Key::File(path) => Key::File(path.clone()),
            Key::Given(key) => Key::Given(key.clone_key()),
        }
    }
}

/// What one side proves who it is by: a certificate, those that lead from it to its CA, and its
/// key.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificates: Certificates,
    pub(super) key: Key,
}

impl Identity {
    pub(super) fn in_files(certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Identity {
        Identity {
            certificates: Certificates::File(certificates.into()),
            key: Key::File(key.into()),
        }
    }

    pub(super) fn given(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Identity {
        Identity {
            certificates: Certificates::Given(certificates),
            key: Key::Given(key),
        }
    }

    pub(super) fn load(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsConfigError> {
        let key = match &self.key {
            Key::File(path) => files::private_key(path)?,
            Key::Given(key) => key.clone_key(),
        };
        Ok((self.certificates.load()?, key))
    }

    /// What rustls holds against this identity.
    pub(super) fn rejected(&self, source: Error) -> TlsConfigError {
        let (certificates, key) = (self.certificates.to_string(), self.key.to_string());
        match source {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsConfigError::KeyMismatch { certificates, key }
            }
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => {
                TlsConfigError::UnusableCertificate {
                    certificates,
                    source,
                }
            }
            _ => TlsConfigError::UnusableKey { key, source },
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let key = match &self.key {
            Key::File(path) => Some(path.as_path()),
            Key::Given(_) => None,
        };
        self.certificates.path().into_iter().chain(key)
    }
}

/// Collects the names of protocols for ALPN.
pub(super) fn protocols<P: Into<Vec<u8>>>(names: impl IntoIterator<Item = P>) -> Vec<Vec<u8>> {
    names.into_iter().map(Into::into).collect()
}

/// A name's length is sent in one byte, and 0 is not allowed (RFC 7301, section 3.1).
pub(super) fn check_protocols(names: &[Vec<u8>]) -> Result<(), TlsConfigError> {
    match names.iter().find(|name| !(1..=255).contains(&name.len())) {
        Some(name) => Err(TlsConfigError::ProtocolName { length: name.len() }),
        None => Ok(()),
    }
}
