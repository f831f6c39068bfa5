//! Drives a machine and its model through one sequence of random steps, and holds them against each
//! other after each.
//!
//! The driver is everybody: the callers, the dialler, the tasks that check and close, upkeep and
//! the owner of the pool. It keeps what the machine has handed out, and gives it back when a step
//! says so. A step is plain numbers, and what it means depends on what is possible at that point,
//! so any part of a sequence can be left out and the rest is still a sequence: that is what lets a
//! failure shrink.

use std::time::Duration;

use super::{
    AcquireOutcome, Effects, Eviction, Lease, Lifecycle, Look, Moment, OutagePolicy, Polled,
    QueueTicket, SlotKey, Stage, StageName, State, WaitTerms,
    compare::{compare, nothing_is_left, upkeep_comes_in_time, upkeep_comes_with_a_reason},
    edges::{Op, Tally, Whereabouts},
    model::{Answer, Model},
    numbered::{CallerId, Cause, Numbered},
};
use crate::settings::{PoolSettings, Priority};

mod choices;

use choices::{Choice, Draws};
pub(super) use choices::{RandomSettings, Step};

/// A connection in somebody's hands.
#[derive(Debug)]
struct Held {
    key: SlotKey,
    connection: u64,
    number: u64,
    /// The seniority of the waiter to whom it was granted.
    arrival: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    ticket: QueueTicket,
    id: CallerId,
}

pub(super) struct Driver<'t> {
    state: State<Numbered>,
    model: Model,
    now: Moment,
    failing_percent: u64,
    waiting: Vec<Waiting>,
    dialling: Vec<(SlotKey, u64)>,
    lent: Vec<Held>,
    checking: Vec<Held>,
    looking: Vec<(Look<Numbered>, u64)>,
    closing: Vec<(SlotKey, u64)>,
    /// Wakers that the machine has and must call or give back.
    wakers: Vec<u64>,
    next_waker: u64,
    next_caller: CallerId,
    next_cause: u64,
    before: Whereabouts,
    lifecycle_before: (Lifecycle, [usize; 3]),
    planned_before: Moment,
    /// An acquire has put off a dial.
    lazily: bool,
    finishing: bool,
    tally: &'t mut Tally,
    /// Say what is done, for a failure's last, shortest run.
    narrate: bool,
}

impl<'t> Driver<'t> {
    pub(super) fn new(random: &RandomSettings, narrate: bool, tally: &'t mut Tally) -> Self {
        let settings = random.drawn();
        assert!(settings.validate().is_ok(), "random settings are valid");
        if narrate {
            println!("{settings:#?}");
        }
        let mut driver = Driver {
            state: State::new(settings.clone()),
            model: Model::new(settings),
            now: Moment::default(),
            failing_percent: random.failing_percent(),
            waiting: Vec::new(),
            dialling: Vec::new(),
            lent: Vec::new(),
            checking: Vec::new(),
            looking: Vec::new(),
            closing: Vec::new(),
            wakers: Vec::new(),
            next_waker: 0,
            next_caller: 0,
            next_cause: 0,
            before: Whereabouts::default(),
            lifecycle_before: (Lifecycle::Open, [0; 3]),
            planned_before: Moment::default(),
            lazily: false,
            finishing: false,
            tally,
            narrate,
        };
        driver.tick();
        driver
    }

    // ---- one step
    // -----------------------------------------------------------------------------------------------

    pub(super) fn step(&mut self, step: Step) {
        let mut draws = Draws::of(step);
        self.now = self.now.after(draws.pass());
        let choice = self.choose(&mut draws);
        if self.narrate && choice != Choice::Nothing {
            println!("{:?} {choice:?}", self.now.since_built());
        }
        self.take(choice, &mut draws);
    }

    fn take(&mut self, choice: Choice, draws: &mut Draws) {
        match choice {
            Choice::Nothing => {}
            Choice::Acquire => self.acquire(draws),
            Choice::Wait => self.wait(None, draws),
            Choice::Poll => self.poll(draws),
            Choice::Cancel => self.cancel(draws),
            Choice::Release => self.release(draws),
            Choice::ReleaseToReset => self.release_to_reset(draws),
            Choice::Discard => self.discard(draws),
            Choice::Reject => self.reject(draws),
            Choice::Detach => self.detach(draws),
            Choice::FinishDial => self.finish_dial(draws),
            Choice::AbandonDial => self.abandon_dial(draws),
            Choice::FinishCheck => self.finish_check(draws),
            Choice::FinishClosing => self.finish_closing(draws),
            Choice::LookAtUnwatched => self.look_at_unwatched(),
            Choice::LookAt => self.look_at(draws),
            Choice::FinishLook => self.finish_look(draws),
            Choice::Tick => self.tick(),
            Choice::Upkeep => {
                self.now = self.now.max(self.state.planned_wake());
                self.tick();
            }
            Choice::Rush => self.rush(draws),
            Choice::Pause => {
                self.state.pause();
                self.model.pause();
                self.done(Op::Pause, Effects::none());
            }
            Choice::Resume => {
                let now = self.moment(draws);
                self.verb(
                    Op::Resume,
                    |state, fx| state.resume(now, fx),
                    |model| model.resume(now),
                );
            }
            Choice::Resize => {
                let max_size = 1 + draws.below(6) as u32;
                self.verb(
                    Op::Resize,
                    |state, fx| state.resize(max_size, fx),
                    |model| model.resize(max_size),
                );
            }
            Choice::Retire => self.verb(Op::Retire, State::retire, Model::retire),
            Choice::RetireOne => {
                let slots = self.state.slots().all();
                let at = draws.index(slots.len());
                let number = slots[at].number;
                let gone = matches!(slots[at].stage, Stage::Vacant | Stage::Closing);
                self.verb(
                    Op::RetireOne,
                    |state, fx| state.retire_one(at as u32, number, fx),
                    |model| {
                        if !gone {
                            model.retire_one(number)
                        }
                    },
                );
            }
            Choice::Drain => {
                let now = self.moment(draws);
                self.verb(
                    Op::Drain,
                    |state, fx| state.drain(now, fx),
                    |model| model.drain(now),
                );
            }
            Choice::Close => self.close(Lifecycle::Closed),
            Choice::EndRuntime => self.close(Lifecycle::RuntimeEnded),
        }
    }

    fn choose(&self, draws: &mut Draws) -> Choice {
        let idle = self.state.slots().count(StageName::Idle);
        let possible = |choice: Choice| match choice {
            Choice::Poll | Choice::Cancel => !self.waiting.is_empty(),
            Choice::Release
            | Choice::ReleaseToReset
            | Choice::Discard
            | Choice::Reject
            | Choice::Detach => !self.lent.is_empty(),
            Choice::FinishDial | Choice::AbandonDial => !self.dialling.is_empty(),
            Choice::FinishCheck => !self.checking.is_empty(),
            Choice::FinishClosing => !self.closing.is_empty(),
            Choice::LookAt => idle > 0,
            Choice::FinishLook => !self.looking.is_empty(),
            Choice::Resume => self.state.paused(),
            Choice::RetireOne => !self.state.slots().all().is_empty(),
            _ => true,
        };
        draws.choose(possible)
    }

    // ---- callers
    // ------------------------------------------------------------------------------------------------

    fn new_caller(&mut self) -> CallerId {
        self.next_caller += 1;
        self.next_caller
    }

    fn new_waker(&mut self) -> u64 {
        self.next_waker += 1;
        self.wakers.push(self.next_waker);
        self.next_waker
    }

    fn acquire(&mut self, draws: &mut Draws) {
        let (tag, lease) = (self.new_caller(), draws.lease());
        let mut fx = Effects::none();
        let attempt = self.state.acquire(tag, lease, &mut fx);
        let expected = self.model.acquire(tag, lease);
        let answer = match attempt {
            AcquireOutcome::Lent(key, connection) => {
                let number = self.lent_out(key, connection, None);
                Answer::Lent(number)
            }
            AcquireOutcome::Refused(why) => {
                self.tally.count_refusal(why);
                Answer::Refused(why)
            }
            AcquireOutcome::MustWait => Answer::MustWait,
        };
        assert_eq!(answer, expected, "the answer to an acquire");
        self.done(Op::Acquire, fx);
        if answer == Answer::MustWait && !draws.one_in(8) {
            self.wait(None, draws);
        }
    }

    fn lent_out(&mut self, key: SlotKey, connection: u64, arrival: Option<u64>) -> u64 {
        let number = self.state.slots().of(&key).number;
        assert_eq!(connection, number, "another connection than the key's");
        self.lent.push(Held {
            key,
            connection,
            number,
            arrival,
        });
        number
    }

    fn wait(&mut self, seniority: Option<u64>, draws: &mut Draws) {
        let (id, waker, now) = (self.new_caller(), self.new_waker(), self.moment(draws));
        let terms = WaitTerms {
            tag: id,
            lease: draws.lease(),
            priority: Priority::new([4, 4, 4, 4, 0, 7][draws.below(6) as usize]).expect("a level"),
            deadline: draws
                .patience()
                .map_or(Moment::NEVER, |patience| now.after(patience)),
            since: seniority.map_or(now, |_| Moment::default()),
            patience: None,
            outage_policy: draws.outage_policy(),
        };
        if seniority.is_none() && draws.one_in(12) && self.state.expects_upkeep_soon() {
            return self.queue_patiently(terms, waker, draws);
        }
        let mut fx = Effects::none();
        let answer = self.state.wait(now, terms, seniority, waker, &mut fx);
        let expected = self.model.wait(now, terms, seniority, waker);
        match answer {
            Ok(ticket) => {
                assert_eq!(expected, Ok(()), "whether it may wait");
                self.waiting.push(Waiting { ticket, id });
            }
            Err(why) => {
                assert_eq!(expected, Err(why), "whether it may wait");
                self.tally.count_refusal(why);
            }
        }
        self.done(Op::Wait, fx);
    }

    /// Without a look at the clock.
    fn queue_patiently(&mut self, terms: WaitTerms<CallerId>, waker: u64, draws: &mut Draws) {
        let mut fx = Effects::none();
        let patience = draws.patience().unwrap_or(Duration::from_secs(1));
        let terms = WaitTerms {
            since: Moment::NEVER,
            deadline: Moment::NEVER,
            patience: Some(patience),
            ..terms
        };
        match self.state.queue_at_once(None, terms, None, waker) {
            Ok((ticket, kick)) => {
                fx.kick = kick;
                self.model.queue(terms, None, waker);
                self.waiting.push(Waiting {
                    ticket,
                    id: terms.tag,
                });
            }
            Err(waker) => fx.wakers_to_drop.push(waker),
        }
        self.done(Op::Wait, fx);
    }

    fn poll(&mut self, draws: &mut Draws) {
        let index = draws.index(self.waiting.len());
        // Some futures are held without being polled again.
        if !self.finishing && self.waiting[index].id.is_multiple_of(7) && !draws.one_in(8) {
            return;
        }
        let Waiting { ticket, id } = self.waiting.swap_remove(index);
        let (now, waker) = (self.moment(draws), self.new_waker());
        let mut fx = Effects::none();
        let polled = self.state.poll(ticket, now, waker, &mut fx);
        let until = self.model.caller(id).deadline;
        let expected = self.model.poll(id, now, waker);
        let answer = match polled {
            Polled::Waiting(ticket) => {
                self.waiting.push(Waiting { ticket, id });
                None
            }
            Polled::Refused(why) => {
                self.tally.count_refusal(why);
                Some(Answer::Refused(why))
            }
            Polled::Lent {
                key,
                connection,
                arrival,
                deadline,
            } => {
                assert_eq!(deadline, until, "until when it might have waited");
                Some(Answer::Lent(self.lent_out(key, connection, Some(arrival))))
            }
        };
        assert_eq!(answer, expected, "the answer to a poll");
        self.done(Op::Poll, fx);
    }

    fn cancel(&mut self, draws: &mut Draws) {
        let Waiting { ticket, id } = self.waiting.swap_remove(draws.index(self.waiting.len()));
        let now = self.moment(draws);
        let mut fx = Effects::none();
        self.state.cancel(ticket, now, &mut fx);
        self.model.cancel(id, now);
        self.done(Op::Cancel, fx);
    }

    // ---- borrowers
    // ----------------------------------------------------------------------------------------------

    fn take_lent(&mut self, draws: &mut Draws) -> (Held, Moment) {
        let held = self.lent.swap_remove(draws.index(self.lent.len()));
        (held, self.moment(draws))
    }

    fn release(&mut self, draws: &mut Draws) {
        let (held, now) = self.take_lent(draws);
        let mut fx = Effects::none();
        self.state.release(held.key, held.connection, now, &mut fx);
        self.model.release(held.number, now);
        self.done(Op::Release, fx);
    }

    fn release_to_reset(&mut self, draws: &mut Draws) {
        let (held, now) = self.take_lent(draws);
        let mut fx = Effects::none();
        let kept = self
            .state
            .release_to_reset(held.key, held.connection, now, &mut fx);
        let expected = self.model.release_to_reset(held.number, now);
        assert_eq!(kept.is_some(), expected, "whether it is reset");
        self.checking.extend(kept.map(|(key, connection)| Held {
            key,
            connection,
            number: held.number,
            arrival: None,
        }));
        self.done(Op::ReleaseToReset, fx);
    }

    fn discard(&mut self, draws: &mut Draws) {
        let (held, now) = self.take_lent(draws);
        let (reason, random) = (draws.reason(), draws.random());
        let mut fx = Effects::none();
        if draws.one_in(3) {
            let told = self
                .state
                .drop_unreleased(held.key, held.connection, now, random, &mut fx);
            let told = told.map(|told| (told.tag, told.unreleased, told.released));
            let expected = self.model.drop_unreleased(held.number, now, random);
            assert_eq!(told, expected, "whether it is told, and what");
            return self.done(Op::Discard, fx);
        }
        if draws.one_in(3) {
            self.state
                .died_in_exchange(held.key, held.connection, reason, now, random, &mut fx);
            self.model
                .died_in_exchange(held.number, reason, now, random);
            return self.done(Op::Discard, fx);
        }
        self.state
            .discard(held.key, held.connection, reason, now, random, &mut fx);
        self.model.discard(held.number, reason, now, random);
        self.done(Op::Discard, fx);
    }

    fn reject(&mut self, draws: &mut Draws) {
        let (held, now) = self.take_lent(draws);
        let (reason, random) = (draws.reason(), draws.random());
        let mut fx = Effects::none();
        self.state
            .reject(held.key, held.connection, reason, now, random, &mut fx);
        self.model.reject(held.number, reason, now, random);
        self.done(Op::Reject, fx);
        self.wait(held.arrival, draws);
    }

    fn detach(&mut self, draws: &mut Draws) {
        let (held, now) = self.take_lent(draws);
        let mut fx = Effects::none();
        self.state.detach(held.key, now, &mut fx);
        self.model.detach(held.number, now);
        self.done(Op::Detach, fx);
    }

    // ---- the pool's own work
    // ------------------------------------------------------------------------------------

    fn finish_dial(&mut self, draws: &mut Draws) {
        let (key, number) = self.dialling.swap_remove(draws.index(self.dialling.len()));
        let (now, random) = (self.moment(draws), draws.random());
        let mut fx = Effects::none();
        if draws.below(100) < self.failing_percent {
            self.next_cause += 1;
            let cause = Cause::Dial(self.next_cause);
            self.state
                .dial_finished(key, Err(cause), now, random, &mut fx);
            self.model.dial_failed(number, cause, now, random);
            self.done(Op::DialFailed, fx);
        } else {
            self.state
                .dial_finished(key, Ok((number, number)), now, random, &mut fx);
            self.model.dial_succeeded(number, now, random);
            self.done(Op::DialOk, fx);
        }
    }

    fn abandon_dial(&mut self, draws: &mut Draws) {
        let (key, number) = self.dialling.swap_remove(draws.index(self.dialling.len()));
        let mut fx = Effects::none();
        self.state.dial_abandoned(key, &mut fx);
        self.model.dial_abandoned(number);
        self.done(Op::DialAbandoned, fx);
    }

    fn finish_check(&mut self, draws: &mut Draws) {
        let Held {
            key,
            connection,
            number,
            ..
        } = self.checking.swap_remove(draws.index(self.checking.len()));
        let (now, random) = (self.moment(draws), draws.random());
        let mut fx = Effects::none();
        match draws.below(8) {
            0..=2 => {
                let reason = draws.reason();
                self.state
                    .checked(key, connection, Err(reason), now, random, &mut fx);
                self.model.check_failed(number, reason, now, random);
                self.done(Op::CheckUnfit, fx);
            }
            _ => {
                self.state
                    .checked(key, connection, Ok(()), now, random, &mut fx);
                self.model.check_passed(number, now);
                self.done(Op::CheckFit, fx);
            }
        }
    }

    fn finish_closing(&mut self, draws: &mut Draws) {
        let (key, number) = self.closing.swap_remove(draws.index(self.closing.len()));
        let mut fx = Effects::none();
        self.state.closed(key, &mut fx);
        self.model.closed(number);
        self.done(Op::Closed, fx);
    }

    fn look_at_unwatched(&mut self) {
        let look = self.state.look_at_unwatched(None);
        let expected = self.model.look_at_unwatched();
        self.looks(look, expected);
    }

    fn look_at(&mut self, draws: &mut Draws) {
        let idle: Vec<u32> = self.state.slots().indices(StageName::Idle).collect();
        let at = idle[draws.index(idle.len())];
        let number = self.state.slots().at(at).number;
        // Sometimes it is an earlier connection's event that arrives late.
        let number = if draws.one_in(8) { number - 1 } else { number };
        let is_there = self.state.slots().at(at).number == number;
        let look = self.state.look_at(at, number);
        let expected = if is_there {
            self.model.look_at(number)
        } else {
            None
        };
        self.looks(look, expected);
    }

    fn looks(&mut self, look: Option<Look<Numbered>>, expected: Option<u64>) {
        let number = look
            .as_ref()
            .map(|look| self.state.slots().of(&look.key).number);
        assert_eq!(number, expected, "which one is looked at");
        if let (Some(look), Some(number)) = (look, number) {
            assert_eq!(look.connection, number);
            assert_eq!(self.state.slots().at(look.index()).number, number);
            self.looking.push((look, number));
        }
        self.done(Op::Look, Effects::none());
    }

    fn finish_look(&mut self, draws: &mut Draws) {
        let (look, number) = self.looking.swap_remove(draws.index(self.looking.len()));
        let random = draws.random();
        let mut fx = Effects::none();
        let verdict = if draws.one_in(4) {
            Err(draws.reason())
        } else {
            Ok(())
        };
        self.state.looked(look, verdict, random, &mut fx);
        self.model.looked(number, verdict, random);
        let op = if verdict.is_ok() {
            Op::LookedFit
        } else {
            Op::LookedUnfit
        };
        self.done(op, fx);
    }

    fn tick(&mut self) {
        let now = self.now;
        self.verb(
            Op::Tick,
            |state, fx| state.tick(now, fx),
            |model| model.tick(now),
        );
    }

    fn rush(&mut self, draws: &Draws) {
        for round in 0..8 {
            let draws = &mut draws.anew(round);
            self.tick();
            if draws.one_in(3) {
                self.wait(None, draws);
            }
            if !self.lent.is_empty() {
                self.release(draws);
            }
            if !self.waiting.is_empty() && draws.one_in(2) {
                self.poll(draws);
            }
            self.now = self.now.after(Duration::from_micros(2_500));
        }
    }

    fn close(&mut self, lifecycle: Lifecycle) {
        self.verb(
            Op::Close,
            |state, fx| state.close(lifecycle, fx),
            |model| model.close(lifecycle),
        );
    }

    fn verb(
        &mut self,
        op: Op,
        on_state: impl FnOnce(&mut State<Numbered>, &mut Effects<Numbered>),
        on_model: impl FnOnce(&mut Model),
    ) {
        let mut fx = Effects::none();
        on_state(&mut self.state, &mut fx);
        on_model(&mut self.model);
        self.done(op, fx);
    }
}

mod aftermath;
