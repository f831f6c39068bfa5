//! Plays one sequence of random steps with a machine and its model, and holds them against each
//! other after each.
//!
//! The play is everybody: the callers, those who lease, the drivers with their sockets, the clock
//! and the pool. It keeps what the machine has handed out, so that a reply that is lost or comes
//! twice is found.

use std::{
    sync::Arc,
    task::{Wake, Waker},
    time::Duration,
};

use fastrand::Rng;
use tokio::time::Instant;

use super::{
    Begun, Came, Carried, Entry, FlowId, Id, LeftOut, Limits, Machine, Order, Place, Priority,
    Progress, Recall, Refusal, Released, SlotId, Times, Unanswered,
    edges::{Edge, Tally},
    model::{At, Caller, Fate, Model, NORMAL, Serial, Writer},
};
use crate::pool::Shedding;

mod drivers;
mod ending;
mod together;

/// A reply is its caller's name; it can't be copied.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply(pub(super) Caller);

/// What the machine carries here.
#[derive(Debug)]
pub(super) struct Named;

impl Carried for Named {
    type Reply = Reply;
    type Body = u32;
    /// Whose request it is, and whether it gets no reply.
    type Asked = (Caller, bool);
    type Writer = Serial;

    fn is_silent(&(_, silent): &(Caller, bool)) -> bool {
        silent
    }
}

/// A waker that is known by its address.
struct Silent;

impl Wake for Silent {
    fn wake(self: Arc<Self>) {}
}

/// A driver and its socket.
struct Driver {
    id: Id,
    serial: Serial,
    waker: Waker,
    /// Taken to be written, and not written.
    unwritten: usize,
    /// It has been woken, or has not ended its turn.
    awake: bool,
}

pub(super) struct Play<'t> {
    state: Machine<Named>,
    model: Model,
    rng: Rng,
    began: Instant,
    now: u64,
    /// How long callers can wait at most.
    patience: u64,
    /// How many of a hundred who could come do.
    crowd: u32,
    /// The framing looks at requests.
    is_looked_at: bool,
    drivers: Vec<Driver>,
    /// Those that have ended.
    gone: Vec<Id>,
    /// Callers who were told to write, and to whom.
    writers: Vec<(Id, Serial)>,
    places: Vec<(Place, Caller)>,
    /// Those that are open, and their names.
    flows: Vec<(FlowId, u32)>,
    next_flow: u32,
    next_caller: Caller,
    next_serial: Serial,
    /// Live and to come when last looked at.
    held: usize,
    tally: &'t mut Tally,
}

impl<'t> Play<'t> {
    pub(super) fn new(seed: u64, tally: &'t mut Tally) -> Self {
        let mut rng = Rng::with_seed(seed);
        let limits = Limits {
            depth: rng.usize(1..=6),
            max_bytes: rng.usize(10..=100),
            max_waiting: rng.usize(0..=8),
            max_waiting_bytes: [rng.usize(1..=150), usize::MAX][rng.usize(..2)],
            spread: [1, 1, 2, 3][rng.usize(..4)],
            shedding: rng.bool().then(|| Shedding {
                target: Duration::from_millis(rng.u64(1..15)),
                interval: Duration::from_millis(rng.u64(1..15)),
            }),
        };
        let max_pipelines = rng.usize(1..=4);
        let patience = [30, 100, 1_000][rng.usize(..3)];
        let crowd = [30, 45, 60, 100][rng.usize(..4)];
        let is_looked_at = rng.u8(..3) == 0;
        Play {
            state: Machine::new(limits, max_pipelines),
            model: Model::new(limits, max_pipelines),
            rng,
            began: Instant::now(),
            now: 0,
            patience,
            crowd,
            is_looked_at,
            drivers: Vec::new(),
            gone: Vec::new(),
            writers: Vec::new(),
            places: Vec::new(),
            flows: Vec::new(),
            next_flow: 0,
            next_caller: 0,
            next_serial: 0,
            held: 0,
            tally,
        }
    }

    pub(super) fn run(mut self) {
        for _ in 0..self.rng.usize(70..=320) {
            self.step();
            self.compare();
        }
        self.comes_to_rest();
    }

    fn step(&mut self) {
        match self.rng.u32(0..149) {
            0..32 if self.rng.u32(..100) < self.crowd => self.begin(),
            0..32 => self.came(),
            32..35 => self.give_up(),
            35..47 => self.started(),
            47..48 => self.lease_failed(),
            48..66 => self.came(),
            66..68 => self.unasked(),
            68..80 => self.caller_writes(),
            80..100 => self.driver_turns(),
            100..103 => self.beat(),
            103..111 => self.look(),
            111..116 => self.now += self.rng.u64(1..20),
            116..120 => self.tick(),
            120..121 => self.end(),
            121..123 => self.reconsider(),
            123..124 => self.retire(),
            124..132 => self.caller_comes_after_the_driver(),
            132..135 => self.settle_silent(),
            135..137 => self.opens_or_closes_a_flow(),
            137..146 => self.begin_together(),
            _ => self.asks_the_gone(),
        }
    }

    fn at(&self, millis: u64) -> Instant {
        self.began + Duration::from_millis(millis)
    }

    /// A reply has left the machine: for the first time.
    fn leaves(&mut self, reply: &Reply) {
        let exchange = self.model.exchange(reply.0);
        assert!(!exchange.told, "{reply:?} left twice");
        exchange.told = true;
    }

    fn leave(&mut self, replies: Vec<Reply>, expected: &[Caller]) {
        let names: Vec<_> = replies.iter().map(|reply| reply.0).collect();
        assert_eq!(names, expected);
        for reply in &replies {
            self.leaves(reply);
        }
    }

    fn driver(&mut self, serial: Serial) -> &mut Driver {
        let mut drivers = self.drivers.iter_mut();
        drivers
            .find(|driver| driver.serial == serial)
            .expect("it lives")
    }

    /// Which one it is.
    fn wake(&mut self, waker: &Waker) -> Serial {
        let mut drivers = self.drivers.iter_mut();
        let driver = drivers.find(|driver| driver.waker.will_wake(waker));
        let driver = driver.expect("a living driver is woken");
        driver.awake = true;
        driver.serial
    }

    // ---- callers
    // --------------------------------------------------------------------------------------------------

    fn begin(&mut self) {
        let caller = self.next_caller;
        self.next_caller += 1;
        let length = match self.rng.u32(0..24) {
            0..3 => self.rng.usize(50..=150),
            _ => self.rng.usize(1..=12),
        };
        let level = self.rng.u8(3..=5);
        let deadline = self.now + self.rng.u64(0..self.patience);
        let alone = self.rng.bool();
        // A framing that looks at requests keeps something of each.
        let silent = self.is_looked_at && self.rng.u8(..5) == 0;
        let asked = self.is_looked_at.then_some((caller, silent));
        let mut order = Order::Any(Priority::new(level).expect("a level"));
        let mut named = None;
        if !self.flows.is_empty() && self.rng.u8(..4) == 0 {
            let (flow, name) = self.flows[self.rng.usize(..self.flows.len())];
            let brought = self.model.of_flow(name).count() as u64;
            assert_eq!(self.state.brought(flow), brought);
            let again = match self.rng.u8(..20) {
                0 => Some(brought),
                1 => brought.checked_sub(1),
                _ => None,
            };
            order = Order::Of { flow, again };
            named = Some((name, again));
        }
        let level = match named {
            Some(_) => NORMAL,
            None => level,
        };
        let was_on = named.and_then(|(name, _)| self.model.bound(name));
        let fate = (self.model).begin(
            caller,
            (length, silent),
            (level, named),
            (self.now, deadline),
            alone,
        );
        let is_begun = matches!(fate, Fate::Begun { .. });
        let is_in_flow = was_on.is_some();
        (self.tally).count_if(is_begun && is_in_flow, Edge::BegunWhereItsFlowIs);
        let waits = matches!(fate, Fate::Waits { .. });
        (self.tally).count_if(waits && is_in_flow, Edge::WaitsForItsFlow);
        let is_again = named.is_some_and(|(_, again)| again.is_some());
        (self.tally).count_if(is_again && (waits || is_begun), Edge::NotOvertaken);
        let frame = vec![caller as u8; length];
        let entry = self.state.begin(
            &frame,
            &Times {
                began: self.at(self.now),
                deadline: self.at(deadline),
            },
            order,
            alone,
            Reply(caller),
            asked,
        );
        match (entry, fate) {
            (
                Entry::Begun {
                    begun: Begun { write, wake },
                    leases,
                },
                Fate::Begun {
                    on,
                    write: writes,
                    wake: wakes,
                    leases: expected,
                },
            ) => {
                assert_eq!(leases, expected, "leases");
                self.tally.count_if(leases > 0, Edge::LeasedToSpread);
                let mut pipes = self.model.pipes.iter().flatten();
                let first = pipes.next().expect("it was begun");
                let is_later = first.recall == Recall::No && first.serial != on;
                let is_free = !is_in_flow && self.model.fits(first.serial, length);
                (self.tally).count_if(is_later && is_free, Edge::BegunOnTheLeastLoaded);
                assert_eq!(write.is_some(), writes, "whether the caller writes");
                assert_eq!(wake.is_some(), wakes, "whether the driver is woken");
                if let Some((id, wire)) = write {
                    assert_eq!(wire, on);
                    self.writers.push((id, wire));
                }
                let hurries =
                    wakes && (writes || self.model.pipe(on).writer != Writer::Driver || !alone);
                self.tally
                    .count_if(hurries && self.model.pipe(on).hurried, Edge::Hurried);
                if let Some(waker) = wake {
                    assert_eq!(self.wake(&waker), on);
                }
                let edge = match (writes, wakes && !alone) {
                    (true, _) => Edge::BegunToWrite,
                    (false, true) => Edge::BegunForTheDriver,
                    (false, false) => Edge::BegunBehindAnother,
                };
                self.tally.count(edge);
                let long = length > self.model.limits.max_bytes;
                self.tally.count_if(long, Edge::LongAndAlone);
            }
            (Entry::Overtaken, Fate::Overtaken) => self.tally.count(Edge::Overtaken),
            (Entry::Waits { place, leases }, Fate::Waits { leases: expected }) => {
                assert_eq!(leases, expected, "leases");
                self.places.push((place, caller));
                self.tally.count(Edge::Waits);
                self.tally.count_if(leases > 0, Edge::WaitsForALease);
                let too_long = self.model.waiting_bytes() > self.model.limits.max_waiting_bytes;
                self.tally.count_if(too_long, Edge::WaitsThoughTooLong);
                self.why_it_waits(length);
            }
            (Entry::Refused(refusal), Fate::Refused(expected)) => {
                assert_eq!(refusal, expected);
                let full = refusal == Refusal::Full;
                self.tally.count(if full {
                    Edge::RefusedFull
                } else {
                    Edge::RefusedOtherwise
                });
            }
            (
                Entry::FullOfBytes {
                    waiting_bytes,
                    request,
                    max_waiting_bytes: _,
                },
                Fate::FullOfBytes {
                    waiting_bytes: expected,
                    request: of,
                },
            ) => {
                assert_eq!((waiting_bytes, request), (expected, of));
                self.tally.count(Edge::RefusedFullOfBytes);
            }
            (_, fate) => panic!("it should be {fate:?}"),
        }
    }

    fn why_it_waits(&mut self, length: usize) {
        for driver in &self.drivers {
            let in_flight = self.model.in_flight(driver.serial);
            let bytes: usize = in_flight.iter().map(|one| one.length).sum();
            let full = in_flight.len() == self.model.limits.depth;
            self.tally.count_if(full, Edge::FullOfExchanges);
            let too_long =
                !full && bytes + length > self.model.limits.max_bytes && !in_flight.is_empty();
            self.tally
                .count_if(too_long && self.model.proven, Edge::FullOfBytes);
        }
    }

    fn give_up(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let (place, caller) = (self.places).swap_remove(self.rng.usize(..self.places.len()));
        let waits = self.model.exchange(caller).at == At::Waiting;
        let request = self.state.give_up(place).map(|given_up| given_up.request);
        assert_eq!(request.is_some(), waits);
        self.tally.count(if waits {
            Edge::GaveUp
        } else {
            Edge::GaveUpTooLate
        });
        if let Some(request) = request {
            assert_eq!(request.reply, Reply(caller));
            let in_flow = self.model.exchange(caller).flow.is_some();
            self.tally.count_if(in_flow, Edge::GaveUpInItsFlow);
            self.leaves(&request.reply);
            self.model.exchange(caller).at = At::Over;
        }
    }

    /// One can be closed once none of its requests waits; what was appended goes its way.
    fn opens_or_closes_a_flow(&mut self) {
        if self.flows.len() < 3 {
            self.flows.push((self.state.open_flow(), self.next_flow));
            self.next_flow += 1;
            return;
        }
        let at = self.rng.usize(..self.flows.len());
        let (flow, name) = self.flows[at];
        if self.model.of_flow(name).all(|one| one.at != At::Waiting) {
            self.state.close_flow(flow);
            self.flows.swap_remove(at);
            self.tally.count(Edge::FlowClosed);
        }
    }

    /// Some who waited for one pipeline may be served by others.
    fn released(&mut self, released: Released, (woken, leases): (Vec<Serial>, usize)) {
        let wakes: Vec<_> = released
            .wakes
            .iter()
            .map(|waker| self.wake(waker))
            .collect();
        assert_eq!(wakes, woken);
        assert_eq!(released.leases, leases);
    }

    fn caller_writes(&mut self) {
        if self.writers.is_empty() {
            return;
        }
        let (id, serial) = self
            .writers
            .swap_remove(self.rng.usize(..self.writers.len()));
        let Some(driver) = self.drivers.iter().find(|driver| driver.serial == serial) else {
            assert!(self.state.leave_to_driver(id).is_none(), "it has ended");
            return;
        };
        // Somebody else may be at it.
        let busy = driver.unwritten > 0 || self.rng.u8(..4) == 0;
        if busy {
            self.leave_to_driver(id, serial);
            return;
        }
        let taken = self.take(id, serial);
        let left = self.rng.usize(..=taken).saturating_sub(taken / 2);
        self.driver(serial).unwritten = left;
        self.tally.count_if(taken == 0, Edge::NothingLeftForCaller);
        self.tally
            .count_if(taken > 0 && left == 0, Edge::WrittenByCaller);
        if left > 0 {
            self.tally.count(Edge::ShortByCaller);
            self.leave_to_driver(id, serial);
        }
    }

    /// The driver takes what a caller was about to.
    fn caller_comes_after_the_driver(&mut self) {
        let writer = self.writers.last().copied();
        let Some((id, serial)) =
            writer.filter(|(id, _)| self.drivers.iter().any(|one| one.id == *id))
        else {
            return;
        };
        if self.driver(serial).unwritten == 0 {
            self.take(id, serial);
            self.caller_writes();
        }
    }

    fn leave_to_driver(&mut self, id: Id, serial: Serial) {
        let waker = self.state.leave_to_driver(id).expect("it lives");
        assert_eq!(self.wake(&waker), serial);
        let pipe = self.model.pipe_mut(serial);
        self.tally.count(Edge::LeftToDriver);
        if pipe.writer == Writer::Caller {
            pipe.writer = Writer::Driver;
        }
    }

    /// How many bytes were taken.
    fn take(&mut self, id: Id, serial: Serial) -> usize {
        let (mut rest, mut asked) = (Vec::new(), Vec::new());
        let any = self.state.take(id, &mut rest, &mut asked);
        let expected = self.model.take(serial);
        let mut callers: Vec<_> = expected.iter().flatten().copied().collect();
        callers.dedup();
        let asked: Vec<_> = asked.iter().map(|(caller, _)| *caller).collect();
        assert_eq!(
            asked,
            if self.is_looked_at {
                callers
            } else {
                Vec::new()
            }
        );
        let expected: Vec<u8> = expected
            .into_iter()
            .map(|caller| caller.map_or(HEARTBEAT[0], |caller| caller as u8))
            .collect();
        assert_eq!(rest, expected, "each byte once, in order");
        assert_eq!(any, !rest.is_empty());
        rest.len()
    }

    // ---- after each step
    // ------------------------------------------------------------------------------------------

    fn compare(&mut self) {
        self.tally.transitions += 1;
        self.state.check();
        assert_eq!(self.state.waiting(), self.model.waiting(), "waiting");
        assert_eq!(self.state.waiting_bytes(), self.model.waiting_bytes());
        let loads = self.state.loads().into_iter();
        let loads: Vec<_> = loads
            .map(|load| (load.slot.number, load.in_flight))
            .collect();
        let pipes = self.model.pipes.iter().flatten();
        let expected: Vec<_> = pipes
            .map(|pipe| {
                (
                    u64::from(pipe.serial),
                    self.model.in_flight(pipe.serial).len(),
                )
            })
            .collect();
        assert_eq!(loads, expected, "in flight");
        let held = self.state.held();
        assert_eq!(
            held,
            self.drivers.len() + self.model.leasing,
            "live, and to come"
        );
        assert!(
            held <= self.model.max_pipelines || held <= self.held,
            "{held} connections of {}",
            self.model.max_pipelines
        );
        self.held = held;
        let mut inside: Vec<_> = self.state.replies().iter().map(|reply| reply.0).collect();
        inside.sort_unstable();
        let untold = self.model.exchanges.iter().filter(|one| !one.told);
        let untold: Vec<_> = untold.map(|one| one.caller).collect();
        assert_eq!(inside, untold, "whoever hasn't been told is inside");
        self.is_attended();
        self.flows_keep_their_order();
    }

    /// Those of a flow are appended in their order, and unanswered on one pipeline alone.
    fn flows_keep_their_order(&self) {
        for (_, flow) in &self.flows {
            let mut on = None;
            for exchange in self.model.of_flow(*flow) {
                if let At::On(serial) = exchange.at {
                    assert_eq!(
                        *on.get_or_insert(serial),
                        serial,
                        "{flow} is on two pipelines"
                    );
                }
            }
            // In the streams, of which none is ever cut.
            for pipe in self.model.pipes.iter().flatten() {
                let callers = pipe.stream.iter().flatten().copied();
                let of_flow =
                    |caller: &Caller| self.model.of_flow(*flow).any(|one| one.caller == *caller);
                let callers: Vec<_> = callers.filter(of_flow).collect();
                assert!(
                    callers.is_sorted(),
                    "{flow} is out of order on {}",
                    pipe.serial
                );
                let waits = self.model.of_flow(*flow).find(|one| one.at == At::Waiting);
                let last = callers.last();
                assert!(
                    waits
                        .zip(last)
                        .is_none_or(|(waits, last)| *last < waits.caller),
                    "one of {flow} has overtaken another"
                );
            }
        }
    }

    /// What is outgoing will be written: a caller has been told to, or the driver comes.
    fn is_attended(&mut self) {
        for driver in &self.drivers {
            let told = self.state.duties(driver.id);
            let pipe = self.model.pipe(driver.serial);
            assert_eq!(told.write, pipe.writer == Writer::Driver);
            assert_eq!(told.look, pipe.hurried);
            let comes = driver.awake || driver.unwritten > 0;
            let written_by = match pipe.writer {
                Writer::Nobody => pipe.taken == pipe.stream.len(),
                Writer::Caller => self.writers.iter().any(|(id, _)| *id == driver.id),
                Writer::Driver => comes,
            };
            assert!(written_by, "{pipe:?} is attended by nobody");
            assert!(!pipe.hurried || comes, "nobody looks in time");
        }
    }
}

/// Not the first byte of any frame here, but of the 255th.
const HEARTBEAT: [u8; 2] = [255; 2];
