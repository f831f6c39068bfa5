//! PEM files: reading them, saying what is wrong with them, and noticing that they changed. What
//! they are used for is not known here.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{PemObject, SectionKind},
};

use super::TlsConfigError;

/// The longest file that is read. The bundles of operating systems are a quarter of a megabyte.
const MAX_LENGTH: u64 = 8 * 1024 * 1024;

/// How many sections of an unfit file an error names.
const NAMED_SECTIONS: usize = 4;

/// What a file's metadata says of its version. Two that are equal are taken for the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    length: u64,
    place: (u64, u64),
}

impl Stamp {
    /// `None` if the file can't be looked at. Symbolic links are followed: Kubernetes swaps those.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            length: metadata.len(),
            place: (metadata.dev(), metadata.ino()),
        })
    }
}

/// All certificates of a file, in their order; at least one. Other sections are passed over, for
/// some keep the key in the same file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    const WANTED: &str = "certificates (sections CERTIFICATE)";
    let text = read(path, WANTED)?;
    let mut found = Vec::new();
    for section in sections(path, WANTED, &text) {
        found.extend(certificate(section?));
    }
    if found.is_empty() {
        return Err(unfit(path, WANTED, &text));
    }
    Ok(found)
}

/// The private key of a file, which must hold exactly one, not encrypted. Other sections are passed
/// over.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    const WANTED: &str =
        "one unencrypted private key (section PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY)";
    let text = read(path, WANTED)?;
    let mut found = Vec::new();
    for section in sections(path, WANTED, &text) {
        let (kind, der) = section?;
        found.extend(PrivateKeyDer::from_pem(kind, der));
    }
    match found.pop() {
        Some(key) if found.is_empty() => Ok(key),
        _ => Err(unfit(path, WANTED, &text)),
    }
}

type Section = (SectionKind, Vec<u8>);

fn certificate((kind, der): Section) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem(kind, der)
}

fn read(path: &Path, wanted: &'static str) -> Result<Vec<u8>, TlsConfigError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_LENGTH + 1).read_to_end(&mut text))
        .and_then(|length| match length as u64 > MAX_LENGTH {
            true => Err(io::Error::other(format!(
                "it is longer than {MAX_LENGTH} bytes"
            ))),
            false => Ok(text),
        })
        .map_err(|source| TlsConfigError::Unreadable {
            path: path.to_owned(),
            wanted,
            source,
        })
}

fn sections<'a>(
    path: &'a Path,
    wanted: &'static str,
    text: &'a [u8],
) -> impl Iterator<Item = Result<Section, TlsConfigError>> + 'a {
    Section::pem_slice_iter(text).map(move |section| {
        section.map_err(|error| TlsConfigError::Malformed {
            path: path.to_owned(),
            wanted,
            error,
        })
    })
}

fn unfit(path: &Path, wanted: &'static str, text: &[u8]) -> TlsConfigError {
    TlsConfigError::Unfit {
        path: path.to_owned(),
        wanted,
        found: describe(text),
    }
}

/// What a file holds, in words, with a hint where there is one.
fn describe(text: &[u8]) -> String {
    let labels: Vec<_> = text
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter_map(|line| line.strip_prefix(b"-----BEGIN "))
        .map(|rest| {
            let end = rest
                .iter()
                .position(|byte| *byte == b'-')
                .unwrap_or(rest.len());
            rest[..end.min(40)].escape_ascii().to_string()
        })
        .collect();
    if labels.is_empty() {
        return String::from(match text.first() {
            None => "nothing: it is empty",
            // The tag of an ASN.1 sequence, with which certificates and keys begin.
            Some(0x30) => {
                "no PEM section; if it is DER, convert it by `openssl x509 -inform der` or `openssl pkey -inform der`"
            }
            Some(_) => "no PEM section",
        });
    }
    let mut found = labels
        .iter()
        .take(NAMED_SECTIONS)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if labels.len() > NAMED_SECTIONS {
        found += &format!(" and {} more", labels.len() - NAMED_SECTIONS);
    }
    let encrypted = text
        .windows(b"ENCRYPTED".len())
        .any(|window| window == b"ENCRYPTED");
    if encrypted {
        found += "; decrypt the key by `openssl pkey`";
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_holds_is_put_into_words() {
        let table: [(&[u8], &str); 7] = [
            (b"", "nothing: it is empty"),
            (b"hello\n", "no PEM section"),
            (&[0x30, 0x82, 1, 2], "no PEM section; if it is DER, "),
            (b"-----BEGIN PRIVATE KEY-----\r\nAA==\r\n-----END PRIVATE KEY-----", "PRIVATE KEY"),
            (
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
                "ENCRYPTED PRIVATE KEY; decrypt the key by `openssl pkey`",
            ),
            (b"-----BEGIN \x1b[31mRED-----\n", "\\x1b[31mRED"),
            (
                b"-----BEGIN A-----\n-----BEGIN B-----\n-----BEGIN C-----\n-----BEGIN D-----\n-----BEGIN E-----\n",
                "A, B, C, D and 1 more",
            ),
        ];
        for (text, expected) in table {
            let said = describe(text);
            assert!(said.starts_with(expected), "{said:?} for {expected:?}");
        }
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = certificates(Path::new("/dev/zero")).expect_err("no certificates");
        assert!(
            millpond_words::Chain(&error)
                .to_string()
                .contains("longer than"),
            "{error}"
        );
    }

    #[test]
    fn a_stamp_differs_by_time_by_length_and_by_file() {
        let place = |name| {
            std::env::temp_dir().join(format!("millpond-stamp-{name}-{}", std::process::id()))
        };
        let (path, other) = (place("a"), place("b"));
        fs::write(&path, "abc").expect("a file");
        let file = File::options().write(true).open(&path).expect("a file");
        let modified = fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .expect("a time");
        let set = |file: &File, earlier| file.set_modified(modified - earlier).expect("a time");
        let nothing = std::time::Duration::ZERO;
        let old = Stamp::of(&path);
        assert_eq!(Stamp::of(&path), old);

        set(&file, std::time::Duration::from_nanos(1));
        assert_ne!(Stamp::of(&path), old, "another time");
        set(&file, nothing);
        assert_eq!(Stamp::of(&path), old);

        fs::write(&path, "abcd").expect("a file");
        set(&file, nothing);
        assert_ne!(Stamp::of(&path), old, "another length");

        fs::write(&other, "xyz").expect("a file");
        set(
            &File::options().write(true).open(&other).expect("a file"),
            nothing,
        );
        fs::rename(&other, &path).expect("a file");
        assert_ne!(Stamp::of(&path), old, "another file");

        fs::remove_file(&path).expect("a file");
        assert_eq!(Stamp::of(&path), None);
    }
}
