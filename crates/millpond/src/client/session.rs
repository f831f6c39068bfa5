//! A framed stream between exchanges, and the one bit that matters: whether an exchange on it is
//! unfinished.
//!
//! A session is *dirty* from before the first byte of a request is written until all that answers it
//! has been read (one frame, nearly always) and nothing has come behind it but heartbeats (the last
//! of which may be incomplete) and what the server may send on its own. A session that is dropped
//! while dirty is closed, so no reply ever reaches another request than its own. `exchange.rs` has
//! the exchange.

use std::{
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{io::AsyncWrite, time::Instant};

use super::{failure::ExchangeFailure, heartbeats::Alarm, records::SessionRecords, timer::Timer};
use crate::{
    connectors::{served, unfit_to_serve},
    framed::{Allowance, Framed, Item, Outstanding, Pulse, Verdict},
    framing::{Frame, FrameError, Framing},
    net::Stream,
    pool::{Eviction, unstable::Runtime},
};

/// How long a heartbeat may be incomplete on an idle session: it is nine bytes, sent in one piece.
const PARTIAL_HEARTBEAT: Duration = Duration::from_secs(10);

/// How often a connection is closed because its server can't serve now. Where no other server does,
/// each request would cost a connection.
const BETWEEN_UNFIT: Duration = Duration::from_millis(100);

/// How often one look reads what has arrived on an idle session, a thread's buffer at a time: a
/// peer that sends heartbeats faster than they are read isn't idle. Where `heartbeat_limit` isn't
/// set very high that has been exceeded long before.
const MAX_READS: usize = 64;

/// A framed stream between the exchanges of its callers.
pub struct Session {
    pub(super) framed: Framed,
    pub(super) pulse: Pulse,
    pub(super) dirty: bool,
    /// The requests on it that aren't answered, and its state, if the framing looks at requests.
    pub(super) outstanding: Option<Box<Outstanding>>,
    /// Exchanges completed: on a session that has served, a failure may be the end of something
    /// old.
    served: bool,
    /// Since when a heartbeat has been incomplete.
    pub(super) partial_since: Option<Instant>,
    pub(super) timer: Timer,
    /// When something may be sent, if there has to be a pause.
    ready_at: Option<Instant>,
    /// How it is woken while it is idle, once it has asked for that.
    pub(super) alarm: Option<Alarm>,
    /// How many heartbeats its peer may still send.
    allowance: Allowance,
    /// It has sent more than those.
    flooded: bool,
    records: Arc<SessionRecords>,
}

impl Session {
    pub(super) fn new(
        framed: Framed,
        outstanding: Option<Box<Outstanding>>,
        heartbeat_interval: Duration,
        records: Arc<SessionRecords>,
    ) -> Self {
        let now = Instant::now();
        Session {
            framed,
            pulse: Pulse::new(heartbeat_interval, fastrand::f64(), now),
            allowance: Allowance::full(now),
            flooded: false,
            dirty: false,
            outstanding,
            served: false,
            partial_since: None,
            timer: Timer::default(),
            ready_at: None,
            records,
            alarm: None,
        }
    }

    /// An exchange on it is unfinished.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// It can be anybody's: no exchange on it is unfinished, and its state is as it was.
    pub(super) fn is_at_rest(&self) -> bool {
        let outstanding = self.outstanding.as_deref();
        !self.dirty && outstanding.is_none_or(Outstanding::is_at_rest)
    }

    /// Its peer has sent more heartbeats than it may.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded
    }

    /// It has completed an exchange. Returns whether that was its first.
    #[inline]
    pub(super) fn note_served(&mut self) -> bool {
        if self.served {
            return false;
        }
        self.served = true;
        served(self.stream());
        true
    }

    /// Notes whether a reply has shown that the server can't serve now. If so, whether the connection
    /// is to be closed: another may lead to one that can.
    pub(super) fn note_unfit(&mut self) -> bool {
        let unfit = self
            .outstanding
            .as_deref_mut()
            .is_some_and(Outstanding::take_unfit);
        if !unfit {
            return false;
        }
        unfit_to_serve(self.stream());
        let now = Instant::now();
        let mut last = self.records.closed_as_unfit.lock();
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= BETWEEN_UNFIT);
        if is_due {
            *last = Some(now);
            self.records.reports.unfit();
        }
        is_due
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

    /// A part of a reply has come.
    pub(super) fn has_begun_a_reply(&self) -> bool {
        !self.framed.left_over().is_empty() || self.has_collected()
    }

    /// Some of the frames of a reply have come.
    pub(super) fn has_collected(&self) -> bool {
        let outstanding = self.outstanding.as_deref();
        outstanding.is_some_and(Outstanding::has_begun_a_reply)
    }

    /// Consumes the heartbeats that have been received, and tells what else has.
    #[inline]
    pub(super) fn behind(&mut self, framing: &impl Framing) -> Behind {
        loop {
            let context = Outstanding::reply_context(self.outstanding.as_deref());
            match self.framed.take(framing, context) {
                Ok(Some(Item::Heartbeat)) => {
                    self.partial_since = None;
                    if !self.heard_beat(Instant::now()) {
                        return Behind::TooManyHeartbeats;
                    }
                }
                Ok(None) => break,
                Err(error) if error.is_stranger() => return Behind::Stranger(error),
                Ok(Some(Item::Frame(frame))) => {
                    if !self.takes_push(framing, frame) {
                        return Behind::Bytes;
                    }
                    if self.flooded {
                        return Behind::TooManyHeartbeats;
                    }
                }
                Err(_) => return Behind::Bytes,
            }
        }
        if self.framed.left_over().is_empty() {
            return Behind::Nothing;
        }
        match self.begins_a_frame(framing) {
            // The rest of it will tell.
            true if self.expects_pushes(framing) => return Behind::Nothing,
            true => return Behind::Bytes,
            false => {}
        }
        self.partial_since.get_or_insert_with(Instant::now);
        Behind::Nothing
    }

    /// Whether what comes without being asked for may be right: it is somebody's own, and the framing
    /// says so of its state.
    fn expects_pushes(&self, framing: &impl Framing) -> bool {
        let outstanding = self.outstanding.as_deref();
        outstanding.is_some_and(|it| it.is_pinned && framing.may_push(it.state()))
    }

    /// Takes a frame that nobody asked for. Whether the server may send it on its own; as many as
    /// heartbeats.
    fn takes_push(&mut self, framing: &impl Framing, frame: Frame) -> bool {
        let Some(outstanding) = &mut self.outstanding else {
            return false;
        };
        let Verdict::Push(push) = outstanding.judge(framing, frame) else {
            return false;
        };
        let is_kept = outstanding.keep_push(framing, push).is_ok();
        let now = Instant::now();
        self.pulse.heard(now);
        // Who has a connection to itself has asked for them, and takes them as they come.
        self.flooded |=
            !outstanding.is_pinned && !self.allowance.take(self.records.heartbeat_limit, now);
        is_kept
    }

    /// Whether there are pushes that nobody has taken.
    fn keeps_pushes(&self) -> bool {
        let outstanding = self.outstanding.as_deref();
        outstanding.is_some_and(Outstanding::keeps_pushes)
    }

    /// Whether it is somebody's own, for whom pushes are kept.
    pub(super) fn set_pinned(&mut self, is_pinned: bool) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.is_pinned = is_pinned;
        }
    }

    /// The next frame that the server sends on its own, while no request is under way.
    pub(super) fn poll_push(
        &mut self,
        framing: &impl Framing,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Frame, ExchangeFailure>> {
        loop {
            if let Some(push) = self.outstanding.as_mut().and_then(|it| it.take_push()) {
                return Poll::Ready(Ok(push));
            }
            // One read at a time: whoever sends faster than its pushes are taken has to wait.
            if !self.receive(framing)? {
                ready!(self.framed.stream().poll_read_ready(cx)).map_err(ExchangeFailure::Io)?;
            }
        }
    }

    /// Takes in what one read brings while no reply is owed. Whether there was anything.
    fn receive(&mut self, framing: &impl Framing) -> Result<bool, ExchangeFailure> {
        match self.framed.receive_now() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Ok(0) => return Err(ExchangeFailure::Closed),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ExchangeFailure::Closed);
            }
            Err(error) => return Err(ExchangeFailure::Io(error)),
            Ok(_) => {}
        }
        match self.behind(framing) {
            Behind::Nothing => Ok(true),
            Behind::TooManyHeartbeats => Err(ExchangeFailure::HeartbeatFlood),
            Behind::Stranger(error) => {
                *self.records.stranger.lock() = Some(error.clone());
                Err(ExchangeFailure::NoFrame(error))
            }
            Behind::Bytes => {
                *self.records.stranger.lock() = None;
                Err(ExchangeFailure::Unasked)
            }
        }
    }

    /// What is left over is more than a part of a heartbeat.
    pub(super) fn begins_a_frame(&self, framing: &impl Framing) -> bool {
        let left_over = self.framed.left_over();
        let is_heartbeat = |beat: &[u8]| beat.starts_with(left_over);
        !left_over.is_empty() && !framing.heartbeat().is_some_and(is_heartbeat)
    }

    /// Waits as long as nothing may be sent, but no longer than this. Cancel safe.
    ///
    /// # Errors
    ///
    /// The connection has ended meanwhile, and can't be used any more.
    pub(super) async fn pause(
        &mut self,
        framing: &impl Framing,
        deadline: Instant,
        runtime: &Runtime,
    ) -> Result<(), ExchangeFailure> {
        let Some(at) = self.ready_at else {
            return Ok(());
        };
        if at <= Instant::now() {
            return Ok(());
        }
        let at = at.min(deadline);
        std::future::poll_fn(|cx| self.timer.poll_at(at, runtime, cx)).await;
        let looked = self.look(framing);
        self.dirty |= looked.is_err();
        looked
    }

    /// An exchange has ended: the next request may have to wait.
    pub(super) fn begin_pause(&mut self) {
        if !self.records.request_pause.is_zero() {
            self.ready_at = Some(Instant::now() + self.records.request_pause);
        }
    }

    /// Judges it while no reply is owed on it, from what has arrived; no system call while the
    /// reactor has seen nothing arrive.
    pub(super) fn look(&mut self, framing: &impl Framing) -> Result<(), ExchangeFailure> {
        for _ in 0..MAX_READS {
            // Behind heartbeats there may be something else; behind what is kept for whose
            // connection it is, only more of that.
            if !self.receive(framing)? || self.keeps_pushes() {
                return Ok(());
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
            self.records.reports.heartbeat_missed();
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
            self.records
                .pipelined_writes
                .fetch_add(1, Ordering::Relaxed);
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
        self.records
            .heartbeats_received
            .fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = self.records.reports.metrics() {
            metrics.heartbeat_received();
        }
        self.pulse.beat(now);
        self.flooded |= !self.allowance.take(self.records.heartbeat_limit, now);
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
        self.records.heartbeats_sent.fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = self.records.reports.metrics() {
            metrics.heartbeat_sent();
        }
    }

    /// Sends a heartbeat, between two exchanges. A socket that takes none now has too much in it
    /// already: its peer isn't reading, and what is there will be found out by others.
    pub(super) fn beat(
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
pub(super) enum Behind {
    /// Nothing, or heartbeats, the last of which may be incomplete.
    Nothing,
    /// More heartbeats than the limit allows.
    TooManyHeartbeats,
    /// The first words of another protocol.
    Stranger(FrameError),
    /// Something else.
    Bytes,
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
