//! How many wrong secrets are taken from where. Pure: it is told the time. Its memory is bounded.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tokio::time::Instant;

/// As many are taken at once.
pub(super) const BURST: u32 = 10;

/// Then one in each of these.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// As many are counted each by itself.
pub(super) const MAX_SOURCES: usize = 4096;

/// Where failures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source {
    /// Of an IPv6 address the network: whoever has one address of it has all. `None` without
    /// addresses.
    address: Option<IpAddr>,
    /// Who it is said to be.
    user: usize,
}

impl Source {
    pub(super) fn new(address: Option<IpAddr>, user: usize) -> Self {
        let address = address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            v4 => v4,
        });
        Source { address, user }
    }
}

/// See the module. Of each source it is kept when all of its failures are forgiven, each
/// [`INTERVAL`] one: the generic cell rate algorithm.
#[derive(Debug, Default)]
pub(super) struct Failures {
    forgiven: HashMap<Source, Instant>,
    /// Of all sources for which there is no room.
    rest: Option<Instant>,
    /// When room was last made.
    swept: Option<Instant>,
}

impl Failures {
    /// Whether there have been too many.
    pub(super) fn are_too_many(&self, source: &Source, now: Instant) -> bool {
        let forgiven = match self.forgiven.get(source) {
            Some(forgiven) => Some(*forgiven),
            None if self.forgiven.len() < MAX_SOURCES => None,
            None => self.rest,
        };
        forgiven.is_some_and(|forgiven| {
            forgiven.saturating_duration_since(now) > INTERVAL * (BURST - 1)
        })
    }

    /// One more.
    pub(super) fn add(&mut self, source: Source, now: Instant) {
        let one_more =
            |forgiven: Option<Instant>| forgiven.map_or(now, |at| at.max(now)) + INTERVAL;
        if let Some(forgiven) = self.forgiven.get_mut(&source) {
            *forgiven = one_more(Some(*forgiven));
            return;
        }
        self.make_room(now);
        if self.forgiven.len() < MAX_SOURCES {
            self.forgiven.insert(source, one_more(None));
        } else {
            self.rest = Some(one_more(self.rest));
        }
    }

    /// One that was added was none.
    pub(super) fn take_back(&mut self, source: &Source, now: Instant) {
        let forgiven = self.forgiven.get_mut(source).or(self.rest.as_mut());
        let Some(forgiven) = forgiven else { return };
        *forgiven = forgiven.checked_sub(INTERVAL).unwrap_or(now);
        if self.forgiven.get(source).is_some_and(|at| *at <= now) {
            self.forgiven.remove(source);
        }
    }

    /// Sources whose failures are all forgiven need no place. Looked for once in an interval at
    /// most: a flood doesn't make each login look at all of them.
    fn make_room(&mut self, now: Instant) {
        let is_swept = self.swept.is_some_and(|swept| now < swept + INTERVAL);
        if self.forgiven.len() < MAX_SOURCES || is_swept {
            return;
        }
        self.swept = Some(now);
        self.forgiven.retain(|_, forgiven| *forgiven > now);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn source(number: u32, user: usize) -> Source {
        Source::new(Some(IpAddr::V4(number.into())), user)
    }

    #[test]
    fn ten_are_taken_at_once_and_then_one_each_second() {
        let (mut failures, began) = (Failures::default(), Instant::now());
        let here = source(1, 0);
        for _ in 0..BURST {
            assert!(!failures.are_too_many(&here, began));
            failures.add(here, began);
        }
        assert!(failures.are_too_many(&here, began));
        for second in 1..5 {
            let now = began + INTERVAL * second;
            assert!(failures.are_too_many(&here, now - Duration::from_nanos(1)));
            assert!(!failures.are_too_many(&here, now));
            failures.add(here, now);
            assert!(failures.are_too_many(&here, now));
        }
        let later = began + INTERVAL * 100;
        assert!(!failures.are_too_many(&here, later));
        assert!(!failures.are_too_many(&source(2, 0), began));
        assert!(!failures.are_too_many(&source(1, 1), began), "another user");
        assert!(!failures.are_too_many(&Source::new(None, 0), began));
    }

    /// A leaky bucket, drop by drop.
    #[test]
    fn it_takes_as_many_as_a_bucket_that_leaks() {
        let (mut failures, mut now) = (Failures::default(), Instant::now());
        let here = source(1, 0);
        let mut ends: VecDeque<Instant> = VecDeque::new();
        let mut pseudorandom = 7_u64;
        let mut taken = 0;
        for _ in 0..10_000 {
            pseudorandom = pseudorandom
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            now += Duration::from_millis(pseudorandom >> 54);
            while ends.front().is_some_and(|end| *end <= now) {
                ends.pop_front();
            }
            let is_full = ends.len() >= BURST as usize;
            assert_eq!(failures.are_too_many(&here, now), is_full);
            if !is_full {
                failures.add(here, now);
                ends.push_back(ends.back().map_or(now, |end| (*end).max(now)) + INTERVAL);
                taken += 1;
            }
        }
        assert!(taken < 9_000, "the limit was reached");
    }

    #[test]
    fn what_is_taken_back_was_none() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let here = source(1, 0);
        for _ in 0..100 {
            failures.add(here, now);
            assert!(!failures.are_too_many(&here, now));
            failures.take_back(&here, now);
        }
        assert!(failures.forgiven.is_empty());
        failures.take_back(&here, now);
    }

    #[test]
    fn an_ipv6_address_counts_as_its_network() {
        let of = |text: &str| Source::new(Some(text.parse().expect("an address")), 0);
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }

    #[test]
    fn sources_beyond_the_limit_count_together_until_there_is_room() {
        let (mut failures, began) = (Failures::default(), Instant::now());
        let most = MAX_SOURCES as u32;
        for number in 0..most {
            failures.add(source(number, 0), began);
        }
        for number in most..most + BURST {
            assert!(!failures.are_too_many(&source(number, 0), began));
            failures.add(source(number, 0), began);
        }
        assert_eq!(failures.forgiven.len(), MAX_SOURCES);
        assert!(failures.are_too_many(&source(most + 100, 0), began));
        assert!(
            !failures.are_too_many(&source(0, 0), began),
            "it is counted by itself"
        );
        let later = began + INTERVAL;
        failures.add(source(most, 0), later);
        assert_eq!(failures.forgiven.len(), 1);
        assert!(!failures.are_too_many(&source(most + 100, 0), later));
    }
}
