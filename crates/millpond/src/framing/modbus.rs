//! Modbus over TCP: seven bytes with an id, a length and a unit, then a function and its data. Owns
//! where frames end, exceptions, and what of a request is compared with its reply; [`function`] knows
//! the functions.
//!
//! Sources: *MODBUS Messaging on TCP/IP Implementation Guide V1.0b* for the frame (MBAP), *MODBUS
//! Application Protocol Specification V1.1b3* for functions and exceptions.

mod function;
mod settings;

use std::borrow::Cow;

use bytes::Bytes;

use self::function::{Asked, EXCEPTION};
pub use self::settings::{ModbusSettings, ModbusUnitZero};
use super::{
    Answer, Context, Demand, Extent, Failure, FailureKind, Frame, FrameError, Framing, IdField,
    Note, Replies, Scan, Step, Told,
    id_field::ByteOrder,
    preset::{Preset, PresetFraming},
};

/// Id, protocol and length.
const HEAD: usize = 6;

/// Where the length is.
const LENGTH: std::ops::Range<usize> = 4..6;

/// The shortest body: a unit and a function.
const SHORTEST_BODY: usize = 2;

const ID: IdField = IdField::new(0, 2, ByteOrder::Big);

/// Modbus over TCP.
///
/// A body is a unit, a function and its data: what the length field counts.
///
/// ```
/// use millpond::framing::{Context, Extent, Framing, Modbus, Scan, Step};
///
/// let modbus = Modbus::default();
/// // Unit 1: ten registers, from number 107 on.
/// let body = [1, 3, 0, 107, 0, 10];
/// let mut wire = Vec::new();
/// modbus.encode(Context::REQUEST, &body, &mut wire)?;
/// assert_eq!(wire, [0, 0, 0, 0, 0, 6, 1, 3, 0, 107, 0, 10]);
///
/// let step = modbus.next(Context::REQUEST, &wire, &mut Scan::default())?;
/// assert_eq!(step, Step::Frame(Extent { head: 6, body: 6, tail: 0 }));
/// # Ok::<_, millpond::framing::FrameError>(())
/// ```
///
/// # Frames
///
/// A transaction id of two bytes, two bytes that are zero, a length of two bytes, and as many bytes as
/// that says: 2 to 254. Anything else ends the connection, since nobody knows where the next frame
/// begins.
///
/// # Whose reply it is
///
/// Ids are a connection's own. A client gives each request one of its own, and puts the request's own
/// back into the reply. The reply must come from the request's unit and have its function, or that
/// with the highest bit set and one byte behind it: an exception. And it must be as long as the
/// function says, and repeat what that says it repeats: of a write the address, and the value or how
/// many. Otherwise the exchange fails, and the connection is closed.
///
/// # Requests
///
/// The functions of the specification must have the data that it says, in length and in number.
/// Requests whose data is otherwise are refused, with exception 3, and not sent. Functions that aren't
/// in the specification are sent as they are.
///
/// Functions that only read are [idempotent](Demand::idempotent): 1 to 4, 7, 11, 12, 17, 20, 24, the
/// echo of 8, and the identification by 43. A write is never sent twice by itself.
///
/// # Failures
///
/// | failure | exception |
/// |---|---|
/// | refused, as a write is with [`ModbusSettings::read_only`] | 1, illegal function |
/// | the request is malformed | 3, illegal data value |
/// | the handler failed | 4, device failure |
/// | overloaded, or not taken | 6, device busy |
/// | an upstream can't be reached, or was lost before it replied: it may have done what was asked | 10, gateway path unavailable |
/// | it took too long, and may have been done | 11, gateway target failed to respond |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modbus {
    settings: ModbusSettings,
    limit_named: Cow<'static, str>,
}

impl Modbus {
    /// The setting that [`FrameError::TooLong`] names, for programs that have one of their own:
    /// `--max-frame`. Default: `max_body`, as documents call it, which is
    /// [`ModbusSettings::max_body`].
    pub fn limit_named(mut self, setting: impl Into<Cow<'static, str>>) -> Self {
        self.limit_named = setting.into();
        self
    }

    /// The settings.
    pub fn settings(&self) -> &ModbusSettings {
        &self.settings
    }

    fn max_body(&self) -> usize {
        self.settings.max_body.min(settings::LONGEST_BODY)
    }

    #[cold]
    fn too_long(&self, length: usize) -> FrameError {
        FrameError::TooLong {
            length: length as u64,
            limit: self.max_body() as u64,
            // Nothing raises the protocol's own limit.
            setting: (self.max_body() < settings::LONGEST_BODY).then(|| self.limit_named.clone()),
        }
    }

    /// What a body asks for, or why it isn't sent.
    fn demanded(&self, body: &[u8]) -> Demand {
        let Some((&[unit, function], data)) = body.split_first_chunk() else {
            let failure = Failure::malformed("a request has a unit and a function");
            return Demand::default().refused(failure);
        };
        let is_broadcast = unit == 0 && self.settings.unit_zero == ModbusUnitZero::Broadcast;
        let demand = Demand::replies(match is_broadcast {
            true => Replies::None,
            false => Replies::One,
        });
        let asked = Asked::of(function, data);
        if let Err(failure) = function::check(function, data) {
            return demand.refused(failure);
        }
        if self.settings.read_only && !asked.only_reads() {
            return demand.refused(Failure::refused(format!(
                "function {function} may write, and only reading is allowed"
            )));
        }
        let demand = demand.noting(noted(unit, asked));
        match asked.only_reads() {
            true => demand.idempotent(),
            false => demand,
        }
    }
}

/// What must be known of a request when its reply comes.
fn noted(unit: u8, asked: Asked) -> Note {
    let [a, b, c, d] = asked.first;
    Note::word(u64::from_be_bytes([0, 0, unit, asked.function, a, b, c, d]))
}

fn of_note(note: &Note) -> (u8, Asked) {
    let [_, _, unit, function, first @ ..] = note.as_word().to_be_bytes();
    (unit, Asked { function, first })
}

impl Default for Modbus {
    fn default() -> Self {
        ModbusSettings::default().into()
    }
}

impl From<ModbusSettings> for Modbus {
    fn from(settings: ModbusSettings) -> Self {
        Modbus {
            settings,
            limit_named: "max_body".into(),
        }
    }
}

impl Framing for Modbus {
    fn next(&self, _: Context<'_>, bytes: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        let protocol = bytes.iter().take(4).enumerate().skip(2);
        for (position, &found) in protocol {
            if found != 0 {
                return Err(FrameError::Unexpected {
                    position,
                    found,
                    expected: "0 for the protocol, as Modbus has it,".into(),
                });
            }
        }
        let Some(length) = bytes.get(LENGTH) else {
            return Ok(Step::More {
                missing: HEAD + SHORTEST_BODY - bytes.len(),
            });
        };
        let body = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if body < SHORTEST_BODY {
            return Err(FrameError::Malformed {
                reason: "its length leaves no room for a unit and a function".into(),
            });
        }
        if body > self.max_body() {
            return Err(self.too_long(body));
        }
        let extent = Extent {
            head: HEAD,
            body,
            tail: 0,
        };
        scan.announce(extent);
        Ok(extent.within(bytes.len()))
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        if body.len() > self.max_body() {
            return Err(self.too_long(body.len()));
        }
        if body.len() < SHORTEST_BODY {
            return Err(FrameError::Malformed {
                reason: "a body has a unit and a function at least".into(),
            });
        }
        let length = u16::try_from(body.len()).map_err(|_| self.too_long(body.len()))?;
        out.reserve(HEAD + body.len());
        out.extend_from_slice(&[0; LENGTH.start]);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(body);
        Ok(())
    }

    fn max_frame(&self) -> usize {
        HEAD + self.max_body()
    }

    fn name(&self) -> &str {
        "Modbus over TCP"
    }

    fn demand(&self, request: &[u8], _: &Note) -> Demand {
        self.demanded(request.get(HEAD..).unwrap_or_default())
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], _: &mut Note) -> Answer {
        let body = reply.get(HEAD..).unwrap_or_default();
        let (Some(asked), Some((&[unit, function], data))) = (asked, body.split_first_chunk())
        else {
            return Answer::Mismatch;
        };
        let (its_unit, asked) = of_note(asked);
        match unit == its_unit && asked.answered_by(function, data) {
            true => Answer::Last,
            false => Answer::Mismatch,
        }
    }

    fn id(&self) -> Option<IdField> {
        Some(ID)
    }

    fn encode_failure(
        &self,
        context: Context<'_>,
        request: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        let Some(&[unit, function]) = request.get(HEAD..).and_then(<[u8]>::first_chunk) else {
            return Told::ByClosing;
        };
        let exception = match failure.kind() {
            FailureKind::Refused => 1,
            FailureKind::Malformed => 3,
            FailureKind::HandlerFailed | FailureKind::Application(_) => 4,
            FailureKind::Overloaded | FailureKind::NotTaken => 6,
            FailureKind::Unavailable => 10,
            FailureKind::TimedOut => 11,
        };
        let body = [unit, function | EXCEPTION, exception];
        match self.encode(context, &body, out) {
            Ok(()) => Told::ByReply,
            Err(_) => Told::ByClosing,
        }
    }
}

impl PresetFraming for Modbus {
    const PRESET: Preset = Preset::new(
        "modbus",
        "Modbus over TCP; the id is renumbered, and unit, function and length are compared",
    );

    type Settings = ModbusSettings;

    fn plain() -> Self {
        Modbus::default()
    }

    fn settings(&self) -> ModbusSettings {
        self.settings.clone()
    }

    fn limited(mut self, max_body: usize, named: Cow<'static, str>) -> Self {
        self.settings.max_body = max_body;
        self.limit_named(named)
    }

    /// What a device says in which all is zero.
    fn echo(&self, request: &Frame) -> Result<Vec<Bytes>, Failure> {
        let demand = self.demanded(request.body());
        if let Some(failure) = demand.refusal() {
            return Err(failure.clone());
        }
        let Some((head, data)) = request.body().split_at_checked(2) else {
            return Ok(Vec::new());
        };
        if demand.awaits() == Replies::None {
            return Ok(Vec::new());
        }
        let reply = Asked::of(head[1], data).plain_reply(data);
        Ok(vec![[head, &reply].concat().into()])
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests;
