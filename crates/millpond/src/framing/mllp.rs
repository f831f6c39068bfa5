//! HL7 version 2 over MLLP: the byte 0x0B, a message, then 0x1C and 0x0D. Owns where blocks end and
//! what of a message is compared with its acknowledgment. [`message`] reads messages, [`asks`] says
//! which acknowledgments they ask for, and [`acknowledgment`] writes them.
//!
//! Sources: HL7, *Transport Specification: MLLP*, Release 1 and 2, for the block; HL7 version 2.x,
//! chapter 2 (*Control*), for segments and fields and for the two modes of acknowledgment, the
//! original and the enhanced one (2.9.2 and 2.9.3 of version 2.5.1).

mod acknowledgment;
mod asks;
mod message;
mod settings;

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr2;

use self::{
    asks::{Asks, Came},
    message::{Acknowledged, Header},
};
pub use self::{
    message::AckCode,
    settings::{MllpEnhanced, MllpFailures, MllpSettings},
};
use super::{
    Answer, Context, Demand, Extent, Failure, FailureKind, Frame, FrameError, Framing, Note,
    Replies, Scan, Step, Told,
    preset::{Preset, PresetFraming},
};

/// Begins a block.
const START: u8 = 0x0B;

/// Ends a block, together with the byte behind it.
const END: u8 = 0x1C;

/// The byte behind [`END`].
const RETURN: u8 = 0x0D;

/// A block without a body.
const SHORTEST: usize = 3;

/// HL7 version 2 over MLLP.
///
/// ```
/// use millpond::framing::{Context, Extent, Framing, Mllp, Scan, Step};
///
/// let mllp = Mllp::default();
/// let message = b"MSH|^~\\&|HIS|WARD|LAB|WARD|20260102||ADT^A01|7|P|2.5\rPID|1||4711\r";
/// let mut wire = Vec::new();
/// mllp.encode(Context::REQUEST, message, &mut wire)?;
/// assert_eq!((wire[0], &wire[wire.len() - 2..]), (0x0b, &b"\x1c\x0d"[..]));
///
/// let step = mllp.next(Context::REQUEST, &wire, &mut Scan::default())?;
/// let extent = Extent { head: 1, body: message.len(), tail: 2 };
/// assert_eq!(step, Step::Frame(extent));
/// # Ok::<_, millpond::framing::FrameError>(())
/// ```
///
/// # Blocks
///
/// 0x0B begins a block, and 0x1C with 0x0D behind it ends it. Neither byte can be part of a
/// message, so a second 0x0B before the end, and 0x1C with anything else behind it, are errors:
/// receivers differ in what they make of them, and then nobody knows where the next message begins.
/// So are bytes between blocks, even line ends. A body that contains one of these bytes isn't sent.
///
/// # Messages
///
/// A request is one message. It begins with the segment MSH, whose fourth byte separates fields.
/// Segments end with a carriage return; a line feed, alone or behind it, is taken for the same, as
/// many systems send it. Refused before they are sent are batches (BHS, FHS), a body with a second
/// MSH, a message with no control id in MSH-10, which no acknowledgment could be compared with, and
/// separators that are letters, digits or no printable ASCII.
///
/// # Acknowledgments
///
/// | MSH-15 | MSH-16 | what answers |
/// |---|---|---|
/// | empty | empty | original mode: one application acknowledgment, AA, AE or AR; none, if the message is an `ACK` itself |
/// | `NE` | `NE` | nothing |
/// | `AL` | `NE` | the accept acknowledgment, CA, CE or CR; an application acknowledgment is taken for it |
/// | `NE` | `AL` | the application acknowledgment |
/// | `AL` | `AL` | CA, and then the application acknowledgment; CE or CR alone, because what isn't accepted isn't processed |
/// | `ER` | `AL` | one: CE or CR, or the application acknowledgment |
///
/// If only one of the two fields is empty it is taken for `NE`; so is the null value `""`. `ER` and
/// `SU`, on errors only and on success only, are refused otherwise: a sender couldn't tell whether
/// an acknowledgment is still to come, and would wait for it, or take the next one for it.
///
/// By HL7, the application acknowledgment of the enhanced mode is the first message of a later
/// exchange, which the receiver begins, often on a connection of its own. So what to do with
/// messages that ask for it has to be said: [`MllpSettings::enhanced`]. By default they are
/// refused. An acknowledgment that asks to be acknowledged itself is delivered; nothing is sent for
/// it.
///
/// # Whose acknowledgment it is
///
/// MSA-2 must be, byte by byte, what MSH-10 was, each found by the separators of its own message.
/// If it isn't, or there isn't exactly one MSA, or its code isn't one that can come now, then the
/// exchange fails and the connection is closed. A late acknowledgment is never delivered to another
/// message, but where control ids are used twice within one connection.
///
/// A message is never sent a second time by itself: not all receivers look for what they know
/// already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mllp {
    settings: MllpSettings,
    limit_named: Cow<'static, str>,
}

impl Mllp {
    /// The longest body unless set otherwise: 16 MiB, because messages carry whole documents and
    /// images in base64.
    pub const DEFAULT_MAX_BODY: usize = settings::DEFAULT_MAX_BODY;

    /// The setting that [`FrameError::TooLong`] names, for programs that have one of their own:
    /// `--max-frame`. Default: `max_body`, as documents call it, which is
    /// [`MllpSettings::max_body`].
    pub fn limit_named(mut self, setting: impl Into<Cow<'static, str>>) -> Self {
        self.limit_named = setting.into();
        self
    }

    /// The settings.
    pub fn settings(&self) -> &MllpSettings {
        &self.settings
    }

    /// The smallest message that acknowledges this one with this code: MSH with applications and
    /// facilities exchanged, and MSA. Separators, date, control id, processing id, version and
    /// character set are those of the message: no clock is read, and no control id made up.
    ///
    /// ```
    /// use millpond::framing::{AckCode, Mllp};
    ///
    /// let message = b"MSH|^~\\&|HIS|WARD|LAB|EAST|20260102||ADT^A01^ADT_A01|7|P|2.5\r";
    /// let acknowledgment = Mllp::acknowledgment(message, AckCode::ApplicationAccept)?;
    /// assert_eq!(
    ///     acknowledgment,
    ///     b"MSH|^~\\&|LAB|EAST|HIS|WARD|20260102||ACK^A01^ACK|7|P|2.5\rMSA|AA|7\r",
    /// );
    /// # Ok::<_, millpond::framing::Failure>(())
    /// ```
    ///
    /// # Errors
    ///
    /// It is no message, or has no control id; in words for its sender.
    pub fn acknowledgment(message: &[u8], code: AckCode) -> Result<Vec<u8>, Failure> {
        Ok(acknowledgment::of(&Header::of_request(message)?, code))
    }
}

impl Default for Mllp {
    fn default() -> Self {
        MllpSettings::default().into()
    }
}

impl From<MllpSettings> for Mllp {
    fn from(settings: MllpSettings) -> Self {
        Mllp {
            settings,
            limit_named: "max_body".into(),
        }
    }
}

impl Framing for Mllp {
    fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        match bytes.first() {
            Some(&START) => {}
            Some(_) => return Err(unexpected(bytes, 0, "0x0B, which begins an MLLP block,")),
            None => return Ok(Step::More { missing: SHORTEST }),
        }
        // The last byte at which a body can have its end, whatever is behind it.
        let beyond = self.settings.max_body.saturating_add(2);
        let within = &bytes[..bytes.len().min(beyond)];
        let searched = scan.searched().clamp(1, within.len());
        let Some(at) = memchr2(START, END, &within[searched..]).map(|at| searched + at) else {
            if within.len() == beyond {
                return Err(self.too_long(self.settings.max_body.saturating_add(1)));
            }
            scan.set_searched(within.len());
            return Ok(Step::More { missing: 2 });
        };
        if bytes[at] == START {
            return Err(unexpected(
                bytes,
                at,
                "a byte of a message, or 0x1C and 0x0D,",
            ));
        }
        scan.set_searched(at);
        match bytes.get(at + 1) {
            Some(&RETURN) => Ok(Step::Frame(Extent {
                head: 1,
                body: at - 1,
                tail: 2,
            })),
            Some(_) => Err(unexpected(bytes, at + 1, "0x0D behind 0x1C")),
            None => Ok(Step::More { missing: 1 }),
        }
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        if body.len() > self.settings.max_body {
            return Err(self.too_long(body.len()));
        }
        if let Some(at) = memchr2(START, END, body) {
            return Err(FrameError::Unexpected {
                position: 1 + at,
                found: body[at],
                expected: "a byte of a message, which neither 0x0B nor 0x1C can be,".into(),
            });
        }
        out.reserve(body.len() + SHORTEST);
        out.push(START);
        out.extend_from_slice(body);
        out.extend_from_slice(&[END, RETURN]);
        Ok(())
    }

    fn max_frame(&self) -> usize {
        self.settings.max_body.saturating_add(SHORTEST)
    }

    fn name(&self) -> &str {
        "HL7 over MLLP"
    }

    fn demand(&self, request: &[u8], _: &Note) -> Demand {
        let demanded = self.demanded(body_of(request));
        demanded.unwrap_or_else(|failure| Demand::default().refused(failure))
    }

    /// The state is that of the exchange: the control id of the message whose accept
    /// acknowledgment has come. It is empty at rest.
    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        let Some(asked) = asked else {
            return Answer::Mismatch;
        };
        let answered = || {
            let asks = Asks::from_word(asked.as_word())?;
            let acknowledged = Acknowledged::read(body_of(reply))?;
            let is_its_own = acknowledged.control_id == asked.as_bytes();
            let accepted = state.as_bytes() == asked.as_bytes();
            asks.answered_by(acknowledged.code, accepted)
                .filter(|_| is_its_own)
        };
        let Some(came) = answered() else {
            return Answer::Mismatch;
        };
        match came {
            Came::Last => {
                *state = Note::default();
                Answer::Last
            }
            Came::Accepted => {
                *state = Note::bytes(asked.as_bytes());
                Answer::More
            }
        }
    }

    fn failure_needs_request(&self) -> bool {
        self.settings.failures == MllpFailures::Acknowledge
    }

    fn encode_failure(
        &self,
        _: Context<'_>,
        request: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        if self.settings.failures == MllpFailures::Close {
            return Told::ByClosing;
        }
        match self.refusal(body_of(request), failure, out) {
            Some(()) => Told::ByReply,
            None => Told::ByClosing,
        }
    }
}

impl Mllp {
    /// What a message asks for, or why it isn't sent.
    fn demanded(&self, message: &[u8]) -> Result<Demand, Failure> {
        let header = Header::of_request(message)?;
        let asks = Asks::of(&header, self.settings.enhanced)?;
        let replies = match asks {
            Asks::Nothing => Replies::None,
            Asks::Both => Replies::Several,
            Asks::Application | Asks::Accept | Asks::RefusalOrApplication => Replies::One,
        };
        let note = Note::word(asks.as_word()).with_bytes(header.control_id());
        Ok(Demand::replies(replies).noting(note))
    }

    #[cold]
    fn too_long(&self, length: usize) -> FrameError {
        FrameError::TooLong {
            length: length as u64,
            limit: self.settings.max_body as u64,
            setting: Some(self.limit_named.clone()),
        }
    }

    /// Writes the acknowledgment that tells of a failure, if the message asks for one and can be
    /// acknowledged at all.
    fn refusal(&self, message: &[u8], failure: &Failure, out: &mut Vec<u8>) -> Option<()> {
        let header = Header::of_request(message).ok()?;
        let asks = Asks::of(&header, self.settings.enhanced).ok()?;
        let [error, reject] = match asks {
            Asks::Nothing => return None,
            Asks::Application => [AckCode::ApplicationError, AckCode::ApplicationReject],
            Asks::Accept | Asks::Both | Asks::RefusalOrApplication => {
                [AckCode::CommitError, AckCode::CommitReject]
            }
        };
        // HL7 rejects for reasons that aren't the message's: it can be sent again.
        let code = match failure.kind() {
            FailureKind::NotTaken | FailureKind::Overloaded | FailureKind::Unavailable => reject,
            _ => error,
        };
        let body = acknowledgment::of(&header, code);
        self.encode(Context::REPLY, &body, out).ok()
    }
}

impl PresetFraming for Mllp {
    const PRESET: Preset = Preset::new(
        "mllp",
        "HL7 version 2 messages between 0x0B and 0x1C 0x0D; MSA-2 is compared with MSH-10",
    );

    type Settings = MllpSettings;

    fn plain() -> Self {
        Mllp::default()
    }

    fn settings(&self) -> MllpSettings {
        self.settings.clone()
    }

    fn limited(mut self, max_body: usize, named: Cow<'static, str>) -> Self {
        self.settings.max_body = max_body;
        self.limit_named(named)
    }

    fn echo(&self, request: &Frame) -> Result<Vec<Bytes>, Failure> {
        let header = Header::of_request(request.body())?;
        let codes = match Asks::of(&header, self.settings.enhanced)? {
            Asks::Nothing => &[][..],
            Asks::Application | Asks::RefusalOrApplication => &[AckCode::ApplicationAccept],
            Asks::Accept => &[AckCode::CommitAccept],
            Asks::Both => &[AckCode::CommitAccept, AckCode::ApplicationAccept],
        };
        let bodies = codes.iter().map(|&code| acknowledgment::of(&header, code));
        Ok(bodies.map(Bytes::from).collect())
    }
}

/// What is between the first byte of a frame and its last two.
fn body_of(frame: &[u8]) -> &[u8] {
    let end = frame.len().saturating_sub(2);
    frame.get(1..end).unwrap_or_default()
}

#[cold]
fn unexpected(bytes: &[u8], position: usize, expected: &'static str) -> FrameError {
    FrameError::Unexpected {
        position,
        found: bytes[position],
        expected: expected.into(),
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
