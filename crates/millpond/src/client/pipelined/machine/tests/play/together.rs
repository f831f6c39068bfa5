//! Callers whose requests come together.

use super::{Caller, Edge, Play, Reply};

impl Play<'_> {
    /// A flow brings several requests. Those that aren't begun never came.
    pub(super) fn begin_together(&mut self) {
        // None is begun before the peer is known to read frames: that needs no more than a few tries.
        let is_in_vain = !self.model.proven && self.rng.u8(..8) > 0;
        if self.flows.is_empty() || is_in_vain {
            return;
        }
        let (flow, name) = self.flows[self.rng.usize(..self.flows.len())];
        let members: Vec<(Caller, usize)> = (0..self.rng.u32(1..=4))
            .map(|index| {
                let length = match self.rng.u32(0..24) {
                    0 => self.rng.usize(50..=150),
                    _ => self.rng.usize(1..=12),
                };
                (self.next_caller + index, length)
            })
            .collect();
        let deadline = self.now + self.rng.u64(0..self.patience);
        let was_on = self.model.bound(name);
        let fate = (self.model).begin_together(&members, name, (self.now, deadline));
        let frames: Vec<u8> = members
            .iter()
            .flat_map(|&(caller, length)| vec![caller as u8; length])
            .collect();
        let is_looked_at = self.is_looked_at;
        let begun = self.state.begin_together(
            &frames,
            members.iter().map(|(_, length)| *length),
            self.at(deadline),
            flow,
            |index| {
                let (caller, _) = members[index];
                (Reply(caller), is_looked_at.then_some((caller, false)))
            },
        );
        assert_eq!(begun.count, fate.count, "how many are begun");
        assert_eq!(begun.leases, fate.leases, "leases");
        let woken = begun.wake.map(|waker| self.wake(&waker));
        assert_eq!(woken, fate.on.filter(|_| fate.wake), "who is woken");
        self.next_caller += fate.count as Caller;
        let edge = match fate.count {
            0 => Edge::NotBegunTogether,
            count if count < members.len() => Edge::BegunInPart,
            1 => Edge::BegunAsOne,
            _ => Edge::BegunTogether,
        };
        self.tally.count(edge);
        let is_bound = was_on.is_some() && fate.count > 1;
        (self.tally).count_if(is_bound, Edge::BegunTogetherWhereTheirFlowIs);
    }
}
