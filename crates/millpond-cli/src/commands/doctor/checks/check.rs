//! What a check is, and what the checks have in common.

use crate::commands::doctor::{
    facts::Facts,
    files::Reading,
    finding::{Finding, Mark, ONLY_ON_LINUX},
};

/// One check.
pub(in super::super) struct Check {
    /// Its name on the command line.
    pub(in super::super) name: &'static str,
    /// In a few words, for the list.
    pub(in super::super) about: &'static str,
    /// Why its finding matters.
    pub(in super::super) why: &'static str,
    pub(in super::super) systems: Systems,
    /// Counters of events. If they grow between the two looks, there is a problem now, not only in
    /// the past.
    pub(super) watches: &'static [&'static str],
    pub(super) examine: fn(&Check, &Facts) -> Reading<Finding>,
}

/// The systems on which a check exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Systems {
    All,
    Linux,
}

impl Systems {
    /// The system that this runs on.
    pub(in super::super) const HERE: Systems = match cfg!(target_os = "linux") {
        true => Systems::Linux,
        false => Systems::All,
    };
}

impl Check {
    pub(super) fn examined(&self, facts: &Facts, system: Systems) -> Finding {
        if self.systems == Systems::Linux && system != Systems::Linux {
            return self.finding(Mark::Unknown, ONLY_ON_LINUX);
        }
        (self.examine)(self, facts).unwrap_or_else(|unread| {
            self.finding(Mark::Unknown, format!("Not known: {unread}."))
                .figure("unread", unread.to_string())
        })
    }

    pub(super) fn finding(&self, mark: Mark, found: impl Into<String>) -> Finding {
        Finding::new(self.name, mark, found, self.why)
    }
}

/// A share in percent, rounded down: it is 100 only if nothing is left. A whole of zero is full.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(whole.max(1));
    match whole {
        0 => 100,
        _ => u64::try_from(share).unwrap_or(u64::MAX),
    }
}

/// The mark of something that is being used up, by its share in percent.
pub(super) fn by_share(percent: u64, warning: u64, bad: u64) -> Mark {
    match percent {
        share if share >= bad => Mark::Bad,
        share if share >= warning => Mark::Warning,
        _ => Mark::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_up_to_all() {
        assert_eq!(percent(999, 1_000), 99);
        assert_eq!(percent(1_000, 1_000), 100);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX, 1), u64::MAX);
        assert_eq!(
            [49, 50, 79, 80].map(|share| by_share(share, 50, 80)),
            [Mark::Good, Mark::Warning, Mark::Warning, Mark::Bad]
        );
    }
}
