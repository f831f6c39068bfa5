//! The task of one pipeline: it leases a connection, reads its replies, writes what callers leave
//! to it, keeps its deadlines and heartbeats, and gives it back when nothing has been begun on it,
//! nor answered, for a tick.

mod reading;

use std::{
    future::{Future, poll_fn},
    io,
    ops::ControlFlow,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    machine::{Answered, Duties, Id, LeftOut, Released},
    reply::PipelineError,
    sender::Sender,
    shared::{Pipelined, Shared},
    writer::{SharedWriter, Socket, Writer},
};
use crate::{
    client::{
        failure::{ExchangeFailure, Progress},
        session::{Session, after_the_reactor},
        sessions::Sessions,
    },
    framed::{Asked, Replied, Sink},
    framing::Framing,
    pool::{AcquireError, Connection, Eviction, unstable::Mutex},
};

/// How often a pipeline is looked at: whether it is quiet, whether the pool wants its connection
/// back.
const TICK: Duration = Duration::from_millis(100);

/// Longer than anybody waits.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl<F: Framing> Socket for Connection<Sessions<F>> {
    type Asked = Box<Asked>;

    fn look(&mut self) -> Result<(), ExchangeFailure> {
        let (session, connector) = self.with_connector();
        session.look(connector.framing())
    }

    fn asked(&mut self, asked: Box<Asked>) {
        let session: &mut Session = self;
        if let Some(outstanding) = &mut session.outstanding {
            outstanding.push(asked);
        }
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
    wire: SharedWriter<Connection<Sessions<F>>>,
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
    /// What a read has brought. Empty, but for a moment.
    replies: Vec<Replied>,
    tell: Vec<Answered<Pipelined<F>>>,
    /// Callers whose replies came together with unasked bytes: which of these is the reply to
    /// which request can't be known.
    doubted: Vec<Sender>,
}

impl<F: Framing> Driver<F> {
    fn start(shared: Arc<Shared<F>>, connection: Connection<Sessions<F>>) -> Self {
        let now = Instant::now();
        let wire: SharedWriter<_> = Arc::new(Mutex::new(Writer::new(connection)));
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
            replies: Vec::new(),
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
        let mut duties = self.duties(id);
        loop {
            let written = self.write(id, duties.write, cx);
            self.answer_silent(id, cx);
            if let Poll::Ready(Err(cause)) = written {
                return self.end(id, cause);
            }
            let fired = self.timer.as_mut().poll(cx).is_ready() || self.is_late();
            if !fired && !duties.look {
                return Poll::Pending;
            }
            if let ControlFlow::Break(ended) = self.looks(id, cx) {
                return ended;
            }
            // There may be a heartbeat now.
            duties = self.duties(id);
        }
    }

    /// There is more to read than one poll takes in, and it is time to look.
    fn is_late(&self) -> bool {
        self.is_cut && self.timer.deadline() <= Instant::now()
    }

    /// Looks at the clock, and tells what the poll comes to if it ends by that.
    fn looks(&mut self, id: Id, cx: &mut Context<'_>) -> ControlFlow<Poll<()>> {
        self.answer_silent(id, cx);
        match self.look(id) {
            Look::Again => ControlFlow::Continue(()),
            Look::AfterTheReactor => ControlFlow::Break(after_the_reactor(cx)),
            Look::Quiet => ControlFlow::Break(Poll::Ready(())),
            Look::Over(cause) => ControlFlow::Break(self.end(id, cause)),
        }
    }

    /// What is to be done. Those who wait are served first: there may be room since replies have
    /// come, the pool has been resumed, or the first in line has left.
    fn duties(&self, id: Id) -> Duties {
        let mut state = self.shared.state.lock();
        let duties = state.duties(id);
        if !duties.serve {
            return duties;
        }
        let mut left_out = LeftOut::nobody();
        let now = Instant::now();
        let released = state.serve(id, now, &mut left_out);
        let duties = state.duties(id);
        drop(state);
        self.shared.leave_out(left_out, now);
        self.shared.serve_elsewhere(released);
        self.shared.tell_waiting();
        duties
    }

    fn register(&mut self, waker: &Waker) -> Id {
        let slot = self.wire.lock().socket.as_ref().map(Connection::slot);
        let slot = slot.expect("it has just been leased");
        let now = Instant::now();
        let mut left_out = LeftOut::nobody();
        let mut state = self.shared.state.lock();
        let id = state.started(slot, Arc::clone(&self.wire), waker.clone(), now);
        let _: Released = state.serve(id, now, &mut left_out);
        drop(state);
        self.shared.leave_out(left_out, now);
        self.shared.tell_waiting();
        self.id = Some(id);
        id
    }

    /// Tells the callers whose replies have come.
    fn deliver(&mut self) {
        for reply in self.doubted.drain(..) {
            let failed = PipelineError::new(ExchangeFailure::Unasked, Progress::Answered, true);
            drop(reply.send(Err(failed)));
        }
        if !self.tell.is_empty() {
            let came_on = self.id.expect("it has been read on");
            self.shared.tell(came_on, self.tell.drain(..));
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

    /// Tells those whose requests have been written and get no reply. Then there may be room for those
    /// who wait, and the task is polled again.
    fn answer_silent(&mut self, id: Id, cx: &mut Context<'_>) {
        let mut wire = self.wire.lock();
        if !wire.has_silent {
            return;
        }
        let unwritten = wire.unwritten();
        let mut state = self.shared.state.lock();
        state.settle_silent(id, unwritten, &mut self.tell);
        wire.has_silent = state.has_silent(id);
        drop(state);
        drop(wire);
        if !self.tell.is_empty() {
            self.deliver();
            cx.waker().wake_by_ref();
        }
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
        let overdue = state.overdue(id, now, now + self.shared.patience, Sender::is_closed);
        drop(state);
        drop(wire);
        for reply in overdue.expired {
            let failed = PipelineError::new(ExchangeFailure::TimedOut, Progress::Unanswered, false);
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
        let (retired, ended, leases) = {
            let mut state = self.shared.state.lock();
            let is_done = wire.is_done();
            (
                state.is_retired(id),
                is_done.then(|| state.end_if_quiet(id)).flatten(),
                state.lease_for_waiting(),
            )
        };
        let connection = wire.socket.take_if(|_| ended.is_some());
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
        let is_quiet = ended.is_some();
        self.shared.serve_elsewhere(ended.unwrap_or_default());
        is_quiet
    }

    /// The connection is of no use any more: everybody on it is told, and it is closed.
    fn end(&mut self, id: Id, cause: ExchangeFailure) -> Poll<()> {
        self.id = None;
        self.shared.end(id, &self.wire, cause);
        Poll::Ready(())
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
