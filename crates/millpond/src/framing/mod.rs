//! Bytes to frames and back: where a message ends, and what it asks of its connection, which is all
//! that a pool or a proxy has to know of a protocol. Pure: it reads no socket, asks no clock, and
//! holds no buffer; whoever has received bytes shows them to a [`Framing`], and is told what they
//! begin with.
//!
//! Reading order: [`Framing`], [`Step`], [`Scan`], [`FrameError`], [`Failure`]; then [`Context`],
//! [`Demand`] and [`Answer`], for protocols in which requests differ in what they ask for; then
//! [`Protocol`], any of the framings that are here already, chosen by its name, and [`LengthJson`],
//! the one that this project was founded on, with [`json`], which says what its bodies must be.
//! [`LengthPrefixed`] and [`Delimited`] are many protocols each, by their settings.

mod admission;
pub mod conformance;
mod context;
mod delimited;
mod demand;
mod error;
mod failure;
mod frame;
mod id_field;
pub mod json;
mod length_json;
mod length_prefixed;
mod mllp;
mod modbus;
mod octets;
mod preset;
mod protocol;
mod redis;
mod scan;
mod step;

use std::sync::Arc;

pub(crate) use self::frame::extent_of;
pub use self::{
    admission::{Admission, Credentials, LocalReply},
    context::{Context, Direction, Note},
    delimited::{Delimited, DelimitedSettings, EndOfReply},
    demand::{Answer, Demand, Replies},
    error::FrameError,
    failure::{ApplicationCode, Failure, FailureKind, ReservedCode},
    frame::Frame,
    id_field::{ByteOrder, IdField},
    length_json::{LengthJson, LengthJsonSettings},
    length_prefixed::{
        Counts, EmptyBody, IdMode, IdSettings, LengthField, LengthPrefixed, LengthPrefixedSettings,
    },
    mllp::{AckCode, Mllp, MllpEnhanced, MllpFailures, MllpSettings},
    modbus::{Modbus, ModbusSettings, ModbusUnitZero},
    octets::Octets,
    preset::Preset,
    protocol::{Protocol, UnknownPreset},
    redis::{Redis, RedisCommands, RedisSettings, RedisUser, UnknownRedisCommand},
    scan::Scan,
    step::{Extent, Step},
};

/// How a protocol marks its messages off, and what they ask of a connection.
///
/// Two methods make a framing: [`next`](Framing::next) and [`encode`](Framing::encode). With these
/// alone each request is answered by one frame, in the order of the requests. The others are for
/// protocols that say more, and each has a default that says no more than that.
///
/// A framing is a value that many connections share, and can be a trait object: `Arc<dyn Framing>`
/// is a framing.
///
/// # Contract
///
/// - `next` is shown all bytes from a boundary on. It answers for the first item alone, and the
///   same however many bytes follow it.
/// - It answers [`Step::More`] only while the bytes could still become a frame or a heartbeat, and
///   an error as soon as they can't.
/// - A frame and a heartbeat have at least one byte, and all of them are among those shown.
/// - A frame's length is refused as soon as it is known, before its bytes have arrived. Where no
///   length is announced, a frame is refused as soon as more bytes are there than its limit allows.
/// - What `encode` writes is exactly one frame, which `next` finds again. A body that would become
///   another number of frames, since it holds a delimiter for instance, is refused.
/// - No method panics, whatever the bytes.
/// - `max_frame`, `heartbeat`, `looks_at_requests` and `id` always answer the same. A framing that
///   wraps another passes all methods on.
///
/// [`Scan`] keeps what has been found out of an unfinished item, so that the work is proportional
/// to the bytes, not to their square. It is reset at each boundary.
///
/// Client and server check each answer. One that can't be true of the bytes shown ends the
/// connection with [`FrameError::WrongAnswer`], and one that exceeds
/// [`max_frame`](Framing::max_frame) with [`FrameError::TooLong`].
///
/// # What requests ask for
///
/// The client asks [`demand`](Framing::demand) of each request before it is sent, and
/// [`answers`](Framing::answers) of each frame that comes back. What `demand` notes of a request is
/// shown to `next`, `encode` and `answers` with its replies, so that a reply's end, its form and
/// its belonging may depend on its request. The connection's *state*, another [`Note`], is for what
/// outlasts a frame: `answers` may change it. It is empty at first; what a login makes of it is what
/// the connection has at rest, and only at rest does it go back to others. So with the last reply
/// to a request the state must be what it was before, unless the request [pins](Demand::pins) its
/// connection.
///
/// The server asks [`admit`](Framing::admit) of each request that it receives, which is `demand` if
/// nothing else is said, and `answers` of each reply that it has written. It reads no request behind
/// one that pins before that is answered.
pub trait Framing: Send + Sync + 'static {
    /// What the bytes at a boundary begin with.
    ///
    /// # Errors
    ///
    /// They are none of this protocol's: the connection can't be used any further, for nobody knows
    /// where the next frame begins.
    fn next(&self, context: Context<'_>, bytes: &[u8], scan: &mut Scan)
    -> Result<Step, FrameError>;

    /// Puts a body into a frame, at the end of `out`. What `out` holds already are other frames:
    /// leave them as they are, and count from `out.len()` at the start.
    ///
    /// # Errors
    ///
    /// The body can't be framed: it is larger than the protocol or the limit allows. `out` is as it
    /// was.
    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError>;

    /// The longest frame in bytes, with its head and its tail. Nothing longer is received, whatever
    /// `next` says of it. Default: 1 MiB and 1 KiB, for a body of 1 MiB, far more than a message
    /// and far less than a machine's memory.
    fn max_frame(&self) -> usize {
        (1 << 20) + (1 << 10)
    }

    /// The heartbeat, for protocols that have one. It may be sent at any boundary, in either
    /// direction, and nobody answers it. Default: none.
    fn heartbeat(&self) -> Option<&[u8]> {
        None
    }

    /// The protocol's name, for strangers and logs: it completes "this port speaks …".
    fn name(&self) -> &str {
        "a protocol of its own"
    }

    /// Whether requests are looked at. If not, each demands one reply, whose end doesn't depend on
    /// it; then nothing is kept of requests, and `demand`, `answers` and `id` are never asked.
    /// Default: they are.
    fn looks_at_requests(&self) -> bool {
        true
    }

    /// How many bytes all frames together have that answer one request, with 64 added for each; and
    /// those that the server sends on its own and that nobody has taken yet. More aren't held.
    /// Default: as many as one frame.
    fn max_reply(&self) -> usize {
        self.max_frame()
    }

    /// What a request asks of its connection. `request` is the whole frame. `state` is the
    /// connection's if it is the caller's own; of a request that shares connections with others,
    /// for which any may be taken, it is that of a new one. Default: one reply.
    fn demand(&self, request: &[u8], state: &Note) -> Demand {
        let _ = (request, state);
        Demand::default()
    }

    /// What it makes of a connection's state that a server tells its client of a failure of its own in
    /// the place of a reply: the request of which this was noted may never have been executed. Default:
    /// as if it were the reply.
    fn failed(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) {
        self.answers(asked, reply, state);
    }

    /// What a server makes of a request that has come, on a connection of this state: what it asks of
    /// its connection, and whether the handler sees it at all. Default: its
    /// [`demand`](Framing::demand), and the handler gets it as it came.
    fn admit(&self, request: &[u8], state: &Note) -> Admission {
        self.demand(request, state).into()
    }

    /// The state of a new connection of a client, of which the server says how many came before it.
    /// Default: empty.
    fn accepted(&self, number: u64) -> Note {
        let _ = number;
        Note::default()
    }

    /// How many lanes there are. A lane is a kind of connection to an upstream, of which only some are
    /// right for a client: those of the version of the protocol that it speaks, say. Default: 1.
    fn lanes(&self) -> u16 {
        1
    }

    /// The lane of a client whose connection to the server has this state. Default: 0.
    fn lane(&self, state: &Note) -> u16 {
        let _ = state;
        0
    }

    /// What a connection to an upstream needs to be of this lane, after its login: the body of each
    /// request, and how that of its reply must begin. Default: nothing.
    fn lane_login(&self, lane: u16) -> Vec<(Vec<u8>, Octets)> {
        let _ = lane;
        Vec::new()
    }

    /// Whether a server may send frames on its own on a connection of this state, which aren't asked
    /// for. Where it says no, a client takes the first part of such a frame for a fault already, and a
    /// server asks its handler for none. Default: no.
    fn may_push(&self, state: &Note) -> bool {
        let _ = state;
        false
    }

    /// What a frame from the server is to the request that is next to be answered. `asked` is what
    /// `demand` has noted of that; none if all are answered, and then nothing but
    /// [`Answer::Push`] makes the frame one that may come. `reply` is the whole frame, and `state`
    /// the connection's, which this may change. Default: it is the reply.
    ///
    /// Where there is an [`id`](Framing::id), the callers compare it, and `reply` has the one that
    /// its request had.
    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        let _ = (asked, reply, state);
        Answer::Last
    }

    /// Whether a reply shows that its server can't serve requests now, while it still answers them: it
    /// is starting, say, or has become a replica. The caller gets the reply, and nobody is sent to
    /// that server until it has shown that it serves. Asked of each reply of a framing that
    /// [looks at requests](Framing::looks_at_requests). Default: no.
    fn is_unfit(&self, asked: &Note, reply: &[u8]) -> bool {
        let _ = (asked, reply);
        false
    }

    /// The field of each frame that holds an id, if a client is to number its requests by it. It
    /// lies at the same place in requests and replies. A server writes its request's into each
    /// reply. Default: none.
    fn id(&self) -> Option<IdField> {
        None
    }

    /// Whether a client whose bytes are no frame is told so, as of a
    /// [malformed](FailureKind::Malformed) request, before its connection is closed. One
    /// that has shown that it speaks another protocol isn't. Default: no, for it wouldn't understand.
    fn tells_malformed(&self) -> bool {
        false
    }

    /// Whether [`encode_failure`](Framing::encode_failure) looks at the request, which has to be
    /// kept for it then. Otherwise it is shown none.
    fn failure_needs_request(&self) -> bool {
        true
    }

    /// Puts the frame that tells a client that its request has failed at the end of `out`, for
    /// protocols that have such a reply. `context` is that of the reply, and `request` the whole
    /// frame. Default: there is none.
    fn encode_failure(
        &self,
        context: Context<'_>,
        request: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        let _ = (context, request, failure, out);
        Told::ByClosing
    }
}

/// A framing that is shared.
impl<F: Framing + ?Sized> Framing for Arc<F> {
    #[inline]
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        (**self).next(context, bytes, scan)
    }

    #[inline]
    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        (**self).encode(context, body, out)
    }

    fn max_frame(&self) -> usize {
        (**self).max_frame()
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        (**self).heartbeat()
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn looks_at_requests(&self) -> bool {
        (**self).looks_at_requests()
    }

    fn max_reply(&self) -> usize {
        (**self).max_reply()
    }

    fn demand(&self, request: &[u8], state: &Note) -> Demand {
        (**self).demand(request, state)
    }

    fn failed(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) {
        (**self).failed(asked, reply, state)
    }

    fn admit(&self, request: &[u8], state: &Note) -> Admission {
        (**self).admit(request, state)
    }

    fn accepted(&self, number: u64) -> Note {
        (**self).accepted(number)
    }

    fn lanes(&self) -> u16 {
        (**self).lanes()
    }

    fn lane(&self, state: &Note) -> u16 {
        (**self).lane(state)
    }

    fn lane_login(&self, lane: u16) -> Vec<(Vec<u8>, Octets)> {
        (**self).lane_login(lane)
    }

    fn may_push(&self, state: &Note) -> bool {
        (**self).may_push(state)
    }

    fn is_unfit(&self, asked: &Note, reply: &[u8]) -> bool {
        (**self).is_unfit(asked, reply)
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        (**self).answers(asked, reply, state)
    }

    fn id(&self) -> Option<IdField> {
        (**self).id()
    }

    fn tells_malformed(&self) -> bool {
        (**self).tells_malformed()
    }

    fn failure_needs_request(&self) -> bool {
        (**self).failure_needs_request()
    }

    fn encode_failure(
        &self,
        context: Context<'_>,
        request: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        (**self).encode_failure(context, request, failure, out)
    }
}

/// How a client is told of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By the frame that was written.
    ByReply,
    /// This protocol has no reply for it: the connection has to be closed.
    ByClosing,
}

impl Step {
    /// The answer of a framing to so many bytes, unless it can't be true or allows too much.
    ///
    /// # Errors
    ///
    /// [`FrameError::WrongAnswer`]: a caller that believed it would read beyond the bytes, or look
    /// at the same bytes for ever. [`FrameError::TooLong`]: a frame that is longer than
    /// [`Framing::max_frame`], or one that doesn't end within it.
    #[inline]
    pub(crate) fn checked(
        self,
        received: usize,
        scan: &Scan,
        max_frame: usize,
    ) -> Result<Step, FrameError> {
        let length = match (self, scan.announced()) {
            (Step::Frame(extent), _) => extent.length(),
            (Step::More { .. }, Some(extent)) => extent.length(),
            (Step::More { .. }, None) => received.saturating_add(1),
            (Step::Heartbeat { .. }, _) => 0,
        };
        if length > max_frame {
            return Err(beyond(length, max_frame));
        }
        let possible = match self {
            Step::More { missing } => {
                missing > 0
                    && scan
                        .announced()
                        .is_none_or(|extent| extent.length() > received)
            }
            Step::Frame(extent) => (1..=received).contains(&extent.length()),
            Step::Heartbeat { length } => (1..=received).contains(&length),
        };
        match possible {
            true => Ok(self),
            false => Err(FrameError::WrongAnswer {
                answer: self,
                received,
            }),
        }
    }
}

#[cold]
fn beyond(length: usize, max_frame: usize) -> FrameError {
    FrameError::TooLong {
        length: length as u64,
        limit: max_frame as u64,
        setting: Some("Framing::max_frame".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says nothing that it needn't.
    struct Plain;

    impl Framing for Plain {
        fn next(&self, _: Context<'_>, _: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
            Ok(Step::More { missing: 1 })
        }

        fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
            out.extend_from_slice(body);
            Ok(())
        }
    }

    #[test]
    fn a_framing_that_says_no_more_has_no_heartbeats_and_tells_failures_by_closing() {
        assert_eq!(
            (Plain.heartbeat(), Plain.name()),
            (None, "a protocol of its own")
        );
        assert!(
            Plain.failure_needs_request(),
            "whoever writes its own reply may want it"
        );
        let failure = Failure::refused("no");
        let mut out = Vec::new();
        assert_eq!(
            (
                Plain.encode_failure(Context::REPLY, b"?", &failure, &mut out),
                out.is_empty()
            ),
            (Told::ByClosing, true)
        );
    }

    #[test]
    fn a_frame_is_as_long_as_its_parts() {
        let extent = Extent {
            head: 20,
            body: 3,
            tail: 5,
        };
        assert_eq!(extent.length(), 28);
        assert_eq!(extent.within(28), Step::Frame(extent));
        assert_eq!(extent.within(27), Step::More { missing: 1 });
        let endless = Extent {
            body: usize::MAX,
            ..extent
        };
        assert_eq!(endless.length(), usize::MAX);
    }

    #[test]
    fn an_answer_that_cannot_be_true_is_refused_with_what_it_was() {
        let frame = |body| {
            Step::Frame(Extent {
                head: 0,
                body,
                tail: 0,
            })
        };
        let mut announced = Scan::default();
        announced.announce(Extent {
            head: 1,
            body: 3,
            tail: 0,
        });
        let fresh = Scan::default();
        for (answer, scan, possible) in [
            (frame(0), fresh, false),
            (frame(4), fresh, true),
            (frame(5), fresh, false),
            (Step::Heartbeat { length: 0 }, fresh, false),
            (Step::Heartbeat { length: 4 }, fresh, true),
            (Step::Heartbeat { length: 5 }, fresh, false),
            (Step::More { missing: 0 }, fresh, false),
            (Step::More { missing: 1 }, fresh, true),
            (Step::More { missing: 1 }, announced, false),
        ] {
            let checked = answer.checked(4, &scan, 5);
            assert_eq!(checked.is_ok(), possible, "{answer:?}");
            assert!(checked.is_err() || checked == Ok(answer));
        }
        assert_eq!(
            Step::More { missing: 1 }.checked(3, &announced, 4),
            Ok(Step::More { missing: 1 })
        );
        assert_eq!(
            frame(5)
                .checked(4, &fresh, 5)
                .map_err(|error| error.to_string()),
            Err(String::from(
                "the framing is wrong: shown 4 bytes, it answered that they begin with a frame of 5"
            ))
        );
    }

    #[test]
    fn a_frame_that_is_longer_than_allowed_is_refused_as_soon_as_it_is_known() {
        let extent = |body| Extent {
            head: 1,
            body,
            tail: 0,
        };
        let mut announced = Scan::default();
        announced.announce(extent(9));
        let fresh = Scan::default();
        let more = Step::More { missing: 1 };
        for (answer, received, scan, length) in [
            (Step::Frame(extent(9)), 10, fresh, Some(10)),
            (Step::Frame(extent(8)), 9, fresh, None),
            (more, 3, announced, Some(10)),
            (more, 8, fresh, None),
            // It lacks a byte at least.
            (more, 9, fresh, Some(10)),
        ] {
            let refused = length.map(|length| beyond(length, 9));
            let checked = answer.checked(received, &scan, 9);
            assert_eq!(checked.err(), refused, "{answer:?} {received}");
        }
    }
}
