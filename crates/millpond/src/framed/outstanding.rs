//! The requests of one connection that aren't answered yet, and its state: what a framing needs to
//! know of them in order to tell where a reply ends and whose it is. Kept only for framings that
//! look at requests. Reads and writes nothing.

use std::{cell::Cell, collections::VecDeque};

use super::{buffers::with_encoded, replied::Replied};
use crate::framing::{
    Answer, Context, Demand, Extent, Failure, Frame, FrameError, Framing, Note, Replies, Scan, Step,
};

/// A request that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message<'m> {
    /// A body, which is put into a frame.
    Body(&'m [u8]),
    /// A whole frame, which is sent as it is.
    Frame(&'m [u8]),
}

/// What is kept of a request until it is answered.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) demand: Demand,
    id: Option<Renumbered>,
}

/// A request's id.
#[derive(Clone, Copy, Debug)]
struct Renumbered {
    /// The one that it had.
    own: u64,
    /// The one that it was sent with.
    sent: u64,
}

/// Why a request isn't sent.
#[derive(Debug)]
pub(crate) enum Unsendable {
    Frame(FrameError),
    /// By the framing.
    Refused(Failure),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outstanding {
    requests: VecDeque<Asked>,
    state: Note,
    /// The state that the connection had when it was opened, or after its login.
    at_rest: Note,
    /// What has come of the reply to the oldest request.
    replied: Replied,
    /// The number of the next request, for framings with ids.
    number: u64,
    /// What the server has sent on its own, kept for whose connection it is.
    pushes: VecDeque<Frame>,
    /// How many bytes that has.
    push_bytes: usize,
}

/// What is known of the oldest request that isn't answered.
#[derive(Debug)]
pub(super) struct Oldest {
    pub(super) note: Note,
    pub(super) state: Note,
    pub(super) id: Option<u64>,
}

/// What a frame was.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The last reply to the oldest request, which is answered by it.
    Last(Frame),
    /// One of several replies to it.
    More(Frame),
    /// Sent by the server on its own.
    Push(Frame),
    /// Nothing was asked for.
    Unasked(Frame),
    /// The reply to another request than the oldest.
    Mismatch,
}

/// Why nobody knows any more whose the frames are that come from the server.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// One came that nobody asked for.
    Unasked,
    /// One came that answers another request than the oldest.
    Mismatch,
    /// More came than is held for one request.
    TooLong(FrameError),
}

impl Asked {
    fn of(demand: Demand) -> Self {
        Asked { demand, id: None }
    }

    /// What is kept of a request that has been received. Its id stays what it is.
    pub(super) fn received(framing: &impl Framing, demand: Demand, request: &Frame) -> Self {
        let id = framing
            .id()
            .and_then(|field| field.read(request.as_bytes()));
        let id = id.map(|id| Renumbered { own: id, sent: id });
        Asked { demand, id }
    }

    /// No reply to it comes.
    pub(crate) fn is_silent(&self) -> bool {
        self.demand.replies == Replies::None
    }
}

impl Outstanding {
    /// None for a framing that doesn't look at requests.
    pub(crate) fn for_framing(framing: &impl Framing) -> Option<Box<Self>> {
        let new = || Outstanding {
            requests: VecDeque::new(),
            state: Note::default(),
            at_rest: Note::default(),
            replied: Replied::default(),
            number: fastrand::u64(..),
            pushes: VecDeque::new(),
            push_bytes: 0,
        };
        framing.looks_at_requests().then(|| Box::new(new()))
    }

    /// A number for a request: another than those before it on this connection.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// A request has been sent, or received. One that gets no reply isn't outstanding.
    pub(crate) fn push(&mut self, asked: Asked) {
        if !asked.is_silent() {
            self.requests.push_back(asked);
        }
    }

    /// The connection's state.
    pub(crate) fn state(&self) -> &Note {
        &self.state
    }

    /// What is known of the next request that is received.
    pub(crate) fn request_context(outstanding: Option<&Outstanding>) -> Context<'_> {
        outstanding.map_or(Context::REQUEST, |outstanding| {
            Context::request(&outstanding.state)
        })
    }

    /// What is known of the next frame from the server.
    #[inline]
    pub(crate) fn reply_context(outstanding: Option<&Outstanding>) -> Context<'_> {
        outstanding.map_or(Context::REPLY, Outstanding::next_reply)
    }

    fn next_reply(&self) -> Context<'_> {
        let asked = self.requests.front().map(|asked| &asked.demand.note);
        Context::reply(asked.unwrap_or(Context::REPLY.asked()), &self.state)
    }

    /// The state that it has now is that of a connection at rest.
    pub(crate) fn settle(&mut self) {
        self.at_rest = self.state.clone();
    }

    /// Nothing is left of the exchanges: the connection can be anybody's.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.requests.is_empty() && self.pushes.is_empty() && self.state == self.at_rest
    }

    /// A part of a reply has come.
    pub(crate) fn has_begun_a_reply(&self) -> bool {
        !self.replied.is_empty()
    }

    /// Takes a frame from the server. All frames that answer the oldest request, if this is the
    /// last of them. What the server sends on its own is kept if `keeps_pushes`, else dropped.
    pub(crate) fn collect(
        &mut self,
        framing: &impl Framing,
        frame: Frame,
        keeps_pushes: bool,
    ) -> Result<Option<Replied>, Doubt> {
        let (frame, is_last) = match self.judge(framing, frame) {
            Verdict::Last(frame) => (frame, true),
            Verdict::More(frame) => (frame, false),
            Verdict::Push(frame) => {
                if keeps_pushes {
                    self.keep_push(framing, frame).map_err(Doubt::TooLong)?;
                }
                return Ok(None);
            }
            Verdict::Unasked(_) => return Err(Doubt::Unasked),
            Verdict::Mismatch => return Err(Doubt::Mismatch),
        };
        self.replied.push(frame);
        self.replied.check_length(framing).map_err(Doubt::TooLong)?;
        Ok(is_last.then(|| std::mem::take(&mut self.replied)))
    }

    /// Keeps what the server has sent on its own. All that is kept may be as long as one frame.
    fn keep_push(&mut self, framing: &impl Framing, push: Frame) -> Result<(), FrameError> {
        let length = self.push_bytes + push.as_bytes().len();
        let limit = framing.max_frame();
        if length > limit {
            return Err(FrameError::TooLong {
                length: length as u64,
                limit: limit as u64,
                setting: Some("Framing::max_frame".into()),
            });
        }
        self.push_bytes = length;
        self.pushes.push_back(push);
        Ok(())
    }

    /// The first that the server has sent on its own, of those that are kept.
    pub(crate) fn take_push(&mut self) -> Option<Frame> {
        let push = self.pushes.pop_front()?;
        self.push_bytes -= push.as_bytes().len();
        Some(push)
    }

    /// What a reply to the oldest request needs to know.
    pub(super) fn oldest(&self) -> Oldest {
        let oldest = self.requests.front();
        Oldest {
            note: oldest
                .map(|asked| asked.demand.note.clone())
                .unwrap_or_default(),
            state: self.state.clone(),
            id: oldest.and_then(|asked| asked.id).map(|id| id.own),
        }
    }

    /// This reply to the oldest request has been sent.
    pub(super) fn replied(&mut self, framing: &impl Framing, reply: &[u8]) {
        let Some(oldest) = self.requests.front() else {
            return;
        };
        let answer = framing.answers(&oldest.demand.note, reply, &mut self.state);
        if answer == Answer::Last {
            self.requests.pop_front();
        }
    }

    /// What a frame from the server is to the oldest request. A last reply takes the request away.
    /// Its id is again the request's own.
    pub(crate) fn judge(&mut self, framing: &impl Framing, frame: Frame) -> Verdict {
        let Some(oldest) = self.requests.front() else {
            return Verdict::Unasked(frame);
        };
        let note = &oldest.demand.note;
        let answer = framing.answers(note, frame.as_bytes(), &mut self.state);
        let is_last = match answer {
            Answer::Last => true,
            // Of a single reply there is no part.
            Answer::More if oldest.demand.replies == Replies::Several => false,
            Answer::More | Answer::Mismatch => return Verdict::Mismatch,
            Answer::Push => return Verdict::Push(frame),
        };
        let Some(frame) = restored(framing, oldest.id, frame) else {
            return Verdict::Mismatch;
        };
        if !is_last {
            return Verdict::More(frame);
        }
        self.requests.pop_front();
        Verdict::Last(frame)
    }
}

/// The frame with the id that its request had; nothing if it isn't the request's.
fn restored(framing: &impl Framing, id: Option<Renumbered>, frame: Frame) -> Option<Frame> {
    let (Some(field), Some(id)) = (framing.id(), id) else {
        return Some(frame);
    };
    if field.read(frame.as_bytes()) != Some(id.sent) {
        return None;
    }
    if id.own == id.sent {
        return Some(frame);
    }
    Some(frame.map_bytes(|bytes| {
        field.write(bytes, id.own);
    }))
}

/// Shows a request's frame, and what is to be kept of it. `state` is the connection's. `number` is
/// asked for an id where the framing has a field for it.
///
/// A body is copied once, into a buffer of this thread. A whole frame is copied only if its id is
/// to be changed.
///
/// # Errors
///
/// The request isn't to be sent; nothing was shown.
#[inline]
pub(crate) fn with_request<R>(
    framing: &impl Framing,
    message: Message<'_>,
    state: &Note,
    number: impl FnOnce() -> u64,
    show: impl FnOnce(&[u8], Option<Asked>) -> R,
) -> Result<R, Unsendable> {
    let context = Context::request(state);
    let looks = framing.looks_at_requests();
    if let Message::Frame(frame) = message {
        extent_of(framing, context, frame).map_err(Unsendable::Frame)?;
        if !looks {
            return Ok(show(frame, None));
        }
        if framing.id().is_none() {
            let demand = framing.demand(frame, state);
            let asked = Asked::of(demand.map_err(Unsendable::Refused)?);
            return Ok(show(frame, Some(asked)));
        }
    }
    let asked = Cell::new(None);
    let fill = |out: &mut Vec<u8>| {
        match message {
            Message::Body(body) => framing
                .encode(context, body, out)
                .map_err(Unsendable::Frame)?,
            Message::Frame(frame) => out.extend_from_slice(frame),
        }
        if looks {
            asked.set(Some(numbered(framing, out, state, number)?));
        }
        Ok(())
    };
    with_encoded(fill, |frame| show(frame, asked.take()))
}

/// Where the parts of a frame lie that was handed over as a whole.
///
/// # Errors
///
/// It isn't exactly one frame.
pub(crate) fn extent_of(
    framing: &impl Framing,
    context: Context<'_>,
    frame: &[u8],
) -> Result<Extent, FrameError> {
    let mut scan = Scan::default();
    let step = framing.next(context, frame, &mut scan)?;
    match step.checked(frame.len(), &scan, framing.max_frame())? {
        Step::Frame(extent) if extent.length() == frame.len() => Ok(extent),
        _ => Err(FrameError::NotOneFrame {
            length: frame.len(),
        }),
    }
}

/// What is kept of a request, whose id is replaced by a number if it has one.
fn numbered(
    framing: &impl Framing,
    frame: &mut [u8],
    state: &Note,
    number: impl FnOnce() -> u64,
) -> Result<Asked, Unsendable> {
    let demand = framing.demand(frame, state).map_err(Unsendable::Refused)?;
    let Some(field) = framing.id().filter(|_| demand.replies != Replies::None) else {
        return Ok(Asked::of(demand));
    };
    let length = frame.len();
    let own = field.read(frame);
    let own = own.ok_or(Unsendable::Frame(FrameError::NoId { length }))?;
    let sent = field.held(number());
    field.write(frame, sent);
    let id = Some(Renumbered { own, sent });
    Ok(Asked { demand, id })
}
