//! One exchange at a time on one framed stream, and the one bit that matters: whether an exchange
//! on it is unfinished.
//!
//! A session is *dirty* from before the first byte of a request is written until exactly one whole
//! reply has been read and nothing has come behind it but heartbeats (the last of which may be
//! incomplete). A session dropped while dirty is closed, so no reply ever reaches another request
//! than its own. What comes together with a reply and is neither heartbeat nor asked for makes the
//! reply doubtful: which of the two is the reply nobody knows, and the exchange has failed.
//!
//! One poll does a bounded amount of work, and looks at the clock where that wasn't enough: bytes
//! that never stop mustn't keep an exchange from its deadline. The timer alone won't do there, for
//! tokio's cooperative budget refuses it where the reading has used that up.

use std::{
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{io::AsyncWrite, time::Instant};

use super::{
    failure::{ExchangeError, ExchangeFailure, Progress},
    heartbeats::Alarm,
    telling::Telling,
    timer::Timer,
};
use crate::{
    framed::{Allowance, Frame, Framed, HeartbeatLimit, Item, Outgoing, Pulse, ReadError},
    framing::{Direction, FrameError, Framing},
    net::Stream,
    pool::{Eviction, unstable::Runtime},
};

/// How long a heartbeat may be incomplete on an idle session: it is nine bytes, sent in one piece.
const PARTIAL_HEARTBEAT: Duration = Duration::from_secs(10);

/// How often one look reads what has arrived on an idle session, a thread's buffer at a time: a
/// peer that sends heartbeats faster than they are read isn't idle. Where `heartbeat_limit` isn't
/// set very high that has been exceeded long before.
const MAX_READS: usize = 64;

/// How many heartbeats one poll of an exchange takes in.
const BEATS_AT_ONCE: usize = 64;

/// A framed stream between the exchanges of its callers.
pub struct Session {
    pub(super) framed: Framed,
    pub(super) pulse: Pulse,
    dirty: bool,
    /// Exchanges completed: on a session that has served, a failure may be the end of something
    /// old.
    pub(super) served: bool,
    /// Since when a heartbeat has been incomplete.
    partial_since: Option<Instant>,
    timer: Timer,
    /// How it is woken while it is idle, once it has asked for that.
    pub(super) alarm: Option<Alarm>,
    /// How many heartbeats its peer may still send.
    allowance: Allowance,
    /// It has sent more than those.
    flooded: bool,
    counts: Arc<HeartbeatCounts>,
}

/// How many heartbeats there have been on all sessions of a client, and how many each peer may
/// send.
#[derive(Debug, Default)]
pub(super) struct HeartbeatCounts {
    pub(super) limit: HeartbeatLimit,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    /// Writes of requests, by pipelines.
    pub(super) writes: AtomicU64,
    /// What a peer of another protocol said last when nobody had asked.
    pub(super) stranger: Mutex<Option<FrameError>>,
    pub(super) telling: Telling,
}

impl Session {
    pub(super) fn new(
        framed: Framed,
        heartbeat_interval: Duration,
        counts: Arc<HeartbeatCounts>,
    ) -> Self {
        let now = Instant::now();
        Session {
            framed,
            pulse: Pulse::new(heartbeat_interval, fastrand::f64(), now),
            allowance: Allowance::full(now),
            flooded: false,
            dirty: false,
            served: false,
            partial_since: None,
            timer: Timer::default(),
            counts,
            alarm: None,
        }
    }

    /// An exchange on it is unfinished.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Its peer has sent more heartbeats than it may.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded
    }

    /// It has completed an exchange.
    pub(super) fn has_served(&self) -> bool {
        self.served
    }

    pub(super) fn stream(&self) -> &Stream {
        self.framed.stream()
    }

    pub(super) fn into_stream(self) -> Stream {
        self.framed.into_stream()
    }

    /// Sends a request and reads its reply, until the deadline. `runtime` is the pool's.
    ///
    /// Cancelled, it leaves the session dirty.
    pub(super) async fn exchange(
        &mut self,
        framing: &impl Framing,
        body: &[u8],
        deadline: Instant,
        runtime: &Runtime,
    ) -> Result<Bytes, Box<ExchangeError>> {
        let began = Instant::now();
        if deadline <= began {
            return Err(Box::new(ExchangeError {
                progress: Progress::Unsent,
                cause: ExchangeFailure::TimedOut,
            }));
        }
        self.dirty = true;
        let mut exchange = Exchange {
            session: self,
            deadline,
            runtime,
            outgoing: Outgoing::default(),
            began,
            begun: false,
            answered: false,
            write_error: None,
            looked_again: false,
            last_words: false,
            is_cut: false,
            was_cut: false,
        };
        let ended = std::future::poll_fn(|cx| exchange.poll(framing, body, cx)).await;
        let reply = match ended {
            Ok(reply) => reply,
            Err(error) => {
                if let ExchangeFailure::Unframeable(_) = error.cause {
                    exchange.session.dirty = false;
                }
                return Err(error);
            }
        };
        let is_written = exchange.outgoing.is_empty() && exchange.write_error.is_none();
        self.pulse.heard(Instant::now());
        self.partial_since = None;
        match self.behind(framing) {
            Behind::Bytes | Behind::Stranger(_) => {
                return Err(Box::new(ExchangeError {
                    progress: Progress::Answered,
                    cause: ExchangeFailure::Unasked,
                }));
            }
            Behind::TooManyHeartbeats => {}
            Behind::Nothing => self.dirty = !is_written,
        }
        self.served = true;
        Ok(reply.into_body())
    }

    /// Consumes the heartbeats that have been received, and tells what else has.
    #[inline]
    fn behind(&mut self, framing: &impl Framing) -> Behind {
        loop {
            match self.framed.take(framing, Direction::Reply) {
                Ok(Some(Item::Heartbeat)) => {
                    self.partial_since = None;
                    if !self.heard_beat(Instant::now()) {
                        return Behind::TooManyHeartbeats;
                    }
                }
                Ok(None) => break,
                Err(error) if error.is_stranger() => return Behind::Stranger(error),
                Ok(Some(Item::Frame(_))) | Err(_) => return Behind::Bytes,
            }
        }
        if self.framed.left_over().is_empty() {
            return Behind::Nothing;
        }
        self.partial_since.get_or_insert_with(Instant::now);
        match self.begins_a_frame(framing) {
            true => Behind::Bytes,
            false => Behind::Nothing,
        }
    }

    /// What is left over is more than a part of a heartbeat.
    pub(super) fn begins_a_frame(&self, framing: &impl Framing) -> bool {
        let left_over = self.framed.left_over();
        let is_heartbeat = |beat: &[u8]| beat.starts_with(left_over);
        !left_over.is_empty() && !framing.heartbeat().is_some_and(is_heartbeat)
    }

    /// Judges it while no reply is owed on it, from what has arrived; no system call while the
    /// reactor has seen nothing arrive.
    pub(super) fn look(&mut self, framing: &impl Framing) -> Result<(), ExchangeFailure> {
        for _ in 0..MAX_READS {
            match self.framed.receive_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(0) => return Err(ExchangeFailure::Closed),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(ExchangeFailure::Closed);
                }
                Err(error) => return Err(ExchangeFailure::Io(error)),
                Ok(_) => {}
            }
            match self.behind(framing) {
                // Behind heartbeats there may be something else.
                Behind::Nothing => {}
                Behind::TooManyHeartbeats => break,
                Behind::Stranger(error) => {
                    *self.counts.stranger.lock() = Some(error.clone());
                    return Err(ExchangeFailure::NoFrame(error));
                }
                Behind::Bytes => {
                    *self.counts.stranger.lock() = None;
                    return Err(ExchangeFailure::Unasked);
                }
            }
        }
        Err(ExchangeFailure::HeartbeatFlood)
    }

    /// Watches it while it is idle: what arrives, heartbeats that are due in either direction. The
    /// moment at which it must be asked again is told, if there is one.
    pub(super) fn poll_idle(
        &mut self,
        framing: &impl Framing,
        cx: &mut Context<'_>,
    ) -> Poll<Eviction> {
        loop {
            if let Err(cause) = self.look(framing) {
                return Poll::Ready(cause.eviction());
            }
            match self.framed.stream().poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Eviction::PeerReset),
                Poll::Pending => break,
            }
        }
        let now = Instant::now();
        self.allowance.caught_up(now);
        self.timer.release();
        let incomplete = self
            .partial_since
            .is_some_and(|since| since + PARTIAL_HEARTBEAT <= now);
        if self.pulse.is_dead(now) || incomplete {
            self.counts.telling.heartbeat_missed();
            return Poll::Ready(Eviction::HeartbeatMissed);
        }
        if self.pulse.beat_due().is_some_and(|due| due <= now)
            && let Err(reason) = self.beat(framing, now, cx)
        {
            return Poll::Ready(reason);
        }
        Poll::Pending
    }

    /// Writes a part of many exchanges' requests: from here on it is dirty until it is at rest
    /// again.
    pub(super) fn poll_write_many(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.dirty = true;
        let written = Pin::new(self.framed.stream_mut()).poll_write(cx, bytes);
        if written.is_ready() {
            self.counts.writes.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    /// All of many exchanges have ended.
    pub(super) fn rest(&mut self, framing: &impl Framing) {
        self.partial_since = None;
        self.dirty = self.behind(framing) != Behind::Nothing;
    }

    /// Whether the peer may send as many as it does.
    #[must_use]
    pub(super) fn heard_beat(&mut self, now: Instant) -> bool {
        self.counts.received.fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = self.counts.telling.metrics() {
            metrics.heartbeat_received();
        }
        self.pulse.beat(now);
        self.flooded |= !self.allowance.take(self.counts.limit, now);
        !self.flooded
    }

    /// By then all heartbeats had been read that had arrived.
    pub(super) fn caught_up(&mut self, by: Instant) {
        self.allowance.caught_up(by);
    }

    /// When it must be asked again although nothing has arrived.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let partial = self.partial_since.map(|since| since + PARTIAL_HEARTBEAT);
        [self.pulse.next_due(), partial].into_iter().flatten().min()
    }

    pub(super) fn sent_beat(&self) {
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = self.counts.telling.metrics() {
            metrics.heartbeat_sent();
        }
    }

    /// Sends a heartbeat, between two exchanges. A socket that takes none now has too much in it
    /// already: its peer isn't reading, and what is there will be found out by others.
    fn beat(
        &mut self,
        framing: &impl Framing,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<(), Eviction> {
        let Some(heartbeat) = framing.heartbeat() else {
            return Ok(());
        };
        self.pulse.sent(now);
        match Pin::new(self.framed.stream_mut()).poll_write(cx, heartbeat) {
            Poll::Ready(Ok(written)) if written == heartbeat.len() => {
                self.sent_beat();
                Ok(())
            }
            // Half a heartbeat can't be taken back, and nothing else may follow it.
            Poll::Ready(Ok(_) | Err(_)) => Err(Eviction::PeerReset),
            Poll::Pending => Ok(()),
        }
    }
}

/// What has been received and belongs to no exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Behind {
    /// Nothing, or heartbeats, the last of which may be incomplete.
    Nothing,
    /// More heartbeats than the limit allows.
    TooManyHeartbeats,
    /// The first words of another protocol.
    Stranger(FrameError),
    /// Something else.
    Bytes,
}

/// An exchange under way.
struct Exchange<'s> {
    session: &'s mut Session,
    deadline: Instant,
    /// The pool's.
    runtime: &'s Runtime,
    outgoing: Outgoing,
    began: Instant,
    begun: bool,
    /// Something came back that is no frame. What came of one is left over.
    answered: bool,
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
        body: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<Frame, Box<ExchangeError>>> {
        if let Err(error) = self.write(framing, body, cx) {
            return Poll::Ready(Err(self.failed(ExchangeFailure::Unframeable(error))));
        }
        loop {
            if let Poll::Ready(ended) = self.read(framing, cx) {
                return Poll::Ready(ended.map_err(|cause| self.failed(cause)));
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

    /// Writes as much of the request as the socket takes.
    fn write(
        &mut self,
        framing: &impl Framing,
        body: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<(), FrameError> {
        let stream = self.session.framed.stream_mut();
        let written = if !self.begun {
            self.begun = true;
            let encode = |out: &mut Vec<u8>| framing.encode(Direction::Request, body, out);
            let written = self.outgoing.begin(stream, cx, encode)?;
            self.session.pulse.sent(self.began);
            written
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

    fn read(
        &mut self,
        framing: &impl Framing,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Frame, ExchangeFailure>> {
        let mut beats = 0;
        let mut last_beat = None;
        self.is_cut = false;
        loop {
            if beats == BEATS_AT_ONCE {
                self.cut();
                return after_the_reactor(cx);
            }
            let before = self.session.framed.left_over().len();
            let next = self.session.framed.poll_next(framing, Direction::Reply, cx);
            let failure = match next {
                Poll::Ready(Ok(Item::Frame(_))) if self.is_late() => {
                    self.answered = true;
                    ExchangeFailure::TimedOut
                }
                Poll::Ready(Ok(Item::Frame(frame))) => return Poll::Ready(Ok(frame)),
                Poll::Ready(Ok(Item::Heartbeat)) => {
                    let now = Instant::now();
                    if self.session.heard_beat(now) {
                        beats += 1;
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
                        // Who sends a long reply can't send heartbeats meanwhile.
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
        let progress = if self.answered || !self.session.framed.left_over().is_empty() {
            Progress::Answered
        } else if self.outgoing.taken() > 0 {
            Progress::Unanswered
        } else {
            Progress::Unsent
        };
        Box::new(ExchangeError { progress, cause })
    }
}

/// Comes back when everybody who is ready has had a turn, and the reactor.
pub(super) fn after_the_reactor<T>(cx: &mut Context<'_>) -> Poll<T> {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
    Poll::Pending
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("stream", self.stream())
            .field("dirty", &self.dirty)
            .finish_non_exhaustive()
    }
}
