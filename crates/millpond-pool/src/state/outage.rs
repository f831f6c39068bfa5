//! What failed dials mean: when the next one may start, and when callers are told the cause instead
//! of being kept waiting.
//!
//! ```text
//!              failed dial           a dial fails that began after the grace's end
//!   reachable ─────────────▶ failing ────────────────────────────────────────────▶ unavailable
//!       ▲                     │  ▲                                                   │
//!       └─────────────────────┘  └───────────────────────────────────────────────────┘
//!        a connection is proven                      a dial succeeds
//! ```
//!
//! While *failing*, one dial is made at a time, paced by the backoff: exponential, with full jitter
//! (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). While callers wait the
//! backoff has a lower cap. Where nothing listens it is lower still, for a refused dial costs
//! nobody anything.
//!
//! A successful dial alone doesn't end an outage, for a listener that accepts and hangs up makes
//! dials succeed too. A connection must be *proven*: by its first clean release, or by a tick spent
//! idle.
//!
//! A connection that dies with a request on it, before it is proven, may have died of the request:
//! one borrower that sends what kills its connection must not cut the others off. That paces dials
//! as any failure does, but nobody is refused for it.
//!
//! Several dials may tell of one event: four that are refused together, sixteen connections that
//! die together. Only the first of them doubles the wait. Dials that had begun before it was
//! counted say nothing new.
//!
//! The *grace* begins with the first failure that leaves nothing live. While it lasts callers wait,
//! and the endpoint is dialled at least every fifth of it: a dial that gives no answer for so long
//! doesn't keep another from starting beside it. After its end the endpoint is dialled once more
//! before anybody is told, so an endpoint that is back within the grace refuses nobody. A dial that
//! gives no answer for a fifth of the grace counts as failed there.
//!
//! What the log is told is decided here as well: the first failure, then sums at growing intervals,
//! then the end.

use std::time::Duration;

use super::{effects::OutageNews, moment::Moment, payload::DialCause, slots::ConnectionNumber};
use crate::settings::Backoff;

/// When the log is first told that an outage lasts; after that each time that it has lasted three
/// times as long.
const FIRST_SUM_AFTER: Duration = Duration::from_secs(10);

/// The last thing that went wrong with the endpoint.
#[derive(Clone, Debug)]
pub(crate) struct FailedDial<C> {
    pub(crate) cause: C,
    pub(crate) at: Moment,
}

/// A dial that came to nothing: it failed, or what it opened died before it was proven.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostDial {
    pub(super) number: ConnectionNumber,
    pub(super) began: Moment,
}

/// The endpoint as its failures show it.
#[derive(Debug)]
pub(crate) struct Outage<C> {
    backoff: Backoff,
    grace: Duration,
    /// Failed dials and early deaths since a connection was last proven; 0 while reachable.
    failures: u32,
    /// How often the wait has been doubled.
    doublings: u32,
    /// Dials with smaller numbers had begun when the wait was last doubled.
    next_news: ConnectionNumber,
    last: Option<FailedDial<C>>,
    /// No dial before this while failing and nobody waits.
    next_dial: Moment,
    /// No dial before this while failing and somebody waits.
    next_dial_if_asked: Moment,
    /// No dial before this while somebody waits and the grace lasts.
    next_dial_in_grace: Moment,
    /// Since when dials have been failing with no live connection: the grace counts from then.
    down_since: Option<Moment>,
    /// When the last dial succeeded, and what `down_since` was then: it holds again if that
    /// connection dies within the grace.
    interrupted: Option<(Moment, Moment)>,
    /// The grace is over, and those who waited have been told.
    unavailable: bool,
    /// When the first of `failures` was.
    failing_since: Moment,
    /// The next failure after this is told, with the sum of those before it.
    next_sum: Moment,
}

impl<C: DialCause> Outage<C> {
    pub(super) fn new(backoff: Backoff, grace: Duration) -> Self {
        Outage {
            backoff,
            grace,
            failures: 0,
            doublings: 0,
            next_news: 0,
            last: None,
            next_dial: Moment::default(),
            next_dial_if_asked: Moment::default(),
            next_dial_in_grace: Moment::default(),
            down_since: None,
            interrupted: None,
            unavailable: false,
            failing_since: Moment::default(),
            next_sum: Moment::default(),
        }
    }

    /// What is to be told of the failure that has just been counted.
    pub(super) fn news(&mut self, now: Moment) -> Option<OutageNews> {
        if self.failures == 1 {
            self.failing_since = now;
            self.next_sum = now.after(FIRST_SUM_AFTER);
            return Some(OutageNews::Began);
        }
        if now < self.next_sum {
            return None;
        }
        let since = now.since(self.failing_since);
        self.next_sum = now.after(2 * since);
        let failures = self.failures;
        Some(OutageNews::Lasts { since, failures })
    }

    /// Dials have failed, and no connection has been proven since.
    pub(crate) fn failing(&self) -> bool {
        self.failures > 0
    }

    /// Callers are told the last cause at once.
    pub(crate) fn unavailable(&self) -> bool {
        self.unavailable
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn last(&self) -> Option<&FailedDial<C>> {
        self.last.as_ref()
    }

    /// A dial failed, or a connection died before it was proven; the next dial will have the number
    /// `next`. Returns the cause that this one replaces, to be dropped after unlocking.
    pub(super) fn failed(
        &mut self,
        dial: LostDial,
        cause: C,
        next: ConnectionNumber,
        now: Moment,
        any_live: bool,
        random: u64,
    ) -> Option<C> {
        let refused = cause.refused();
        let earlier = self.count(dial.number, cause, refused, next, now, random);
        if !any_live {
            self.down_since.get_or_insert(now);
        }
        // Without a grace there is nothing to wait for.
        let is_told = |ends: Moment| dial.began >= ends || self.grace.is_zero();
        self.unavailable |= self.grace_ends().is_some_and(is_told);
        earlier
    }

    /// A connection died before it was proven, with a request on it. As [`Outage::failed`]; but one
    /// borrower alone can bring that about, so nobody is refused for it, and those who wait don't
    /// wait longer for the next dial than where nothing listens.
    pub(super) fn failed_in_exchange(
        &mut self,
        number: ConnectionNumber,
        cause: C,
        next: ConnectionNumber,
        now: Moment,
        random: u64,
    ) -> Option<C> {
        self.count(number, cause, true, next, now, random)
    }

    /// Counts a failure, and paces the next dials by it.
    fn count(
        &mut self,
        number: ConnectionNumber,
        cause: C,
        is_cheap: bool,
        next: ConnectionNumber,
        now: Moment,
        random: u64,
    ) -> Option<C> {
        if !self.failing() || number >= self.next_news {
            self.next_news = next;
            self.back_off(is_cheap, now, random);
        }
        self.failures = self.failures.saturating_add(1);
        let failure = FailedDial { cause, at: now };
        self.last.replace(failure).map(|earlier| earlier.cause)
    }

    /// Draws the next waits, from twice as much as the last time.
    fn back_off(&mut self, is_cheap: bool, now: Moment, random: u64) {
        let longest_if_asked = match is_cheap {
            true => self.backoff.max_while_waiting,
            false => self.backoff.max_when_reached,
        };
        let doubled = 1u32.checked_shl(self.doublings).unwrap_or(u32::MAX);
        self.doublings = self.doublings.saturating_add(1);
        let ceiling = self.backoff.base.saturating_mul(doubled);
        let wait = |longest: Duration| now.after(jittered(ceiling.min(longest), random));
        self.next_dial = wait(self.backoff.max);
        self.next_dial_if_asked = wait(longest_if_asked);
        // Drawn from the second half: with the same longest wait there are half as many dials,
        // which spares an endpoint that does answer.
        let half = self.last_part() / 2;
        self.next_dial_in_grace = now.after(half + jittered(half, random));
    }

    /// A fifth of the grace: it is dialled at least once in each, and a last dial is waited for as
    /// long.
    fn last_part(&self) -> Duration {
        self.grace / 5
    }

    /// A dial succeeded: callers may wait again, but trust comes with proof.
    pub(super) fn connected(&mut self, now: Moment) {
        if let Some(since) = self.down_since.take() {
            self.interrupted = Some((now, since));
        }
        self.unavailable = false;
    }

    /// The last connection has left, for whatever reason. One that lived no longer than the grace
    /// hasn't interrupted it.
    pub(super) fn last_one_left(&mut self, now: Moment) {
        let interrupted = self.interrupted.take();
        if let Some((_, since)) = interrupted.filter(|&(lit, _)| now.since(lit) <= self.grace) {
            self.down_since = Some(since);
        }
    }

    /// A connection has shown that the endpoint serves.
    pub(super) fn proven(&mut self, now: Moment) -> OutageNews {
        let lasted = now.since(self.failing_since);
        let failures = std::mem::take(&mut self.failures);
        self.doublings = 0;
        self.down_since = None;
        self.interrupted = None;
        self.unavailable = false;
        OutageNews::Ended { lasted, failures }
    }

    /// When the next dial may start: at once unless failing.
    pub(super) fn dial_from(&self, asked: bool) -> Moment {
        match (self.failing(), asked) {
            (false, _) => Moment::default(),
            (true, false) => self.next_dial,
            (true, true) => {
                let at_the_latest = self.next_dial.min(self.next_dial_if_asked);
                match self.grace_ends() {
                    Some(ends) => at_the_latest.min(self.next_dial_in_grace).min(ends),
                    None => at_the_latest,
                }
            }
        }
    }

    /// When the grace is over; `None` while something is live, or after it has been given up.
    fn grace_ends(&self) -> Option<Moment> {
        self.down_since
            .filter(|_| !self.unavailable)
            .map(|since| since.after(self.grace))
    }

    /// When a dial that began then, and hasn't ended, has been waited for long enough; `None`
    /// unless the grace runs.
    pub(super) fn unavailable_from(&self, began: Moment) -> Option<Moment> {
        self.grace_ends()
            .map(|ends| ends.max(began).after(self.last_part()))
    }

    /// When a dial that began then, and hasn't ended, stops keeping others from starting. `None`:
    /// as long as it lasts, for the one that is waited for at the end began after the grace's end.
    pub(super) fn given_up_from(&self, began: Moment) -> Option<Moment> {
        let ends = self.grace_ends().filter(|&ends| began < ends)?;
        Some(began.after(self.last_part()).min(ends))
    }

    /// The last dial has been waited for long enough, and nothing is live.
    pub(super) fn give_up(&mut self) {
        self.unavailable = true;
    }
}

/// Full jitter: anything from 1 ms, so that nothing spins, to `ceiling`.
fn jittered(ceiling: Duration, random: u64) -> Duration {
    let floor = Duration::from_millis(1);
    let span = u64::try_from(ceiling.saturating_sub(floor).as_nanos()).unwrap_or(u64::MAX);
    floor + Duration::from_nanos(scaled(span, random))
}

/// `random`, taken from all of `u64`, scaled down to 0..=`span`.
pub(super) fn scaled(span: u64, random: u64) -> u64 {
    let product = u128::from(random) * (u128::from(span) + 1);
    u64::try_from(product >> 64).expect("below span + 1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Eviction;

    #[derive(Debug)]
    struct Refused(bool);

    impl From<Eviction> for Refused {
        fn from(_: Eviction) -> Self {
            Refused(false)
        }
    }

    impl DialCause for Refused {
        fn refused(&self) -> bool {
            self.0
        }
    }

    #[test]
    fn full_jitter_covers_the_span_and_never_spins() {
        let ceiling = Duration::from_millis(50);
        assert_eq!(jittered(ceiling, 0), Duration::from_millis(1));
        assert_eq!(jittered(ceiling, u64::MAX), ceiling);
        assert_eq!(jittered(Duration::ZERO, u64::MAX), Duration::from_millis(1));
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum_and_is_lower_while_somebody_waits() {
        let backoff = Backoff::default();
        let mut outage = Outage::new(backoff, Duration::ZERO);
        let now = Moment::default();
        let dial = LostDial {
            number: 0,
            began: now,
        };
        let (mut waits, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            outage.failed(dial, Refused(true), 0, now, true, u64::MAX);
            waits.push(outage.dial_from(false).since(now));
            assert!(outage.dial_from(true).since(now) <= backoff.max_while_waiting);
            // The same failure again, but at something that listens.
            outage.doublings -= 1;
            outage.failed(dial, Refused(false), 0, now, true, u64::MAX);
            asked.push(outage.dial_from(true).since(now));
        }
        let expected = [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000];
        let expected = expected.map(Duration::from_millis);
        assert_eq!(waits[..9], expected);
        assert_eq!(waits[39], backoff.max);
        let expected = [50, 100, 200, 400, 800, 1500, 1500].map(Duration::from_millis);
        assert_eq!(asked[..7], expected);
    }
}
