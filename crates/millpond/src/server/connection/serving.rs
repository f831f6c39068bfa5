//! The loop of a connection's task: turns of reading, answering and writing, one timer for every
//! deadline, and the end.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{Instant, Sleep, sleep_until},
};

use super::{BETWEEN_LOOKS, Connection, draining::Draining, ending::EndGuard, reading::Stop};
use crate::{
    framing::{Failure, Framing},
    net::Stream,
    server::{
        accepting::Serve,
        farewell::{self, Patience},
        handler::ConnectionHandler,
        ledger::{ConnectionPermit, Ledger, RequestPermit, Service},
        reply::Reply,
        request::Request,
        snapshot::Closed,
    },
};

/// Where the timer stands when nothing is due.
const FAR: Duration = Duration::from_secs(24 * 3_600);

impl<F: Framing, H: ConnectionHandler> Serve for Service<F, H> {
    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The connection is made before the future: else the future would keep the stream and the
    /// address twice.
    fn serve<'s>(
        self: &'s Arc<Self>,
        stream: Stream,
        peer: Option<SocketAddr>,
        permit: &'s mut ConnectionPermit,
    ) -> impl Future<Output = ()> + Send + 's {
        let service = self;
        let mut guard = EndGuard::new(Connection::new(service, stream, peer));
        // It uses what it captures in place; an `async fn` would move its arguments, and keep both.
        async move {
            let closed = {
                let mut drain_begun = pin!(service.ledger.drain_begun.notified());
                // The task's waker never changes, so it is registered once: that takes a lock which all
                // connections share.
                drain_begun.as_mut().enable();
                let mut is_registered = false;
                let mut timer = pin!(sleep_until(Instant::now() + FAR));
                poll_fn(|cx| {
                    if !is_registered {
                        is_registered = true;
                        let _ = drain_begun.as_mut().poll(cx);
                    }
                    guard.connection().poll(cx, timer.as_mut(), &answer)
                })
                .await
            };
            // Logged here and not by the caller, whose future would keep the address once more.
            tracing::debug!(target: "millpond::server", peer = guard.connection().peer.map(tracing::field::display), %closed, "connection ended");
            let stream = guard.end(closed);
            permit.ended(closed);
            let patience = match service.ledger.is_draining() {
                true => Patience::UntilDeadline,
                false => Patience::Brief,
            };
            // Boxed, because it begins when all else is over.
            Box::pin(farewell::leave(
                stream,
                closed,
                patience,
                service.framing.name(),
            ))
            .await;
        }
    }
}

/// The answer to one request, which counts as handled until this is done or dropped.
async fn answer<F: Framing, H: ConnectionHandler>(
    permit: RequestPermit<F, H>,
    request: Request,
) -> Result<Reply, Failure> {
    permit.handle(request).await
}

impl<F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'_, F, H, A>
{
    /// Serves until the connection ends, and answers why it did.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> Poll<Closed> {
        if self.draining.is_none() && self.ledger().is_draining() {
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
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> Result<(), Closed> {
        self.excess.begin_turn();
        let done = self.exchange(cx, now, answer);
        self.excess.end_turn(cx);
        done
    }

    /// Reads, polls the handlers, writes: again, while that makes room for more requests.
    fn exchange(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> Result<(), Closed> {
        let limit = self.settings().handler_deadline.unwrap_or_default();
        let mut taken = 0;
        loop {
            let stop = self.read(cx, now, &mut taken, answer)?;
            self.begin_gathered();
            self.look_due = match stop {
                Stop::Full | Stop::NoRoom | Stop::Long | Stop::Ending => {
                    self.look_due.or(Some(now + BETWEEN_LOOKS))
                }
                Stop::Nothing | Stop::Turn => None,
            };
            self.exchanges.poll(cx, now, limit);
            self.write(cx, now)?;
            self.push(cx, now)?;
            self.settle();
            if self.exchanges.waits_for_client() && self.has_client_left(cx) {
                return Err(Closed::ByPeer);
            }
            match stop {
                Stop::Full if self.may_take_another() => {}
                Stop::NoRoom if self.make_room(cx) => {}
                Stop::Turn => {
                    // Not a mere wake: the runtime looks at the other sockets before this task's
                    // next turn.
                    let _ = pin!(yield_now()).poll(cx);
                    return Ok(());
                }
                Stop::Nothing | Stop::Full | Stop::NoRoom | Stop::Long | Stop::Ending => {
                    return Ok(());
                }
            }
        }
    }

    /// Whether the client has closed its sending side. If not, the task is woken when it does.
    fn has_client_left(&self, cx: &mut Context<'_>) -> bool {
        // What else arrives wakes as well, and is left where it is; then a look finds the end.
        let _ = self.framed.stream().poll_read_ready(cx);
        self.framed.stream().has_hung_up()
    }
}
