//! Many events of one kind, told of in few log lines: the first at once, those after it as sums, at
//! intervals that grow while they go on. Pure: it is told the time.
//!
//! The sums add up: each event is either told at once or counted by exactly one sum.

use std::time::Duration;

use tokio::time::Instant;

/// After how long the events behind the first are summed up: soon, for there may be only some.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// How many times as long each interval is as the one before it.
const GROWTH: u32 = 3;

/// Up to this: whoever looks at the log sees that it still goes on.
const LONGEST_INTERVAL: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Storm {
    /// The interval that lasts; none, while all is quiet.
    interval: Option<Interval>,
    /// How many have happened in it. Zero while all is quiet.
    untold: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    since: Instant,
    length: Duration,
}

impl Interval {
    fn end(self) -> Instant {
        self.since + self.length
    }
}

/// Events that are told of together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub events: u64,
    /// In which time.
    pub within: Duration,
}

impl Storm {
    /// One more has happened. Answers whether it is told at once; otherwise the next sum counts it.
    pub fn happened(&mut self, now: Instant) -> bool {
        let was_quiet = self.interval.is_none();
        match was_quiet {
            true => {
                let length = FIRST_INTERVAL;
                self.interval = Some(Interval { since: now, length });
            }
            false => self.untold += 1,
        }
        was_quiet
    }

    /// When [`Storm::sum_up`] has to be asked next.
    pub fn due(&self) -> Option<Instant> {
        self.interval.map(Interval::end)
    }

    /// The sum of an interval that is over. One without events ends the storm, and so does one that
    /// has been over for longer than it lasted: whoever asks so late, for lack of a reason to,
    /// would keep the next event from being told at once.
    pub fn sum_up(&mut self, now: Instant) -> Option<Sum> {
        let over = self.interval.filter(|interval| interval.end() <= now)?;
        let goes_on = now - over.end() <= over.length;
        let sum = self.rest(now);
        let length = (over.length * GROWTH).min(LONGEST_INTERVAL);
        self.interval = sum
            .filter(|_| goes_on)
            .map(|_| Interval { since: now, length });
        sum
    }

    /// What hasn't been told so far, for there will be no later sum.
    pub fn rest(&mut self, now: Instant) -> Option<Sum> {
        let events = std::mem::take(&mut self.untold);
        let within = now - self.interval?.since;
        (events > 0).then_some(Sum { events, within })
    }
}

#[cfg(test)]
mod tests;
