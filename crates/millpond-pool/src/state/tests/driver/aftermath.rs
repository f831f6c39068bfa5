//! After each transition: what the machine wants done is taken over, and everything is held against
//! the model. After the last: everything is given back, and nothing may be left.

use super::{
    Choice, Draws, Driver, Effects, Held, Lifecycle, Moment, Numbered, Op, StageName, Step,
    Whereabouts, compare, nothing_is_left, upkeep_comes_in_time, upkeep_comes_with_a_reason,
};
use crate::state::{Standing, TICK};

impl Driver<'_> {
    pub(super) fn done(&mut self, op: Op, fx: Effects<Numbered>) {
        if self.narrate {
            println!("    {op:?}: {fx:?}");
        }
        self.changes_are_announced(op, &fx);
        self.carry_out(fx);
        self.state.check();
        compare(&self.state, &self.model);
        let rested = std::mem::take(&mut self.model.rested);
        self.lazily = !rested && (self.lazily || op == Op::Acquire);
        upkeep_comes_in_time(&self.state, &self.model, self.lazily);
        if op == Op::Tick {
            upkeep_comes_with_a_reason(&self.state, &self.model);
        }
        let after = Whereabouts::of(&self.state);
        self.tally.count(op, &self.before, &after);
        self.before = after;
    }

    fn changes_are_announced(&mut self, op: Op, fx: &Effects<Numbered>) {
        let planned = self.state.planned_wake();
        if op == Op::Tick {
            let now = self.state.now();
            let soon = now < planned && planned <= now.after(TICK);
            assert!(
                soon,
                "a tick plans the next: at {planned:?}, and it is {now:?}"
            );
        } else {
            let earlier = planned < self.planned_before;
            assert_eq!(
                fx.kick, earlier,
                "upkeep is kicked when it must come earlier"
            );
            assert!(planned <= self.planned_before);
        }
        self.planned_before = planned;
        let slots = self.state.slots();
        let counts = [
            slots.occupied() - fx.dials.len(),
            slots.live(),
            slots.count(StageName::Closing),
        ];
        let new = (self.state.lifecycle(), counts);
        if new.0 != self.lifecycle_before.0 || self.established_differ(counts) {
            assert!(
                fx.changed,
                "{:?} became {new:?} without notice",
                self.lifecycle_before
            );
        }
        self.lifecycle_before = (
            self.state.lifecycle(),
            [slots.occupied(), counts[1], counts[2]],
        );
    }

    /// Besides dials that begin.
    fn established_differ(&self, counts: [usize; 3]) -> bool {
        counts != self.lifecycle_before.1
    }

    fn carry_out(&mut self, fx: Effects<Numbered>) {
        let told = std::mem::take(&mut self.model.told);
        let number = |key| self.state.slots().of(key).number;
        let dials: Vec<u64> = fx.dials.iter().map(number).collect();
        assert_eq!(dials, told.dials, "dials begun");
        let probes: Vec<u64> = fx.probes.iter().map(|(key, _)| number(key)).collect();
        assert_eq!(probes, told.probes, "probes begun");
        let evicted: Vec<_> = fx
            .evicted
            .iter()
            .map(|out| (out.number, out.reason))
            .collect();
        assert_eq!(sorted(evicted), sorted(told.evicted), "evicted");
        assert_eq!(sorted(fx.wakes.to_vec()), sorted(told.wakes), "woken");
        let leaks: Vec<_> = fx
            .leaks
            .iter()
            .map(|leak| (leak.number, leak.tag, leak.lent_for))
            .collect();
        assert_eq!(leaks, told.leaks, "leaks");
        assert_eq!(
            fx.causes_to_drop.to_vec(),
            told.replaced_causes,
            "causes given back"
        );
        for waker in fx.wakes.into_iter().chain(fx.wakers_to_drop) {
            let held = self.wakers.iter().position(|&other| other == waker);
            self.wakers
                .swap_remove(held.expect("a waker is called or given back once"));
        }
        let expected = self
            .model
            .callers
            .iter()
            .filter(|caller| caller.waker.is_some());
        assert_eq!(self.wakers.len(), expected.count(), "a waker is lost");
        self.dialling.extend(fx.dials.into_iter().zip(dials));
        for (key, connection) in fx.probes {
            let number = self.state.slots().of(&key).number;
            assert_eq!(connection, number);
            self.checking.push(Held {
                key,
                connection,
                number,
                arrival: None,
            });
        }
        for evicted in fx.evicted {
            assert_eq!(evicted.connection, evicted.number);
            assert_eq!(self.state.slots().of(&evicted.key).number, evicted.number);
            self.tally.count_eviction(evicted.reason);
            self.closing.push((evicted.key, evicted.number));
        }
    }

    /// A time as callers tell it: mostly exact, sometimes from the coarse clock, sometimes read
    /// before somebody else's.
    pub(super) fn moment(&self, draws: &mut Draws) -> Moment {
        match draws.below(8) {
            0 => self.state.now(),
            1 => Moment::at(
                self.now
                    .since_built()
                    .saturating_sub(std::time::Duration::from_millis(1)),
            ),
            _ => self.now,
        }
    }

    /// Closes or drains the pool, gives everything back, and looks at what is left.
    pub(in super::super) fn finish(mut self, by_draining: bool) {
        self.finishing = true;
        let mut draws = Draws::of(Step::default());
        self.take(
            if by_draining {
                Choice::Drain
            } else {
                Choice::Close
            },
            &mut draws,
        );
        for round in 0.. {
            assert!(round < 20_000, "it never ends");
            // Who has been answered comes at once: a grant that nobody picks up is lost to a pool
            // that drains.
            let answered = self.waiting.iter().position(|waiting| {
                let standing = &self.state.waiters().at(waiting.ticket.index()).standing;
                matches!(standing, Standing::Granted(_) | Standing::Refused(_))
            });
            let next = if !self.looking.is_empty() {
                Choice::FinishLook
            } else if !self.checking.is_empty() {
                Choice::FinishCheck
            } else if !self.lent.is_empty() {
                Choice::Release
            } else if !self.dialling.is_empty() {
                Choice::FinishDial
            } else if !self.closing.is_empty() {
                Choice::FinishClosing
            } else if answered.is_some() || (!self.waiting.is_empty() && round % 8 != 0) {
                Choice::Poll
            } else if !self.waiting.is_empty() {
                // Late enough for the next dial, or for the deadline.
                Choice::Upkeep
            } else {
                break;
            };
            if self.narrate {
                println!("{:?} finishing: {next:?}", self.now.since_built());
            }
            let step = Step::scrambled(round, answered);
            self.take(next, &mut Draws::of(step));
        }
        assert!(self.wakers.is_empty(), "a waker is lost");
        if self.state.lifecycle() == Lifecycle::Draining {
            self.close(Lifecycle::Closed);
        }
        nothing_is_left(&self.state);
    }
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}
