//! Reads the small files in which Linux shows its settings and counts. A failure is a value that
//! findings can quote. Doesn't judge what it reads, and writes nothing.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use millpond::{
    Chain,
    kernel::{SocketDetail, TcpSocket, sockets},
};

use crate::text::escaped;

/// The most bytes that are read of a file. The longest file, the list of mounts, has some hundred
/// bytes for each mount.
const LONGEST_BYTES: u64 = 4 << 20;

/// How many characters are shown of a text that can't be parsed.
const SHOWN: usize = 60;

/// The source of files and of the kernel's list of TCP sockets.
pub(super) trait Files {
    fn open(&self, path: &str) -> io::Result<Box<dyn BufRead + '_>>;

    /// All TCP sockets.
    fn sockets(&self) -> io::Result<Vec<TcpSocket>>;
}

/// The files of this machine.
pub(super) struct Machine;

impl Files for Machine {
    fn open(&self, path: &str) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(BufReader::new(File::open(path)?)))
    }

    fn sockets(&self) -> io::Result<Vec<TcpSocket>> {
        Ok(sockets(SocketDetail::Basic, |_| true)?.sockets)
    }
}

/// Why something isn't known. Shown as one clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("{path} isn't there")]
    Missing { path: String },
    #[error("{path} may not be read by this user")]
    NotAllowed { path: String },
    #[error("{path} makes no sense: \"{text}\"")]
    Malformed { path: String, text: String },
    #[error("reading {path} failed: {reason}")]
    Failed { path: String, reason: String },
}

impl Unread {
    pub(super) fn of(path: &str, error: &io::Error) -> Unread {
        let path = escaped(path);
        match error.kind() {
            io::ErrorKind::NotFound => Unread::Missing { path },
            io::ErrorKind::PermissionDenied => Unread::NotAllowed { path },
            _ => Unread::Failed {
                path,
                reason: escaped(&Chain(error).to_string()),
            },
        }
    }

    pub(super) fn malformed(path: &str, text: &str) -> Unread {
        let text: String = text.trim().chars().take(SHOWN).collect();
        Unread::Malformed {
            path: escaped(path),
            text: escaped(&text),
        }
    }

    /// The file doesn't exist. For some settings that says that the kernel lacks them.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Unread::Missing { .. })
    }
}

/// Something that was read, or why it wasn't.
pub(super) type Reading<T> = Result<T, Unread>;

/// A file's text, as `parse` reads it.
pub(super) fn read<T>(
    files: &dyn Files,
    path: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Reading<T> {
    let mut bytes = Vec::new();
    files
        .open(path)
        .and_then(|file| file.take(LONGEST_BYTES).read_to_end(&mut bytes))
        .map_err(|error| Unread::of(path, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).ok_or_else(|| Unread::malformed(path, &text))
}

/// A file that is one number.
pub(super) fn number(files: &dyn Files, path: &str) -> Reading<u64> {
    read(files, path, |text| text.trim().parse().ok())
}

/// Exactly this many numbers, with any white space between them.
pub(super) fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let parsed: Option<Vec<u64>> = text
        .split_whitespace()
        .map(|word| word.parse().ok())
        .collect();
    parsed?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::Fixture, *};

    #[test]
    fn what_cannot_be_read_says_why() {
        let files = Fixture::empty()
            .with("/a/number", "12\n")
            .with("/a/word", "tw\u{1b}elve\n")
            .forbidden("/a/secret");
        assert_eq!(number(&files, "/a/number"), Ok(12));
        let said = |path| {
            number(&files, path)
                .expect_err("it isn't a number")
                .to_string()
        };
        assert_eq!(
            ["/a/word", "/a/secret", "/nowhere"].map(said),
            [
                "/a/word makes no sense: \"tw\\u{1b}elve\"",
                "/a/secret may not be read by this user",
                "/nowhere isn't there"
            ]
        );
    }

    #[test]
    fn as_many_numbers_as_are_expected_are_read() {
        assert_eq!(numbers("1\t2  3\n"), Some([1, 2, 3]));
        assert_eq!(numbers::<2>("1 2 3"), None);
        assert_eq!(numbers::<2>("1 x"), None);
        assert_eq!(numbers::<1>(""), None);
    }
}
