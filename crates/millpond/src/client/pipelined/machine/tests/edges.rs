//! What the sequences have reached: a property test that never gets somewhere proves nothing about
//! it.

use std::collections::HashMap;

/// What can happen, and must often enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Edge {
    BegunToWrite,
    BegunForTheDriver,
    BegunBehindAnother,
    Hurried,
    Waits,
    WaitsForALease,
    RefusedFull,
    RefusedFullOfBytes,
    WaitsThoughTooLong,
    RefusedOtherwise,
    GaveUp,
    GaveUpTooLate,
    Started,
    LeaseFailed,
    LeaseFailedForAll,
    Served,
    ServedTogether,
    ServedBeforeAnEarlierOne,
    LeftOutLate,
    Shed,
    FullOfExchanges,
    FullOfBytes,
    LongAndAlone,
    Expected,
    Early,
    UnaskedOfNobody,
    UnaskedOfTheUnwritten,
    Held,
    Proven,
    RepliesToNobody,
    SilentlyAnswered,
    Expired,
    HeadExpired,
    HeldExpired,
    WrittenByCaller,
    ShortByCaller,
    LeftToDriver,
    NothingLeftForCaller,
    WrittenByDriver,
    Beat,
    BeatWasNotNeeded,
    Quiet,
    WantedBack,
    NotQuiet,
    LeasedImpatiently,
    EndedUnsent,
    EndedUnanswered,
    EndedAnswered,
    EndedInTrial,
    EndedInTrialAfterOne,
    EndedAndLeased,
    ReconsideredAndRefused,
    ReconsideredAndLeased,
    Recalled,
    Retired,
    RetiredAndRecalledBefore,
    RetiredStaysSo,
    RetiredEnded,
    Shrunk,
    AskedOfTheGone,
    Overtaken,
    NotOvertaken,
    BegunWhereItsFlowIs,
    WaitsForItsFlow,
    ServedWhereItsFlowIs,
    GaveUpInItsFlow,
    FlowClosed,
    ReleasedByAnEnd,
    ReleasedByARecall,
    LeasedToSpread,
    BegunOnTheLeastLoaded,
    NotBegunTogether,
    BegunInPart,
    BegunAsOne,
    BegunTogether,
    BegunTogetherWhereTheirFlowIs,
}

impl Edge {
    const LAST: Edge = Edge::BegunTogetherWhereTheirFlowIs;
}

/// How often each was reached.
#[derive(Debug, Default)]
pub(super) struct Tally {
    seen: HashMap<Edge, u64>,
    pub(super) transitions: u64,
}

impl Tally {
    pub(super) fn count(&mut self, edge: Edge) {
        *self.seen.entry(edge).or_default() += 1;
    }

    pub(super) fn count_if(&mut self, reached: bool, edge: Edge) {
        if reached {
            self.count(edge);
        }
    }

    /// How many there are, and those that were reached too seldom.
    pub(super) fn seldom(&self, least: u64) -> (usize, Vec<(Edge, u64)>) {
        let mut seldom: Vec<_> = self
            .seen
            .iter()
            .map(|(edge, seen)| (*edge, *seen))
            .filter(|(_, seen)| *seen < least)
            .collect();
        seldom.sort_by_key(|(_, seen)| *seen);
        (self.seen.len(), seldom)
    }

    /// How many edges there are in all.
    pub(super) fn all() -> usize {
        Edge::LAST as usize + 1
    }
}
