//! From random numbers to settings and steps.

use std::time::Duration;

use super::{Eviction, Lease, OutagePolicy, PoolSettings};
use crate::{
    settings::{Backoff, Order, Probe},
    shedding::Shedding,
};

/// What the driver can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// What steps shrink to.
    Nothing,
    Acquire,
    Wait,
    Poll,
    Cancel,
    Release,
    ReleaseToReset,
    Discard,
    Reject,
    Detach,
    FinishDial,
    AbandonDial,
    FinishCheck,
    FinishClosing,
    LookAtUnwatched,
    LookAt,
    FinishLook,
    Tick,
    Upkeep,
    /// Some milliseconds in which upkeep comes again and again, for what happens before those who
    /// were called have all answered.
    Rush,
    Pause,
    Resume,
    Resize,
    Retire,
    RetireOne,
    Drain,
    Close,
    EndRuntime,
}

/// How often each is chosen where it is possible.
const WEIGHTS: [(Choice, u32); 28] = [
    (Choice::Nothing, 1),
    (Choice::Acquire, 160),
    (Choice::Wait, 40),
    (Choice::Poll, 150),
    (Choice::Cancel, 30),
    (Choice::Release, 80),
    (Choice::ReleaseToReset, 45),
    (Choice::Discard, 30),
    (Choice::Reject, 20),
    (Choice::Detach, 8),
    (Choice::FinishDial, 180),
    (Choice::AbandonDial, 8),
    (Choice::FinishCheck, 80),
    (Choice::FinishClosing, 120),
    (Choice::LookAtUnwatched, 20),
    (Choice::LookAt, 40),
    (Choice::FinishLook, 80),
    (Choice::Tick, 50),
    (Choice::Upkeep, 70),
    (Choice::Rush, 12),
    (Choice::Pause, 8),
    (Choice::Resume, 40),
    (Choice::Resize, 20),
    (Choice::Retire, 10),
    (Choice::RetireOne, 6),
    (Choice::Drain, 2),
    (Choice::Close, 1),
    (Choice::EndRuntime, 1),
];

/// How much time passes before a step, in microseconds.
const PASSES: [u64; 24] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1_000, 3_000, 5_000, 5_000, 6_000, 20_000, 40_000, 100_000,
    100_000, 150_000, 250_000, 1_100_000, 6_000_000,
];

/// One step: what is chosen, which one it concerns, how much time passes before, and chance for the
/// rest.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Step(pub(in super::super) (u16, u8, u8, u64));

impl Step {
    /// Steps for the end of a sequence, always the same.
    pub(super) fn scrambled(round: u64, which: Option<usize>) -> Step {
        let which = which.map_or(round as u8, |index| index as u8);
        Step((0, which, 0, round.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

/// A step's numbers, used up one after the other.
pub(super) struct Draws {
    step: Step,
    left: u64,
}

impl Draws {
    pub(super) fn of(step: Step) -> Draws {
        Draws {
            step,
            left: step.0.3,
        }
    }

    /// As many numbers again, others in each round.
    pub(super) fn anew(&self, round: u8) -> Draws {
        let Step((choice, which, pass, chance)) = self.step;
        let other = (chance ^ u64::from(round)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Draws::of(Step((
            choice,
            which.wrapping_add(round),
            pass,
            other.rotate_right(32),
        )))
    }

    pub(super) fn pass(&self) -> Duration {
        Duration::from_micros(PASSES[usize::from(self.step.0.2) % PASSES.len()])
    }

    pub(super) fn choose(&self, possible: impl Fn(Choice) -> bool) -> Choice {
        let possible = WEIGHTS.iter().filter(|&&(choice, _)| possible(choice));
        let total: u32 = possible.clone().map(|&(_, weight)| weight).sum();
        let mut left = u32::from(self.step.0.0) % total;
        for &(choice, weight) in possible {
            if left < weight {
                return choice;
            }
            left -= weight;
        }
        unreachable!("less than the total")
    }

    /// Which of `length`.
    pub(super) fn index(&self, length: usize) -> usize {
        usize::from(self.step.0.1) % length
    }

    /// All of the step's chance, for what is spread by it.
    pub(super) fn random(&self) -> u64 {
        self.step.0.3
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let drawn = self.left % bound;
        self.left /= bound;
        drawn
    }

    pub(super) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == bound - 1
    }

    pub(super) fn lease(&mut self) -> Lease {
        if self.one_in(4) {
            Lease::Shared
        } else {
            Lease::Exclusive
        }
    }

    pub(super) fn outage_policy(&mut self) -> OutagePolicy {
        if self.one_in(4) {
            OutagePolicy::Wait
        } else {
            OutagePolicy::FailFast
        }
    }

    /// How long a caller waits.
    pub(super) fn patience(&mut self) -> Option<Duration> {
        [None, Some(0), Some(20), Some(120), Some(1_000), Some(5_000)][self.below(6) as usize]
            .map(Duration::from_millis)
    }

    pub(super) fn reason(&mut self) -> Eviction {
        Eviction::ALL[self.below(Eviction::ALL.len() as u64) as usize]
    }
}

/// A random configuration, one byte for each setting.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct RandomSettings(pub(in super::super) [u8; 17]);

impl RandomSettings {
    pub(super) fn drawn(&self) -> PoolSettings {
        let millis = Duration::from_millis;
        let max_size = self.pick(0, [1, 2, 3, 4, 6]);
        PoolSettings {
            max_size,
            min_idle: self.pick(1, [0, 0, 1, 2, 4]).min(max_size),
            max_waiting: self.pick(2, [1_000, 0, 1, 2, 4]),
            max_connecting: self.pick(3, [4, 1, 2]),
            idle_timeout: self.pick(4, [None, Some(millis(150)), Some(millis(1_000))]),
            max_lifetime: self.pick(5, [None, Some(millis(300)), Some(millis(3_000))]),
            leak_threshold: self.pick(6, [None, Some(millis(200)), Some(millis(2_000))]),
            outage_grace: millis(self.pick(7, [1_000, 0, 0, 30])),
            backoff: Backoff {
                base: millis(self.pick(8, [50, 10])),
                max: millis(self.pick(9, [5_000, 200])),
                max_while_waiting: millis(self.pick(10, [200, 20])),
                max_when_reached: millis(self.pick(15, [100, 1_500, 20])),
            },
            order: self.pick(11, [Order::Lifo, Order::Fifo]),
            probe: Some(self.pick(
                12,
                [Probe::Never, Probe::Always, Probe::WhenIdleFor(millis(50))],
            )),
            shed_waiting: self
                .pick(16, [None, None, None, Some((5, 20)), Some((1, 1))])
                .map(|(target, interval)| Shedding {
                    target: millis(target),
                    interval: millis(interval),
                }),
            ..PoolSettings::default()
        }
    }

    pub(super) fn failing_percent(&self) -> u64 {
        self.pick(13, [0, 10, 40, 85])
    }

    pub(in super::super) fn ends_by_draining(&self) -> bool {
        self.pick(14, [false, true])
    }

    fn pick<T: Copy, const N: usize>(&self, setting: usize, from: [T; N]) -> T {
        from[usize::from(self.0[setting]) % N]
    }
}
