//! What a connection still takes as the server drains, and how long more requests are expected on
//! it. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// How many requests of one connection are refused at most: 32 times as many as a pipelined client
/// of this library has in flight by default. A client that sends more ignores the refusals.
const MOST_REFUSALS: usize = 4_096;

/// How long the rest of a request that has begun to arrive may pause: a lost packet is sent again
/// after 200 ms at the earliest.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a client must be silent after a refusal: it had more requests in flight than were
/// taken, and the rest may be on its way. The same holds for a client that connected, or had its
/// last reply, shortly before the drain began. About a round trip across a continent.
const SILENCE: Duration = Duration::from_millis(100);

/// How long that silence is waited for at most: a client that goes on asking is better off with
/// another server.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(super) struct Draining {
    /// How many more requests are taken: what has arrived is answered, an endless stream isn't.
    takes: usize,
    /// How many more requests are refused before nothing is read any more.
    refuses: usize,
    /// How many bytes of an unfinished request had arrived at the last look.
    partial: usize,
    /// When something last arrived.
    heard: Instant,
    /// When for the first time nothing was owed.
    settled: Option<Instant>,
    /// Nothing was owed as the drain began. The client doesn't know of the drain from its last
    /// reply, and a request may be on its way.
    expects_one: bool,
    /// What is written is held back until it is clear whether the end goes with it.
    pub(super) holds_back: bool,
    /// How many requests get no answer, because a failure before them, or their own, could be told
    /// only by closing.
    pub(super) unanswered: usize,
}

impl Draining {
    /// `takes` requests are still taken. `used` is when the connection began, or last had a request
    /// or a reply; `is_at_rest`: nothing is owed on it.
    pub(super) fn begin(takes: usize, used: Instant, is_at_rest: bool) -> Self {
        Draining {
            takes,
            refuses: MOST_REFUSALS,
            partial: 0,
            heard: used,
            settled: None,
            expects_one: is_at_rest,
            holds_back: false,
            unanswered: 0,
        }
    }

    /// A request has arrived. Whether it is taken.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        (self.partial, self.heard, self.expects_one) = (0, now, false);
        let takes = self.takes > 0;
        match takes {
            true => self.takes -= 1,
            false => self.refuses -= 1,
        }
        takes
    }

    /// So many bytes of an unfinished request are there; `is_settled`: nothing is owed, and all
    /// that has come was read.
    pub(super) fn look(&mut self, arrived: usize, is_settled: bool, now: Instant) {
        if self.partial != arrived {
            (self.partial, self.heard) = (arrived, now);
        }
        if is_settled {
            self.settled.get_or_insert(now);
        }
    }

    /// Until when more is expected, unless something arrives before.
    pub(super) fn expects_until(&self) -> Option<Instant> {
        if self.partial > 0 {
            return Some(self.heard + LONGEST_PAUSE);
        }
        let expects_more = self.expects_one || self.refuses < MOST_REFUSALS;
        let settled = self.settled.filter(|_| expects_more)?;
        Some((self.heard + SILENCE).min(settled + LONGEST_WAIT))
    }

    /// Enough was refused: nothing more is read.
    pub(super) fn is_flooded(&self) -> bool {
        self.refuses == 0
    }
}
