//! The `length:` protocol: a header of 20 bytes, `length:` and the body's length in bytes as
//! exactly 13 decimal digits, then the body, a JSON text; and between frames the nine bytes
//! `HeartBeat`. Whether a body is JSON is [`json`](super::json)'s to say: a frame ends where its
//! header says, whatever is in it.
//!
//! ```text
//! length:0000000000009{"a":"a"}
//! ```
//!
//! The first byte at a boundary decides: `l` begins a header, `H` a heartbeat, everything else is
//! an error; so a `HeartBeat` within a body is data. A heartbeat is shorter than a header, and has
//! to be recognised before 20 bytes are there.

mod digits;

use std::borrow::Cow;

use super::{
    Context, Direction, Extent, Failure, FrameError, Framing, Scan, Step, Told, json,
    preset::{Preset, PresetFraming},
};

/// What every header begins with.
const LABEL: &[u8; 7] = b"length:";

/// How many digits follow.
const DIGITS: usize = 13;

/// The header's length.
const HEADER: usize = LABEL.len() + DIGITS;

/// How a header begins whose length has eight digits or fewer, as nearly all have.
const USUAL: [u8; HEADER - 8] = *b"length:00000";

const HEARTBEAT: &[u8; 9] = b"HeartBeat";

/// How the clients of other protocols begin. By four bytes the methods of HTTP can be told from
/// everything of ours: HEAD begins as a heartbeat does. The last is a TLS record of the type
/// handshake, of any version.
const CLIENTS: [(&[u8], FrameError); 10] = [
    (b"GET ", FrameError::Http),
    (b"POST", FrameError::Http),
    (b"HEAD", FrameError::Http),
    (b"PUT ", FrameError::Http),
    (b"DELE", FrameError::Http),
    (b"OPTI", FrameError::Http),
    (b"PATC", FrameError::Http),
    (b"CONN", FrameError::Http),
    (b"TRAC", FrameError::Http),
    (&[0x16, 0x03], FrameError::Tls),
];

/// How their servers answer what they don't understand. Those of TLS send an alert.
const SERVERS: [(&[u8], FrameError); 3] = [
    (b"HTTP/", FrameError::HttpServer),
    (b"SSH-", FrameError::SshServer),
    (&[0x15, 0x03], FrameError::TlsServer),
];

/// The `length:` protocol with JSON bodies.
///
/// ```
/// use millpond::framing::{Context, Extent, Framing, LengthJson, Scan, Step};
///
/// let protocol = LengthJson::default();
/// let mut wire = Vec::new();
/// protocol.encode(Context::REQUEST, br#"{"a":"a"}"#, &mut wire)?;
/// assert_eq!(wire, br#"length:0000000000009{"a":"a"}"#);
///
/// let step = protocol.next(Context::REQUEST, &wire, &mut Scan::default())?;
/// assert_eq!(step, Step::Frame(Extent { head: 20, body: 9, tail: 0 }));
/// # Ok::<_, millpond::framing::FrameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LengthJson {
    max_body: usize,
    limit_named: Cow<'static, str>,
}

/// The settings of [`LengthJson`], as a document has them: `length-json = { max_body = 65536 }`.
///
/// Fields may be added in a minor release: end a literal with `..LengthJsonSettings::default()`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "snake_case", deny_unknown_fields, default)
)]
pub struct LengthJsonSettings {
    /// The longest body in bytes. Default: [`LengthJson::DEFAULT_MAX_BODY`].
    pub max_body: usize,
}

impl LengthJson {
    /// The longest body unless set otherwise: 1 MiB, far more than a message and far less than a
    /// machine's memory.
    pub const DEFAULT_MAX_BODY: usize = 1 << 20;

    /// The longest body that the header can announce.
    pub const LARGEST_BODY: u64 = 9_999_999_999_999;

    /// Refuses bodies longer than this many bytes, when they are announced and when they are to be
    /// sent. At most [`LARGEST_BODY`](LengthJson::LARGEST_BODY) counts.
    pub fn with_max_body(max_body: usize) -> Self {
        let largest = usize::try_from(LengthJson::LARGEST_BODY).unwrap_or(usize::MAX);
        LengthJson {
            max_body: max_body.min(largest),
            limit_named: "LengthJson::with_max_body".into(),
        }
    }

    /// The setting that [`FrameError::TooLong`] names, for programs that have one of their own:
    /// `--max-frame`. Default: `LengthJson::with_max_body`, or `max_body` where that was set by
    /// [`LengthJsonSettings`].
    pub fn limit_named(mut self, setting: impl Into<Cow<'static, str>>) -> Self {
        self.limit_named = setting.into();
        self
    }

    /// The longest body, in bytes.
    pub fn max_body(&self) -> usize {
        self.max_body
    }

    #[inline]
    fn header(&self, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        let whole = bytes.first_chunk::<HEADER>().and_then(announced);
        let Some(body) = whole else {
            return unfinished(bytes);
        };
        let length = usize::try_from(body).ok();
        let Some(length) = length.filter(|&length| length <= self.max_body) else {
            return Err(self.too_long(body));
        };
        let extent = Extent {
            head: HEADER,
            body: length,
            tail: 0,
        };
        scan.announce(extent);
        Ok(extent.within(bytes.len()))
    }

    #[cold]
    fn too_long(&self, length: u64) -> FrameError {
        FrameError::TooLong {
            length,
            limit: self.max_body as u64,
            setting: Some(self.limit_named.clone()),
        }
    }
}

impl Default for LengthJson {
    fn default() -> Self {
        LengthJson::with_max_body(LengthJson::DEFAULT_MAX_BODY)
    }
}

impl Default for LengthJsonSettings {
    fn default() -> Self {
        LengthJsonSettings {
            max_body: LengthJson::DEFAULT_MAX_BODY,
        }
    }
}

impl From<LengthJsonSettings> for LengthJson {
    fn from(settings: LengthJsonSettings) -> Self {
        LengthJson::with_max_body(settings.max_body).limit_named("max_body")
    }
}

impl PresetFraming for LengthJson {
    const PRESET: Preset = Preset::new(
        "length-json",
        "JSON texts, each behind `length:` and 13 digits; heartbeats",
    );

    type Settings = LengthJsonSettings;

    fn plain() -> Self {
        LengthJsonSettings::default().into()
    }

    fn settings(&self) -> LengthJsonSettings {
        LengthJsonSettings {
            max_body: self.max_body,
        }
    }

    fn limited(self, max_body: usize, named: Cow<'static, str>) -> Self {
        LengthJson::with_max_body(max_body).limit_named(named)
    }
}

impl Framing for LengthJson {
    #[inline]
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        if let Some(extent) = scan.announced() {
            return Ok(extent.within(bytes.len()));
        }
        match bytes.first() {
            None => Ok(Step::More { missing: 1 }),
            Some(b'l') => self.header(bytes, scan),
            Some(b'H') => heartbeat(context.direction(), bytes),
            Some(_) => stranger(context.direction(), bytes, 0, "length: or HeartBeat"),
        }
    }

    #[inline]
    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        if body.len() > self.max_body {
            return Err(self.too_long(body.len() as u64));
        }
        out.reserve(HEADER + body.len());
        write_header(body.len(), out);
        out.extend_from_slice(body);
        Ok(())
    }

    #[inline]
    fn max_frame(&self) -> usize {
        self.max_body.saturating_add(HEADER)
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        Some(HEARTBEAT)
    }

    fn name(&self) -> &str {
        "the length: protocol with JSON bodies"
    }

    #[inline]
    fn looks_at_requests(&self) -> bool {
        false
    }

    fn failure_needs_request(&self) -> bool {
        false
    }

    fn encode_failure(
        &self,
        _: Context<'_>,
        _: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        let body = json::error_reply(failure);
        match self.encode(Context::REPLY, &body, out) {
            Ok(()) => Told::ByReply,
            // A limit below the length of an error reply.
            Err(_) => Told::ByClosing,
        }
    }
}

/// The length that a header announces, if it is one.
#[inline]
fn announced(header: &[u8; HEADER]) -> Option<u64> {
    let (first, last) = header.split_first_chunk::<{ USUAL.len() }>()?;
    let last = digits::read(u64::from_le_bytes(*last.first_chunk()?))?;
    match *first == USUAL {
        true => Some(last),
        false => unusual(first).map(|upper| digits::LIMIT * upper + last),
    }
}

/// The first five digits.
#[cold]
fn unusual(first: &[u8; USUAL.len()]) -> Option<u64> {
    let digits = first.strip_prefix(LABEL)?;
    let mut padded = [b'0'; 8];
    padded[8 - digits.len()..].copy_from_slice(digits);
    digits::read(u64::from_le_bytes(padded))
}

/// Bytes that begin as a header does and aren't a whole one: what is missing, or the first that
/// can't stand there.
#[cold]
fn unfinished(bytes: &[u8]) -> Result<Step, FrameError> {
    let header = &bytes[..bytes.len().min(HEADER)];
    for (position, &found) in header.iter().enumerate() {
        let expected = match LABEL.get(position) {
            Some(&letter) if letter == found => continue,
            Some(_) => "the text length:",
            None if found.is_ascii_digit() => continue,
            None => "one of 13 digits",
        };
        return Err(FrameError::Unexpected {
            position,
            found,
            expected: expected.into(),
        });
    }
    let missing = HEADER - header.len();
    Ok(Step::More { missing })
}

/// Writes the header of a body of this length, which must be at most [`LengthJson::LARGEST_BODY`].
///
/// Its two parts are put where they belong at once: put together elsewhere and copied, they would
/// cost twice as much.
#[inline]
fn write_header(body: usize, out: &mut Vec<u8>) {
    let body = body as u64;
    match body < digits::LIMIT {
        true => out.extend_from_slice(&USUAL),
        false => write_unusual(body / digits::LIMIT, out),
    }
    out.extend_from_slice(&digits::write(body % digits::LIMIT).to_le_bytes());
}

/// The label and the first five digits.
#[cold]
fn write_unusual(upper: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(LABEL);
    out.extend_from_slice(&digits::write(upper).to_le_bytes()[3..]);
}

fn heartbeat(way: Direction, bytes: &[u8]) -> Result<Step, FrameError> {
    let differs = bytes
        .iter()
        .zip(HEARTBEAT)
        .position(|(found, expected)| found != expected);
    match differs {
        Some(position) => stranger(way, bytes, position, "the text HeartBeat"),
        None if bytes.len() < HEARTBEAT.len() => Ok(Step::More {
            missing: HEARTBEAT.len() - bytes.len(),
        }),
        None => Ok(Step::Heartbeat {
            length: HEARTBEAT.len(),
        }),
    }
}

/// Bytes that are none of ours, for at this position something else is expected. Whose they are is
/// worth waiting for, but for no more of them than tell it.
#[cold]
fn stranger(
    way: Direction,
    bytes: &[u8],
    position: usize,
    expected: &'static str,
) -> Result<Step, FrameError> {
    let strangers = match way {
        Direction::Request => &CLIENTS[..],
        Direction::Reply => &SERVERS[..],
    };
    for (beginning, error) in strangers {
        let missing = beginning.len().saturating_sub(bytes.len());
        if bytes.starts_with(beginning) {
            return Err(error.clone());
        } else if missing > 0 && beginning.starts_with(bytes) {
            return Ok(Step::More { missing });
        }
    }
    Err(FrameError::Unexpected {
        position,
        found: bytes[position],
        expected: expected.into(),
    })
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
