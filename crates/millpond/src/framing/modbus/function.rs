//! The functions of Modbus: which only read, how long a request must be, and what its reply looks
//! like. Knows the bytes behind the unit and nothing of frames.
//!
//! Source: *MODBUS Application Protocol Specification V1.1b3*, section 6.

use crate::framing::Failure;

/// Set in the function of a reply that is an exception.
pub(super) const EXCEPTION: u8 = 0x80;

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
    /// So many bytes, the first two of which are the request's: an address.
    Address(usize),
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
            0x05 | 0x06 | 0x0F | 0x10 => Form::Address(4),
            0x07 => Form::Long(1),
            0x08 => Form::Repeats(2),
            0x0B => Form::Long(4),
            0x0C | 0x11 | 0x14 | 0x15 => Form::AnyCounted,
            0x16 => Form::Address(6),
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
            // Of the interfaces that are wrapped, the reading of a device's identification.
            0x2B => self.first[0] == 0x0E,
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
                Form::AnyCounted => (data.first()).is_some_and(|&count| counts(1, count.into())),
                Form::LongCounted => (data.first_chunk())
                    .is_some_and(|&count| counts(2, u16::from_be_bytes(count).into())),
                Form::Address(length) => data.len() == length && data[..2] == self.first[..2],
                Form::Repeats(bytes) => data.starts_with(&self.first[..bytes]),
                Form::Long(length) => data.len() == length,
                Form::Any => true,
            }
    }

    /// The data of the smallest right reply, of a device in which all is zero.
    pub(super) fn plain_reply(self, data: &[u8]) -> Vec<u8> {
        match self.form() {
            Form::Counted(bytes) => {
                let count = u8::try_from(bytes).expect("checked");
                let mut reply = vec![0; 1 + bytes];
                reply[0] = count;
                reply
            }
            // What is written to a file is repeated.
            Form::AnyCounted if self.function != 0x15 => vec![0],
            Form::LongCounted => vec![0, 2, 0, 0],
            Form::Address(length) => data[..length].to_vec(),
            Form::Long(length) => vec![0; length],
            Form::AnyCounted | Form::Repeats(_) | Form::Any => data.to_vec(),
        }
    }
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
            return Err(Failure::malformed(format!(
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
    let most = match function {
        0x01 | 0x02 => 2_000,
        0x03 | 0x04 | 0x17 => 125,
        0x0F => 1_968,
        0x10 => 123,
        _ => return Ok(()),
    };
    let counted = match function {
        0x0F | 0x10 => data.get(4),
        0x17 => data.get(8),
        _ => None,
    };
    let behind = match function {
        0x17 => 9,
        _ => 5,
    };
    if counted.is_some_and(|&count| usize::from(count) != data.len() - behind) {
        return Err(Failure::malformed(format!(
            "function {function} announces another number of bytes than its data has"
        )));
    }
    match (1..=most).contains(&quantity) {
        true => Ok(()),
        false => Err(Failure::malformed(format!(
            "function {function} is asked for {quantity}, and 1 to {most} can be"
        ))),
    }
}
