//! Why settings for TLS can't be used: the file, what it should hold, what it holds.

use std::{io, path::PathBuf};

use rustls::{
    Error,
    pki_types::{InvalidDnsNameError, pem},
};

/// Why settings for TLS can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file can't be read.
    #[error("{} can't be read for {wanted}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file's PEM is broken: cut off, or damaged.
    #[error("{} should hold {wanted}, but its PEM is broken: {}; was it written to the end?", path.display(), pem_words(error))]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong: told in the text, in words.
        error: pem::Error,
    },
    /// A file holds something else.
    #[error("{} should hold {wanted}, and holds {found}", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What it holds.
        found: String,
    },
    /// The key is not that of the certificate.
    #[error(
        "the private key ({key}) doesn't belong to the first certificate ({certificates}); the server's or client's own \
         certificate comes first, then those of its issuers"
    )]
    KeyMismatch {
        /// Where the certificates are from.
        certificates: String,
        /// Where the key is from.
        key: String,
    },
    /// A certificate can't be used to prove who we are.
    #[error("the first certificate ({certificates}) can't be used")]
    UnusableCertificate {
        /// Where it is from.
        certificates: String,
        /// Why.
        source: Error,
    },
    /// A private key can't be used: an algorithm that isn't supported, or broken.
    #[error(
        "the private key ({key}) can't be used; RSA of 2048 bits and more, ECDSA with P-256 or P-384, and Ed25519 can"
    )]
    UnusableKey {
        /// Where it is from.
        key: String,
        /// Why.
        source: Error,
    },
    /// None of the certificates that should be trusted can be parsed.
    #[error("no CA certificate can be used ({origin}): {ignored} can't be parsed")]
    NoUsableRoot {
        /// Where they are from.
        origin: String,
        /// How many there are.
        ignored: usize,
    },
    /// The system has no certificates that it trusts.
    #[error(
        "no CA certificate was found, looking {looked_in}; install the package that brings them (ca-certificates), or name a file with ca_file"
    )]
    NoSystemRoots {
        /// Where they were looked for.
        looked_in: String,
        /// What went wrong first, if anything did.
        source: Option<rustls_native_certs::Error>,
    },
    /// A server was given no certificate.
    #[error(
        "a TLS server needs a certificate and its key: give them with identity_files or identity"
    )]
    NoIdentity,
    /// What was set as the server's name is neither a DNS name nor an address.
    #[error(
        "{name:?} can't be a server's name: it must be a DNS name or an IP address, without a port"
    )]
    ServerName {
        /// What was set.
        name: String,
        /// Why it can't be.
        source: InvalidDnsNameError,
    },
    /// The name of a protocol for ALPN has an impossible length.
    #[error("a protocol's name for ALPN has {length} bytes, and must have 1 to 255")]
    ProtocolName {
        /// How long it is.
        length: usize,
    },
    /// rustls refuses the combination of settings.
    #[error("rustls refuses these settings")]
    Refused(#[source] Error),
}

/// The parser's words, with bytes as text.
fn pem_words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("a section {} has no end", end_marker.escape_ascii())
        }
        pem::Error::IllegalSectionStart { line } => {
            format!(
                "a section can't begin with {:?}",
                line.escape_ascii().to_string()
            )
        }
        other => other.to_string(),
    }
}
