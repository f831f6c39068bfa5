//! Which upstream the next dial goes to, which ones are ejected and until when, and how many
//! connections each has. Pure: it is told the time and given its random numbers.
//!
//! ```text
//!            failure             `after` failures, and the floor allows it
//!   sound ───────────▶ in doubt ─────────────────────────────────────────▶ ejected
//!     ▲                   ▲  ▲                                                │
//!     └───────────────────┘  └────────────────────────────────────────────────┘
//!      a connection has served              a dial succeeds, mostly a probe
//! ```
//!
//! One that is *in doubt* is passed over for a pause, as long as another upstream has room, and is
//! then dialled once at a time. The pause doubles with each failure. A probe that fails ejects at
//! once, if the floor allows it.

use std::time::Duration;

use tokio::time::Instant;

use super::{settings::Ejection, snapshot::UpstreamTotals};

#[cfg(test)]
mod tests;

/// No pause lasts longer.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A dial, and then the connection that it has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// At which upstream.
    pub(super) at: usize,
    /// No other dial has this number, and later ones have greater ones.
    pub(super) number: u64,
    /// It is a probe: what it finds decides at once.
    pub(super) is_probe: bool,
}

/// Where a dial may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// There.
    Dial(Place),
    /// Nowhere before something has changed: those that may be dialled are full.
    Full,
    /// Nowhere: it has been everywhere.
    Exhausted,
}

/// When an upstream is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Now.
    Dial(Place),
    /// Then.
    At(Instant),
    /// Not before something has changed.
    NotNow,
}

/// One upstream.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    /// How many connections it may have.
    pub(super) max_size: u32,
    /// Dials under way.
    pub(super) connecting: u32,
    /// Connections that are open.
    pub(super) open: u32,
    /// Consecutive failures: since a connection last served that was dialled after them.
    pub(super) failures: u32,
    /// Passed over before this, and not probed.
    pub(super) spared_until: Option<Instant>,
    pub(super) ejected_since: Option<Instant>,
    /// When it is probed next though it isn't ejected.
    next_probe: Option<Instant>,
    /// What has happened since it was made.
    pub(super) totals: UpstreamTotals,
    /// Dials with smaller numbers had begun when the last failure was counted, so they say nothing
    /// new.
    news_from: u64,
}

impl Upstream {
    fn new(max_size: u32) -> Self {
        Upstream {
            max_size,
            connecting: 0,
            open: 0,
            failures: 0,
            spared_until: None,
            ejected_since: None,
            next_probe: None,
            totals: UpstreamTotals::default(),
            news_from: 0,
        }
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected_since.is_some()
    }

    fn connections(&self) -> u32 {
        self.connecting + self.open
    }

    fn has_room(&self) -> bool {
        self.connections() < self.max_size
    }

    fn is_spared(&self, now: Instant) -> bool {
        self.spared_until.is_some_and(|until| until > now)
    }

    fn is_passed_over(&self, now: Instant) -> bool {
        self.failures > 0 && (self.is_spared(now) || self.connecting > 0)
    }
}

/// All upstreams.
#[derive(Debug)]
pub(super) struct Machine {
    upstreams: Vec<Upstream>,
    ejection: Ejection,
    /// Of equals the first from here on is dialled.
    turn: usize,
    next_number: u64,
}

impl Machine {
    pub(super) fn new(max_sizes: impl IntoIterator<Item = u32>, ejection: Ejection) -> Self {
        Machine {
            upstreams: max_sizes.into_iter().map(Upstream::new).collect(),
            ejection,
            turn: 0,
            next_number: 0,
        }
    }

    pub(super) fn set_ejection(&mut self, ejection: Ejection) {
        self.ejection = ejection;
    }

    pub(super) fn ejection(&self) -> &Ejection {
        &self.ejection
    }

    pub(super) fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// Where a dial goes that has failed at those `tried`: to the upstream with the fewest
    /// connections. An ejected one is dialled only if all others have failed this dial.
    pub(super) fn choose(&mut self, tried: &[usize], now: Instant) -> Choice {
        let count = self.upstreams.len();
        let turn = self.turn;
        let untried = (0..count).filter(|at| !tried.contains(at));
        let Some(only_ejected) = untried
            .clone()
            .map(|at| self.upstreams[at].is_ejected())
            .reduce(|all, is_ejected| all && is_ejected)
        else {
            return Choice::Exhausted;
        };
        let best = untried
            .map(|at| (at, &self.upstreams[at]))
            .filter(|(_, upstream)| upstream.has_room() && (only_ejected || !upstream.is_ejected()))
            .min_by_key(|(at, upstream)| {
                let passed_over = upstream.is_passed_over(now);
                let spared_until = upstream.spared_until.filter(|_| passed_over);
                let in_turn = (at + count - turn) % count;
                (passed_over, spared_until, upstream.connections(), in_turn)
            })
            .map(|(at, _)| at);
        match best {
            Some(at) => {
                self.turn = (at + 1) % count;
                Choice::Dial(self.take(at))
            }
            None => Choice::Full,
        }
    }

    /// Whether this upstream is to be probed. One that is ejected is, when its pause is over; others
    /// at intervals, if they are to be.
    pub(super) fn probe(&mut self, at: usize, now: Instant) -> Probe {
        let count = u32::try_from(self.upstreams.len()).unwrap_or(u32::MAX);
        let upstream = &mut self.upstreams[at];
        let due = match (upstream.ejected_since, self.ejection.probe_interval) {
            (Some(_), _) if upstream.connecting > 0 => return Probe::NotNow,
            (Some(_), _) => upstream.spared_until,
            (None, None) => return Probe::NotNow,
            (None, Some(interval)) => {
                // The first ones are spread over an interval.
                let first = interval.min(YEAR) / count * (u32::try_from(at).unwrap_or(0) + 1);
                let next = *upstream.next_probe.get_or_insert(now + first);
                Some(next).max(upstream.spared_until)
            }
        };
        if !upstream.has_room() {
            return Probe::NotNow;
        }
        if let Some(due) = due.filter(|&due| due > now) {
            return Probe::At(due);
        }
        let interval = self.ejection.probe_interval;
        upstream.next_probe = interval.map(|interval| now + interval.clamp(SHORTEST, YEAR));
        let place = self.take(at);
        Probe::Dial(Place {
            is_probe: true,
            ..place
        })
    }

    fn take(&mut self, at: usize) -> Place {
        self.upstreams[at].connecting += 1;
        self.next_number += 1;
        Place {
            at,
            number: self.next_number,
            is_probe: false,
        }
    }

    /// A dial has opened its connection. Returns whether that brings its upstream back.
    pub(super) fn opened(&mut self, place: Place) -> bool {
        let upstream = &mut self.upstreams[place.at];
        upstream.connecting -= 1;
        upstream.open += 1;
        upstream.spared_until = None;
        upstream.totals.opened += u64::from(!place.is_probe);
        upstream.ejected_since.take().is_some()
    }

    /// A dial has failed, and what it had opened is closed. Returns whether that ejects its
    /// upstream.
    pub(super) fn failed(&mut self, place: Place, now: Instant, random: u64) -> bool {
        self.upstreams[place.at].connecting -= 1;
        self.lost(place, now, random)
    }

    /// A probe was given up, since nobody wants to know any more.
    pub(super) fn given_up(&mut self, place: Place) {
        self.upstreams[place.at].connecting -= 1;
    }

    /// A connection is closed.
    pub(super) fn closed(&mut self, place: Place) {
        self.upstreams[place.at].open -= 1;
    }

    /// A dial has failed, or its connection has died before it has served. Returns whether that
    /// ejects its upstream.
    pub(super) fn lost(&mut self, place: Place, now: Instant, random: u64) -> bool {
        let most = self.upstreams.len() - self.floor();
        let ejected = self.upstreams.iter().filter(|it| it.is_ejected()).count();
        let upstream = &mut self.upstreams[place.at];
        upstream.totals.failed += 1;
        // A probe always tells something new: a dial doesn't tell whether its upstream answers.
        if place.number < upstream.news_from && !place.is_probe {
            return false;
        }
        upstream.news_from = self.next_number + 1;
        upstream.failures = upstream.failures.saturating_add(1);
        if place.is_probe {
            upstream.failures = upstream.failures.max(self.ejection.after);
        }
        let pause = pause(&self.ejection, upstream.failures, random);
        upstream.spared_until = Some(now + pause);
        let ejects =
            !upstream.is_ejected() && upstream.failures >= self.ejection.after && ejected < most;
        if ejects {
            upstream.ejected_since = Some(now);
            upstream.totals.ejections += 1;
        }
        ejects
    }

    /// A connection's server answers that it can't serve now. As sure as a failed probe, but an old
    /// connection tells nothing new. Returns whether that ejects its upstream.
    pub(super) fn unfit(&mut self, place: Place, now: Instant, random: u64) -> bool {
        if place.number < self.upstreams[place.at].news_from {
            return false;
        }
        let sure = Place {
            is_probe: true,
            ..place
        };
        self.lost(sure, now, random)
    }

    /// A connection has served.
    pub(super) fn served(&mut self, place: Place) {
        let upstream = &mut self.upstreams[place.at];
        if place.number >= upstream.news_from {
            upstream.failures = 0;
        }
    }

    /// How many upstreams are never ejected.
    fn floor(&self) -> usize {
        let count = self.upstreams.len();
        let half = count.div_ceil(2);
        let floor = self.ejection.floor.map_or(half, |floor| floor as usize);
        floor.clamp(1, count)
    }
}

/// How long an upstream is spared after so many failures: between half and all of `pause`, doubled
/// for each failure after the first.
/// Probes follow each other no faster.
const SHORTEST: Duration = Duration::from_millis(1);

fn pause(ejection: &Ejection, failures: u32, random: u64) -> Duration {
    let doublings = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
    let longest = ejection
        .pause
        .saturating_mul(doublings)
        .min(ejection.max_pause)
        .min(YEAR);
    let part = u32::try_from(random >> 32).expect("half of the bits");
    let drawn = longest.mul_f64(0.5 + 0.5 * f64::from(part) / f64::from(u32::MAX));
    drawn.max(SHORTEST)
}
