//! The task of one pipeline: it leases a connection, reads its replies, writes what callers leave
//! to it, keeps its deadlines and heartbeats, and gives it back when nothing has been begun on it,
//! nor answered, for a tick.

use std::{
    future::{Future, poll_fn},
    io,
    ops::ControlFlow,
    panic::Location,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Failed, Pipelined, Reply, Shared,
    state::{Answered, Came, Id, Told},
    wire::{SharedWire, Socket, Wire},
};
use crate::{
    client::{
        failure::{ExchangeFailure, Progress},
        session::after_the_reactor,
        sessions::Sessions,
    },
    framed::{Item, READ_AT_ONCE, ReadError, Sink},
    framing::{Direction, Framing},
    pool::{
        AcquireError, Connection, Eviction,
        unstable::{Mutex, Served},
    },
};

/// How often a pipeline is looked at: whether it is quiet, whether the pool wants its connection
/// back.
const TICK: Duration = Duration::from_millis(100);

/// Longer than anybody waits.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How often one poll of a driver reads, 16 KiB each, unless there was [`READ_AT_ONCE`] of a long
/// reply before. Then it looks at the clock, and everybody else has a turn.
const READS_AT_ONCE: usize = 16;

impl<F: Framing> Socket for Connection<Sessions<F>> {
    fn look(&mut self) -> Result<(), ExchangeFailure> {
        let (session, connector) = self.with_connector();
        session.look(connector.framing())
    }
}

impl<F: Framing> Sink for Connection<Sessions<F>> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_many(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.framed.stream_mut().poll_flush(cx)
    }
}

/// Leases a connection, and drives it to its end. What it returns may be dropped before its first
/// poll: that is told as well.
pub(super) fn run<F: Framing>(
    shared: Arc<Shared<F>>,
    place: &'static Location<'static>,
) -> impl Future<Output = ()> + Send + 'static {
    let mut leasing = Leasing {
        shared: Some(shared),
    };
    async move {
        let shared = leasing.shared.as_ref().expect("just begun");
        let acquire = shared.leases.acquire(place).shared().timeout(FAR);
        let leased = acquire.await;
        let shared = leasing.shared.take().expect("ends once");
        match leased {
            Ok(connection) => Driver::start(shared, connection).run().await,
            Err(error) => shared.lease_failed(&error),
        }
    }
}

/// A lease under way: dropped with its runtime, it is told.
struct Leasing<F: Framing> {
    shared: Option<Arc<Shared<F>>>,
}

impl<F: Framing> Drop for Leasing<F> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.lease_failed(&AcquireError::RuntimeEnded);
        }
    }
}

/// Drives one pipeline.
struct Driver<F: Framing> {
    shared: Arc<Shared<F>>,
    wire: SharedWire<Connection<Sessions<F>>>,
    /// From its first poll on, until it has ended.
    id: Option<Id>,
    timer: Pin<Box<Sleep>>,
    next_tick: Instant,
    /// Callers have had a turn since there was something to write.
    waited: bool,
    /// Something was received, or written, since the clock was last looked at.
    received: bool,
    sent: bool,
    /// The peer seemed dead, or writing has failed, and the reactor has had a turn since.
    looked_again: bool,
    /// There may be more to read: it is woken for that, and looks at the clock first, whose timer
    /// may have been refused by the task's budget.
    is_cut: bool,
    tell: Vec<Answered<Pipelined<F>>>,
    /// Callers whose replies have come together with something that nobody asked for: whose they
    /// are nobody knows.
    doubted: Vec<super::Sender>,
}

impl<F: Framing> Driver<F> {
    fn start(shared: Arc<Shared<F>>, connection: Connection<Sessions<F>>) -> Self {
        let now = Instant::now();
        let wire: SharedWire<_> = Arc::new(Mutex::new(Wire::new(connection)));
        Driver {
            shared,
            wire,
            id: None,
            timer: Box::pin(sleep_until(now)),
            next_tick: now + TICK,
            waited: false,
            received: false,
            sent: false,
            looked_again: false,
            is_cut: false,
            tell: Vec::new(),
            doubted: Vec::new(),
        }
    }

    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let id = match self.id {
            Some(id) => id,
            None => self.register(cx.waker()),
        };
        if self.is_late()
            && let ControlFlow::Break(ended) = self.looks(id, cx)
        {
            return ended;
        }
        let read = self.read(id, cx);
        self.deliver();
        if let Err(cause) = read {
            return self.end(id, cause);
        }
        let mut told = self.told(id);
        loop {
            if let Poll::Ready(Err(cause)) = self.write(id, told.write, cx) {
                return self.end(id, cause);
            }
            let fired = self.timer.as_mut().poll(cx).is_ready() || self.is_late();
            if !fired && !told.look {
                return Poll::Pending;
            }
            if let ControlFlow::Break(ended) = self.looks(id, cx) {
                return ended;
            }
            // There may be a heartbeat now.
            told = self.told(id);
        }
    }

    /// There is more to read than one poll takes in, and it is time to look.
    fn is_late(&self) -> bool {
        self.is_cut && self.timer.deadline() <= Instant::now()
    }

    /// Looks at the clock, and tells what the poll comes to if it ends by that.
    fn looks(&mut self, id: Id, cx: &mut Context<'_>) -> ControlFlow<Poll<()>> {
        match self.look(id) {
            Look::Again => ControlFlow::Continue(()),
            Look::AfterTheReactor => ControlFlow::Break(after_the_reactor(cx)),
            Look::Quiet => ControlFlow::Break(Poll::Ready(())),
            Look::Over(cause) => ControlFlow::Break(self.end(id, cause)),
        }
    }

    /// What is to be done. Those who wait are served first: there may be room since replies have
    /// come, the pool has been resumed, or the first in line has left.
    fn told(&self, id: Id) -> Told {
        let mut state = self.shared.state.lock();
        let told = state.told(id);
        if !told.serve {
            return told;
        }
        let mut late = Vec::new();
        state.serve(id, Instant::now(), &mut late);
        let told = state.told(id);
        drop(state);
        drop(late);
        self.shared.tell_waiting();
        told
    }

    fn register(&mut self, waker: &Waker) -> Id {
        let slot = self.wire.lock().socket.as_ref().map(Connection::slot);
        let slot = slot.expect("it has just been leased");
        let now = Instant::now();
        let mut late = Vec::new();
        let mut state = self.shared.state.lock();
        let id = state.started(slot, Arc::clone(&self.wire), waker.clone(), now);
        state.serve(id, now, &mut late);
        drop(state);
        self.shared.tell_waiting();
        self.id = Some(id);
        id
    }

    /// Reads what has arrived, as far as one poll goes.
    fn read(&mut self, id: Id, cx: &mut Context<'_>) -> Result<(), ExchangeFailure> {
        let mut served = None;
        let read = self.read_from_wire(id, cx, &mut served);
        // What the pool does because this has served, it does now that the wire is free: it may
        // wake whoever takes it.
        drop(served);
        read
    }

    /// As [`read`](Driver::read), and `served` is to be dropped after it.
    fn read_from_wire(
        &mut self,
        id: Id,
        cx: &mut Context<'_>,
        served: &mut Option<Served<Sessions<F>>>,
    ) -> Result<(), ExchangeFailure> {
        let shared = &*self.shared;
        let mut wire = self.wire.lock();
        if let Some(found) = wire.found.take() {
            return Err(found);
        }
        self.is_cut = false;
        let mut long = 0;
        for _ in 0..READS_AT_ONCE {
            let unwritten = wire.unwritten();
            let Some(connection) = wire.socket.as_mut() else {
                return Ok(());
            };
            let mut bodies = Vec::new();
            let session = &mut **connection;
            let framing = shared.leases.connector().framing();
            let before = session.framed.left_over().len();
            let mut beats = 0;
            let read =
                session
                    .framed
                    .poll_batch(framing, Direction::Reply, cx, |item| match item {
                        Item::Frame(frame) => bodies.push(frame.into_body()),
                        Item::Heartbeat => beats += 1,
                    });
            // Replies that came with too many heartbeats are delivered all the same.
            let flooded = (0..beats).any(|_| !session.heard_beat(Instant::now()));
            self.received |= read.is_ready();
            self.looked_again &= read.is_pending();
            let breaks_off = session.begins_a_frame(framing)
                || matches!(read, Poll::Ready(Err(ReadError::Frame(_))));
            if !bodies.is_empty() && !std::mem::replace(&mut session.served, true) {
                *served = Some(connection.note_served());
            }
            // Whose words these are says more than that nobody asked for them.
            if let Poll::Ready(Err(ReadError::Frame(error))) = &read
                && bodies.is_empty()
                && error.is_stranger()
            {
                return Err(ExchangeFailure::NoFrame(error.clone()));
            }
            if !bodies.is_empty() || breaks_off {
                match shared.came(id, bodies, breaks_off, unwritten, &mut self.tell) {
                    Came::Expected => {}
                    Came::Early => return Err(ExchangeFailure::Unasked),
                    Came::Unasked => {
                        self.doubted
                            .extend(self.tell.drain(..).map(|told| told.reply));
                        return Err(ExchangeFailure::Unasked);
                    }
                }
            }
            if flooded {
                return Err(ExchangeFailure::HeartbeatFlood);
            }
            match read {
                Poll::Pending => {
                    self.is_cut = !connection.framed.is_caught_up();
                    return Ok(());
                }
                Poll::Ready(Ok(())) => {
                    long += connection.framed.left_over().len().saturating_sub(before);
                    if long >= READ_AT_ONCE {
                        break;
                    }
                }
                Poll::Ready(Err(ReadError::Closed | ReadError::Truncated)) => {
                    return Err(ExchangeFailure::Closed);
                }
                Poll::Ready(Err(ReadError::Io(error))) => return Err(ExchangeFailure::Io(error)),
                Poll::Ready(Err(ReadError::Frame(error))) => {
                    return Err(ExchangeFailure::NoFrame(error));
                }
            }
        }
        self.is_cut = true;
        let _: Poll<()> = after_the_reactor(cx);
        Ok(())
    }

    /// Tells the callers whose replies have come.
    fn deliver(&mut self) {
        for reply in self.doubted.drain(..) {
            let failed = Failed::new(ExchangeFailure::Unasked, Progress::Answered, true);
            drop(reply.send(Err(failed)));
        }
        if self.tell.is_empty() {
            return;
        }
        self.shared
            .unread
            .fetch_add(self.tell.len(), Ordering::Relaxed);
        let came_on = self.id.expect("it has been read on");
        for told in self.tell.drain(..) {
            let reply = Reply {
                body: told.body,
                came_on,
            };
            if told.reply.send(Ok(reply)).is_err() {
                self.shared.unread.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes the rest of a short write; and what is outgoing, after all callers that are ready
    /// have had a turn to append to it.
    fn write(
        &mut self,
        id: Id,
        asked: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ExchangeFailure>> {
        let mut wire = self.wire.lock();
        if !wire.is_done() {
            if wire.poll_rest(cx).is_pending() {
                return Poll::Pending;
            }
            self.sent = true;
        }
        if let Some(found) = wire.found.take() {
            return Poll::Ready(Err(found));
        }
        if let Some(error) = wire.error.take_if(|_| self.looked_again) {
            return Poll::Ready(Err(ExchangeFailure::Io(error)));
        }
        if wire.error.is_some() {
            // What the peer said before it went comes first.
            self.looked_again = true;
            return after_the_reactor(cx);
        }
        if !asked {
            return Poll::Pending;
        }
        if !self.waited {
            self.waited = true;
            return after_the_reactor(cx);
        }
        self.waited = false;
        self.sent = true;
        if wire.poll_outgoing(&self.shared.state, id, cx).is_ready() {
            if let Some(found) = wire.found.take() {
                return Poll::Ready(Err(found));
            }
            if wire.error.is_some() {
                self.looked_again = true;
                return after_the_reactor(cx);
            }
        }
        Poll::Pending
    }

    /// What only time brings.
    fn look(&mut self, id: Id) -> Look {
        let now = Instant::now();
        let mut wire = self.wire.lock();
        let Some(connection) = wire.socket.as_mut() else {
            return Look::Quiet;
        };
        let session = &mut **connection;
        if std::mem::take(&mut self.sent) {
            session.pulse.sent(now);
        }
        if std::mem::take(&mut self.received) {
            session.pulse.heard(now);
        }
        if !self.is_cut {
            session.caught_up(now);
        }
        if session.pulse.is_dead(now) {
            if self.looked_again {
                return Look::Over(ExchangeFailure::HeartbeatMissed);
            }
            // After a suspension of our own the peer's heartbeats may lie in the socket, and the
            // reactor not know it yet.
            self.looked_again = true;
            return Look::AfterTheReactor;
        }
        let mut state = self.shared.state.lock();
        if session.pulse.beat_due().is_some_and(|due| due <= now)
            && let Some(heartbeat) = self.shared.leases.connector().framing().heartbeat()
        {
            session.pulse.sent(now);
            if state.beat(id, heartbeat) {
                session.sent_beat();
            }
        }
        let pulse_due = session.pulse.next_due();
        let overdue = state.overdue(
            id,
            now,
            now + self.shared.patience,
            super::Sender::is_closed,
        );
        drop(state);
        drop(wire);
        for reply in overdue.expired {
            let failed = Failed::new(ExchangeFailure::TimedOut, Progress::Unanswered, false);
            drop(reply.send(Err(failed)));
        }
        if overdue.head {
            return Look::Over(ExchangeFailure::HeadTimedOut);
        }
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            if self.tick(id) {
                return Look::Quiet;
            }
        }
        let next = [Some(self.next_tick), overdue.next, pulse_due];
        let next = next.into_iter().flatten().min().unwrap_or(self.next_tick);
        self.shared.state.lock().will_look(id, next);
        self.timer.as_mut().reset(next);
        Look::Again
    }

    /// Whether the pipeline has ended, for it is quiet or wanted back.
    fn tick(&mut self, id: Id) -> bool {
        self.shared.reconsider();
        self.shared.tell_waiting();
        let mut wire = self.wire.lock();
        let (retired, quiet, leases) = {
            let mut state = self.shared.state.lock();
            (
                state.is_retired(id),
                wire.is_done() && state.end_if_quiet(id),
                state.lease_for_waiting(),
            )
        };
        let connection = wire.socket.take_if(|_| quiet);
        drop(wire);
        if let Some(mut connection) = connection {
            self.id = None;
            connection.rest(self.shared.leases.connector().framing());
            if connection.is_dirty() {
                connection.discard_because(Eviction::UnsolicitedBytes);
            } else if retired {
                connection.discard_because(Eviction::Discarded);
            }
        }
        self.shared.lease(leases);
        quiet
    }

    /// The connection is of no use any more: everybody on it is told, and it is closed.
    fn end(&mut self, id: Id, cause: ExchangeFailure) -> Poll<()> {
        self.id = None;
        self.shared.end(id, &self.wire, cause);
        Poll::Ready(())
    }
}

impl<F: Framing> Shared<F> {
    /// Replies have come with one read, while so many bytes lay unwritten. `breaks_off`: and behind
    /// them something that isn't one as a whole.
    fn came(
        &self,
        id: Id,
        bodies: Vec<Bytes>,
        breaks_off: bool,
        unwritten: usize,
        tell: &mut Vec<Answered<Pipelined<F>>>,
    ) -> Came {
        let mut state = self.state.lock();
        let mut bodies = bodies.into_iter();
        while let Some(body) = bodies.next() {
            match state.came(id, body, unwritten, tell) {
                Came::Expected => {}
                // Nobody could have been asked for what is behind it.
                Came::Early if breaks_off || bodies.len() > 0 => return Came::Unasked,
                came => return came,
            }
        }
        match breaks_off && !state.owes(id, unwritten) {
            true => Came::Unasked,
            false => Came::Expected,
        }
    }
}

/// What a look at the clock came to.
enum Look {
    Again,
    AfterTheReactor,
    Quiet,
    Over(ExchangeFailure),
}

impl<F: Framing> Drop for Driver<F> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.shared.end(id, &self.wire, ExchangeFailure::Abandoned);
        }
    }
}
