//! The addresses of a name, from its successive lookups, and which of them failed lately. Pure: it
//! looks nothing up and reads no clock.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::time::Instant;

/// How many lookups in a row must lack an address before it counts as gone. More than one, so that
/// a name server that leaves an address out now and then ends no connections. A name server that
/// answers with changing parts of a large set still ends some; only a longer refresh helps then.
const LOOKUPS_TO_BE_GONE: u8 = 2;

/// The least time between an answer and the lookup that a failed dial asks for. Dials that fail
/// quickly must not flood the name servers.
const WORTH_ASKING_AGAIN: Duration = Duration::from_secs(1);

/// For how long an address that failed is tried after the others.
const DOUBT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Known {
    address: SocketAddr,
    /// Lookups in a row that lacked it: 0 if the last answer has it.
    missed: u8,
    failed_at: Option<Instant>,
}

/// The addresses of one name.
#[derive(Debug)]
pub(super) struct Names {
    /// How old an answer may become.
    refresh: Duration,
    /// The addresses of the last answer, in its order, then those that it lacked.
    known: Vec<Known>,
    /// When the last lookup ended, whether it was answered or failed.
    looked_up_at: Option<Instant>,
    /// When a lookup last counted against the addresses that it lacked.
    counted_at: Option<Instant>,
    /// How many lookups have ended.
    lookups: u64,
    /// Why the last lookup failed, if it did.
    trouble: Option<Trouble>,
    /// A dial has failed since the last lookup.
    doubtful: bool,
}

/// Why a lookup failed. It can be cloned, unlike an `io::Error`: all dials that waited for the
/// lookup get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    kind: io::ErrorKind,
    message: String,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        io::Error::new(trouble.kind, trouble.message)
    }
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// At least one address has gone: connections to it aren't current any more.
    SomeWent,
}

impl Names {
    pub(super) fn new(refresh: Duration) -> Self {
        Names {
            refresh,
            known: Vec::new(),
            looked_up_at: None,
            counted_at: None,
            lookups: 0,
            trouble: None,
            doubtful: false,
        }
    }

    /// Whether to look the name up before the next dial: if the last lookup is older than
    /// `refresh`. A second is enough if a dial has failed since, or if no address is known.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let good_for = match self.doubtful || self.known.is_empty() {
            true => self.refresh.min(WORTH_ASKING_AGAIN),
            false => self.refresh,
        };
        let age = self
            .looked_up_at
            .map(|at| now.saturating_duration_since(at));
        age.is_none_or(|age| age >= good_for)
    }

    /// When the last lookup will be older than `refresh`; `None` before the first lookup.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.looked_up_at.map(|at| at + self.refresh)
    }

    /// How many lookups have ended. A dial reads it before it waits for its turn to look up, and
    /// again after. If it has changed, another dial's answer has come, and serves this dial too.
    pub(super) fn lookups(&self) -> u64 {
        self.lookups
    }

    /// Why the last lookup failed, if it did.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.clone()
    }

    /// A lookup has been answered. An answer without any address changes nothing: a name service
    /// in trouble must not end connections that work.
    pub(super) fn answered(&mut self, addresses: &[SocketAddr], now: Instant) -> Change {
        self.ended(None, now);
        if addresses.is_empty() {
            return Change::Nothing;
        }
        // Two lookups shortly after each other may get the same answer, from a name server's cache.
        let since_counted = self.counted_at.map(|at| now.saturating_duration_since(at));
        let counts = since_counted.is_none_or(|since| since >= self.refresh / 2);
        if counts {
            self.counted_at = Some(now);
        }
        let before = std::mem::take(&mut self.known);
        for address in addresses.iter().copied().map(as_connected) {
            if !self.known.iter().any(|known| known.address == address) {
                let earlier = before.iter().find(|known| known.address == address);
                self.known.push(Known {
                    address,
                    missed: 0,
                    failed_at: earlier.and_then(|known| known.failed_at),
                });
            }
        }
        let answer = self.known.len();
        let mut change = Change::Nothing;
        for mut known in before {
            if self.known[..answer]
                .iter()
                .any(|one| one.address == known.address)
            {
                continue;
            }
            known.missed = (known.missed + u8::from(counts)).max(1);
            if known.missed >= LOOKUPS_TO_BE_GONE {
                change = Change::SomeWent;
            } else {
                self.known.push(known);
            }
        }
        change
    }

    /// A lookup failed. The next one has to wait as it does after an answer.
    pub(super) fn unanswered(&mut self, trouble: Trouble, now: Instant) {
        self.ended(Some(trouble), now);
    }

    fn ended(&mut self, trouble: Option<Trouble>, now: Instant) {
        self.looked_up_at = Some(now);
        self.lookups += 1;
        self.trouble = trouble;
        self.doubtful = false;
    }

    /// The addresses of the last answer.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let last_answer = self.known.iter().filter(|known| known.missed == 0);
        last_answer.map(|known| known.address).collect()
    }

    /// Whether the name still has this address. Before the first answer every address counts as
    /// current.
    pub(super) fn is_current(&self, address: &SocketAddr) -> bool {
        self.known.is_empty()
            || self
                .known
                .iter()
                .any(|known| is_same_place(&known.address, address))
    }

    /// Whether this address is tried after the others.
    pub(super) fn failed_lately(&self, address: &SocketAddr, now: Instant) -> bool {
        let known = self.known.iter().find(|known| known.address == *address);
        let failed_at = known.and_then(|known| known.failed_at);
        failed_at.is_some_and(|at| now.saturating_duration_since(at) < DOUBT)
    }

    /// Attempts to connect to these addresses failed.
    pub(super) fn failed(&mut self, addresses: impl IntoIterator<Item = SocketAddr>, now: Instant) {
        for address in addresses {
            if let Some(known) = self.known.iter_mut().find(|known| known.address == address) {
                known.failed_at = Some(now);
            }
        }
    }

    /// A dial has failed on all addresses: the name may have moved.
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

/// The peer address that a socket reports after it has connected to `address`. The unspecified
/// address (`0.0.0.0`, `::`) means this machine, so the socket reports the loopback address.
fn as_connected(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()))
        }
        _ => address,
    }
}

/// Compares IP and port only: the kernel may change the scope and the flow label of an IPv6
/// address.
fn is_same_place(one: &SocketAddr, other: &SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_secs(30);

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn names() -> (Names, Instant) {
        (Names::new(REFRESH), Instant::now())
    }

    fn trouble() -> Trouble {
        Trouble::from(io::Error::other("no such name"))
    }

    #[test]
    fn a_lookup_is_due_at_first_after_a_failure_and_when_the_answer_is_old() {
        let (mut names, now) = names();
        assert!(names.is_due(now));
        names.answered(&[at(1)], now);
        assert!(!names.is_due(now + REFRESH / 2));
        assert!(names.is_due(now + REFRESH));
        names.doubt();
        assert!(!names.is_due(now), "it has only just been asked");
        assert!(names.is_due(now + WORTH_ASKING_AGAIN));
        let later = now + WORTH_ASKING_AGAIN;
        names.unanswered(trouble(), later);
        assert!(
            !names.is_due(later + WORTH_ASKING_AGAIN),
            "what is known serves meanwhile"
        );
        assert_eq!(names.addresses(), [at(1)]);
        assert_eq!((names.lookups(), names.trouble()), (2, Some(trouble())));
        names.answered(&[at(1)], later);
        assert_eq!((names.lookups(), names.trouble()), (3, None));
    }

    #[test]
    fn while_nothing_is_known_it_is_asked_for_every_second() {
        let (mut names, now) = names();
        names.unanswered(trouble(), now);
        assert!(!names.is_due(now));
        assert!(names.is_due(now + WORTH_ASKING_AGAIN));
        names.answered(&[], now);
        assert!(names.is_due(now + WORTH_ASKING_AGAIN));
    }

    #[test]
    fn an_address_is_gone_when_two_answers_in_a_row_lack_it() {
        let (mut names, now) = names();
        assert!(names.is_current(&at(9)), "nothing is known yet");
        let answers = [
            (&[at(1), at(2)][..], Change::Nothing),
            (&[at(2)], Change::Nothing),
            (&[at(2), at(1)], Change::Nothing),
            (&[at(2), at(3)], Change::Nothing),
        ];
        for (round, (answer, change)) in (0..).zip(answers) {
            assert_eq!(names.answered(answer, now + round * REFRESH), change);
            assert!(names.is_current(&at(1)), "its connections stay for now");
        }
        assert_eq!(
            names.addresses(),
            [at(2), at(3)],
            "it isn't dialled any more"
        );
        assert_eq!(
            names.answered(&[at(3)], now + 4 * REFRESH),
            Change::SomeWent
        );
        assert!(!names.is_current(&at(1)));
        assert!(names.is_current(&at(2)));
    }

    #[test]
    fn two_answers_of_the_same_moment_count_once() {
        let (mut names, now) = names();
        names.answered(&[at(1)], now);
        let later = now + REFRESH;
        for _ in 0..5 {
            assert_eq!(names.answered(&[at(2)], later), Change::Nothing);
        }
        assert_eq!(names.addresses(), [at(2)]);
        assert_eq!(
            names.answered(&[at(2)], later + REFRESH / 2),
            Change::SomeWent
        );
    }

    #[test]
    fn an_empty_answer_changes_nothing() {
        let (mut names, now) = names();
        names.answered(&[at(1)], now);
        for round in 1..4 {
            assert_eq!(names.answered(&[], now + round * REFRESH), Change::Nothing);
        }
        assert!(names.is_current(&at(1)));
        assert_eq!(names.addresses(), [at(1)]);
    }

    #[test]
    fn what_failed_is_in_doubt_for_30_s_or_until_it_is_reached_and_lookups_do_not_clear_it() {
        let (mut names, now) = names();
        names.answered(&[at(1), at(2)], now);
        names.failed([at(1), at(2)], now);
        names.answered(&[at(2), at(1)], now);
        assert!(names.failed_lately(&at(1), now));
        names.reached(at(1));
        assert!(!names.failed_lately(&at(1), now));
        assert!(names.failed_lately(&at(2), now + DOUBT / 2));
        assert!(!names.failed_lately(&at(2), now + DOUBT));
    }

    #[test]
    fn an_address_is_current_in_the_form_that_the_socket_reports() {
        for (resolved, connected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("[fe80::1%3]:80", "[fe80::1]:80"),
        ] {
            let (mut names, now) = names();
            names.answered(&[resolved.parse().unwrap()], now);
            assert!(names.is_current(&connected.parse().unwrap()), "{resolved}");
            assert!(!names.is_current(&at(1)));
        }
    }
}
