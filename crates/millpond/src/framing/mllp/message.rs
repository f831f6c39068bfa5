//! What has to be read of a message: its header segment MSH, and the segment MSA of an
//! acknowledgment. All else is passed over.

use memchr::{memchr2, memmem};

use crate::framing::Failure;

/// How many fields of MSH are read: up to MSH-18, the character set.
const FIELDS: usize = 18;

/// The code of an acknowledgment, in MSA-1: HL7's table 0008.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckCode {
    /// AA: the message was processed.
    ApplicationAccept,
    /// AE: it wasn't, for a reason that is the message's.
    ApplicationError,
    /// AR: it wasn't, for another reason.
    ApplicationReject,
    /// CA: the message is in safe storage, in enhanced mode.
    CommitAccept,
    /// CE: it isn't, for a reason that is the message's.
    CommitError,
    /// CR: it isn't, for another reason.
    CommitReject,
}

const CODES: [AckCode; 6] = [
    AckCode::ApplicationAccept,
    AckCode::ApplicationError,
    AckCode::ApplicationReject,
    AckCode::CommitAccept,
    AckCode::CommitError,
    AckCode::CommitReject,
];

impl AckCode {
    /// Its two letters.
    pub fn as_str(self) -> &'static str {
        match self {
            AckCode::ApplicationAccept => "AA",
            AckCode::ApplicationError => "AE",
            AckCode::ApplicationReject => "AR",
            AckCode::CommitAccept => "CA",
            AckCode::CommitError => "CE",
            AckCode::CommitReject => "CR",
        }
    }

    /// It is an application acknowledgment, and no accept acknowledgment.
    pub(super) fn is_application(self) -> bool {
        use AckCode::{ApplicationAccept, ApplicationError, ApplicationReject};
        matches!(
            self,
            ApplicationAccept | ApplicationError | ApplicationReject
        )
    }

    fn read(field: &[u8]) -> Option<Self> {
        let is_it = |code: &AckCode| code.as_str().as_bytes() == field;
        CODES.into_iter().find(is_it)
    }
}

/// The segment MSH of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'m> {
    separator: u8,
    /// MSH-1 is the separator itself, so MSH-2 is the second here, and the first is `MSH`.
    fields: [&'m [u8]; FIELDS],
}

impl<'m> Header<'m> {
    /// Reads the header of a message that is to be acknowledged.
    ///
    /// # Errors
    ///
    /// It is no message, not one alone, or has no control id; in words for its sender.
    pub(super) fn of_request(message: &'m [u8]) -> Result<Self, Failure> {
        let header = Header::read(message).map_err(Failure::refused)?;
        if header.control_id().is_empty() {
            return Err(Failure::refused(
                "the message has no control id in MSH-10, so no acknowledgment could be told to be \
                 its own",
            ));
        }
        Ok(header)
    }

    fn read(message: &'m [u8]) -> Result<Self, &'static str> {
        if message.starts_with(b"FHS") || message.starts_with(b"BHS") {
            return Err("batches of messages are refused: send each message by itself");
        }
        let Some(&separator) = message.strip_prefix(b"MSH").and_then(<[u8]>::first) else {
            return Err("the body doesn't begin with the segment MSH");
        };
        if !can_separate(separator) {
            return Err("the field separator, behind MSH, is a letter, a digit or unprintable");
        }
        let segment = first_segment(message);
        let mut fields = [&b""[..]; FIELDS];
        for (field, found) in fields.iter_mut().zip(segment.split(|&b| b == separator)) {
            *field = found;
        }
        let encoding = fields[1];
        if !(1..=5).contains(&encoding.len()) || !encoding.iter().copied().all(can_separate) {
            return Err("MSH-2 must be one to five encoding characters, such as ^~\\&");
        }
        if has_segment(message, b"MSH").nth(1).is_some() {
            return Err("the body has more than one segment MSH: send each message by itself");
        }
        Ok(Header { separator, fields })
    }

    /// MSH-1.
    pub(super) fn separator(&self) -> u8 {
        self.separator
    }

    /// The field MSH-2 to MSH-18 of this number; empty if there is none.
    pub(super) fn field(&self, number: usize) -> &'m [u8] {
        self.fields
            .get(number.wrapping_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// MSH-10.
    pub(super) fn control_id(&self) -> &'m [u8] {
        self.field(10)
    }

    /// The byte between the components of a field.
    pub(super) fn component_separator(&self) -> u8 {
        self.field(2).first().copied().unwrap_or(b'^')
    }

    /// The component of MSH-9 with this number, from 0.
    pub(super) fn message_type(&self, component: usize) -> &'m [u8] {
        let separator = self.component_separator();
        let mut components = self.field(9).split(|&b| b == separator);
        components.nth(component).unwrap_or_default()
    }

    /// It is an acknowledgment itself, by its type.
    pub(super) fn is_acknowledgment(&self) -> bool {
        self.message_type(0) == b"ACK"
    }
}

/// What a message says of the one that it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged<'m> {
    /// MSA-1.
    pub(super) code: AckCode,
    /// MSA-2.
    pub(super) control_id: &'m [u8],
}

impl<'m> Acknowledged<'m> {
    /// Reads the segment MSA of a message; nothing if there isn't exactly one that says both.
    pub(super) fn read(message: &'m [u8]) -> Option<Self> {
        let header = Header::read(message).ok()?;
        let mut found = has_segment(message, b"MSA");
        let (Some(at), None) = (found.next(), found.next()) else {
            return None;
        };
        let mut fields = first_segment(&message[at..]).split(|&b| b == header.separator);
        if fields.next() != Some(b"MSA") {
            return None;
        }
        let code = AckCode::read(fields.next()?)?;
        let control_id = fields.next().filter(|id| !id.is_empty())?;
        Some(Acknowledged { code, control_id })
    }
}

/// A byte that can separate fields or their parts, and can't be mistaken for a part of their text.
fn can_separate(byte: u8) -> bool {
    byte.is_ascii_punctuation()
}

/// What is before the first end of a segment.
fn first_segment(message: &[u8]) -> &[u8] {
    let end = memchr2(b'\r', b'\n', message);
    &message[..end.unwrap_or(message.len())]
}

/// Where segments begin that have this name.
fn has_segment<'m>(message: &'m [u8], name: &'static [u8; 3]) -> impl Iterator<Item = usize> + 'm {
    memmem::find_iter(message, name)
        .filter(|&at| at == 0 || matches!(message[at - 1], b'\r' | b'\n'))
}
