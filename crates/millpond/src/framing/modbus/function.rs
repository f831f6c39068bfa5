//! The functions of Modbus: which only read, how long a request must be, and what its reply looks
//! like. Knows the bytes behind the unit and nothing of frames.
//!
//! Source: *MODBUS Application Protocol Specification V1.1b3*, section 6.

use crate::framing::Failure;

/// Set in the function of a reply that is an exception.
pub(super) const EXCEPTION: u8 = 0x80;

/// Of the interfaces that function 43 wraps, the reading of a device's identification.
const IDENTIFICATION: u8 = 0x0E;

/// What is remembered of a request: its function, and the first four bytes of its data, with zeros
/// for those that aren't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) function: u8,
    pub(super) first: [u8; 4],
}

/// What the data of a reply looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A byte that counts those behind it: so many.
    Counted(usize),
    /// The same, however many.
    AnyCounted,
    /// The same, with a count of two bytes.
    LongCounted,
    /// So many bytes, the first four of which are the request's: an address and what goes with it.
    Echo(usize),
    /// The request's, as many as its first byte counts.
    CountedEcho,
    /// Any number of bytes, the first of which are the request's.
    Repeats(usize),
    /// So many bytes.
    Long(usize),
    /// The function isn't in the specification, or its data is its user's.
    Any,
}

impl Asked {
    /// Of a function and its data.
    pub(super) fn of(function: u8, data: &[u8]) -> Asked {
        let mut first = [0; 4];
        for (to, byte) in first.iter_mut().zip(data) {
            *to = *byte;
        }
        Asked { function, first }
    }

    /// The second number of the request: how many coils or registers.
    fn quantity(self) -> usize {
        u16::from_be_bytes([self.first[2], self.first[3]]).into()
    }

    fn form(self) -> Form {
        match self.function {
            0x01 | 0x02 => Form::Counted(self.quantity().div_ceil(8)),
            0x03 | 0x04 | 0x17 => Form::Counted(2 * self.quantity()),
            0x05 | 0x06 | 0x0F | 0x10 => Form::Echo(4),
            0x07 => Form::Long(1),
            0x08 => Form::Repeats(2),
            0x0B => Form::Long(4),
            0x0C | 0x11 | 0x14 => Form::AnyCounted,
            0x15 => Form::CountedEcho,
            0x16 => Form::Echo(6),
            0x18 => Form::LongCounted,
            0x2B => Form::Repeats(1),
            _ => Form::Any,
        }
    }

    /// Whether it changes nothing, by the specification.
    pub(super) fn only_reads(self) -> bool {
        match self.function {
            0x01..=0x04 | 0x07 | 0x0B | 0x0C | 0x11 | 0x14 | 0x18 => true,
            // Of the diagnostics, the question for the query's own data.
            0x08 => self.first[..2] == [0, 0],
            0x2B => self.first[0] == IDENTIFICATION,
            _ => false,
        }
    }

    /// Whether this function and its data are the reply.
    pub(super) fn answered_by(self, function: u8, data: &[u8]) -> bool {
        if function == self.function | EXCEPTION {
            return data.len() == 1;
        }
        let counts = |count: usize, length: usize| data.len() == count + length;
        function == self.function
            && match self.form() {
                Form::Counted(bytes) => counts(1, bytes) && usize::from(data[0]) == bytes,
                Form::AnyCounted => counts_itself(data),
                Form::CountedEcho => counts_itself(data) && data.starts_with(&self.first),
                Form::LongCounted => (data.first_chunk())
                    .is_some_and(|&count| counts(2, u16::from_be_bytes(count).into())),
                Form::Echo(length) => data.len() == length && data.starts_with(&self.first),
                Form::Repeats(bytes) => data.starts_with(&self.first[..bytes]),
                Form::Long(length) => data.len() == length,
                Form::Any => true,
            }
    }

    /// The data of the smallest right reply, of a device in which all is zero.
    pub(super) fn plain_reply(self, data: &[u8]) -> Vec<u8> {
        match (self.function, self.form()) {
            // No event has happened.
            (0x0C, _) => vec![6, 0, 0, 0, 0, 0, 0],
            // An id, and that it doesn't run.
            (0x11, _) => vec![2, 0, 0],
            // A device that identifies itself by nothing.
            (0x2B, _) if data[0] == IDENTIFICATION => {
                vec![
                    IDENTIFICATION,
                    data.get(1).copied().unwrap_or(1),
                    1,
                    0,
                    0,
                    0,
                ]
            }
            (_, Form::Counted(bytes)) => {
                let count = u8::try_from(bytes).expect("checked");
                let mut reply = vec![0; 1 + bytes];
                reply[0] = count;
                reply
            }
            (_, Form::AnyCounted) => vec![0],
            (_, Form::LongCounted) => vec![0, 2, 0, 0],
            (_, Form::Echo(length)) => data[..length].to_vec(),
            (_, Form::Long(length)) => vec![0; length],
            (_, Form::CountedEcho | Form::Repeats(_) | Form::Any) => data.to_vec(),
        }
    }
}

/// Whether the first byte is the number of those behind it.
fn counts_itself(data: &[u8]) -> bool {
    data.split_first()
        .is_some_and(|(&count, rest)| usize::from(count) == rest.len())
}

/// Whether a request is as its function has it.
///
/// # Errors
///
/// It isn't: devices differ in what they make of it, and the reply couldn't be told from another's.
pub(super) fn check(function: u8, data: &[u8]) -> Result<(), Failure> {
    let asked = Asked::of(function, data);
    let quantity = asked.quantity();
    let length = match function {
        0x00 | EXCEPTION.. => {
            return Err(Failure::refused(format!(
                "{function} is the number of no function: these are 1 to 127"
            )));
        }
        0x01..=0x06 => Some(4),
        0x07 | 0x0B | 0x0C | 0x11 => Some(0),
        0x0F => Some(5 + quantity.div_ceil(8)),
        0x10 => Some(5 + 2 * quantity),
        0x14 | 0x15 => Some(1 + data.first().map_or(0, |&count| usize::from(count))),
        0x16 => Some(6),
        0x17 => (data.get(6..8))
            .map(|quantity| 9 + 2 * usize::from(u16::from_be_bytes([quantity[0], quantity[1]])))
            .or(Some(9)),
        0x18 => Some(2),
        _ => None,
    };
    if let Some(length) = length.filter(|length| *length != data.len()) {
        return Err(Failure::malformed(format!(
            "the data of function {function} is {} bytes long, and must have {length}",
            data.len()
        )));
    }
    let least = match function {
        0x08 => 2,
        0x2B => 1,
        _ => 0,
    };
    if data.len() < least {
        return Err(Failure::malformed(format!(
            "the data of function {function} is {} bytes long, and must have {least} at least",
            data.len()
        )));
    }
    let wrong = |what: &str| {
        Err(Failure::malformed(format!(
            "the data of function {function} has {what}"
        )))
    };
    let counted = match function {
        0x0F | 0x10 => Some((data[4], 5)),
        0x17 => Some((data[8], 9)),
        _ => None,
    };
    if counted.is_some_and(|(count, behind)| usize::from(count) != data.len() - behind) {
        return wrong("another number of bytes than it announces");
    }
    match function {
        0x05 if !matches!(data[2..], [0x00 | 0xFF, 0x00]) => {
            return wrong("neither 0x0000 nor 0xFF00, for off and on");
        }
        0x14 if !(7..=0xF5).contains(&data[0]) || !data[0].is_multiple_of(7) => {
            return wrong("another length than groups of seven bytes have");
        }
        0x15 if !(9..=0xFB).contains(&data[0]) => {
            return wrong("another length than groups of a file have");
        }
        0x17 if !(2..=2 * 0x79).contains(&data[8]) => {
            return wrong("no number of registers that can be written");
        }
        _ => {}
    }
    let most = match function {
        0x01 | 0x02 => 2_000,
        0x03 | 0x04 | 0x17 => 125,
        0x0F => 1_968,
        0x10 => 123,
        _ => return Ok(()),
    };
    match (1..=most).contains(&quantity) {
        true => Ok(()),
        false => Err(Failure::malformed(format!(
            "function {function} is asked for {quantity}, and 1 to {most} can be"
        ))),
    }
}
