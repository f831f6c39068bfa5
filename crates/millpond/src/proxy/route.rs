//! A route: passes the requests of many clients on to its upstream, and their replies back.

use std::{
    fmt,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    downstream::{ALL, Downstream, Expiry, Lent, Pin},
    group::{Answer, Group, PassesOn},
    pins::Pins,
    settings::RouteSettings,
    snapshot::{Counters, Mode, PinReason, RouteSnapshot, RouteTotals, count},
    told::{counted, told},
    users::{Guest, Logins},
};
use crate::{
    client::{Client, Execution, RequestError},
    framed::Replied,
    framing::{Failure, Frame, Framing, LengthJson, LocalReply},
    server::{
        BoxedAnswers, ConnectionHandler, HandlesGroups, Reply, Request, RequestGroup, Server,
        ServerBuilder,
    },
};

/// Passes requests on to an upstream: a handler for a server of the same framing. Clones are the
/// same route.
///
/// See the [module](super).
pub struct Route<F: Framing = LengthJson> {
    shared: Arc<Shared<F>>,
}

struct Shared<F: Framing> {
    /// One for each lane.
    clients: Vec<Client<F>>,
    mode: Mode,
    settings: RouteSettings,
    max_pins: u32,
    pins: Arc<Pins>,
    counters: Counters,
    /// `None` if it has no users.
    logins: Option<Arc<Logins>>,
}

impl<F: Framing> Route<F> {
    /// There is a client at least.
    pub(super) fn new(
        clients: Vec<Client<F>>,
        settings: RouteSettings,
        logins: Option<Arc<Logins>>,
    ) -> Self {
        let client = &clients[0];
        let mode = match (settings.session, client.is_pipelined()) {
            (true, _) => Mode::Session,
            (false, true) => Mode::Pipeline,
            (false, false) => Mode::Exchange,
        };
        let max_size = client.pool().settings().max_size;
        let default = match mode {
            Mode::Session => max_size,
            Mode::Exchange | Mode::Pipeline => (max_size / 2).max(1),
        };
        let max_pins = settings.max_pins.unwrap_or(default).min(max_size);
        Route {
            shared: Arc::new(Shared {
                clients,
                mode,
                settings,
                max_pins,
                pins: Pins::new(max_pins),
                counters: Counters::default(),
                logins,
            }),
        }
    }

    /// A server with this route as its handler, and with the framing of its client.
    pub fn server(&self) -> ServerBuilder<Route<F>, Arc<F>> {
        Server::builder(self.clone()).framing(self.client().shared_framing())
    }

    /// How the upstream's connections are lent.
    pub fn mode(&self) -> Mode {
        self.shared.mode
    }

    /// Its client, whose pool holds the upstream's connections: that of the first
    /// [lane](Framing::lanes).
    pub fn client(&self) -> &Client<F> {
        &self.shared.clients[0]
    }

    /// The route at this instant.
    pub fn snapshot(&self) -> RouteSnapshot {
        let shared = &self.shared;
        RouteSnapshot {
            version: RouteSnapshot::VERSION,
            mode: shared.mode,
            max_pins: shared.max_pins,
            pins: shared.pins.snapshot(),
            totals: RouteTotals {
                secrets_hashed: shared.logins.as_ref().map_or(0, |logins| logins.hashed()),
                ..shared.counters.totals()
            },
            upstream: shared.clients[0].snapshot(),
            other_lanes: shared.clients[1..].iter().map(Client::snapshot).collect(),
        }
    }
}

impl<F: Framing> ConnectionHandler for Route<F> {
    type Connection = Downstream<F>;

    fn connected(&self, peer: Option<SocketAddr>) -> Downstream<F> {
        let clients = &self.shared.clients;
        let flows = match self.shared.mode {
            Mode::Pipeline => clients.iter().map(Client::flow).collect(),
            Mode::Exchange | Mode::Session => Vec::new(),
        };
        Downstream::new(Guest::new(peer), flows)
    }

    async fn handle(&self, downstream: &Downstream<F>, request: Request) -> Result<Reply, Failure> {
        let ongoing = Ongoing {
            counters: Some(&self.shared.counters),
        };
        let replied = self.shared.pass_on(downstream, request).await;
        ongoing.ended(replied)
    }

    async fn local(&self, downstream: &Downstream<F>, reply: LocalReply) -> Result<(), Failure> {
        if let (Some(credentials), Some(wrong)) = (reply.credentials(), reply.otherwise()) {
            let Some(logins) = &self.shared.logins else {
                return Err(Failure::refused("this route has no users"));
            };
            let (guest, counters) = (&downstream.guest, &self.shared.counters);
            let limit = self.client().deadline();
            let logged_in = logins.log_in(guest, credentials, wrong, limit, counters);
            logged_in.await?;
        }
        if let Some(lane) = reply.lane() {
            let client = self.shared.client(lane);
            client.ok_or_else(|| NotPassed::NoLane.told())?;
        }
        if reply.resets() {
            // In its turn; what the client was lent is closed, unless it is at rest.
            *downstream.lent.lock().await = Lent::Nothing;
        }
        Ok(())
    }

    fn poll_push(
        &self,
        downstream: &Downstream<F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Frame, Failure>> {
        *downstream.watcher.lock() = Some(cx.waker().clone());
        // No request is under way, so only the pin's end could hold it, and that wakes.
        let Ok(mut lent) = downstream.lent.try_lock() else {
            return Poll::Pending;
        };
        let pushed = match &mut *lent {
            Lent::Pin(pin) => ready!(pin.upstream.poll_push(cx)),
            Lent::Nothing => return Poll::Pending,
            Lent::Gone => return Poll::Ready(Err(NotPassed::StateLost.told())),
        };
        Poll::Ready(pushed.map_err(|error| {
            *lent = Lent::Gone;
            told(&error)
        }))
    }

    fn groups(&self) -> Option<&dyn HandlesGroups<Downstream<F>>> {
        (self.shared.mode == Mode::Pipeline).then_some(self)
    }
}

impl<F: Framing> HandlesGroups<Downstream<F>> for Route<F> {
    fn handle_group(
        &self,
        downstream: &Arc<Downstream<F>>,
        requests: RequestGroup,
    ) -> BoxedAnswers {
        Box::pin(Group::new(self.clone(), Arc::clone(downstream), requests))
    }
}

impl<F: Framing> PassesOn<F> for Route<F> {
    fn upstream(&self, lane: u16) -> Option<&Client<F>> {
        self.shared.client(lane)
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn pass_on_alone(&self, downstream: Arc<Downstream<F>>, request: Request) -> Answer {
        let route = self.clone();
        Box::pin(async move { route.handle(&downstream, request).await })
    }
}

impl<F: Framing> Shared<F> {
    /// That of a lane, if there is one.
    fn client(&self, lane: u16) -> Option<&Client<F>> {
        self.clients.get(usize::from(lane))
    }

    /// The reply. In its turn: nothing of a client overtakes what it has sent before.
    async fn pass_on(
        self: &Arc<Self>,
        downstream: &Downstream<F>,
        request: Request,
    ) -> Result<Replied, NotPassed> {
        let client = self.client(request.lane()).ok_or(NotPassed::NoLane)?;
        let mut lent = downstream.lent.lock().await;
        let limit = limit(client, &request);
        let reason = match request.pins() {
            _ if self.mode == Mode::Session => Some(PinReason::Session),
            true => Some(PinReason::Demand),
            false => None,
        };
        let is_plain = reason.is_none() && matches!(&*lent, Lent::Nothing);
        if is_plain {
            let flow = downstream.flow(request.lane());
            let requests = client.within(limit);
            let mut passing = pin!(requests.pass_on(request.frame().as_bytes(), flow));
            if flow.is_none() {
                return Ok(passing.await?);
            }
            let _under_way = downstream.under_way.acquire().await;
            // The first poll begins it. Then it is the next one's turn.
            if let Poll::Ready(passed) = poll_fn(|cx| Poll::Ready(passing.as_mut().poll(cx))).await
            {
                return Ok(passed?);
            }
            drop(lent);
            return Ok(passing.await?);
        }
        let time = Time {
            began: Instant::now(),
            limit,
        };
        if let (Lent::Nothing, Some(reason)) = (&*lent, reason) {
            // What the client has sent before is over before anything goes to another connection.
            let _all = downstream.under_way.acquire_many(ALL).await;
            *lent = Lent::Pin(Box::new(self.pin(client, downstream, reason, &time).await?));
        }
        let Lent::Pin(pin) = &mut *lent else {
            return Err(NotPassed::StateLost);
        };
        // Dropped in the middle, it leaves a connection that can't be used any more, and that says so.
        let passing = pin
            .upstream
            .pass_on(request.frame().as_bytes(), time.left());
        let passed = match pin.until.filter(|_| !request.may_wait().is_zero()) {
            None => passing.await,
            // What may wait for ever ends with the pin.
            Some(until) => match timeout_at(until, passing).await {
                Ok(passed) => passed,
                Err(_) => {
                    *lent = Lent::Gone;
                    count(&self.counters.pins_expired);
                    return Err(NotPassed::WaitedTooLong);
                }
            },
        };
        if !pin.upstream.is_usable() {
            *lent = Lent::Gone;
            return passed.map_err(NotPassed::Last);
        } else if pin.upstream.is_of_no_use()
            || self.mode != Mode::Session && pin.upstream.is_at_rest()
        {
            *lent = Lent::Nothing;
        }
        Ok(passed?)
    }

    /// Lends a connection to one client.
    async fn pin(
        self: &Arc<Self>,
        client: &Client<F>,
        downstream: &Downstream<F>,
        reason: PinReason,
        time: &Time,
    ) -> Result<Pin<F>, NotPassed> {
        let waits = client.pool().acquire_timeout();
        let waits = waits.map_or(time.left(), |waits| waits.min(time.left()));
        let placed = async {
            let place = timeout(waits, self.pins.place(reason)).await;
            place.map_err(|_| NotPassed::NoPin)
        };
        let (place, upstream);
        if self.max_pins < client.pool().settings().max_size {
            place = placed.await?;
            upstream = client.within(time.left()).pin().await?;
        } else {
            // Whoever has a connection has a place. So clients wait in the pool's line, which has a
            // length and may be shed.
            upstream = client.within(time.left()).pin().await?;
            place = placed.await?;
        }
        count(&self.counters.pinned);
        let expiry = self.settings.max_pin_age.map(|age| {
            let (lent, shared) = (Arc::downgrade(&downstream.lent), Arc::downgrade(self));
            let watcher = Arc::clone(&downstream.watcher);
            let runtime = client.pool().runtime();
            let task = runtime.spawn_owned(async move {
                sleep(age).await;
                let Some(lent) = lent.upgrade() else { return };
                // An exchange that goes on is finished.
                let mut lent = lent.lock().await;
                if let Lent::Nothing = *lent {
                    return;
                }
                *lent = Lent::Gone;
                drop(lent);
                if let Some(watcher) = watcher.lock().take() {
                    watcher.wake();
                }
                if let Some(shared) = shared.upgrade() {
                    count(&shared.counters.pins_expired);
                }
            });
            Expiry(task)
        });
        Ok(Pin {
            upstream,
            until: self
                .settings
                .max_pin_age
                .and_then(|age| Instant::now().checked_add(age)),
            _expiry: expiry,
            _place: place,
        })
    }
}

/// How long a request has: as the client says, or what the server leaves it if that is less.
fn limit<F: Framing>(client: &Client<F>, request: &Request) -> Duration {
    let own = client.deadline();
    let left = request.remaining();
    left.map_or(own, |left| left.saturating_sub(request.may_wait()).min(own))
}

/// What a request has of time, which waiting for a connection takes from too.
struct Time {
    began: Instant,
    limit: Duration,
}

impl Time {
    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }
}

/// Why there is no reply.
enum NotPassed {
    /// The upstream brought none.
    Request(RequestError),
    /// The same, and with its connection a state was lost that the client relies on.
    Last(RequestError),
    /// There are no connections of its lane.
    NoLane,
    /// As many clients have a connection to themselves as may.
    NoPin,
    /// The client had a connection to itself, and that has ended.
    StateLost,
    /// The server has waited, as it was asked to, for as long as the client may have a connection to
    /// itself.
    WaitedTooLong,
}

impl From<RequestError> for NotPassed {
    fn from(error: RequestError) -> Self {
        NotPassed::Request(error)
    }
}

impl NotPassed {
    fn told(&self) -> Failure {
        match self {
            NotPassed::Request(error) => told(error),
            NotPassed::Last(error) => told(error).closing(),
            NotPassed::NoLane => Failure::refused(
                "this route has no connections of the kind that the client asks for",
            ),
            NotPassed::NoPin => Failure::overloaded(
                "too many clients have a connection to the upstream to themselves; it was not executed",
            ),
            NotPassed::WaitedTooLong => Failure::timed_out(
                "the upstream has waited for as long as a client may have a connection to itself; it may have been executed",
            )
            .closing(),
            NotPassed::StateLost => Failure::unavailable(
                "the connection to the upstream that this client had to itself has ended, and its state with it; connect again; it was not executed",
            )
            .closing(),
        }
    }

    fn execution(&self) -> Execution {
        match self {
            NotPassed::Request(error) | NotPassed::Last(error) => error.execution(),
            NotPassed::WaitedTooLong => Execution::Possible,
            NotPassed::NoLane | NotPassed::NoPin | NotPassed::StateLost => Execution::Impossible,
        }
    }
}

/// A request that is under way. Dropped before its end, its client has gone.
struct Ongoing<'r> {
    counters: Option<&'r Counters>,
}

impl Ongoing<'_> {
    fn ended(mut self, replied: Result<Replied, NotPassed>) -> Result<Reply, Failure> {
        let counters = self.counters.take().expect("it ends once");
        match replied {
            Ok(replied) => {
                count(&counters.answered);
                Ok(Reply::passed_on(replied))
            }
            Err(error) => {
                let failure = error.told();
                count(counted(counters, &failure, error.execution()));
                Err(failure)
            }
        }
    }
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.counters {
            count(&counters.abandoned);
        }
    }
}

impl<F: Framing> Clone for Route<F> {
    fn clone(&self) -> Self {
        Route {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<F: Framing> fmt::Debug for Route<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("mode", &self.shared.mode)
            .field("clients", &self.shared.clients)
            .finish_non_exhaustive()
    }
}
