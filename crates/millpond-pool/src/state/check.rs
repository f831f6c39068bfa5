//! The invariants, as assertions that a test calls after every transition.

use std::collections::HashSet;

use super::{Checking, Eviction, Lifecycle, Payload, Stage, StageName, Standing, State};

impl<P: Payload> State<P> {
    /// Panics when an invariant of the machine (listed at its top) doesn't hold.
    pub(crate) fn check(&self) {
        self.check_slots();
        self.check_waiters();
        self.check_promises();
    }

    /// 4 and 7: each slot is in the list of its stage, once; grants and waiters point at each
    /// other.
    fn check_slots(&self) {
        let mut seen = HashSet::new();
        for stage in StageName::ALL {
            let mut before = None;
            let mut length = 0;
            for at in self.slots.indices(stage) {
                assert!(
                    seen.insert(at),
                    "slot {at} is in two lists, or twice in one"
                );
                assert_eq!(
                    self.slots.at(at).stage.name(),
                    stage,
                    "slot {at} is in the wrong list"
                );
                assert_eq!(
                    self.slots.prev(at),
                    before,
                    "slot {at} is linked one way only"
                );
                before = Some(at);
                length += 1;
            }
            assert_eq!(self.slots.count(stage), length, "length of {stage:?}");
        }
        assert_eq!(seen.len(), self.slots.all().len(), "a slot is in no list");
        for stage in [StageName::Idle, StageName::Granted, StageName::Active] {
            let ages: Vec<_> = self.slots.in_stage(stage).map(|slot| slot.since).collect();
            assert!(ages.is_sorted(), "{stage:?} is sorted by age");
        }
        for at in self.slots.indices(StageName::Granted) {
            let Stage::Granted { to, .. } = self.slots.at(at).stage else {
                unreachable!()
            };
            assert!(
                matches!(self.waiters.at(to).standing, Standing::Granted(slot) if slot == at),
                "slot {at} is granted to a waiter that doesn't know"
            );
        }
    }

    fn check_waiters(&self) {
        let (queues, parked, vacant) = self.waiters.lists();
        let answered: Vec<u32> = (0..)
            .zip(self.waiters.all())
            .filter(|(_, waiter)| {
                matches!(waiter.standing, Standing::Granted(_) | Standing::Refused(_))
            })
            .map(|(at, _)| at)
            .collect();
        let mut seen = HashSet::new();
        for (level, queue) in queues.iter().enumerate() {
            let arrivals: Vec<_> = queue
                .iter()
                .map(|&at| self.waiters.at(at).arrival)
                .collect();
            assert!(arrivals.is_sorted(), "queue {level} is in order of arrival");
            for &at in queue {
                assert!(matches!(self.waiters.at(at).standing, Standing::Queued));
                assert_eq!(self.waiters.at(at).terms.priority.level(), level);
            }
        }
        for &at in &parked {
            let standing = &self.waiters.at(at).standing;
            assert!(matches!(standing, Standing::Parked | Standing::Called));
        }
        for &at in &answered {
            match self.waiters.at(at).standing {
                Standing::Refused(_) => {}
                Standing::Granted(slot) => assert!(
                    matches!(self.slots.at(slot).stage, Stage::Granted { to, .. } if to == at),
                    "waiter {at} was granted a slot that doesn't know"
                ),
                ref other => panic!("waiter {at} is {other:?} and answered"),
            }
        }
        for &at in &vacant {
            assert!(matches!(self.waiters.at(at).standing, Standing::Vacant));
        }
        for at in queues
            .into_iter()
            .flatten()
            .chain(parked)
            .chain(answered)
            .chain(vacant)
        {
            assert!(
                seen.insert(at),
                "waiter {at} is in two lists, or twice in one"
            );
        }
        assert_eq!(
            seen.len(),
            self.waiters.all().len(),
            "a waiter is in no list"
        );
        let earliest = self
            .waiters
            .all()
            .iter()
            .filter(|waiter| {
                let standing = &waiter.standing;
                matches!(
                    standing,
                    Standing::Queued | Standing::Parked | Standing::Called
                )
            })
            .map(|waiter| waiter.terms.deadline)
            .min();
        assert!(
            earliest.is_none_or(|earliest| self.waiters.earliest_deadline() <= earliest),
            "a waiter's deadline is earlier than the earliest"
        );
    }

    /// 1, 2, 3, 5, and the books.
    fn check_promises(&self) {
        let closed = matches!(self.lifecycle, Lifecycle::Closed | Lifecycle::RuntimeEnded);
        let idle = self.slots.count(StageName::Idle);
        let checking = self.slots.count(StageName::Checking);
        if !self.paused && !closed && !self.waiters.none_queued() && idle > 0 {
            let next = self.next_idle().expect("something is idle");
            let idle_for = self.now.since(self.slots.at(next).since);
            let mut checks = self.slots.in_stage(StageName::Checking);
            // Which one is next can change while one is being looked at; who waits is seen to when
            // the look ends.
            let looks = checks.any(|slot| matches!(slot.stage, Stage::Checking(Checking::Look)));
            assert!(
                (self.probe.is_due(|| idle_for) || looks) && self.waiters.queued() <= checking,
                "2: {} in line while {idle} idle and {checking} being checked",
                self.waiters.queued()
            );
        }
        assert!(
            self.slots.count(StageName::Connecting) <= self.settings.max_connecting as usize,
            "3: too many dials at once"
        );
        if closed {
            assert_eq!(idle, 0, "5: idle after close");
            assert_eq!(
                self.slots.count(StageName::Granted),
                0,
                "5: granted after close"
            );
            assert_eq!(self.waiters.waiting(), 0, "5: waiting after close");
        }
        if self.lifecycle == Lifecycle::Draining && self.waiters.none_queued() && idle > 0 {
            let called = self.waiters.waiting() > 0 && self.planned_wake <= self.answers_until;
            assert!(
                called,
                "idle after the last waiter of a drain, and nobody has been called"
            );
        }
        assert!(
            !self.outage.unavailable() || self.slots.live() == 0,
            "unavailable with a live connection"
        );
        let totals = &self.totals;
        let there = self.slots.live() + self.slots.count(StageName::Closing);
        assert_eq!(
            totals.opened,
            totals.closed + totals.detached + there as u64,
            "opened"
        );
        let dialling = self.slots.count(StageName::Connecting) as u64;
        let ended = totals.opened + totals.dials_failed + totals.dials_abandoned;
        assert_eq!(totals.dials, ended + dialling, "dials");
        let active = self.slots.count(StageName::Active) as u64;
        assert_eq!(
            totals.lent,
            totals.released + totals.detached + active,
            "lent"
        );
        let evicted: u64 = totals.evicted.iter().sum();
        let closing = self.slots.count(StageName::Closing) as u64;
        assert_eq!(evicted, totals.closed + closing, "evicted");
        let unfinished = totals.evicted(Eviction::UnfinishedExchange);
        assert!(totals.unreleased <= unfinished, "unreleased");
        assert_eq!(
            self.evictions.len() as u64,
            evicted.min(64),
            "remembered evictions"
        );
    }
}
