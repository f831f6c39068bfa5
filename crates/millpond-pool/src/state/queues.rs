//! The lines that waiters stand in: one for each priority.

use super::list::{Linked, List};
use crate::settings::Priority;

/// The order in which waiters of one priority are served. A policy of its own, so that shedding
/// under overload (the newest first) can be added beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServingOrder {
    Arrival,
}

/// One queue per priority, the most urgent first.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) lists: [List; Priority::LEVELS],
    /// Bit n is set while list n isn't empty. [`Queues::insert`] and [`Queues::remove`] alone
    /// change either.
    busy: u8,
}

impl Queues {
    pub(super) const EMPTY: Queues = Queues {
        lists: [List::EMPTY; Priority::LEVELS],
        busy: 0,
    };

    #[inline]
    pub(super) fn insert<N: Linked>(
        &mut self,
        nodes: &mut [N],
        level: usize,
        at: u32,
        next: Option<u32>,
    ) {
        self.lists[level].insert(nodes, at, next);
        self.busy |= 1 << level;
    }

    #[inline]
    pub(super) fn remove<N: Linked>(&mut self, nodes: &mut [N], level: usize, at: u32) {
        self.lists[level].remove(nodes, at);
        self.busy &= !(u8::from(self.lists[level].is_empty()) << level);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.busy == 0
    }

    /// The first of the most urgent.
    #[inline]
    pub(super) fn first(&self) -> Option<u32> {
        self.lists.get(self.busy.trailing_zeros() as usize)?.front()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        let mut busy = self.busy;
        let mut len = 0;
        while busy != 0 {
            len += self.lists[busy.trailing_zeros() as usize].len();
            busy &= busy - 1;
        }
        len
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        for (level, list) in self.lists.iter().enumerate() {
            let busy = self.busy & (1 << level) != 0;
            assert_eq!(busy, !list.is_empty(), "whether queue {level} is busy");
        }
    }
}
