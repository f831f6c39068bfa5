//! The one place where decisions become effects: lock, ask the state, unlock, carry out.
//!
//! A [`Lender`] is what the handles of a pool, its lent connections and its tasks share. It holds
//! the lock for the length of one transition, and never while it awaits, closes, drops, wakes or
//! runs anything of a caller's or a connector's.

use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use millpond_words::{Chain, Span};
use tokio::{sync::Notify, time::Instant};

use super::{
    AfterRelease, Closing, Connector, Ends, Eviction, LastExchange,
    asker::Asker,
    boxed::Boxed,
    config::Config,
    dial::{CheckToken, CloseToken, Purpose},
    error::Judged,
    explain::last_failure,
    runtime::{Bell, Runtime},
    state::{
        Effects, Evicted, Kinds, Leak, Moment, OutageNews, Phase, Place, Returned, State, TICK,
        Unreleased,
    },
    sync::{Mutex, MutexGuard},
};

/// What the state machine carries for the pool of a connector.
pub(crate) struct Pooled<C>(PhantomData<fn() -> C>);

impl<C> fmt::Debug for Pooled<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pooled")
    }
}

impl<C: Connector> Kinds for Pooled<C> {
    type Connection = Boxed<C::Connection>;
    type Waker = std::task::Waker;
    type Tag = Borrower;
    type Label = Ends;
    type Cause = Judged;
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Borrower {
    /// The call that acquired it.
    pub(crate) place: &'static Location<'static>,
    pub(crate) asker: Asker,
}

/// Reads the monotonic clock as the time since the pool was built.
#[derive(Debug)]
pub(crate) struct Clock {
    built: Instant,
    /// Where every interleaving is explored time must be the same in each: it stands still until a
    /// test moves it.
    #[cfg(millpond_loom)]
    pub(crate) millis: std::sync::atomic::AtomicU64,
}

impl Clock {
    fn start() -> Self {
        Clock {
            built: Instant::now(),
            #[cfg(millpond_loom)]
            millis: std::sync::atomic::AtomicU64::new(0),
        }
    }

    #[cfg(not(millpond_loom))]
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    #[cfg(millpond_loom)]
    pub(crate) fn now(&self) -> Moment {
        let millis = self.millis.load(std::sync::atomic::Ordering::SeqCst);
        Moment::at(Duration::from_millis(millis))
    }

    #[inline]
    pub(crate) fn moment(&self, instant: Instant) -> Moment {
        Moment::at(instant.saturating_duration_since(self.built))
    }

    /// The instant of a moment; a far one where it can't be told.
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let far = self.built + 100 * year;
        self.built
            .checked_add(moment.since_built())
            .unwrap_or(far)
            .min(far)
    }
}

/// With metrics nobody gets in line without a look at the clock.
pub(crate) const EVERY_WAIT_IS_MEASURED: bool = cfg!(feature = "metrics");

/// See the module.
pub(crate) struct Lender<C: Connector> {
    pub(crate) connector: C,
    pub(crate) clock: Clock,
    pub(crate) runtime: Runtime,
    pub(crate) bell: Arc<Bell>,
    /// What events call the pool.
    pub(crate) name: String,
    /// The setting, which never changes.
    pub(crate) acquire_timeout: Option<Duration>,
    /// `acquire_timeout`, where it is so long that nobody minds 25 ms more.
    pub(crate) long_patience: Option<Duration>,
    /// A hint, read without the lock and never trusted: nothing was idle when somebody last
    /// looked. Who sees it set gets ready to wait before taking the lock, and so takes it once
    /// instead of twice.
    pub(crate) exhausted: AtomicBool,
    /// How often the connector has said that the endpoint has changed.
    pub(crate) endpoint_changes: AtomicU64,
    /// Notified when the number of connections or the phase changes.
    pub(crate) changed: Notify,
    /// How often a verb has been spoken: who holds connections for long compares it with what it
    /// was.
    pub(crate) verbs: AtomicU64,
    /// Notified with each.
    pub(crate) verb_spoken: Notify,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: super::metrics::Metrics,
    /// Dials that a test will finish.
    #[cfg(millpond_loom)]
    pub(crate) dials_begun: Mutex<Vec<Place>>,
    /// No long operation, no foreign code and no allocation without bound while this is held.
    state: Mutex<State<Pooled<C>>>,
}

impl<C: Connector> Lender<C> {
    pub(crate) fn new(connector: C, config: Config, runtime: Runtime) -> Self {
        Lender {
            connector,
            clock: Clock::start(),
            runtime,
            bell: Arc::new(Bell::new()),
            name: config.name.clone(),
            acquire_timeout: config.acquire_timeout,
            long_patience: config
                .acquire_timeout
                .filter(|&limit| limit >= Duration::from_secs(1) && !EVERY_WAIT_IS_MEASURED),
            exhausted: AtomicBool::new(false),
            endpoint_changes: AtomicU64::new(0),
            changed: Notify::new(),
            verbs: AtomicU64::new(0),
            verb_spoken: Notify::new(),
            #[cfg(feature = "metrics")]
            metrics: super::metrics::Metrics::new(&config.name),
            #[cfg(millpond_loom)]
            dials_begun: Mutex::new(Vec::new()),
            state: Mutex::new(State::new(config)),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<Pooled<C>>> {
        self.state.lock()
    }

    /// With metrics, how long a connection is lent is measured exactly: the machine is told the
    /// time first.
    #[inline]
    pub(crate) fn lock_for_lending(&self) -> MutexGuard<'_, State<Pooled<C>>> {
        #[cfg(not(feature = "metrics"))]
        return self.lock();
        #[cfg(feature = "metrics")]
        {
            let now = self.clock.now();
            let mut state = self.lock();
            state.advance(now);
            state
        }
    }

    /// Renews the hint. It is written only where it changes, so that who reads it doesn't wait for
    /// whoever writes it.
    #[inline]
    pub(crate) fn note_exhausted(&self, exhausted: bool) {
        if self.exhausted.load(Ordering::Relaxed) != exhausted {
            self.exhausted.store(exhausted, Ordering::Relaxed);
        }
    }

    /// One transition, and what follows from it.
    pub(crate) fn transition<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State<Pooled<C>>, &mut Effects<Pooled<C>>) -> R,
    ) -> R {
        let mut fx = Effects::none();
        let answer = change(&mut self.lock(), &mut fx);
        self.carry_out(&mut fx);
        answer
    }

    /// Carries out what a transition left to do, and what that brings about in turn. What is left
    /// in `fx` is to be dropped.
    #[inline]
    pub(crate) fn carry_out(self: &Arc<Self>, fx: &mut Effects<Pooled<C>>) {
        if fx.is_more_than_a_wake() {
            self.carry_out_slowly(std::mem::replace(fx, Effects::none()));
        } else if !fx.wakes.is_empty() {
            for waker in fx.wakes.take() {
                waker.wake();
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn carry_out_slowly(self: &Arc<Self>, mut fx: Effects<Pooled<C>>) {
        loop {
            let mut stoppable = false;
            if fx.kick {
                self.bell.ring();
            }
            if fx.changed {
                self.changed.notify_waiters();
            }
            for place in fx.dials.drain(..) {
                self.start_dial(place);
                stoppable = true;
            }
            for (place, connection) in fx.probes.drain(..) {
                let check = CheckToken::new(self, place, connection, Purpose::Probe);
                self.runtime.spawn_stoppable(check.run());
                stoppable = true;
            }
            if stoppable {
                self.stop_if_closed();
            }
            for leak in fx.leaks.drain(..) {
                self.report(&leak);
            }
            for news in fx.outage.drain(..) {
                self.report_outage(news);
            }
            for waker in fx.wakes.take() {
                // Foreign code as well: one that panics must not keep upkeep from its work, nor the
                // others from theirs.
                if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                    tracing::error!(target: "millpond::pool", pool = self.name, "a waker panicked");
                }
            }
            let mut next = Effects::none();
            for evicted in fx.evicted.drain(..) {
                self.close(evicted, &mut next);
            }
            if next.is_nothing() {
                return;
            }
            fx = next;
        }
    }

    #[cfg(not(millpond_loom))]
    fn start_dial(self: &Arc<Self>, place: Place) {
        let dial = super::dial::DialToken::new(self, place).dial();
        self.runtime.spawn_stoppable(dial);
    }

    #[cfg(millpond_loom)]
    fn start_dial(self: &Arc<Self>, place: Place) {
        self.dials_begun.lock().push(place);
    }

    fn close(self: &Arc<Self>, evicted: Evicted<Pooled<C>>, fx: &mut Effects<Pooled<C>>) {
        let Evicted {
            place,
            connection,
            number,
            reason,
        } = evicted;
        tracing::debug!(target: "millpond::pool", pool = self.name, connection = number, reason = reason.name(), "evicted");
        #[cfg(feature = "metrics")]
        self.metrics.evicted(reason);
        let ended = self.lock().phase() == Phase::RuntimeEnded;
        // A connector's code: what it panics with must not keep the other effects from being
        // carried out.
        let closing = catch_unwind(AssertUnwindSafe(|| {
            if ended {
                drop(connection);
                return Closing::Done;
            }
            self.connector.close(connection.into_connection())
        }));
        match closing {
            Ok(Closing::After(farewell)) if !ended => {
                let token = CloseToken::new(self, place);
                self.runtime.spawn(token.close(farewell));
            }
            Ok(_) => self.lock().closed(place, fx),
            Err(_) => {
                tracing::error!(target: "millpond::pool", pool = self.name, connection = number, "the connector panicked in close");
                self.lock().closed(place, fx);
            }
        }
    }

    /// A close that came between a decision and its task has stopped what there was, and missed
    /// that task.
    fn stop_if_closed(&self) {
        let closed = self.lock().is_closed();
        if closed {
            self.runtime.stop();
        }
    }

    #[cold]
    fn report_outage(&self, news: OutageNews) {
        let last = last_failure(&self.lock(), self.clock.now());
        let cause = last
            .as_ref()
            .map(|(_, error)| error.cause())
            .map(tracing::field::display);
        let pool = &self.name;
        match news {
            OutageNews::Began => {
                tracing::warn!(target: "millpond::pool", pool, cause, "dials fail")
            }
            OutageNews::Lasts { since, failures } => {
                tracing::warn!(target: "millpond::pool", pool, ?since, failures, cause, "dials still fail");
            }
            OutageNews::Ended { lasted, failures } => {
                tracing::info!(target: "millpond::pool", pool, ?lasted, failures, "dials succeed again, and what they open serves");
            }
        }
    }

    fn report(&self, leak: &Leak<Borrower>) {
        tracing::warn!(
            target: "millpond::pool",
            pool = self.name,
            connection = leak.number,
            acquired_at = %leak.tag.place,
            lent_for = %Span(leak.lent_for),
            "a connection has been lent for longer than the leak threshold"
        );
    }

    /// Says where connections are dropped without a word, and what to write there.
    #[cold]
    fn report_unreleased(&self, habit: &Unreleased<Borrower>) {
        tracing::warn!(
            target: "millpond::pool",
            pool = self.name,
            acquired_at = %habit.tag.place,
            unreleased = habit.unreleased,
            released = habit.released,
            "connections are used and then merely dropped, and each is closed for it, since its reply may be still to come; call \
             release() when the reply has been read, or run the exchange in Pool::with; if connections match replies to requests by \
             themselves, build the connector with connections_manage_exchanges(); calls that were cancelled need nothing"
        );
    }

    /// A lent connection comes back by being dropped or released: judge it, and act on it.
    pub(crate) fn take_back(
        self: &Arc<Self>,
        place: Place,
        connection: Boxed<C::Connection>,
        exchange: LastExchange,
    ) {
        let mut returning = Returning {
            lender: self,
            held: Some((place, connection)),
        };
        if std::thread::panicking() {
            return; // The borrower panics; `returning` discards.
        }
        let connection = returning.connection();
        if !self.connector.is_clean(connection, exchange) {
            // An endpoint that hangs up on everybody is to be told from callers who give up.
            if let Some(reason) = self.died_of(connection) {
                return returning.discard(reason);
            }
            return match exchange {
                // No exchange of its borrower's is open, so it must be something else.
                LastExchange::None | LastExchange::Completed => returning.discard(Eviction::Broken),
                LastExchange::Open
                    if self.connector.is_clean(connection, LastExchange::Completed) =>
                {
                    returning.drop_unreleased();
                }
                // It knows itself where it stands, and says the same whatever its borrower says.
                LastExchange::Open => returning.discard(Eviction::UnfinishedExchange),
            };
        }
        match self.connector.on_release(connection) {
            Ok(AfterRelease::Ready) => {
                let (place, connection) = returning.defuse();
                self.release(place, connection);
            }
            Ok(AfterRelease::NeedsReset) => {
                let (place, connection) = returning.defuse();
                let now = self.clock.now();
                #[cfg(feature = "metrics")]
                self.metrics.held(self.lock().slots().of(&place).since, now);
                let reset =
                    self.transition(|state, fx| state.release_to_reset(place, connection, now, fx));
                if let Some((place, connection)) = reset {
                    let check = CheckToken::new(self, place, connection, Purpose::Reset);
                    self.runtime.spawn_stoppable(check.run());
                    self.stop_if_closed();
                }
            }
            Err(error) => {
                let error: Box<dyn std::error::Error + Send + Sync> = error.into();
                tracing::debug!(target: "millpond::pool", pool = self.name, error = %Chain(&*error), "the release hook refused a connection");
                let reason = self.died_of(returning.connection());
                returning.discard(reason.unwrap_or(Eviction::HookFailed));
            }
        }
    }

    /// Whether a connection that comes back unfit has been ended by its peer. Bytes that arrived
    /// meanwhile say nothing: they may be the reply that nobody waited for.
    pub(crate) fn died_of(&self, connection: &mut C::Connection) -> Option<Eviction> {
        let reason = self.connector.check(connection).err();
        reason.filter(|&reason| reason != Eviction::UnsolicitedBytes)
    }

    #[inline]
    fn release(self: &Arc<Self>, place: Place, connection: Boxed<C::Connection>) {
        let mut state = self.lock();
        #[cfg(feature = "metrics")]
        let since = state.slots().of(&place).since;
        match state.serve_at_once(place, connection) {
            Returned::Idle => {
                drop(state);
                self.note_exhausted(false);
            }
            Returned::HandedOver { waker, kick } => {
                drop(state);
                if kick {
                    self.bell.ring();
                }
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Returned::NotYet(place, connection) => {
                let mut fx = Effects::none();
                let now = state.now();
                state.release(place, connection, now, &mut fx);
                drop(state);
                self.carry_out(&mut fx);
            }
        }
        #[cfg(feature = "metrics")]
        self.metrics.held(since, self.clock.now());
    }

    /// A lent connection comes back that must not be lent again.
    pub(crate) fn discard(
        self: &Arc<Self>,
        place: Place,
        connection: Boxed<C::Connection>,
        reason: Eviction,
    ) {
        let now = self.clock.now();
        let random = fastrand::u64(..);
        self.transition(|state, fx| state.discard(place, connection, reason, now, random, fx));
    }

    /// Retires the connections that don't lead any more where one would be dialled now.
    pub(crate) fn retire_outdated(self: &Arc<Self>) -> usize {
        let open = {
            let room = self.lock().slots().all().len();
            let mut open = Vec::with_capacity(room);
            let state = self.lock();
            let open_now = state.slots().open_ones().take(room);
            open.extend(open_now.map(|(at, slot)| (at, slot.number, slot.label.clone())));
            open
        };
        let mut retired = 0;
        for (at, number, ends) in open {
            if !self.connector.is_current(&ends) {
                self.transition(|state, fx| state.retire_one(at, number, fx));
                retired += 1;
            }
        }
        retired
    }

    /// For as long as the pool is open: whenever what connections lead to changes, retires those
    /// that lead elsewhere. At most once a tick, and once a second after a panic of the
    /// connector's.
    pub(crate) async fn follow_endpoint(self: Arc<Self>) {
        loop {
            let changed = AssertUnwindSafe(async {
                self.connector.endpoint_changed().await;
                self.endpoint_changes.fetch_add(1, Ordering::Relaxed);
                self.retire_outdated()
            });
            let pause = match caught(changed).await {
                Some(0) => TICK,
                Some(retired) => {
                    tracing::info!(target: "millpond::pool", pool = self.name, retired, "connections lead where none would be dialled now");
                    TICK
                }
                None => {
                    tracing::error!(target: "millpond::pool", pool = self.name, "the connector panicked in endpoint_changed or is_current");
                    10 * TICK
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Closes the pool, and stops what it has under way.
    pub(crate) fn close_now(self: &Arc<Self>, phase: Phase) {
        self.verb(|state, fx| state.close(phase, fx));
        self.runtime.stop();
    }

    /// A transition that those must be told of who hold connections for long.
    pub(crate) fn verb<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State<Pooled<C>>, &mut Effects<Pooled<C>>) -> R,
    ) -> R {
        let answer = self.transition(change);
        self.verbs.fetch_add(1, Ordering::Release);
        self.verb_spoken.notify_waiters();
        answer
    }

    /// Looks at the state now and whenever something changes, until `look` breaks off or `within`
    /// has passed; then what it said last. It is told the time, and how long this has gone on.
    pub(crate) async fn watch<R, E>(
        self: &Arc<Self>,
        within: Duration,
        look: impl Fn(&State<Pooled<C>>, Moment, Duration) -> ControlFlow<R, E>,
    ) -> Result<R, E> {
        let begun = self.clock.now();
        let deadline = self.clock.instant(begun.after(within));
        let mut over = false;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let (seen, nothing_to_wait_on) = {
                let now = self.clock.now();
                let state = self.lock();
                let seen = look(&state, now, now.since(begun));
                // The timer outside a runtime is that of the pool's own.
                (seen, state.runtime_ended() && !Runtime::is_here())
            };
            match seen {
                ControlFlow::Break(answer) => return Ok(answer),
                ControlFlow::Continue(last) if over || nothing_to_wait_on => return Err(last),
                ControlFlow::Continue(_) => {}
            }
            over = self.runtime.timeout_at(deadline, changed).await.is_err();
        }
    }
}

/// Runs a future that may panic; `None`: it has.
async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
            .map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}

/// A connection on its way back while the connector judges it: a panic there discards it.
struct Returning<'l, C: Connector> {
    lender: &'l Arc<Lender<C>>,
    held: Option<(Place, Boxed<C::Connection>)>,
}

impl<C: Connector> Returning<'_, C> {
    fn connection(&mut self) -> &mut C::Connection {
        &mut self.held.as_mut().expect("held until defused").1
    }

    fn defuse(mut self) -> (Place, Boxed<C::Connection>) {
        self.held.take().expect("defused once")
    }

    fn discard(self, reason: Eviction) {
        let lender = self.lender;
        let (place, connection) = self.defuse();
        lender.discard(place, connection, reason);
    }

    fn drop_unreleased(self) {
        let lender = self.lender;
        let (place, connection) = self.defuse();
        let now = lender.clock.now();
        let random = fastrand::u64(..);
        let habit = lender
            .transition(|state, fx| state.drop_unreleased(place, connection, now, random, fx));
        if let Some(habit) = habit {
            lender.report_unreleased(&habit);
        }
    }
}

impl<C: Connector> Drop for Returning<'_, C> {
    fn drop(&mut self) {
        if let Some((place, connection)) = self.held.take() {
            self.lender.discard(place, connection, Eviction::Panicked);
        }
    }
}
