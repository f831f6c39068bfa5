//! Dials: which are wanted, from when on one may start, and what becomes of it.

use std::time::Duration;

use super::{Effects, Moment, Payload, SlotKey, StageName, State, outage::scaled};

impl<P: Payload> State<P> {
    /// A dial has ended.
    pub(crate) fn dial_finished(
        &mut self,
        key: SlotKey,
        outcome: Result<(P::Connection, P::Label), P::Cause>,
        now: Moment,
        random: u64,
        fx: &mut Effects<P>,
    ) {
        self.advance(now);
        let at = key.index();
        match outcome {
            Ok((connection, label)) => {
                self.totals.opened += 1;
                self.outage.connected(self.now);
                let expires = self.lifetime_end(random);
                self.next_expiry = self.next_expiry.min(expires);
                let slot = self.slots.at_mut(at);
                slot.opened = now;
                slot.expires = expires;
                slot.label = label;
                fx.changed = true;
                self.return_to_service(at, connection, fx);
            }
            Err(cause) => {
                self.totals.dials_failed += 1;
                self.vacate(at, fx);
                self.endpoint_failed(at, cause, random, fx);
            }
        }
        self.settle(fx);
    }

    /// A dial was dropped before it ended (its runtime is ending, or the pool closed): nobody's
    /// failure.
    pub(crate) fn dial_abandoned(&mut self, key: SlotKey, fx: &mut Effects<P>) {
        self.totals.dials_abandoned += 1;
        self.vacate(key.index(), fx);
        self.settle(fx);
    }

    /// Starts the dials that are wanted and allowed.
    #[inline]
    pub(super) fn start_dials(&mut self, fx: &mut Effects<P>) {
        let mut wanted = self.dials_wanted();
        while wanted > 0
            && self
                .dial_allowed_from()
                .is_some_and(|from| from <= self.now)
        {
            fx.dials
                .push(self.slots.begin_dial(self.now, self.generation));
            self.totals.dials += 1;
            wanted -= 1;
        }
    }

    /// For callers in line whom nothing under way will serve, and for `min_idle`.
    #[inline]
    fn dials_wanted(&self) -> usize {
        let under_way = match self.given_up_from() {
            Some(from) if from <= self.now => 0,
            _ => self.slots.count(StageName::Connecting),
        };
        self.connections_wanted().saturating_sub(under_way)
    }

    /// As [`State::dials_wanted`] if nothing were under way.
    #[inline]
    pub(super) fn connections_wanted(&self) -> usize {
        let being_checked = self.slots.count(StageName::Checking);
        self.waiters.queued().saturating_sub(being_checked) + self.shortfall()
    }

    /// When one more dial may start; `None` if time alone never allows it.
    #[inline]
    pub(super) fn dial_allowed_from(&self) -> Option<Moment> {
        let under_way = self.slots.count(StageName::Connecting);
        let at_limit = under_way >= self.settings.max_connecting as usize;
        if self.is_closed() || self.paused || at_limit || self.room() == 0 {
            return None;
        }
        let from = self.outage.dial_from(self.somebody_waits());
        if self.outage.failing() && under_way > 0 {
            return self.given_up_from().map(|given_up| given_up.max(from));
        }
        Some(from)
    }

    /// When the dials under way stop being counted on, though one of them may still succeed:
    /// somebody waits, and within the grace of an outage the latest dial has given no answer for
    /// too long. `None`: they are counted on.
    #[inline]
    fn given_up_from(&self) -> Option<Moment> {
        if !self.outage.failing() || !self.somebody_waits() {
            return None;
        }
        let latest = self.slots.back(StageName::Connecting)?;
        self.outage.given_up_from(self.slots.at(latest).dialled)
    }

    /// When the endpoint counts as unavailable although a dial is under way; `None` if time alone
    /// doesn't bring that about.
    #[inline]
    pub(super) fn unavailable_from(&self) -> Option<Moment> {
        let latest = self.slots.back(StageName::Connecting)?;
        self.outage.unavailable_from(self.slots.at(latest).dialled)
    }

    /// When a connection opened now has lived long enough: up to a tenth of `max_lifetime` earlier
    /// or later, so that connections opened together aren't replaced together.
    fn lifetime_end(&self, random: u64) -> Moment {
        let Some(lifetime) = self.settings.max_lifetime else {
            return Moment::NEVER;
        };
        let spread = u64::try_from((lifetime / 5).as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(scaled(spread, random));
        self.now.after(lifetime - lifetime / 10).after(jitter)
    }
}
