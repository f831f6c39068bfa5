//! Protocols whose frames are a header with a length in it, and then a body.
//!
//! The header may hold fixed bytes, the length, and an id that the reply repeats. A frame ends where
//! its length says, whatever is in it.

mod digits;
mod settings;

use std::borrow::Cow;

use millpond_words::{InvalidSetting, Thousands};

use self::settings::Layout;
pub use self::settings::{
    Counts, EmptyBody, IdMode, IdSettings, LengthField, LengthPrefixedSettings,
};
use super::{
    Answer, Context, Demand, Direction, Extent, FrameError, Framing, IdField, Note, Scan, Step,
    preset::{Preset, PresetFraming},
};

/// What a scan notes of a heartbeat whose length has come, and not all of its header.
const BEGUN_HEARTBEAT: u64 = 1;

/// The length of nearly all headers, or more.
const SHORT: usize = 16;

/// A protocol whose frames are a header with a length in it, and then a body.
///
/// ```
/// use millpond::framing::{Context, Extent, Framing, LengthPrefixed, Scan, Step};
///
/// let protocol = LengthPrefixed::u32_be();
/// let mut wire = Vec::new();
/// protocol.encode(Context::REQUEST, b"PING", &mut wire)?;
/// assert_eq!(wire, b"\0\0\0\x04PING");
///
/// let step = protocol.next(Context::REQUEST, &wire, &mut Scan::default())?;
/// assert_eq!(step, Step::Frame(Extent { head: 4, body: 4, tail: 0 }));
/// # Ok::<_, millpond::framing::FrameError>(())
/// ```
///
/// # The header
///
/// ```text
/// fixed bytes … length … id … | body
/// ```
///
/// The fixed bytes come first. The length and the id lie behind them, in either order. What belongs
/// to none of them is 0 on sending and ignored on receipt.
///
/// - A fixed byte that differs, and a digit that is none, are refused as soon as they come
///   ([`FrameError::Unexpected`]).
/// - A length is judged as soon as its field is there, before the rest of the header. One that
///   exceeds the limit is [`FrameError::TooLong`]. One that says less than the header's length,
///   where it counts the whole frame, or less than nothing after its adjustment, is
///   [`FrameError::Malformed`].
/// - A frame with an empty body is a frame, unless [`EmptyBody::Heartbeat`] is set.
/// - Bodies that the length can't announce aren't sent: the error is the same as on receipt.
///
/// # Which reply is whose
///
/// Without an id: replies come in the order of their requests, and nothing is kept of requests. With
/// an id, [`IdMode`] says what is done with it. A reply of another id ends the connection.
///
/// The client is told of failures by closing the connection: there is no reply for them that all
/// such protocols would know.
///
/// # Well-known protocols
///
/// | protocol | settings |
/// |---|---|
/// | Erlang's [`{packet, N}`](https://www.erlang.org/doc/apps/kernel/inet.html#setopts/2) | `length = "u8"`, `"u16"` or `"u32"` |
/// | tokio-util's [`LengthDelimitedCodec`](https://docs.rs/tokio-util/latest/tokio_util/codec/length_delimited/), its defaults | none; its limit is 8 MiB: `max_body = 8388608` |
/// | [Kafka](https://kafka.apache.org/protocol#protocol_common) | none: the size is an `int32`. Its correlation id lies at another place in replies than in requests, so it isn't looked at; a broker answers each connection in order |
/// | ISO 8583 over TCP, the length in two bytes (jPOS' [`NACChannel`](https://jpos.org/doc/javadoc/org/jpos/iso/channel/NACChannel.html), with a TPDU of no bytes) | `length = "u16"` |
/// | … in four digits (`ASCIIChannel`) | `length = { digits = 4 }`; with `empty = "heartbeat"` where `0000` keeps the connection alive |
/// | … in two bytes of BCD (`BCDChannel`) | `length = { bcd = 2 }` |
///
/// gRPC isn't one of them: its frames are within those of HTTP/2.
///
/// The parameters of Netty's
/// [`LengthFieldBasedFrameDecoder`](https://netty.io/4.1/api/io/netty/handler/codec/LengthFieldBasedFrameDecoder.html),
/// and, in brackets, their names in tokio-util:
///
/// | theirs | ours |
/// |---|---|
/// | `maxFrameLength` (`max_frame_length`) | `max_body`: theirs less the header; tokio-util counts the body alone |
/// | `lengthFieldOffset` (`length_field_offset`) | `offset` |
/// | `lengthFieldLength` (`length_field_length`) of 1, 2, 3, 4, 8 | `length`: `"u8"`, `"u16"`, `"u24"`, `"u32"`, `"u64"` |
/// | `lengthAdjustment` (`length_adjustment`), 0 | `counts = "body"`, and no `header` |
/// | … less the bytes up to the length's end | `counts = "frame"` |
/// | … any other | `counts = "body"`, and `adjustment`: theirs, less the bytes of the `header` behind the length |
/// | `initialBytesToStrip` (`num_skip`) | none: a [`Frame`](super::Frame) has its header and its body. Where they strip more than the length, a longer `header` says so |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LengthPrefixed {
    settings: LengthPrefixedSettings,
    layout: Layout,
    /// The length as a number, if it is no digits.
    number: Option<IdField>,
    id: Option<IdField>,
    /// The header, with its fields at 0.
    header: Box<[u8]>,
    /// The same with bytes behind it, if it is no longer than that.
    short: Option<[u8; SHORT]>,
    heartbeat: Option<Box<[u8]>>,
    limit_named: Cow<'static, str>,
}

impl LengthPrefixed {
    /// The protocol of these settings.
    ///
    /// # Errors
    ///
    /// A setting is out of its range, or contradicts another.
    pub fn new(settings: LengthPrefixedSettings) -> Result<Self, InvalidSetting> {
        let layout = settings.layout()?;
        let mut header = vec![0; layout.header].into_boxed_slice();
        header[..settings.fixed.len()].copy_from_slice(&settings.fixed);
        let number = settings.length.is_binary();
        let number = number.then(|| {
            let (offset, width) = (layout.offset, settings.length.width());
            IdField::new(offset, width, settings.byte_order)
        });
        let id = settings.id;
        let id = id.map(|id| IdField::new(id.offset, id.width, id.byte_order));
        let mut protocol = LengthPrefixed {
            settings,
            layout,
            number,
            id,
            short: (header.len() <= SHORT).then(|| {
                let mut short = [0; SHORT];
                short[..header.len()].copy_from_slice(&header);
                short
            }),
            header,
            heartbeat: None,
            limit_named: "max_body".into(),
        };
        if protocol.settings.empty == EmptyBody::Heartbeat {
            let mut heartbeat = protocol.header.clone();
            // Where no body is empty this is refused.
            protocol.write_length(layout.to_body.unsigned_abs(), &mut heartbeat);
            protocol.heartbeat = Some(heartbeat);
        }
        Ok(protocol)
    }

    /// A big-endian `u32` that counts the body, and the body.
    pub fn u32_be() -> Self {
        LengthPrefixed::simple(LengthField::U32)
    }

    /// A big-endian `u16` that counts the body, and the body, of up to 65,535 bytes.
    pub fn u16_be() -> Self {
        LengthPrefixed::simple(LengthField::U16)
    }

    fn simple(length: LengthField) -> Self {
        let settings = LengthPrefixedSettings {
            length,
            ..LengthPrefixedSettings::default()
        };
        LengthPrefixed::new(settings).expect("a field alone contradicts nothing")
    }

    /// The same protocol, in which bodies longer than this many bytes are refused. No more than the
    /// length field can say counts, and no less than the shortest body that it can announce.
    pub fn with_max_body(mut self, max_body: usize) -> Self {
        let shortest = usize::try_from(self.layout.to_body).unwrap_or(0);
        self.settings.max_body = max_body.max(shortest);
        if let Ok(layout) = self.settings.layout() {
            self.layout = layout;
        }
        self
    }

    /// The setting that [`FrameError::TooLong`] names, for programs that have one of their own.
    /// Default: `max_body`, as documents call it.
    pub fn limit_named(mut self, setting: impl Into<Cow<'static, str>>) -> Self {
        self.limit_named = setting.into();
        self
    }

    /// What it was made of.
    pub fn settings(&self) -> &LengthPrefixedSettings {
        &self.settings
    }

    /// The longest body, in bytes: what is set, or what the length field can say.
    pub fn max_body(&self) -> usize {
        self.layout.max_body
    }

    /// The number in the length field, of a frame that has all of it.
    #[inline]
    fn announced(&self, bytes: &[u8]) -> Result<u64, FrameError> {
        match self.number {
            Some(number) => Ok(number.read(bytes).unwrap_or_default()),
            None => self.digits(bytes),
        }
    }

    /// The number that the digits say which are there.
    #[inline]
    fn digits(&self, bytes: &[u8]) -> Result<u64, FrameError> {
        let field = &bytes[self.layout.offset..self.layout.end.min(bytes.len())];
        let read = match self.settings.length {
            LengthField::Bcd(_) => digits::from_bcd(field),
            _ => digits::from_ascii(field),
        };
        read.map_err(|at| self.no_digit(at, field[at]))
    }

    #[cold]
    fn no_digit(&self, at: usize, found: u8) -> FrameError {
        let width = self.settings.length.width();
        let expected = match self.settings.length {
            LengthField::Bcd(_) => format!("two of {} decimal digits", 2 * width),
            _ => format!("one of {width} digits"),
        };
        FrameError::Unexpected {
            position: self.layout.offset + at,
            found,
            expected: expected.into(),
        }
    }

    /// The header, with its fields at 0.
    #[inline]
    fn begin(&self, out: &mut Vec<u8>) {
        match &self.short {
            // So many bytes that the compiler knows how many are copied without a call.
            Some(short) => {
                let end = out.len() + self.header.len();
                out.extend_from_slice(short);
                out.truncate(end);
            }
            None => out.extend_from_slice(&self.header),
        }
    }

    #[inline]
    fn write_length(&self, announced: u64, frame: &mut [u8]) {
        match self.number {
            Some(number) => {
                number.write(frame, announced);
            }
            None => {
                let field = &mut frame[self.layout.offset..self.layout.end];
                match self.settings.length {
                    LengthField::Bcd(_) => digits::to_bcd(announced, field),
                    _ => digits::to_ascii(announced, field),
                }
            }
        }
    }

    /// The fixed bytes, as far as they are there. Those before `from` are right.
    #[inline]
    fn check_fixed(&self, bytes: &[u8], from: usize) -> Result<(), FrameError> {
        match from < self.settings.fixed.len() {
            true => self.differing(bytes, from),
            false => Ok(()),
        }
    }

    fn differing(&self, bytes: &[u8], from: usize) -> Result<(), FrameError> {
        let fixed = &self.settings.fixed[..];
        let mut pairs = bytes.iter().zip(fixed).skip(from);
        let differs = pairs.position(|(found, expected)| found != expected);
        let Some(position) = differs.map(|position| from + position) else {
            return Ok(());
        };
        Err(FrameError::Unexpected {
            position,
            found: bytes[position],
            expected: format!("0x{:02X}", fixed[position]).into(),
        })
    }

    /// A header whose length field isn't there as a whole.
    #[cold]
    fn unfinished(&self, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        self.check_fixed(bytes, scan.searched())?;
        if self.number.is_none() && bytes.len() > self.layout.offset {
            self.digits(bytes)?;
        }
        scan.set_searched(bytes.len());
        let missing = self.layout.header - bytes.len();
        Ok(Step::More { missing })
    }

    /// An empty body where that is a heartbeat. It isn't announced, for it is no frame.
    fn beat(&self, received: usize, scan: &mut Scan) -> Step {
        let length = self.layout.header;
        match length.saturating_sub(received) {
            0 => Step::Heartbeat { length },
            missing => {
                scan.set_note(BEGUN_HEARTBEAT);
                Step::More { missing }
            }
        }
    }

    /// Why a number announces no body.
    #[cold]
    fn refused(&self, announced: u64) -> FrameError {
        let body = i128::from(announced) + i128::from(self.layout.to_body);
        if let Ok(body) = u64::try_from(body.min(u64::MAX.into())) {
            return self.too_long(body);
        }
        let announced = Thousands(announced);
        let reason = match self.settings.counts {
            Counts::Body => format!("with the adjustment, its length of {announced} is below 0"),
            Counts::Frame => format!(
                "it announces {announced} bytes in all, and its header alone has {}{}",
                Thousands(self.layout.header as u64),
                match self.settings.adjustment {
                    0 => "",
                    _ => ", the adjustment considered",
                }
            ),
        };
        let reason = reason.into();
        FrameError::Malformed { reason }
    }

    #[cold]
    fn too_long(&self, length: u64) -> FrameError {
        // Where the length field can say no more, no setting helps.
        let is_set = self.layout.max_body == self.settings.max_body;
        FrameError::TooLong {
            length,
            limit: self.layout.max_body as u64,
            setting: is_set.then(|| self.limit_named.clone()),
        }
    }

    /// The number that announces this body.
    #[inline]
    fn announcement(&self, body: &[u8]) -> Result<u64, FrameError> {
        if body.len() > self.layout.max_body {
            return Err(self.too_long(body.len() as u64));
        }
        let announced = body.len() as i64 - self.layout.to_body;
        match u64::try_from(announced) {
            Ok(announced) if !body.is_empty() || self.heartbeat.is_none() => Ok(announced),
            _ => Err(self.too_short(body.len())),
        }
    }

    #[cold]
    fn too_short(&self, length: usize) -> FrameError {
        let reason = match &self.heartbeat {
            Some(_) => "a frame with an empty body would be a heartbeat".into(),
            None => format!(
                "a body of {} bytes can't be announced, for with this adjustment the shortest has {}",
                Thousands(length as u64),
                Thousands(self.layout.to_body.unsigned_abs())
            ),
        };
        let reason = reason.into();
        FrameError::Malformed { reason }
    }
}

impl Default for LengthPrefixed {
    fn default() -> Self {
        LengthPrefixed::u32_be()
    }
}

impl TryFrom<LengthPrefixedSettings> for LengthPrefixed {
    type Error = InvalidSetting;

    fn try_from(settings: LengthPrefixedSettings) -> Result<Self, InvalidSetting> {
        LengthPrefixed::new(settings)
    }
}

impl PresetFraming for LengthPrefixed {
    const PRESET: Preset = Preset::new(
        "length-prefixed",
        "a header with a length in it, then a body: `{ length = \"u16\" }`, ids, digits, and more",
    );

    type Settings = LengthPrefixedSettings;

    fn plain() -> Self {
        LengthPrefixed::default()
    }

    fn settings(&self) -> LengthPrefixedSettings {
        self.settings.clone()
    }

    fn limited(self, max_body: usize, named: Cow<'static, str>) -> Self {
        self.with_max_body(max_body).limit_named(named)
    }
}

impl Framing for LengthPrefixed {
    #[inline]
    fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        if let Some(extent) = scan.announced() {
            return Ok(extent.within(bytes.len()));
        }
        if bytes.len() < self.layout.end {
            return self.unfinished(bytes, scan);
        }
        if scan.note() == BEGUN_HEARTBEAT {
            return Ok(self.beat(bytes.len(), scan));
        }
        self.check_fixed(bytes, scan.searched())?;
        let announced = self.announced(bytes)?;
        let body = announced.checked_add_signed(self.layout.to_body);
        let body = body.and_then(|body| usize::try_from(body).ok());
        let Some(body) = body.filter(|&body| body <= self.layout.max_body) else {
            return Err(self.refused(announced));
        };
        if body == 0 && self.heartbeat.is_some() {
            return Ok(self.beat(bytes.len(), scan));
        }
        let extent = Extent {
            head: self.layout.header,
            body,
            tail: 0,
        };
        scan.announce(extent);
        Ok(extent.within(bytes.len()))
    }

    #[inline]
    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let announced = self.announcement(body)?;
        let start = out.len();
        out.reserve(self.header.len().max(SHORT) + body.len());
        self.begin(out);
        self.write_length(announced, &mut out[start..]);
        if let (Some(id), Direction::Reply) = (self.id, context.direction()) {
            // Of a renumbered request nothing is noted: then this is 0, and the caller writes it.
            let asked = context.asked().map_or(0, Note::as_word);
            id.write(&mut out[start..], asked);
        }
        out.extend_from_slice(body);
        Ok(())
    }

    #[inline]
    fn max_frame(&self) -> usize {
        self.layout.max_body + self.layout.header
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        self.heartbeat.as_deref()
    }

    fn name(&self) -> &str {
        "a protocol of length-prefixed frames"
    }

    #[inline]
    fn looks_at_requests(&self) -> bool {
        self.id.is_some()
    }

    fn demand(&self, request: &[u8], _: &Note) -> Demand {
        match self.compared().and_then(|id| id.read(request)) {
            Some(id) => Demand::default().noting(Note::word(id)),
            None => Demand::default(),
        }
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], _: &mut Note) -> Answer {
        let Some(asked) = asked else {
            return Answer::Mismatch;
        };
        match self.compared() {
            Some(id) if id.read(reply) != Some(asked.as_word()) => Answer::Mismatch,
            _ => Answer::Last,
        }
    }

    fn id(&self) -> Option<IdField> {
        match self.settings.id?.mode {
            IdMode::Renumbered => self.id,
            IdMode::Compared => None,
        }
    }

    fn failure_needs_request(&self) -> bool {
        false
    }
}

impl LengthPrefixed {
    /// The field of the ids that are compared and stay as they are.
    fn compared(&self) -> Option<IdField> {
        match self.settings.id?.mode {
            IdMode::Compared => self.id,
            IdMode::Renumbered => None,
        }
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
