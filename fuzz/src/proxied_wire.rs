//! The protocols of [`proxied_conversation`](crate::proxied_conversation): how requests and replies
//! are written, and what some bytes are, by the references.

use millpond::framing::{
    Delimited, DelimitedSettings, Direction, IdSettings, LengthJson, LengthPrefixed,
    LengthPrefixedSettings, MllpEnhanced, MllpSettings, Protocol, json,
};

use crate::{
    mllp, preset_references,
    reference::{self, HEARTBEAT},
};

/// The longest body.
const MAX_BODY: usize = 512;

/// The length of a header of the `length:` format.
const HEADER: usize = 20;

/// Where the id of [`Speech::Renumbered`] is in a frame.
const ID: std::ops::Range<usize> = 4..6;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Json,
    Prefixed,
    /// With an id that says which reply is whose, and that a route rewrites and restores.
    Renumbered,
    Lines,
    /// Lines that may end in two ways.
    EitherLines,
    Mllp,
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A frame of so many bytes.
    Frame(usize),
    /// A heartbeat of so many bytes.
    Heartbeat(usize),
    /// Something that isn't complete.
    More,
    /// Nothing of this protocol.
    Refused,
}

/// A frame, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'b> {
    pub(crate) at: usize,
    pub(crate) frame: &'b [u8],
}

impl Speech {
    pub(crate) const ALL: [Speech; 6] = [
        Speech::Json,
        Speech::Prefixed,
        Speech::Renumbered,
        Speech::Lines,
        Speech::EitherLines,
        Speech::Mllp,
    ];

    fn prefixed(self) -> LengthPrefixedSettings {
        LengthPrefixedSettings {
            id: (self == Speech::Renumbered).then(|| IdSettings {
                offset: ID.start,
                width: ID.len(),
                ..IdSettings::default()
            }),
            max_body: MAX_BODY,
            ..LengthPrefixedSettings::default()
        }
    }

    fn delimited(self) -> DelimitedSettings {
        let mut settings = DelimitedSettings {
            max_body: MAX_BODY,
            ..DelimitedSettings::default()
        };
        if self == Speech::EitherLines {
            settings.delimiters = vec!["\r\n".into(), "\n".into()];
        }
        settings
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Speech::Json => LengthJson::with_max_body(MAX_BODY).into(),
            Speech::Prefixed | Speech::Renumbered => LengthPrefixed::new(self.prefixed())
                .expect("valid settings")
                .into(),
            Speech::Lines | Speech::EitherLines => Delimited::new(self.delimited())
                .expect("valid settings")
                .into(),
            Speech::Mllp => millpond::framing::Mllp::from(MllpSettings {
                max_body: MAX_BODY,
                ..MllpSettings::default()
            })
            .into(),
        }
    }

    /// What these bytes begin with.
    pub(crate) fn first(self, way: Direction, bytes: &[u8]) -> Item {
        use preset_references::First;
        let preset = |first| match first {
            First::Frame(extent) => Item::Frame(extent.length()),
            First::Heartbeat(length) => Item::Heartbeat(length),
            First::More { .. } => Item::More,
            First::Refused(_) => Item::Refused,
        };
        match self {
            Speech::Json => match reference::first(way, MAX_BODY, bytes) {
                reference::First::Frame(body) => Item::Frame(20 + body.len()),
                reference::First::Heartbeat => Item::Heartbeat(HEARTBEAT.len()),
                reference::First::Announced { .. } | reference::First::Begun { .. } => Item::More,
                reference::First::Refused(_) => Item::Refused,
            },
            Speech::Prefixed | Speech::Renumbered => {
                preset(preset_references::length_prefixed(&self.prefixed(), bytes))
            }
            Speech::Lines | Speech::EitherLines => {
                preset(preset_references::delimited(&self.delimited(), way, bytes))
            }
            Speech::Mllp => match mllp::reference(MAX_BODY, bytes) {
                (bodies, _) if !bodies.is_empty() => Item::Frame(bodies[0].len() + 3),
                (_, None) => Item::More,
                (_, Some(_)) => Item::Refused,
            },
        }
    }

    /// All frames of these bytes, where what is behind them begins, and what that begins with.
    pub(crate) fn all(self, way: Direction, bytes: &[u8]) -> (Vec<Found<'_>>, usize, Item) {
        let (mut frames, mut at) = (Vec::new(), 0);
        loop {
            match self.first(way, &bytes[at..]) {
                Item::Frame(length) => {
                    let frame = &bytes[at..at + length];
                    frames.push(Found { at, frame });
                    at += length;
                }
                Item::Heartbeat(length) => at += length,
                item => return (frames, at, item),
            }
        }
    }

    /// A request with a token that is no other's.
    pub(crate) fn request(self, token: usize, padding: usize) -> Vec<u8> {
        let padding = "x".repeat(padding);
        let body = match self {
            Speech::Mllp => {
                format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|{token}|P|2.5\rPID|{padding}\r")
            }
            _ => format!("\"q{token}{padding}\""),
        };
        // Ids that are equal, as clients have them who don't know of each other.
        self.framed([0, token as u8 % 4], body.as_bytes())
    }

    /// A reply to this request, with a token that is no other's.
    pub(crate) fn reply(self, request: &[u8], token: usize) -> Vec<u8> {
        let body = match self {
            Speech::Mllp => {
                let header = mllp::segments(&request[1..request.len() - 2]);
                let id = header.and_then(|all| all[0].get(9).map(|id| id.to_vec()));
                let id = String::from_utf8_lossy(&id.unwrap_or_default()).into_owned();
                format!("MSH|^~\\&|C|D|A|B|2026||ACK|{token}|P|2.5\rMSA|AA|{id}\r")
            }
            _ => format!("\"a{token}\""),
        };
        let id = request.get(ID).unwrap_or_default();
        self.framed(id.try_into().unwrap_or_default(), body.as_bytes())
    }

    fn framed(self, id: [u8; 2], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("a short body");
        match self {
            Speech::Json => reference::frame(body),
            Speech::Prefixed => [&length.to_be_bytes()[..], body].concat(),
            Speech::Renumbered => [&length.to_be_bytes()[..], &id, body].concat(),
            Speech::Lines => [body, b"\n"].concat(),
            Speech::EitherLines => [body, b"\r\n"].concat(),
            Speech::Mllp => mllp::block(body),
        }
    }

    /// Whether a request gets a reply; nothing if it must not be passed on.
    pub(crate) fn awaits_reply(self, request: &[u8]) -> Option<bool> {
        if self != Speech::Mllp {
            return Some(true);
        }
        let header = mllp::segments(&request[1..request.len() - 2])?;
        let asks = mllp::asked(MllpEnhanced::Refuse, &header[0])?;
        Some(!asks.is_empty())
    }

    /// The frame without what a route may change.
    pub(crate) fn unnumbered(self, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        if let (Speech::Renumbered, Some(id)) = (self, frame.get_mut(ID)) {
            id.fill(0);
        }
        frame
    }

    /// What says which request a reply is to, if something does.
    pub(crate) fn id(self, frame: &[u8]) -> Option<&[u8]> {
        (self == Speech::Renumbered).then(|| &frame[ID])
    }

    /// Whether this frame may be what a route says instead of a reply: by its own codes.
    pub(crate) fn is_told(self, reply: &[u8]) -> bool {
        let body = reply.get(HEADER..).unwrap_or_default();
        let told = json::as_error_reply(body);
        self == Speech::Json && told.is_some_and(|error| (-32_700..=-32_000).contains(&error.code))
    }
}
