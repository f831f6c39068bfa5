//! The requests of one connection that aren't answered yet, and its state: what a framing needs to
//! know of them in order to tell where a reply ends and whose it is. Kept only for framings that
//! look at requests. Reads and writes nothing.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    convert::Infallible,
};

use super::{
    buffers::with_encoded,
    replied::{Replied, check_weight, weight},
};
use crate::framing::{
    Answer, Context, Demand, Failure, Frame, FrameError, Framing, Note, Replies, extent_of,
};

/// How many requests of one connection may be unanswered: far more than any server takes, and some
/// megabytes of notes.
const MAX_OUTSTANDING: usize = 1 << 16;

/// A request that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message<'m> {
    /// A body, which is put into a frame.
    Body(&'m [u8]),
    /// A whole frame, which is sent as it is.
    Frame(&'m [u8]),
}

/// What is kept of a request until it is answered. It is passed on in a box: most framings keep
/// nothing, and to move nothing must cost nothing.
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
    requests: VecDeque<Box<Asked>>,
    state: Note,
    /// The state that the connection had when it was opened, or after its login.
    at_rest: Note,
    /// The connection is somebody's own.
    pub(crate) is_pinned: bool,
    /// What the server sends on its own while a reply is awaited is kept among its frames, in the
    /// order in which it came.
    keeps_order: bool,
    /// A reply has shown that the server can't serve now.
    is_unfit: bool,
    /// It never comes to rest again.
    is_spoilt: bool,
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
    note: Option<Note>,
    state: Note,
    pub(super) id: Option<u64>,
}

impl Oldest {
    pub(super) fn context(&self) -> Context<'_> {
        match &self.note {
            Some(note) => Context::reply(note, &self.state),
            None => Context::unasked(&self.state),
        }
    }
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
    /// The connection's state isn't that of one at rest any more, and others share it.
    Changed,
    /// More came than is held for one request.
    TooLong(FrameError),
}

impl Asked {
    fn of(demand: Demand) -> Self {
        Asked { demand, id: None }
    }

    /// What is kept of a request that is to be sent, unless the framing refuses it.
    fn to_send(framing: &impl Framing, frame: &[u8], state: &Note) -> Result<Self, Unsendable> {
        let mut demand = framing.demand(frame, state);
        match demand.refusal.take() {
            Some(failure) => Err(Unsendable::Refused(failure)),
            None => Ok(Asked::of(demand)),
        }
    }

    /// Puts a number in the place of the request's id, if it has one and gets a reply.
    fn number(
        &mut self,
        framing: &impl Framing,
        frame: &mut [u8],
        number: impl FnOnce() -> u64,
    ) -> Result<(), FrameError> {
        let Some(field) = framing.id().filter(|_| !self.is_silent()) else {
            return Ok(());
        };
        let length = frame.len();
        let own = field.read(frame).ok_or(FrameError::NoId { length })?;
        let sent = field.held(number());
        field.write(frame, sent);
        self.id = Some(Renumbered { own, sent });
        Ok(())
    }

    /// What is kept of a request that has been received and demands this. Its id stays what it is.
    pub(crate) fn received(framing: &impl Framing, request: &Frame, demand: Demand) -> Self {
        let id = framing
            .id()
            .and_then(|field| field.read(request.as_bytes()));
        Asked {
            demand,
            id: id.map(|id| Renumbered { own: id, sent: id }),
        }
    }

    /// The id that it had when it came, if it has one.
    pub(crate) fn id(&self) -> Option<u64> {
        self.id.map(|id| id.own)
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
            is_pinned: false,
            keeps_order: false,
            is_unfit: false,
            is_spoilt: false,
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
    pub(crate) fn push(&mut self, asked: Box<Asked>) {
        if !asked.is_silent() {
            self.requests.push_back(asked);
        } else if asked.demand.pins {
            // What it has made of the connection nobody says.
            self.is_spoilt = true;
        }
    }

    /// Whether so many requests aren't answered that no more are kept.
    pub(crate) fn is_full(&self) -> bool {
        self.requests.len() >= MAX_OUTSTANDING
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
        match self.requests.front() {
            Some(oldest) => Context::reply(&oldest.demand.note, &self.state),
            None => Context::unasked(&self.state),
        }
    }

    /// The state that it has now is that of a connection at rest.
    pub(crate) fn settle(&mut self) {
        self.at_rest = self.state.clone();
        self.is_spoilt = false;
    }

    /// Nothing is left of the exchanges: the connection can be anybody's.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.requests.is_empty() && self.pushes.is_empty() && !self.is_changed()
    }

    /// Its state isn't that of a connection at rest.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_spoilt || self.state != self.at_rest
    }

    /// A part of a reply has come.
    pub(crate) fn has_begun_a_reply(&self) -> bool {
        !self.replied.is_empty()
    }

    /// Takes a frame from the server. All frames that answer the oldest request, if this is the
    /// last of them. What the server sends on its own is kept for whose connection it is.
    pub(crate) fn collect(
        &mut self,
        framing: &impl Framing,
        frame: Frame,
    ) -> Result<Option<Replied>, Doubt> {
        let (frame, is_last) = match self.judge(framing, frame) {
            Verdict::Last(frame) => (frame, true),
            Verdict::More(frame) => (frame, false),
            Verdict::Push(frame) if self.keeps_order && !self.requests.is_empty() => (frame, false),
            Verdict::Push(frame) => {
                self.keep_push(framing, frame).map_err(Doubt::TooLong)?;
                return Ok(None);
            }
            Verdict::Unasked(_) => return Err(Doubt::Unasked),
            Verdict::Mismatch => return Err(Doubt::Mismatch),
        };
        self.replied.push(frame);
        self.replied.check_length(framing).map_err(Doubt::TooLong)?;
        Ok(is_last.then(|| std::mem::take(&mut self.replied)))
    }

    /// Keeps what the server has sent on its own, or drops it where the connection is nobody's own.
    pub(crate) fn keep_push(
        &mut self,
        framing: &impl Framing,
        push: Frame,
    ) -> Result<(), FrameError> {
        if !self.is_pinned {
            return Ok(());
        }
        self.push_bytes += weight(&push);
        check_weight(framing, self.push_bytes)?;
        self.pushes.push_back(push);
        Ok(())
    }

    /// Whether what the server has sent on its own is kept.
    pub(crate) fn keeps_pushes(&self) -> bool {
        !self.pushes.is_empty()
    }

    /// The first that the server has sent on its own, of those that are kept.
    pub(crate) fn take_push(&mut self) -> Option<Frame> {
        let push = self.pushes.pop_front()?;
        self.push_bytes -= weight(&push);
        Some(push)
    }

    /// From here on what the server sends on its own is found among the frames of a reply, where it
    /// was; what is kept already comes before the next.
    pub(crate) fn keep_order(&mut self) {
        self.keeps_order = true;
        while let Some(push) = self.take_push() {
            self.replied.push(push);
        }
    }

    /// Whether a reply has shown that the server can't serve now, since this was asked last.
    pub(crate) fn take_unfit(&mut self) -> bool {
        std::mem::take(&mut self.is_unfit)
    }

    /// Nothing but that it is spoilt keeps the connection from rest: nobody needs it any more.
    pub(crate) fn is_of_no_use(&self) -> bool {
        let is_free = self.requests.is_empty() && self.pushes.is_empty();
        self.is_spoilt && is_free && self.state == self.at_rest
    }

    /// The connection never comes to rest again.
    pub(crate) fn spoil(&mut self) {
        self.is_spoilt = true;
    }

    /// What a reply to the oldest request needs to know.
    pub(super) fn oldest(&self) -> Oldest {
        let oldest = self.requests.front();
        Oldest {
            note: oldest.map(|asked| asked.demand.note.clone()),
            state: self.state.clone(),
            id: oldest.and_then(|asked| asked.id()),
        }
    }

    /// This reply to the oldest request has been sent.
    pub(super) fn replied(&mut self, framing: &impl Framing, reply: &[u8]) {
        let Some(oldest) = self.requests.front() else {
            return;
        };
        let note = Some(&oldest.demand.note);
        if framing.answers(note, reply, &mut self.state) == Answer::Last {
            self.requests.pop_front();
        }
    }

    /// What a frame from the server is to the oldest request. A last reply takes the request away.
    /// Its id is again the request's own.
    pub(crate) fn judge(&mut self, framing: &impl Framing, frame: Frame) -> Verdict {
        let Some(oldest) = self.requests.front() else {
            return match framing.answers(None, frame.as_bytes(), &mut self.state) {
                Answer::Push => Verdict::Push(frame),
                Answer::Last | Answer::More | Answer::Mismatch => Verdict::Unasked(frame),
            };
        };
        let (frame, has_its_id) = restored(framing, oldest.id, frame);
        let note = Some(&oldest.demand.note);
        self.is_unfit |= framing.is_unfit(&oldest.demand.note, frame.as_bytes());
        match framing.answers(note, frame.as_bytes(), &mut self.state) {
            Answer::Push => Verdict::Push(frame),
            Answer::Last if has_its_id => {
                self.requests.pop_front();
                Verdict::Last(frame)
            }
            // Of a single reply there is no part.
            Answer::More if has_its_id && oldest.demand.replies == Replies::Several => {
                Verdict::More(frame)
            }
            Answer::Last | Answer::More | Answer::Mismatch => Verdict::Mismatch,
        }
    }
}

/// The frame with the id that its request had, and whether it came with the one that the request was
/// sent with. If not, it is as it came.
fn restored(framing: &impl Framing, id: Option<Renumbered>, frame: Frame) -> (Frame, bool) {
    let (Some(field), Some(id)) = (framing.id(), id) else {
        return (frame, true);
    };
    if field.read(frame.as_bytes()) != Some(id.sent) {
        return (frame, false);
    }
    if id.own == id.sent {
        return (frame, true);
    }
    let frame = frame.map_bytes(|bytes| {
        field.write(bytes, id.own);
    });
    (frame, true)
}

/// Shows a request's frame, and what is to be kept of it. `state` is the connection's, and none where
/// nothing is kept of requests. `number` is asked for an id where the framing has a field for it.
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
    state: Option<&Note>,
    number: impl FnOnce() -> u64,
    show: impl FnOnce(&[u8], Option<Box<Asked>>) -> R,
) -> Result<R, Unsendable> {
    let context = state.map_or(Context::REQUEST, Context::request);
    if let Message::Frame(frame) = message {
        extent_of(framing, context, frame).map_err(Unsendable::Frame)?;
        let Some(state) = state else {
            return Ok(show(frame, None));
        };
        if framing.id().is_none() {
            let asked = Asked::to_send(framing, frame, state)?;
            return Ok(show(frame, Some(Box::new(asked))));
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
        if let Some(state) = state {
            // A body that becomes two frames would be answered twice.
            extent_of(framing, context, out).map_err(Unsendable::Frame)?;
            let mut kept = Asked::to_send(framing, out, state)?;
            kept.number(framing, out, number)
                .map_err(Unsendable::Frame)?;
            asked.set(Some(Box::new(kept)));
        }
        Ok(())
    };
    with_encoded(fill, |frame| show(frame, asked.take()))
}

/// A request of several that are to be sent together.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Of its frame, in bytes.
    pub(crate) length: usize,
    /// What is kept of it; nothing, where nothing is kept of requests.
    pub(crate) asked: Option<Box<Asked>>,
}

/// As [`with_request`], of several whole frames: shows all of their bytes, one behind the other, and
/// what is kept of each. They end before the first that isn't to be sent, or that `takes` doesn't
/// take.
pub(crate) fn with_requests<R>(
    framing: &impl Framing,
    frames: &[Frame],
    state: Option<&Note>,
    mut number: impl FnMut() -> u64,
    takes: impl Fn(&Prepared) -> bool,
    show: impl FnOnce(&[u8], Vec<Prepared>) -> R,
) -> R {
    let all = RefCell::new(Vec::with_capacity(frames.len()));
    let fill = |out: &mut Vec<u8>| {
        for frame in frames {
            let begins = out.len();
            let prepared = prepare(framing, frame.as_bytes(), state, &mut number, out);
            match prepared.ok().filter(&takes) {
                Some(prepared) => all.borrow_mut().push(prepared),
                None => {
                    out.truncate(begins);
                    break;
                }
            }
        }
        Ok::<_, Infallible>(())
    };
    match with_encoded(fill, |bytes| show(bytes, all.take())) {
        Ok(shown) => shown,
        Err(never) => match never {},
    }
}

/// Puts a whole frame at the end of `out`, with its id changed, and answers what is kept of it.
fn prepare(
    framing: &impl Framing,
    frame: &[u8],
    state: Option<&Note>,
    number: impl FnOnce() -> u64,
    out: &mut Vec<u8>,
) -> Result<Prepared, Unsendable> {
    let context = state.map_or(Context::REQUEST, Context::request);
    extent_of(framing, context, frame).map_err(Unsendable::Frame)?;
    let begins = out.len();
    out.extend_from_slice(frame);
    let mut asked = None;
    if let Some(state) = state {
        let mut kept = Asked::to_send(framing, frame, state)?;
        let numbered = kept.number(framing, &mut out[begins..], number);
        numbered.map_err(Unsendable::Frame)?;
        asked = Some(Box::new(kept));
    }
    Ok(Prepared {
        length: frame.len(),
        asked,
    })
}
