//! The subtle rules, one small story each: what the random sequences find, said so that it can be
//! read.

#![expect(
    unused_must_use,
    reason = "a story may end with connections and tickets in hand"
)]

use std::time::Duration;

use super::{
    AcquireOutcome, Effects, Eviction, Lease, Lifecycle, Look, Moment, OutagePolicy, Polled,
    QueueTicket, Refusal, SlotKey, StageName, State, WaitTerms,
    numbered::{Cause, Numbered},
};
use crate::settings::{PoolSettings, Priority};

mod borrowing;
mod outages;
mod roll_calls;
mod shedding;
mod verbs;
mod waiting;

/// A pool at a small scale, and everybody around it. Checks the invariants after every transition.
struct Scene {
    state: State<Numbered>,
    now: Moment,
    dials: Vec<SlotKey>,
    probes: Vec<(SlotKey, u64)>,
    closing: Vec<SlotKey>,
    /// Since they were last asked for.
    evicted: Vec<(u64, Eviction)>,
    woken: Vec<u64>,
    kicked: bool,
    callers: u32,
}

/// A lent connection, by its number.
type Lent = (SlotKey, u64);

impl Scene {
    /// Two connections at most, nothing ages, and nobody is turned away, unless `change` says
    /// otherwise.
    fn new(change: impl FnOnce(&mut PoolSettings)) -> Self {
        let mut settings = PoolSettings {
            max_size: 2,
            idle_timeout: None,
            max_lifetime: None,
            leak_threshold: None,
            ..PoolSettings::default()
        };
        change(&mut settings);
        let mut scene = Scene {
            state: State::new(settings),
            now: Moment::default(),
            dials: Vec::new(),
            probes: Vec::new(),
            closing: Vec::new(),
            evicted: Vec::new(),
            woken: Vec::new(),
            kicked: false,
            callers: 0,
        };
        scene.tick();
        scene
    }

    /// One transition.
    fn does<T>(
        &mut self,
        transition: impl FnOnce(&mut State<Numbered>, Moment, &mut Effects<Numbered>) -> T,
    ) -> T {
        let mut fx = Effects::none();
        let outcome = transition(&mut self.state, self.now, &mut fx);
        self.state.check();
        self.dials.extend(fx.dials);
        self.probes.extend(fx.probes);
        self.woken.extend(fx.wakes);
        self.kicked |= fx.kick;
        for evicted in fx.evicted {
            self.evicted.push((evicted.number, evicted.reason));
            self.closing.push(evicted.key);
        }
        outcome
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }

    fn tick(&mut self) {
        self.does(|state, now, fx| state.tick(now, fx));
    }

    /// Time passes, with upkeep at the end.
    fn tick_after(&mut self, millis: u64) {
        self.pass(millis);
        self.tick();
    }

    /// Upkeep every `step` milliseconds until something has happened.
    fn tick_until(&mut self, step: u64, happened: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if happened(self) {
                return;
            }
            self.tick_after(step);
        }
        panic!("it never happens");
    }

    fn evicted(&mut self) -> Vec<(u64, Eviction)> {
        std::mem::take(&mut self.evicted)
    }

    fn woken(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.woken)
    }

    fn count(&self, stage: StageName) -> usize {
        self.state.slots().count(stage)
    }

    // ---- callers
    // ------------------------------------------------------------------------------------------------

    fn acquire(&mut self) -> Lent {
        match self.does(|state, _, fx| state.acquire(0, Lease::Exclusive, fx)) {
            AcquireOutcome::Lent(key, number) => (key, number),
            other => panic!("nothing to lend: {other:?}"),
        }
    }

    fn acquire_fails(&mut self) -> AcquireOutcome<Numbered> {
        self.does(|state, _, fx| state.acquire(0, Lease::Exclusive, fx))
    }

    /// Gets in line for five seconds. The waker of the n-th caller is n.
    fn wait(&mut self) -> QueueTicket {
        self.try_wait(5_000).expect("may wait")
    }

    fn try_wait(&mut self, patience: u64) -> Result<QueueTicket, Refusal> {
        self.wait_as(Priority::NORMAL, None, patience)
    }

    fn wait_as(
        &mut self,
        priority: Priority,
        seniority: Option<u64>,
        patience: u64,
    ) -> Result<QueueTicket, Refusal> {
        let terms = WaitTerms {
            priority,
            ..self.terms(patience)
        };
        self.wait_on(terms, seniority)
    }

    /// As [`Scene::wait`], and through an outage as well.
    fn wait_through(&mut self, patience: u64) -> Result<QueueTicket, Refusal> {
        let terms = WaitTerms {
            outage_policy: OutagePolicy::Wait,
            ..self.terms(patience)
        };
        self.wait_on(terms, None)
    }

    /// To hold a connection for long.
    fn wait_shared(&mut self) -> QueueTicket {
        let terms = WaitTerms {
            lease: Lease::Shared,
            ..self.terms(5_000)
        };
        self.wait_on(terms, None).expect("may wait")
    }

    /// For who has waited since then.
    fn wait_as_of(&mut self, since: Moment, seniority: Option<u64>) -> QueueTicket {
        let terms = WaitTerms {
            since,
            ..self.terms(5_000)
        };
        self.wait_on(terms, seniority).expect("may wait")
    }

    /// Those of a new caller.
    fn terms(&mut self, patience: u64) -> WaitTerms<u32> {
        self.callers += 1;
        WaitTerms {
            tag: self.callers,
            lease: Lease::Exclusive,
            priority: Priority::NORMAL,
            since: self.now,
            deadline: self.now.after(Duration::from_millis(patience)),
            patience: None,
            outage_policy: OutagePolicy::FailFast,
        }
    }

    fn wait_on(
        &mut self,
        terms: WaitTerms<u32>,
        seniority: Option<u64>,
    ) -> Result<QueueTicket, Refusal> {
        let waker = u64::from(terms.tag);
        self.does(|state, now, fx| state.wait(now, terms, seniority, waker, fx))
    }

    fn poll(&mut self, ticket: QueueTicket) -> Polled<Numbered> {
        self.does(|state, now, fx| state.poll(ticket, now, 1_000, fx))
    }

    /// A waiter that has been served comes for its connection.
    fn picks_up(&mut self, ticket: QueueTicket) -> Lent {
        match self.poll(ticket) {
            Polled::Lent {
                key, connection, ..
            } => (key, connection),
            other => panic!("not served: {other:?}"),
        }
    }

    fn still_waits(&mut self, ticket: QueueTicket) -> QueueTicket {
        match self.poll(ticket) {
            Polled::Waiting(ticket) => ticket,
            other => panic!("not waiting: {other:?}"),
        }
    }

    fn is_told(&mut self, ticket: QueueTicket) -> Refusal {
        match self.poll(ticket) {
            Polled::Refused(why) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn cancel(&mut self, ticket: QueueTicket) {
        self.does(|state, now, fx| state.cancel(ticket, now, fx));
    }

    fn release(&mut self, (key, number): Lent) {
        self.does(|state, now, fx| state.release(key, number, now, fx));
    }

    fn discard(&mut self, (key, number): Lent, reason: Eviction) {
        self.does(|state, now, fx| state.discard(key, number, reason, now, u64::MAX, fx));
    }

    fn died_in_exchange(&mut self, (key, number): Lent, reason: Eviction) {
        self.does(|state, now, fx| {
            state.died_in_exchange(key, number, reason, now, u64::MAX, fx);
        });
    }

    /// Says whether this is told, of how many.
    fn drop_unreleased(&mut self, (key, number): Lent) -> Option<u64> {
        let told =
            self.does(|state, now, fx| state.drop_unreleased(key, number, now, u64::MAX, fx));
        told.map(|told| told.unreleased)
    }

    // ---- the pool's own work
    // ------------------------------------------------------------------------------------

    /// The dial begun first succeeds; says its connection's number.
    fn dial_succeeds(&mut self) -> u64 {
        let key = self.dials.remove(0);
        let number = self.state.slots().of(&key).number;
        self.does(|state, now, fx| state.dial_finished(key, Ok((number, number)), now, 0, fx));
        number
    }

    /// The dial begun first fails; the longest backoff is drawn.
    fn dial_fails(&mut self) {
        let key = self.dials.remove(0);
        let cause = Cause::Dial(0);
        self.does(|state, now, fx| state.dial_finished(key, Err(cause), now, u64::MAX, fx));
    }

    fn all_closed(&mut self) {
        for key in std::mem::take(&mut self.closing) {
            self.does(|state, _, fx| state.closed(key, fx));
        }
    }

    /// A scene with this many idle connections, numbered from 1 in the order in which they became
    /// idle, a millisecond apart.
    fn with_idle(count: usize, change: impl FnOnce(&mut PoolSettings)) -> Self {
        let mut scene = Scene::new(change);
        let tickets: Vec<QueueTicket> = (0..count).map(|_| scene.wait()).collect();
        let mut lent = Vec::new();
        for ticket in tickets {
            scene.dial_succeeds();
            lent.push(scene.picks_up(ticket));
        }
        for connection in lent {
            scene.release(connection);
            scene.pass(1);
        }
        scene.woken();
        scene.kicked = false;
        scene
    }

    /// As [`Scene::with_idle`], with all of them lent again.
    fn with_lent(count: usize, change: impl FnOnce(&mut PoolSettings)) -> (Self, Vec<Lent>) {
        let mut scene = Scene::with_idle(count, change);
        let lent = (0..count).map(|_| scene.acquire()).collect();
        (scene, lent)
    }
}
