//! Which addresses a name stands for, as its lookups have said one after the other, and which of them failed lately. Pure: it looks nothing
//! up and asks no clock.

use std::{net::SocketAddr, time::Duration};

use tokio::time::Instant;

/// How many lookups in a row must lack an address before it counts as gone. A name server that gives each answer only a part of the
/// addresses would otherwise have connections retired all the time.
const LOOKUPS_TO_BE_GONE: u8 = 2;

/// How old an answer must be at least before it is doubted: dials that fail quickly must not become a load for the name servers.
const WORTH_ASKING_AGAIN: Duration = Duration::from_secs(1);

/// For how long an address that failed is tried after the others.
const DOUBT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Known {
    address: SocketAddr,
    /// Lookups in a row that lacked it: 0 for those of the last answer.
    missed: u8,
    failed_at: Option<Instant>,
}

/// The addresses of one name.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Those of the last answer in its order, then those that it lacked.
    known: Vec<Known>,
    looked_up_at: Option<Instant>,
    /// A dial has failed since the last lookup.
    doubtful: bool,
}

/// What a lookup brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// An address has gone: connections to it aren't current any more.
    SomeWent,
}

impl Names {
    /// Whether to look up before the next dial: when the last answer is `refresh` old, or a second old and a dial has failed.
    pub(super) fn is_due(&self, now: Instant, refresh: Duration) -> bool {
        let good_for = match self.doubtful {
            true => refresh.min(WORTH_ASKING_AGAIN),
            false => refresh,
        };
        self.due_at(good_for).is_none_or(|due| due <= now)
    }

    /// Whether anybody has asked since then, answered or not.
    pub(super) fn was_looked_up_since(&self, instant: Instant) -> bool {
        self.looked_up_at.is_some_and(|at| at > instant)
    }

    /// When the next lookup is due for the answer's age; `None`: now.
    pub(super) fn due_at(&self, refresh: Duration) -> Option<Instant> {
        self.looked_up_at?.checked_add(refresh)
    }

    /// A lookup has been answered. One without any address changes nothing: a name service in trouble must not end connections that
    /// work.
    pub(super) fn answered(&mut self, addresses: &[SocketAddr], now: Instant) -> Change {
        self.looked_up_at = Some(now);
        self.doubtful = false;
        if addresses.is_empty() {
            return Change::Nothing;
        }
        let before = std::mem::take(&mut self.known);
        let known = |address: &SocketAddr| before.iter().find(|known| known.address == *address);
        for &address in addresses {
            if !self.known.iter().any(|known| known.address == address) {
                self.known.push(Known {
                    address,
                    missed: 0,
                    failed_at: known(&address).and_then(|known| known.failed_at),
                });
            }
        }
        let mut change = Change::Nothing;
        for mut known in before {
            if addresses.contains(&known.address) {
                continue;
            }
            known.missed += 1;
            if known.missed >= LOOKUPS_TO_BE_GONE {
                change = Change::SomeWent;
            } else {
                self.known.push(known);
            }
        }
        change
    }

    /// A lookup failed: the next one has to wait for as long as after an answer, or for the next failed dial.
    pub(super) fn unanswered(&mut self, now: Instant) {
        self.looked_up_at = Some(now);
        self.doubtful = false;
    }

    /// The addresses of the last answer.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let last_answer = self.known.iter().filter(|known| known.missed == 0);
        last_answer.map(|known| known.address).collect()
    }

    /// Whether a connection to this address is one that could still be dialled. Before the first answer all are.
    pub(super) fn is_current(&self, address: &SocketAddr) -> bool {
        self.known.is_empty() || self.known.iter().any(|known| known.address == *address)
    }

    /// Whether this address is tried after the others.
    pub(super) fn failed_lately(&self, address: &SocketAddr, now: Instant) -> bool {
        let known = self.known.iter().find(|known| known.address == *address);
        let failed_at = known.and_then(|known| known.failed_at);
        failed_at.is_some_and(|at| now.saturating_duration_since(at) < DOUBT)
    }

    /// These addresses were tried in vain.
    pub(super) fn failed(&mut self, addresses: impl Iterator<Item = SocketAddr>, now: Instant) {
        for address in addresses {
            if let Some(known) = self.known.iter_mut().find(|known| known.address == address) {
                known.failed_at = Some(now);
            }
        }
    }

    /// A dial has failed altogether: the name may have moved.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// This address was reached.
    pub(super) fn reached(&mut self, address: SocketAddr) {
        if let Some(known) = self.known.iter_mut().find(|known| known.address == address) {
            known.failed_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_secs(30);

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[test]
    fn a_lookup_is_due_at_first_after_a_failure_and_when_the_answer_is_old() {
        let (mut names, now) = (Names::default(), Instant::now());
        assert!(names.is_due(now, REFRESH));
        names.answered(&[at(1)], now);
        assert!(!names.is_due(now + REFRESH / 2, REFRESH));
        assert!(names.is_due(now + REFRESH, REFRESH));
        names.doubt();
        assert!(!names.is_due(now, REFRESH), "it has only just been asked");
        assert!(names.is_due(now + WORTH_ASKING_AGAIN, REFRESH));
        let later = now + WORTH_ASKING_AGAIN;
        names.unanswered(later);
        assert!(
            !names.is_due(later, REFRESH),
            "a failed lookup isn't repeated by every dial"
        );
        assert_eq!(names.addresses(), [at(1)]);
    }

    #[test]
    fn an_address_is_gone_when_two_answers_in_a_row_lack_it() {
        let (mut names, now) = (Names::default(), Instant::now());
        assert!(names.is_current(&at(9)), "nothing is known yet");
        assert_eq!(names.answered(&[at(1), at(2)], now), Change::Nothing);
        assert_eq!(names.answered(&[at(2)], now), Change::Nothing);
        assert_eq!(names.addresses(), [at(2)], "it isn't dialled any more");
        assert!(names.is_current(&at(1)), "but its connections stay for now");
        assert_eq!(names.answered(&[at(2), at(1)], now), Change::Nothing);
        names.answered(&[at(2), at(3)], now);
        assert_eq!(names.answered(&[at(3)], now), Change::SomeWent);
        assert!(!names.is_current(&at(1)));
        assert!(names.is_current(&at(2)));
    }

    #[test]
    fn an_empty_answer_changes_nothing() {
        let (mut names, now) = (Names::default(), Instant::now());
        names.answered(&[at(1)], now);
        for _ in 0..3 {
            assert_eq!(names.answered(&[], now), Change::Nothing);
        }
        assert!(names.is_current(&at(1)));
        assert_eq!(names.addresses(), [at(1)]);
    }

    #[test]
    fn what_failed_is_in_doubt_for_30_s_or_until_it_is_reached_and_lookups_do_not_clear_it() {
        let (mut names, now) = (Names::default(), Instant::now());
        names.answered(&[at(1), at(2)], now);
        names.failed([at(1), at(2)].into_iter(), now);
        names.answered(&[at(2), at(1)], now);
        assert!(names.failed_lately(&at(1), now));
        names.reached(at(1));
        assert!(!names.failed_lately(&at(1), now));
        assert!(names.failed_lately(&at(2), now + DOUBT / 2));
        assert!(!names.failed_lately(&at(2), now + DOUBT));
    }
}
