//! A framing whose requests say by their first byte what they ask for: that of `length:`, of which
//! everything else is.
//!
//! | request | answered by |
//! |---|---|
//! | `s…` | nothing |
//! | `m…` | frames, of which the last begins with `.` |
//! | `p…` | a frame, and pins |
//! | `x…` | nothing, and pins |
//! | `i…` | a frame, and is idempotent |
//! | others | a frame |
//!
//! Any reply that begins with `+` or `-` changes the connection's state: away from what it is at
//! first, and back. One that begins with `!` is sent by the server on its own.

use super::*;
use crate::framing::{Answer, Demand, Frame, FrameError, Note, Replies, Scan, Step};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking(LengthJson);

/// Of a request that several frames answer.
const SEVERAL: Note = Note::word(1);

/// How long a frame's head is.
const HEAD: usize = 20;

impl Framing for Asking {
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        self.0.next(context, bytes, scan)
    }

    fn encode(
        &self,
        context: Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        self.0.encode(context, body, out)
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        self.0.heartbeat()
    }

    fn demand(&self, request: &[u8], _: &Note) -> Demand {
        match request.get(HEAD) {
            Some(b's') => Demand::replies(Replies::None),
            Some(b'm') => Demand::replies(Replies::Several).noting(SEVERAL),
            Some(b'p') => Demand::default().pins(),
            Some(b'x') => Demand::replies(Replies::None).pins(),
            Some(b'i') => Demand::default().idempotent(),
            _ => Demand::default(),
        }
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        let first = reply.get(HEAD);
        match first {
            Some(b'+') => *state = Note::word(1),
            Some(b'-') => *state = Note::default(),
            Some(b'!') => return Answer::Push,
            _ => {}
        }
        match asked {
            None => Answer::Mismatch,
            Some(asked) if *asked == SEVERAL && first != Some(&b'.') => Answer::More,
            Some(_) => Answer::Last,
        }
    }
}

/// A client in this mode with the settings of these tests, and the port that it leads to.
pub(super) fn asking(pipelined: bool, pace: Pace) -> (ClientBuilder<Asking>, Port) {
    let (builder, port) = builder(pace);
    let builder = in_mode(pipelined, builder).framing(Asking::default());
    (builder.pool(small), port)
}

/// The bodies of what has answered a request.
pub(super) fn bodies(frames: &[Frame]) -> Vec<&str> {
    let bodies = frames.iter().map(Frame::body);
    bodies
        .map(|body| std::str::from_utf8(body).expect("text"))
        .collect()
}
