//! One exchange alone on a session: a request is written, and its reply read.
//!
//! What comes together with a reply and is neither a heartbeat nor asked for makes the reply
//! doubtful: nobody knows which of the two is the reply, and the exchange fails.
//!
//! One poll does a bounded amount of work, and looks at the clock where that wasn't enough: bytes
//! that never stop must not keep an exchange from its deadline. The timer alone won't do there, for
//! tokio's cooperative budget refuses it where the reading has used that up.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::time::Instant;

use super::{
    deadline::expressible,
    demands::{Accepts, DemandError},
    failure::{ExchangeError, ExchangeFailure, Progress},
    session::{Behind, Session, after_the_reactor},
};
use crate::{
    framed::{Asked, Item, Message, Outgoing, Outstanding, ReadError, Replied, with_request},
    framing::{Frame, Framing, Note},
    pool::unstable::Runtime,
};

/// How many items one poll of an exchange takes in: heartbeats, and frames that aren't the last.
const ITEMS_AT_ONCE: usize = 64;

impl Session {
    /// Sends a request and reads what answers it, until the deadline. `runtime` is the pool's.
    ///
    /// Cancelled, it leaves the session dirty.
    pub(super) async fn exchange(
        &mut self,
        framing: &impl Framing,
        message: Message<'_>,
        accepts: Accepts,
        deadline: Instant,
        runtime: &Runtime,
    ) -> Result<Replied, Box<ExchangeError>> {
        let paused = self.pause(framing, deadline, runtime).await;
        let began = Instant::now();
        let is_late = (deadline <= began).then_some(ExchangeFailure::TimedOut);
        if let Some(cause) = paused.err().or(is_late) {
            return Err(Box::new(ExchangeError {
                progress: Progress::Unsent,
                cause,
                idempotent: false,
            }));
        }
        self.dirty = true;
        let mut exchange = Exchange {
            session: self,
            accepts,
            deadline,
            runtime,
            outgoing: Outgoing::default(),
            began,
            begun: false,
            answered: false,
            is_silent: false,
            idempotent: false,
            write_error: None,
            looked_again: false,
            last_words: false,
            is_cut: false,
            was_cut: false,
        };
        let ended = std::future::poll_fn(|cx| exchange.poll(framing, message, cx)).await;
        let replied = match ended {
            Ok(replied) => replied,
            Err(error) => {
                if let ExchangeFailure::Unframeable(_) | ExchangeFailure::Demand(_) = error.cause {
                    exchange.session.dirty = false;
                }
                return Err(error);
            }
        };
        let is_written = exchange.outgoing.is_empty() && exchange.write_error.is_none();
        let (idempotent, is_silent) = (exchange.idempotent, exchange.is_silent);
        if !is_silent {
            self.pulse.heard(Instant::now());
        }
        self.begin_pause();
        self.partial_since = None;
        match self.behind(framing) {
            Behind::Bytes | Behind::Stranger(_) => {
                return Err(Box::new(ExchangeError {
                    progress: Progress::Answered,
                    cause: ExchangeFailure::Unasked,
                    idempotent,
                }));
            }
            Behind::TooManyHeartbeats => {}
            Behind::Nothing => self.dirty = !is_written,
        }
        if self.note_unfit()
            && let Some(outstanding) = &mut self.outstanding
        {
            outstanding.spoil();
        }
        // Without a reply the peer has shown nothing of itself.
        if !is_silent {
            self.note_served();
        }
        Ok(replied)
    }
}

/// An exchange under way.
struct Exchange<'s> {
    session: &'s mut Session,
    accepts: Accepts,
    deadline: Instant,
    /// The pool's.
    runtime: &'s Runtime,
    outgoing: Outgoing,
    began: Instant,
    begun: bool,
    /// Something came back that is no frame. What came of one is left over.
    answered: bool,
    /// No reply comes.
    is_silent: bool,
    /// By what the protocol says.
    idempotent: bool,
    write_error: Option<io::Error>,
    /// The peer seemed dead after all that there was had been read, and the reactor has had a turn
    /// since.
    looked_again: bool,
    /// Writing has failed, and the reactor has had a turn since: what the peer said before that
    /// has been seen.
    last_words: bool,
    /// There may be more to read, and the rest is left to the next poll, for which this task is
    /// woken.
    is_cut: bool,
    /// That has happened to it before.
    was_cut: bool,
}

impl Exchange<'_> {
    fn poll(
        &mut self,
        framing: &impl Framing,
        message: Message<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Replied, Box<ExchangeError>>> {
        if let Err(cause) = self.write(framing, message, cx) {
            return Poll::Ready(Err(self.failed(cause)));
        }
        if self.has_ended_in_silence() {
            return Poll::Ready(Ok(Replied::default()));
        }
        loop {
            if let Poll::Ready(ended) = self.read(framing, cx) {
                return Poll::Ready(ended.map_err(|cause| self.failed(cause)));
            }
            if self.has_ended_in_silence() {
                return Poll::Ready(Ok(Replied::default()));
            }
            // A read that was cut off may have left the peer's last words behind.
            if self.write_error.is_some() && !self.is_cut {
                if let Some(error) = self.write_error.take_if(|_| self.last_words) {
                    return Poll::Ready(Err(self.failed(ExchangeFailure::Io(error))));
                }
                self.last_words = true;
                return after_the_reactor(cx);
            }
            let deadline = self.deadline;
            let due = self
                .session
                .pulse
                .next_due()
                .map_or(deadline, |due| due.min(deadline));
            // A timer may be refused by the same budget that has ended the reading.
            let is_past = self.is_cut && due <= Instant::now();
            if !is_past {
                ready!(self.session.timer.poll_at(due, self.runtime, cx));
            }
            let now = Instant::now();
            let looks_again = match self.is_cut {
                true => now < deadline,
                false => !self.looked_again,
            };
            if self.session.pulse.is_dead(now) && looks_again {
                // After a suspension of our own the peer's heartbeats may lie in the socket, and
                // the reactor not know it yet. A read that was cut off hasn't seen
                // them.
                self.looked_again |= !self.is_cut;
                return after_the_reactor(cx);
            }
            if let Err(cause) = self.on_time(framing, cx) {
                return Poll::Ready(Err(self.failed(cause)));
            }
        }
    }

    /// The request has been written, and no reply comes. A peer that seemed dead before is listened
    /// for first: who sends nothing but such requests hears nothing else of it.
    fn has_ended_in_silence(&self) -> bool {
        let is_written = self.outgoing.is_empty() && self.write_error.is_none();
        self.is_silent && is_written && !self.session.pulse.is_dead(self.began)
    }

    /// Writes as much of the request as the socket takes.
    fn write(
        &mut self,
        framing: &impl Framing,
        message: Message<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), ExchangeFailure> {
        let stream = self.session.framed.stream_mut();
        let written = if !self.begun {
            self.begun = true;
            self.begin(framing, message, cx)?
        } else if self.outgoing.is_empty() || self.write_error.is_some() {
            Ok(())
        } else {
            match self.outgoing.poll_rest(stream, cx) {
                Poll::Ready(written) => written,
                Poll::Pending => Ok(()),
            }
        };
        // A peer that refuses a request may say so before it has read all of it, and close: its
        // reply comes first.
        self.write_error = self.write_error.take().or(written.err());
        Ok(())
    }

    /// Puts the request together, and writes as much of it as the socket takes.
    #[inline]
    fn begin(
        &mut self,
        framing: &impl Framing,
        message: Message<'_>,
        cx: &mut Context<'_>,
    ) -> Result<io::Result<()>, ExchangeFailure> {
        let (outgoing, accepts) = (&mut self.outgoing, self.accepts);
        let stream = self.session.framed.stream_mut();
        let outstanding = &mut self.session.outstanding;
        let number = outstanding.as_mut().map_or(0, |it| it.next_number());
        let state = outstanding.as_ref().map(|outstanding| match accepts.pins {
            true => outstanding.state().clone(),
            // Who shares connections can't know which it will be.
            false => Note::default(),
        });
        let begun = with_request(
            framing,
            message,
            state.as_ref(),
            || number,
            |frame, asked: Option<Box<Asked>>| {
                if let Some(asked) = &asked {
                    accepts.check(&asked.demand)?;
                }
                Ok::<_, DemandError>((outgoing.begin_with(stream, cx, frame), asked))
            },
        );
        let (written, asked) = begun?.map_err(ExchangeFailure::Demand)?;
        if let (Some(asked), Some(outstanding)) = (asked, &mut self.session.outstanding) {
            self.is_silent = asked.is_silent();
            self.idempotent = asked.demand.idempotent;
            self.deadline += expressible(asked.demand.may_wait);
            outstanding.push(asked);
        }
        self.session.pulse.sent(self.began);
        Ok(written)
    }

    /// Takes a frame. All that answers the request, if this is the last of it.
    #[inline]
    fn take(
        &mut self,
        framing: &impl Framing,
        frame: Frame,
    ) -> Result<Option<Replied>, ExchangeFailure> {
        let Some(outstanding) = &mut self.session.outstanding else {
            return Ok(Some(frame.into()));
        };
        let taken = outstanding.collect(framing, frame);
        self.answered |= taken.is_err();
        Ok(taken?)
    }

    fn read(
        &mut self,
        framing: &impl Framing,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Replied, ExchangeFailure>> {
        let mut items = 0;
        let mut last_beat = None;
        self.is_cut = false;
        loop {
            if items == ITEMS_AT_ONCE {
                self.cut();
                return after_the_reactor(cx);
            }
            let before = self.session.framed.left_over().len();
            let context = Outstanding::reply_context(self.session.outstanding.as_deref());
            let next = self.session.framed.poll_next(framing, context, cx);
            let failure = match next {
                Poll::Ready(Ok(Item::Frame(_))) if self.is_late() => {
                    self.answered = true;
                    ExchangeFailure::TimedOut
                }
                Poll::Ready(Ok(Item::Frame(frame))) => match self.take(framing, frame) {
                    Ok(Some(replied)) => return Poll::Ready(Ok(replied)),
                    Ok(None) => {
                        self.session.pulse.heard(Instant::now());
                        self.looked_again = false;
                        items += 1;
                        continue;
                    }
                    Err(failure) => failure,
                },
                Poll::Ready(Ok(Item::Heartbeat)) => {
                    let now = Instant::now();
                    if self.session.heard_beat(now) {
                        items += 1;
                        last_beat = Some(now);
                        self.looked_again = false;
                        continue;
                    }
                    ExchangeFailure::HeartbeatFlood
                }
                Poll::Ready(Err(ReadError::Frame(error))) => {
                    self.answered = true;
                    ExchangeFailure::NoFrame(error)
                }
                Poll::Ready(Err(ReadError::Truncated | ReadError::Closed)) => {
                    ExchangeFailure::Closed
                }
                Poll::Ready(Err(ReadError::Io(error))) => ExchangeFailure::Io(error),
                Poll::Pending => {
                    let arrived = self.session.framed.left_over().len().saturating_sub(before);
                    if !self.session.framed.is_caught_up() {
                        self.cut();
                    } else if let Some(last) = last_beat {
                        self.session.caught_up(last);
                    }
                    if arrived > 0 {
                        // A peer that sends a long reply can't send heartbeats meanwhile.
                        self.session.pulse.heard(Instant::now());
                        self.looked_again = false;
                        self.last_words = false;
                    }
                    return Poll::Pending;
                }
            };
            return Poll::Ready(Err(failure));
        }
    }

    fn cut(&mut self) {
        self.is_cut = true;
        self.was_cut = true;
    }

    /// A reply has come, after so much else that the deadline may have passed without anybody
    /// having looked.
    #[inline]
    fn is_late(&self) -> bool {
        self.was_cut && self.deadline <= Instant::now()
    }

    /// The timer has fired: the deadline has passed, or the peer has been silent for too long, or a
    /// heartbeat is due from us.
    fn on_time(
        &mut self,
        framing: &impl Framing,
        cx: &mut Context<'_>,
    ) -> Result<(), ExchangeFailure> {
        let now = Instant::now();
        if self.deadline <= now {
            return Err(ExchangeFailure::TimedOut);
        }
        if self.session.pulse.is_dead(now) {
            return Err(ExchangeFailure::HeartbeatMissed);
        }
        if self.session.pulse.beat_due().is_some_and(|due| due <= now) {
            match self.outgoing.is_empty() {
                true => self
                    .session
                    .beat(framing, now, cx)
                    .map_err(|_| ExchangeFailure::Io(io::Error::from(io::ErrorKind::BrokenPipe)))?,
                // Never within a frame; and who is sending needs none.
                false => self.session.pulse.sent(now),
            }
        }
        Ok(())
    }

    #[cold]
    fn failed(&self, cause: ExchangeFailure) -> Box<ExchangeError> {
        let progress = if self.answered || self.session.has_begun_a_reply() {
            Progress::Answered
        } else if self.outgoing.taken() > 0 {
            Progress::Unanswered
        } else {
            Progress::Unsent
        };
        Box::new(ExchangeError {
            progress,
            cause,
            idempotent: self.idempotent,
        })
    }
}
