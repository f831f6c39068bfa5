//! When callers that wait are refused: once all have waited for too long, for too long. Pure: how
//! long one has waited, and the time, are passed in.

use std::{ops::Sub, time::Duration};

/// When a caller that has waited for its turn is refused instead of being served
/// ([`PoolBuilder::shed_waiting`](crate::PoolBuilder::shed_waiting)).
///
/// Fields may be added in a minor release: end a literal with `..Shedding::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
pub struct Shedding {
    /// How long callers may wait while more come than are served. 50 ms: people don't notice it, and
    /// it is longer than most exchanges. Set it above the time of an exchange: less than that
    /// can't be had.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "target_seconds", with = "millpond_words::seconds")
    )]
    pub target: Duration,
    /// For how long all callers must have waited longer than the target before any is refused.
    /// 100 ms: a burst that is over within that is served as a whole.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "interval_seconds", with = "millpond_words::seconds")
    )]
    pub interval: Duration,
}

impl Default for Shedding {
    fn default() -> Self {
        Shedding {
            target: Duration::from_millis(50),
            interval: Duration::from_millis(100),
        }
    }
}

/// One line of callers, as CoDel sees it ("controlled delay"): it judges each at the moment when
/// its turn has come, by how long it has waited.
///
/// A line is known to stand as in RFC 8289: when all who came up within an interval had waited
/// longer than the target. From then on it differs. The RFC drops one packet now and then, more and
/// more often, until senders slow down. Callers don't: here everybody is refused who has waited
/// longer than the target, until the line has been empty, as in "Fail at Scale" (B. Maurer, ACM
/// Queue 13(8), 2015). Whoever is last in line is served, as the RFC never drops the last packet:
/// refusing it would leave a connection idle.
///
/// ```text
///              somebody late                 late for an interval
///   passing ───────────────────▶ late ─────────────────────────────▶ standing
///      ▲     ◀───────────────────                                        │
///      │      somebody in time                                           │
///      └──────────────────────────── the line was empty ◀────────────────┘
/// ```
///
/// `T` is the caller's time.
#[derive(Clone, Copy, Debug)]
pub struct Codel<T> {
    terms: Shedding,
    line: Line<T>,
}

#[derive(Clone, Copy, Debug)]
enum Line<T> {
    /// The last who came up was in time, or nobody has come up.
    Passing,
    /// All who came up since then were late.
    Late { since: T },
    /// All were, for an interval.
    Standing,
}

impl<T: Copy + Sub<Output = Duration>> Codel<T> {
    /// For a line in which nobody is.
    pub fn new(terms: Shedding) -> Self {
        Codel {
            terms,
            line: Line::Passing,
        }
    }

    /// Somebody gets in an empty line.
    pub fn line_begins(&mut self) {
        self.line = Line::Passing;
    }

    /// The first in line has come up, after `waited`; `is_last`: nobody is behind. Whether it is
    /// refused.
    pub fn refuses(&mut self, waited: Duration, now: T, is_last: bool) -> bool {
        let is_late = waited > self.terms.target;
        self.line = match self.line {
            Line::Standing => Line::Standing,
            _ if !is_late => Line::Passing,
            Line::Passing => Line::Late { since: now },
            Line::Late { since } if now - since >= self.terms.interval => Line::Standing,
            late => late,
        };
        is_late && !is_last && matches!(self.line, Line::Standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Somebody came up.
    #[derive(Clone, Copy)]
    struct Turn {
        now: Duration,
        waited: Duration,
        is_last: bool,
    }

    /// What is refused, said slowly: looks back at every turn since the line was last empty, each
    /// time.
    fn refused(terms: Shedding, since_empty: &[Turn]) -> bool {
        let is_late = |turn: &&Turn| turn.waited > terms.target;
        let stood = (0..since_empty.len()).any(|first| {
            let since = &since_empty[first..];
            let mut late = since.iter().take_while(is_late);
            late.any(|turn| turn.now - since[0].now >= terms.interval)
        });
        let turn = since_empty.last().expect("somebody came up");
        stood && is_late(&turn) && !turn.is_last
    }

    #[test]
    fn it_decides_as_the_slow_reference() {
        let (mut refusals, mut spared) = (0, 0);
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let terms = Shedding {
                target: MS * random.u32(1..60),
                interval: MS * random.u32(1..200),
            };
            let mut codel = Codel::new(terms);
            let (mut now, mut turns) = (Duration::ZERO, Vec::new());
            // How often somebody is late, of 64.
            let late = [8, 32, 56, 63, 64][random.usize(0..5)];
            for step in 0..200 {
                now += MS * random.u32(0..20);
                if random.u8(0..50) == 0 {
                    codel.line_begins();
                    turns.clear();
                }
                let beyond = MS * random.u32(0..3) * u32::from(random.u8(0..64) < late);
                turns.push(Turn {
                    now,
                    waited: terms.target + beyond,
                    is_last: random.u8(0..20) == 0,
                });
                let turn = turns[turns.len() - 1];
                let expected = refused(terms, &turns);
                assert_eq!(
                    codel.refuses(turn.waited, now, turn.is_last),
                    expected,
                    "seed {seed}, step {step}"
                );
                refusals += usize::from(expected);
                spared += usize::from(turn.waited > terms.target && !expected);
            }
        }
        assert!(
            refusals > 5_000 && spared > 5_000,
            "{refusals}, {spared}: too little happens"
        );
    }

    #[test]
    fn a_burst_that_is_over_within_an_interval_is_served_as_a_whole() {
        let mut codel = Codel::new(Shedding::default());
        codel.line_begins();
        for served in 1..=150 {
            assert!(!codel.refuses(MS * served, MS * served, served == 150));
        }
    }
}
