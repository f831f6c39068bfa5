//! One file or folder per command, and what several of them share.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
mod embedded;
mod events;
mod form;
pub(crate) mod hash_secret;
mod listening;
pub(crate) mod man;
pub(crate) mod proxy;
pub(crate) mod serve;
mod signals;
mod tls;

use std::path::{Path, PathBuf};

use millpond::{
    Chain,
    net::{Endpoint, tls::TlsConfigError},
};

use crate::{complaint::Complaint, exit::Exit};

/// Where `serve` listens, and where others connect to, unless told otherwise: this machine alone.
const DEFAULT_ENDPOINT: &str = "tcp://127.0.0.1:7070";

/// Replaces the names of the library's settings in an error's text by the flags that set them.
fn in_flags(text: &str) -> String {
    const FLAGS: [(&str, &str); 4] = [
        ("identity_files", "--cert and --key"),
        ("server_name", "--server-name"),
        ("with ca_file", "with --ca"),
        (
            "look at min_version here and at the peer's settings",
            "look at the peer's settings",
        ),
    ];
    FLAGS.iter().fold(text.to_owned(), |text, (setting, flag)| {
        text.replace(setting, flag)
    })
}

/// A flag that names a file, and the file if it was given.
type FileFlag<'f> = (&'f str, Option<&'f PathBuf>);

/// The flags that name the files of one side of TLS.
struct TlsFiles<'f> {
    authorities: FileFlag<'f>,
    certificates: FileFlag<'f>,
    key: FileFlag<'f>,
}

impl TlsFiles<'_> {
    /// The error's text, with the flag that named the file, if exactly one flag did.
    fn tell(&self, error: &TlsConfigError) -> String {
        let flag = match error {
            TlsConfigError::Unreadable { path, .. }
            | TlsConfigError::Malformed { path, .. }
            | TlsConfigError::Unfit { path, .. } => self.naming(path),
            TlsConfigError::UnusableCertificate { .. } => Some(self.certificates.0),
            TlsConfigError::UnusableKey { .. } => Some(self.key.0),
            // Without a file, the system's roots were used.
            TlsConfigError::NoUsableRoot { .. } => self.authorities.1.map(|_| self.authorities.0),
            _ => None,
        };
        match flag {
            Some(flag) => format!("{flag}: {}", Chain(error)),
            None => Chain(error).to_string(),
        }
    }

    fn naming(&self, file: &Path) -> Option<&str> {
        let all = [self.authorities, self.certificates, self.key];
        let mut naming = all
            .into_iter()
            .filter(|(_, path)| path.is_some_and(|path| path == file));
        match (naming.next(), naming.next()) {
            (Some((flag, _)), None) => Some(flag),
            _ => None,
        }
    }
}

/// Reads the endpoint given to a flag; the error names the flag.
fn endpoint(flag: &str, text: &str) -> Result<Endpoint, Complaint> {
    text.parse()
        .map_err(|error| Complaint::usage(format!("{flag}: {error:#}")))
}

/// The runtime that a command runs on.
fn runtime() -> Result<tokio::runtime::Runtime, Complaint> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    built.map_err(|error| {
        Complaint::of(
            Exit::Failure,
            &format!("no runtime could be started: {}", Chain(&error)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfit(path: &str) -> TlsConfigError {
        TlsConfigError::Unfit {
            path: PathBuf::from(path),
            wanted: "a certificate",
            found: String::from("nothing"),
        }
    }

    #[test]
    fn a_file_is_told_with_its_flag() {
        let (short, long) = (PathBuf::from("ca"), PathBuf::from("ca.pem"));
        let files = TlsFiles {
            authorities: ("--ca", Some(&short)),
            certificates: ("--cert", Some(&long)),
            key: ("--key", None),
        };
        let told = |path, files: &TlsFiles<'_>| files.tell(&unfit(path));
        assert_eq!(
            told("ca.pem", &files),
            "--cert: ca.pem should hold a certificate, and holds nothing"
        );
        assert_eq!(
            told("ca", &files),
            "--ca: ca should hold a certificate, and holds nothing"
        );
        assert_eq!(
            told("another", &files),
            "another should hold a certificate, and holds nothing"
        );
        let twice = TlsFiles {
            key: ("--key", Some(&short)),
            ..files
        };
        assert_eq!(
            told("ca", &twice),
            "ca should hold a certificate, and holds nothing"
        );
    }

    #[test]
    fn settings_are_named_by_their_flags() {
        for (said, shown) in [
            (
                "give one with identity_files",
                "give one with --cert and --key",
            ),
            ("give its CA with ca_file, or", "give its CA with --ca, or"),
            ("or set it with server_name", "or set it with --server-name"),
            ("or name a file with ca_file", "or name a file with --ca"),
        ] {
            assert_eq!(in_flags(said), shown);
        }
    }
}
