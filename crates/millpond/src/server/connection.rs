//! One client: reads its requests, lets them be answered, writes the replies, and keeps every
//! deadline with a single timer. What is bounded, and by which setting, is decided here; what bytes
//! mean is the framing's to say, what requests mean the handler's.
//!
//! # A turn
//!
//! Whatever wakes the task, it reads what has arrived, asks the handlers that run, and writes the
//! replies that are ready, as one batch; again, as long as that makes room for more requests. A
//! turn takes a bounded number of items and of bytes, so that a client that floods keeps nobody
//! waiting but itself; a long request or reply has to wait for a long turn (`long.rs`).
//!
//! # What lies idle
//!
//! A connection on which nothing is under way owns no buffer, no handler and one timer, which is
//! moved only when something is due *earlier* than it: a busy connection lets it fire in vain once
//! per heartbeat interval rather than move it with every request.

mod deadlines;
mod draining;
mod frame_due;
mod long;
mod room;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    task::yield_now,
    time::{Instant, Sleep, sleep_until},
};

use self::{
    draining::{Counted, Draining},
    frame_due::{FrameDue, Partial},
    long::LONG,
    room::Much,
};
use super::{
    exchanges::{Answered, Exchange, Exchanges, State},
    farewell,
    handler::{self, Bodies, Handler, Request},
    ledger::{Place, Service, Ticket},
    limits::{Allowance, shorten, transfer_time},
    settings::Settings,
    snapshot::{Closed, count},
    storms::Event,
};
use crate::{
    framed::{Frame, Framed, Item, Outgoing, Pulse, ReadError},
    framing::{Direction, Failure, FailureKind, FrameError, Framing, Told},
    net::Stream,
};

/// How many items are taken in one turn: as many as four connections may have in flight.
const TURN: usize = 64;

/// How many bytes of requests and replies one turn is for; the item that goes beyond it is the last
/// one. To receive, check and write as much takes a fraction of a millisecond.
const TURN_BYTES: usize = 64 << 10;

/// How many bytes are received before room is asked for: what a small request needs, so that it
/// doesn't ask.
const HEAD: usize = 4 << 10;

/// After how long without a request the room for exchanges is given back.
const REST: Duration = Duration::from_secs(10);

/// While a connection isn't read, how often the kernel is asked whether its client is still there.
/// A system call, which a connection with less to do than that never makes.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// The timer, when nothing is due.
const FAR: Duration = Duration::from_secs(24 * 3_600);

/// Serves one client until its connection ends, which its place is told. `place` is told how it has
/// ended before the farewell.
pub(super) async fn run<F: Framing, H: Handler>(
    service: &Arc<Service<F, H>>,
    stream: Stream,
    peer: Option<SocketAddr>,
    place: &mut Place,
) {
    let mut connection = Counted::new(Connection::new(service, stream, peer));
    let closed = {
        let mut bell = pin!(service.ledger.bell.notified());
        // This task's waker never changes: once is enough, and asking it costs a lock that all
        // connections share.
        bell.as_mut().enable();
        let mut listening = false;
        let mut timer = pin!(sleep_until(Instant::now() + FAR));
        poll_fn(|cx| {
            if !listening {
                listening = true;
                let _ = bell.as_mut().poll(cx);
            }
            connection.connection().poll(cx, timer.as_mut(), &answer)
        })
        .await
    };
    // Here and not where this was called from: a future that keeps the address once more is larger
    // by it.
    tracing::debug!(target: "millpond::server", peer = connection.connection().peer.map(tracing::field::display), %closed, "connection ended");
    let stream = connection.end(closed);
    place.ended(closed);
    let status = match service.ledger.is_draining() {
        true => farewell::Draining::Yes,
        false => farewell::Draining::No,
    };
    // Boxed, for it begins when all else is over.
    Box::pin(farewell::leave(
        stream,
        closed,
        status,
        service.framing.name(),
    ))
    .await;
}

/// The answer to one request, which counts as handled until this is done or dropped.
async fn answer<F: Framing, H: Handler>(
    ticket: Ticket<F, H>,
    request: Request,
) -> Result<Bytes, Failure> {
    ticket.handler().handle(request).await
}

/// See the module. `A` is the future of an answer.
struct Connection<'s, F, H, A> {
    service: &'s Arc<Service<F, H>>,
    peer: Option<SocketAddr>,
    framed: Framed,
    exchanges: Exchanges<A>,
    outgoing: Outgoing,
    /// Boxed, for most connections never hold more than what isn't counted.
    much: Option<Box<Much<'s>>>,
    /// How long what has arrived of a request may get before more room is asked for.
    room: usize,
    /// How many replies are in the batch that is leaving.
    leaving: u32,
    pulse: Pulse,
    heartbeats: Allowance,
    /// The last request, or the last reply.
    used: Instant,
    /// The frame that has arrived in part; boxed, for most arrive as a whole.
    unfinished: Option<Box<Unfinished>>,
    /// By when what is left of a batch must have been taken.
    write_due: Option<Instant>,
    /// When to ask the kernel whether the client is still there, while nothing is read that would
    /// tell.
    look_due: Option<Instant>,
    /// The last read found nothing more: only then does silence mean something.
    caught_up: bool,
    /// Once the server drains; boxed, for most of the time there is none.
    draining: Option<Box<Draining>>,
    /// Why nothing is read any more: what is owed is answered, and then it is over.
    ending: Option<Closed>,
}

/// What is known of a frame that hasn't arrived as a whole.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    /// How much of it had arrived when it was last looked at.
    arrived: usize,
    /// By when what it lacks must have come.
    due: FrameDue,
}

/// Why reading has stopped.
enum Stop {
    /// Nothing more has arrived.
    Nothing,
    /// `max_in_flight`.
    Full,
    /// `max_bytes` or `max_bytes_per_connection`.
    NoRoom,
    /// The turn was long enough.
    Turn,
    /// What comes next needs a long turn.
    Long,
    /// Nothing is read any more.
    Ending,
}

impl<'s, F: Framing, H: Handler, A: Future<Output = Result<Bytes, Failure>>>
    Connection<'s, F, H, A>
{
    fn new(service: &'s Arc<Service<F, H>>, stream: Stream, peer: Option<SocketAddr>) -> Self {
        let now = Instant::now();
        let interval = match service.framing.heartbeat() {
            Some(_) => service.ledger.settings.heartbeat_interval,
            None => Duration::ZERO,
        };
        Connection {
            service,
            peer,
            framed: Framed::new(stream),
            exchanges: Exchanges::new(),
            outgoing: Outgoing::default(),
            much: None,
            room: HEAD,
            leaving: 0,
            pulse: Pulse::new(interval, fastrand::f64(), now),
            heartbeats: Allowance::full(now),
            used: now,
            unfinished: None,
            write_due: None,
            look_due: None,
            caught_up: false,
            draining: None,
            ending: None,
        }
    }

    fn settings(&self) -> &'s Settings {
        &self.service.ledger.settings
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        answer: &impl Fn(Ticket<F, H>, Request) -> A,
    ) -> Poll<Closed> {
        if self.draining.is_none() && self.service.ledger.is_draining() {
            self.draining = Some(Box::new(Draining::begin(
                self.settings().max_in_flight,
                self.used,
                self.owes_nothing(),
            )));
        }
        loop {
            let now = Instant::now();
            let turn = self
                .turn(cx, now, answer)
                .and_then(|()| self.overdue(cx, now));
            if let Err(closed) = turn {
                return Poll::Ready(closed);
            }
            if let Some(closed) = self.ending.filter(|_| self.owes_nothing()) {
                return Poll::Ready(closed);
            }
            if self.is_drained(now) {
                return Poll::Ready(Closed::Drained);
            }
            let due = self.next_due().unwrap_or(now + FAR);
            if due < timer.deadline() || timer.is_elapsed() {
                timer
                    .as_mut()
                    .reset(due.max(now + Duration::from_millis(1)));
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        answer: &impl Fn(Ticket<F, H>, Request) -> A,
    ) -> Result<(), Closed> {
        self.end_long_turn();
        let done = self.exchange(cx, now, answer);
        self.leave_long_turn(cx);
        done
    }

    /// Reads, lets be answered, writes: see the module.
    fn exchange(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        answer: &impl Fn(Ticket<F, H>, Request) -> A,
    ) -> Result<(), Closed> {
        let limit = self.settings().handler_deadline.unwrap_or_default();
        let mut taken = 0;
        loop {
            let stop = self.read(cx, now, &mut taken, answer)?;
            self.look_due = match stop {
                Stop::Full | Stop::NoRoom | Stop::Long | Stop::Ending => {
                    self.look_due.or(Some(now + BETWEEN_LOOKS))
                }
                Stop::Nothing | Stop::Turn => None,
            };
            self.exchanges.poll(cx, now, limit);
            self.write(cx, now)?;
            self.settle();
            match stop {
                Stop::Full if self.has_room() => {}
                Stop::NoRoom if self.make_room(cx) => {}
                Stop::Turn => {
                    // Not a mere wake: the others' sockets are looked at before this task's next
                    // turn.
                    let _ = pin!(yield_now()).poll(cx);
                    return Ok(());
                }
                Stop::Nothing | Stop::Full | Stop::NoRoom | Stop::Long | Stop::Ending => {
                    return Ok(());
                }
            }
        }
    }

    /// Takes requests as long as there are any and room for them.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        taken: &mut usize,
        answer: &impl Fn(Ticket<F, H>, Request) -> A,
    ) -> Result<Stop, Closed> {
        loop {
            if self
                .draining
                .as_ref()
                .is_some_and(|draining| draining.is_flooded())
            {
                self.ending.get_or_insert(Closed::Drained);
            }
            if self.ending.is_some() {
                self.take_waiting();
                return Ok(Stop::Ending);
            }
            if !self.has_room() {
                // While it is us who don't read, the client's silence means nothing.
                self.caught_up = false;
                self.unfinished = None;
                return Ok(Stop::Full);
            }
            if *taken >= TURN {
                self.caught_up = false;
                return Ok(Stop::Turn);
            }
            if self.waits_for_long_turn() {
                if !self.has_long_turn(cx) {
                    return Ok(Stop::Long);
                }
                if let Some(frame) = self.take_waiting() {
                    *taken += weight(frame.length());
                    self.accept(frame, now, answer);
                }
                continue;
            }
            if self.owed() > HEAD && !self.make_room(cx) {
                return Ok(self.no_room(now));
            }
            let framing = &self.service.framing;
            match self
                .framed
                .poll_next_within(framing, Direction::Request, self.room, cx)
            {
                Poll::Pending => {
                    self.wait_for_more(now);
                    return Ok(match self.ending {
                        Some(_) => Stop::Ending,
                        None => Stop::Nothing,
                    });
                }
                Poll::Ready(Ok(Some(item))) => {
                    self.room = HEAD;
                    self.unfinished = None;
                    match item {
                        Item::Heartbeat => {
                            *taken += 1;
                            self.heard_heartbeat(now)?;
                        }
                        Item::Frame(frame) if frame.length() > LONG => {
                            self.caught_up = false;
                            self.keep_for_long_turn(frame);
                        }
                        Item::Frame(frame) => {
                            *taken += weight(frame.length());
                            self.accept(frame, now, answer);
                        }
                    }
                }
                Poll::Ready(Ok(None)) => {
                    if !self.make_room(cx) {
                        return Ok(self.no_room(now));
                    }
                }
                Poll::Ready(Err(ReadError::Closed)) => self.ending = Some(Closed::ByPeer),
                Poll::Ready(Err(ReadError::Truncated)) => self.ending = Some(Closed::Truncated),
                Poll::Ready(Err(ReadError::Io(_))) => return Err(Closed::Broken),
                Poll::Ready(Err(ReadError::Frame(error))) => {
                    self.ending = Some(self.refuse(&error))
                }
            }
        }
    }

    /// What came is no frame.
    fn refuse(&mut self, error: &FrameError) -> Closed {
        if let FrameError::TooLong {
            length,
            limit,
            setting,
        } = *error
        {
            self.refuse_too_long(length, limit, setting.unwrap_or("the framing"));
            return Closed::FrameTooLong;
        }
        let storms = &self.service.ledger.storms;
        if let FrameError::WrongAnswer { .. } = error {
            if storms.happened(Event::WrongAnswer) {
                tracing::error!(target: "millpond::server", peer = self.peer.map(tracing::field::display), %error, "connection closed: where its frames end isn't known");
            }
            return Closed::ProtocolError;
        }
        if storms.happened(Event::OtherProtocol) {
            tracing::info!(target: "millpond::server", peer = self.peer.map(tracing::field::display), %error, "connection closed: it spoke another protocol");
        }
        match error {
            FrameError::Http => Closed::Http,
            FrameError::Tls => Closed::Tls,
            _ => Closed::ProtocolError,
        }
    }

    /// A frame is longer than allowed. Its client is told so in its turn, if the protocol has words
    /// for it that need no request.
    fn refuse_too_long(&mut self, length: u64, limit: u64, setting: &str) {
        let service = self.service;
        if service.ledger.storms.happened(Event::FrameTooLong) {
            tracing::warn!(target: "millpond::server", peer = self.peer.map(tracing::field::display), length, limit, setting, "connection closed: a frame is longer than the limit");
        }
        if service.framing.failure_needs_request() {
            return;
        }
        // The setting is the server's: its client has none of that name, or one that wouldn't help.
        let error = FrameError::TooLong {
            length,
            limit,
            setting: None,
        };
        self.exchanges.push(Exchange {
            request: None,
            state: State::Answered(Err(Failure {
                kind: FailureKind::Refused,
                message: format!("{error}; the limit is set by {setting} on the server"),
            })),
        });
    }

    /// Nothing more can be read in this turn.
    fn wait_for_more(&mut self, now: Instant) {
        self.caught_up = self.framed.is_caught_up();
        if !self.caught_up {
            // The socket wasn't looked at. This task comes again at once, and only then knows what
            // has arrived.
            return;
        }
        self.heartbeats.caught_up(now);
        self.note_progress(now);
    }

    /// A part of a frame has arrived: the rest has its time.
    fn note_progress(&mut self, now: Instant) {
        let arrived = self.framed.left_over().len();
        let earlier = self.unfinished.as_deref().copied();
        let before = earlier.map_or(0, |earlier| earlier.arrived);
        if arrived == before {
            return;
        }
        let partial = Partial {
            announced: self.framed.announced(),
            arrived,
            before,
        };
        self.pulse.heard(now);
        self.acknowledge();
        let due = FrameDue::of(
            partial,
            earlier.map(|earlier| earlier.due),
            self.settings(),
            now,
        );
        let unfinished = Unfinished { arrived, due };
        match &mut self.unfinished {
            Some(before) => **before = unfinished,
            None => self.unfinished = Some(Box::new(unfinished)),
        }
    }

    /// A client that writes a frame in two parts, by Nagle's algorithm, sends the second when the
    /// first is acknowledged, and the kernel likes to wait 40 ms with that. A system call, so
    /// only while a part is missing.
    fn acknowledge(&self) {
        self.framed.stream().acknowledge();
    }

    fn heard_heartbeat(&mut self, now: Instant) -> Result<(), Closed> {
        let ledger = &self.service.ledger;
        count(&ledger.counters.heartbeats_received);
        self.pulse.beat(now);
        if self.heartbeats.take(ledger.settings.heartbeat_limit, now) {
            return Ok(());
        }
        if ledger.storms.happened(Event::HeartbeatFlood) {
            tracing::warn!(target: "millpond::server", peer = self.peer.map(tracing::field::display), "connection closed: more heartbeats than heartbeat_limit allows");
        }
        Err(Closed::HeartbeatFlood)
    }

    fn accept(&mut self, frame: Frame, now: Instant, answer: &impl Fn(Ticket<F, H>, Request) -> A) {
        count(&self.service.ledger.counters.requests);
        self.pulse.heard(now);
        self.used = now;
        let draining = self.draining.as_mut();
        match draining.is_none_or(|draining| draining.takes(now)) {
            true => self.begin(frame.into_body(), now, answer),
            false => self.turn_away(frame.into_body()),
        }
    }

    /// Lets a request be answered, if it is acceptable and not one too many.
    fn begin(&mut self, body: Bytes, now: Instant, answer: &impl Fn(Ticket<F, H>, Request) -> A) {
        let (service, length) = (self.service, body.len());
        let request = service
            .framing
            .failure_needs_request()
            .then(|| body.clone());
        let checked = match service.handler.bodies() {
            Bodies::Json => handler::check(&body),
            Bodies::Opaque => Ok(()),
        };
        let state = match checked.map(|()| Ticket::new(service)) {
            Ok(Some(ticket)) => {
                let deadline = self.settings().handler_deadline.map(|limit| now + limit);
                let request = Request {
                    body,
                    peer: self.peer,
                    deadline,
                };
                State::Running {
                    answer: Box::pin(answer(ticket, request)),
                    deadline,
                    body: length,
                }
            }
            Ok(None) => State::Answered(Err(Failure {
                kind: FailureKind::Overloaded,
                message: format!(
                    "{} requests are being handled already",
                    self.settings().max_handled
                ),
            })),
            Err(failure) => State::Answered(Err(failure)),
        };
        self.exchanges.push(Exchange { request, state });
    }

    /// Writes what is left, and then the replies that are ready, as far as the client takes them.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Closed> {
        let before = self.outgoing.taken();
        loop {
            if !self.outgoing.is_empty() {
                let rest = self.outgoing.poll_rest(self.framed.stream_mut(), cx);
                match rest {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(())) => self.written(now),
                    Poll::Ready(Err(_)) => return Err(Closed::Broken),
                }
            }
            if !self.exchanges.has_answer() {
                return Ok(());
            }
            if self.exchanges.next_length() > LONG && !self.has_long_turn(cx) {
                return Ok(());
            }
            self.hold_last_replies_back();
            let may_be_long = self.is_long_turn();
            let (service, exchanges) = (self.service, &mut self.exchanges);
            let (mut told, mut leaving) = (Ok(()), 0);
            let begun = self.outgoing.begin(self.framed.stream_mut(), cx, |batch| {
                while batch.len() < service.ledger.settings.max_batch
                    && told.is_ok()
                    && (may_be_long || exchanges.next_length() <= LONG)
                    && let Some(answered) = exchanges.take_answer()
                {
                    told = reply(service, answered, batch);
                    leaving += 1;
                }
                Ok::<_, Infallible>(())
            });
            self.leaving = leaving;
            if !matches!(begun, Ok(Ok(()))) {
                return Err(Closed::Broken);
            }
            self.used = now;
            self.written(now);
            let is_long = self.outgoing.taken() - before >= TURN_BYTES;
            if let Err(failure) = told {
                // What a frame that is too long is told comes last.
                let is_of_too_long = self.ending == Some(Closed::FrameTooLong)
                    && !service.framing.failure_needs_request()
                    && self.exchanges.is_empty();
                if !is_of_too_long {
                    self.warn_of(failure);
                    self.ending = Some(Closed::ToldFailure);
                }
                let is_one_waiting = self.take_waiting().is_some();
                // That one, and those behind it, get no answer.
                if let Some(draining) = &mut self.draining {
                    draining.unanswered += self.exchanges.len() + 1 + usize::from(is_one_waiting);
                }
                self.leaving = self.leaving.saturating_sub(1);
                self.exchanges.clear();
            }
            if is_long && self.exchanges.has_answer() {
                let _ = pin!(yield_now()).poll(cx);
                return Ok(());
            }
        }
    }

    /// The client can be told of it only by closing. Its kind alone is logged: the message may
    /// quote the request.
    fn warn_of(&self, failure: FailureKind) {
        if self.service.ledger.storms.happened(Event::ToldFailure) {
            let (reason, protocol) = (in_words(failure), self.service.framing.name());
            tracing::warn!(target: "millpond::server", peer = self.peer.map(tracing::field::display), reason, protocol, "connection closed: the protocol has no reply for a failure");
        }
    }

    /// Something was written; what is left of it has a deadline.
    fn written(&mut self, now: Instant) {
        self.pulse.sent(now);
        if self.outgoing.is_empty() {
            self.leaving = 0;
        }
        let settings = self.settings();
        self.write_due = (!self.outgoing.is_empty())
            .then(|| {
                transfer_time(
                    settings.write_timeout,
                    self.outgoing.remaining(),
                    settings.least_rate,
                )
            })
            .map(|time| now + time);
    }

    fn has_room(&self) -> bool {
        self.exchanges.len() < self.settings().max_in_flight
    }

    fn owes_nothing(&self) -> bool {
        self.exchanges.is_empty() && self.outgoing.is_empty() && !self.waits_for_long_turn()
    }
}

/// How many items of a turn a frame counts for.
fn weight(length: usize) -> usize {
    1 + length / (TURN_BYTES / TURN)
}

/// Adds a reply to a batch, or what tells of a failure. A failure for which there is no reply is
/// the error.
fn reply<F: Framing, H>(
    service: &Service<F, H>,
    answered: Answered,
    batch: &mut Vec<u8>,
) -> Result<(), FailureKind> {
    let counters = &service.ledger.counters;
    let encoded =
        |body: &Bytes, batch: &mut Vec<u8>| service.framing.encode(Direction::Reply, body, batch);
    let failure = match answered.answer {
        Ok(body) => match encoded(&body, batch) {
            Ok(()) => {
                count(&counters.replies);
                return Ok(());
            }
            Err(error) => Failure {
                kind: FailureKind::HandlerFailed,
                message: format!("the reply can't be sent: {error}"),
            },
        },
        Err(failure) => failure,
    };
    counters.failure(failure.kind);
    let failure = Failure {
        kind: failure.kind,
        message: shorten(failure.message),
    };
    let request = answered.request.as_deref().unwrap_or_default();
    match service.framing.encode_failure(request, &failure, batch) {
        Told::ByReply => Ok(()),
        Told::ByClosing => Err(failure.kind),
    }
}

/// A failure for the log.
fn in_words(failure: FailureKind) -> &'static str {
    match failure {
        FailureKind::Malformed => "the request's body is not what its handler reads",
        FailureKind::Refused => "the request was refused",
        FailureKind::HandlerFailed => "the handler failed, or its reply can't be sent",
        FailureKind::Unavailable => "what the handler needs can't be reached",
        FailureKind::Overloaded => "too many requests are being handled",
        FailureKind::TimedOut => "the handler took too long",
        FailureKind::Draining => "the server drains",
    }
}

#[cfg(test)]
mod tests;
