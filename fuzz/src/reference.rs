//! The `length:` protocol as slowly as it can be said: what the first item of some bytes is, found
//! by trying everything that it could be.

use millpond::framing::{Direction, FrameError};

/// What tells visitors of HTTP.
const METHODS: [&[u8]; 9] = [
    b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC",
];

/// What tells a TLS handshake.
const TLS: &[u8] = &[0x16, 0x03];

/// What tells servers of HTTP, TLS and SSH.
const HTTP_SERVER: &[u8] = b"HTTP/";
const TLS_SERVER: &[u8] = &[0x15, 0x03];
const SSH_SERVER: &[u8] = b"SSH-";

/// The heartbeat.
pub const HEARTBEAT: &[u8] = b"HeartBeat";

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First<'b> {
    /// A frame, with this body.
    Frame(&'b [u8]),
    /// A heartbeat.
    Heartbeat,
    /// A frame of which so many bytes haven't arrived.
    Announced {
        /// How many.
        missing: usize,
    },
    /// What could become anything, and lacks at most so many bytes to be the shortest item that it
    /// could become.
    Begun {
        /// How many.
        most: usize,
    },
    /// Nothing of this protocol.
    Refused(Refusal),
}

/// Why bytes are none of the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The first byte that can't stand where it stands.
    Unexpected {
        /// Where it stands.
        position: usize,
        /// The byte.
        found: u8,
    },
    /// The frame is longer than allowed.
    TooLong {
        /// What was announced.
        length: u64,
        /// What is allowed.
        limit: u64,
    },
    /// It is an HTTP request.
    Http,
    /// It is a TLS handshake.
    Tls,
    /// An HTTP server answers.
    HttpServer,
    /// A TLS server answers.
    TlsServer,
    /// An SSH server answers.
    SshServer,
}

impl Refusal {
    /// What an error of the library says, in these terms.
    ///
    /// # Panics
    ///
    /// The library has learnt an error that isn't known here.
    pub fn of(error: &FrameError) -> Refusal {
        match *error {
            FrameError::Unexpected {
                position, found, ..
            } => Refusal::Unexpected { position, found },
            FrameError::TooLong { length, limit, .. } => Refusal::TooLong { length, limit },
            FrameError::Http => Refusal::Http,
            FrameError::Tls => Refusal::Tls,
            FrameError::HttpServer => Refusal::HttpServer,
            FrameError::TlsServer => Refusal::TlsServer,
            FrameError::SshServer => Refusal::SshServer,
            ref error => panic!("an error that the reference doesn't know: {error}"),
        }
    }
}

/// Everything that tells a stranger who sends this way.
fn strangers(way: Direction) -> Vec<(&'static [u8], Refusal)> {
    match way {
        Direction::Request => {
            let mut all: Vec<_> = METHODS.map(|method| (method, Refusal::Http)).into();
            all.push((TLS, Refusal::Tls));
            all
        }
        Direction::Reply => vec![
            (HTTP_SERVER, Refusal::HttpServer),
            (TLS_SERVER, Refusal::TlsServer),
            (SSH_SERVER, Refusal::SshServer),
        ],
    }
}

/// What these bytes, sent this way, begin with, if bodies may be `max_body` bytes long.
pub fn first(way: Direction, max_body: usize, bytes: &[u8]) -> First<'_> {
    if let Some((_, refusal)) = strangers(way)
        .iter()
        .find(|(words, _)| bytes.starts_with(words))
    {
        return First::Refused(*refusal);
    }
    if bytes.starts_with(HEARTBEAT) {
        return First::Heartbeat;
    }
    if let Some(length) = bytes.get(..20).and_then(announced) {
        if length > max_body as u64 {
            let limit = max_body as u64;
            return First::Refused(Refusal::TooLong { length, limit });
        }
        let end = 20 + usize::try_from(length).expect("within the limit");
        return match bytes.get(20..end) {
            Some(body) => First::Frame(body),
            None => First::Announced {
                missing: end - bytes.len(),
            },
        };
    }
    let begun = bytes.len();
    if HEARTBEAT.starts_with(bytes) {
        return First::Begun { most: 9 - begun };
    }
    if begins_a_header(bytes) {
        return First::Begun { most: 20 - begun };
    }
    if let Some((words, _)) = strangers(way)
        .iter()
        .find(|(words, _)| words.starts_with(bytes))
    {
        return First::Begun {
            most: words.len() - begun,
        };
    }
    // The first byte decides what it should have been, and the longest beginning that could still
    // become that ends before the wrong byte.
    let position = match bytes[0] {
        b'l' => (0..begun).rfind(|&end| begins_a_header(&bytes[..end])),
        b'H' => (0..begun).rfind(|&end| HEARTBEAT.starts_with(&bytes[..end])),
        _ => Some(0),
    };
    let position = position.expect("nothing at all could become anything");
    First::Refused(Refusal::Unexpected {
        position,
        found: bytes[position],
    })
}

/// The length in a header of 20 bytes, if it is one.
fn announced(header: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(header).ok()?.strip_prefix("length:")?;
    // A sign is a number's as well, and none of a header's.
    digits
        .chars()
        .all(|digit| "0123456789".contains(digit))
        .then(|| digits.parse().ok())?
}

/// Whether some header has this beginning.
fn begins_a_header(bytes: &[u8]) -> bool {
    let complete = b"length:0000000000000".get(bytes.len()..);
    complete.is_some_and(|rest| announced(&[bytes, rest].concat()).is_some())
}

/// A frame or a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A frame with this body.
    Frame(Vec<u8>),
    /// A heartbeat.
    Heartbeat,
}

impl Item {
    /// As it stands on the wire.
    pub fn wire(&self) -> Vec<u8> {
        match self {
            Item::Frame(body) => frame(body),
            Item::Heartbeat => HEARTBEAT.to_vec(),
        }
    }
}

/// How bytes end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With an item's beginning, or nothing.
    Open(Vec<u8>),
    /// With what is none of the protocol's.
    Refused(Refusal),
}

/// All that bytes hold that are sent this way.
pub fn all(way: Direction, max_body: usize, mut bytes: &[u8]) -> (Vec<Item>, End) {
    let mut items = Vec::new();
    loop {
        let item = match first(way, max_body, bytes) {
            First::Frame(body) => Item::Frame(body.to_vec()),
            First::Heartbeat => Item::Heartbeat,
            First::Announced { .. } | First::Begun { .. } => {
                return (items, End::Open(bytes.to_vec()));
            }
            First::Refused(refusal) => return (items, End::Refused(refusal)),
        };
        bytes = &bytes[item.wire().len()..];
        items.push(item);
    }
}

/// The frame of a body.
pub fn frame(body: &[u8]) -> Vec<u8> {
    [format!("length:{:013}", body.len()).as_bytes(), body].concat()
}
