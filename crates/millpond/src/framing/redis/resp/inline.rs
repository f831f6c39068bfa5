//! Where an inline command ends: a line of words, as people type it.

use memchr::memchr3;

use super::{
    limits::Limits,
    line::{examined, malformed, stranger, unexpected, whole},
    progress::Progress,
};
use crate::framing::{FrameError, Scan, Step};

/// The longest line in bytes, without its end: redis-server's own limit.
const LONGEST: usize = 64 << 10;

/// A TLS record of the type handshake, of any version.
const STRANGERS: [(&[u8], FrameError); 1] = [(&[0x16, 0x03], FrameError::Tls)];

/// The first words of HTTP that redis-server refuses as well, since browsers can be made to send them.
const HTTP: [&[u8]; 2] = [b"post", b"host:"];

/// See [`request`](super::request::request). The progress' offset is how many blanks there are before
/// the first word.
pub(super) fn inline(bytes: &[u8], scan: &mut Scan, limits: &Limits) -> Result<Step, FrameError> {
    let mut progress = Progress::of(scan);
    let from = scan.searched();
    let longest = LONGEST.min(limits.longest().saturating_sub(1));
    if progress.offset == from {
        let rest = &bytes[from.min(bytes.len())..];
        let blanks = rest.iter().take_while(|&&byte| is_blank(byte)).count();
        examined(blanks + 1);
        progress.offset += blanks;
    }
    let word = progress.offset;
    too_long(word, longest, limits)?;
    match bytes.get(word) {
        None => {
            progress.save(word, scan);
            return Ok(Step::More { missing: 1 });
        }
        Some(b'!'..=b'~') => {}
        Some(b'\r' | b'\n') => return Err(malformed("it is an empty line, which isn't answered")),
        Some(_) => {
            let own = unexpected(bytes, word, "an array, or an inline command,");
            return stranger(&STRANGERS, bytes, own);
        }
    }
    let from = from.max(word);
    let rest = &bytes[from..];
    let found = memchr3(b'\r', b'\n', 0, rest);
    examined(found.map_or(rest.len(), |at| at + 1));
    let stop = found.map_or(bytes.len(), |at| from + at);
    // Each is compared once: when the byte behind it comes.
    let begins_with = |first: &&[u8]| {
        let end = word + first.len();
        from <= end && end <= longest && is_word(&bytes[word..], first)
    };
    if HTTP.iter().any(begins_with) {
        return Err(FrameError::Http);
    }
    too_long(stop, longest, limits)?;
    let end = match (bytes.get(stop), bytes.get(stop + 1)) {
        (None, _) => None,
        (Some(b'\n'), _) => Some(stop + 1),
        (Some(b'\r'), next) => {
            limits.allow(stop + 2)?;
            match next {
                None => None,
                Some(b'\n') => Some(stop + 2),
                Some(_) => return Err(unexpected(bytes, stop + 1, "a line feed")),
            }
        }
        (Some(_), _) => return Err(unexpected(bytes, stop, "no NUL")),
    };
    let Some(end) = end else {
        progress.save(stop, scan);
        return Ok(Step::More { missing: 1 });
    };
    match ends_as_http(&bytes[..stop]) {
        true => Err(FrameError::Http),
        false => Ok(Step::Frame(whole(end))),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether a line begins with this word, in any case, and with its end.
fn is_word(line: &[u8], word: &[u8]) -> bool {
    let Some(b' ' | b'\t' | b'\r' | b'\n') = line.get(word.len()) else {
        return false;
    };
    let pairs = line.iter().zip(word);
    let same = pairs.take_while(|(found, letter)| found.eq_ignore_ascii_case(letter));
    let same = same.count();
    examined(1 + word.len().min(same + 1));
    same == word.len()
}

/// Whether a line is the first of an HTTP request: `GET key` is a fine command.
fn ends_as_http(line: &[u8]) -> bool {
    const VERSION: &[u8] = b" HTTP/";
    examined(line.len().min(3));
    let Some((begin, version)) = line.split_last_chunk::<3>() else {
        return false;
    };
    let is_version = matches!(version, [b'0'..=b'9', b'.', b'0'..=b'9']);
    is_version && begin.ends_with(VERSION)
}

fn too_long(length: usize, longest: usize, limits: &Limits) -> Result<(), FrameError> {
    if length <= longest {
        return Ok(());
    }
    if longest < LONGEST {
        return Err(limits.too_long(length as u64 + 1));
    }
    Err(FrameError::TooLong {
        length: length as u64,
        limit: LONGEST as u64,
        setting: None,
    })
}
