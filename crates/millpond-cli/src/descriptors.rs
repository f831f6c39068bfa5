//! How many sockets this process may open, and how many programs it may have beside them.

use std::fmt;

use millpond::kernel::descriptor_limits;

use crate::numbers::thousands;

/// Descriptors for everything else: runtimes, pipes, the terminal, netlink.
const OTHERS: u64 = 64;

/// Descriptors for each handler program: three pipes, and one that tells of its end.
pub(crate) const PER_PROGRAM: u64 = 4;

/// Descriptors for this many programs.
pub(crate) fn for_programs(programs: usize) -> u64 {
    PER_PROGRAM.saturating_mul(programs as u64)
}

/// More descriptors are needed than this process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) needed: u64,
    pub(crate) limit: u64,
}

impl Shortage {
    /// Whether this many sockets are too many. `None` as well where the limit can't be read: then
    /// opening them will show it.
    pub(crate) fn of(sockets: u64) -> Option<Shortage> {
        Shortage::within(limit()?, sockets)
    }

    fn within(limit: u64, sockets: u64) -> Option<Shortage> {
        let needed = sockets.saturating_add(OTHERS);
        (needed > limit).then_some(Shortage { needed, limit })
    }
}

/// What to do about it.
impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { needed, limit } = *self;
        write!(
            f,
            "this process may open {}; raise that with `ulimit -n {needed}`",
            thousands(limit)
        )
    }
}

/// How many sockets this process may open, if that is known.
pub(crate) fn room() -> Option<u64> {
    limit().map(|limit| limit.saturating_sub(OTHERS))
}

fn limit() -> Option<u64> {
    descriptor_limits().ok().map(|limits| limits.soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_is_open_counts() {
        assert_eq!(Shortage::within(1_024, 960), None);
        let shortage = Shortage::within(1_024, 961).expect("one too many");
        assert_eq!(
            shortage.to_string(),
            "this process may open 1,024; raise that with `ulimit -n 1025`"
        );
        assert_eq!(Shortage::within(u64::MAX, u64::MAX), None, "no limit");
    }
}
