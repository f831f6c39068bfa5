//! How a connection ends as the server drains: which requests are still taken, when nothing more is
//! to be expected, and what is left unanswered.

use std::{future::Future, sync::atomic::Ordering::Relaxed, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::Connection;
use crate::{
    framing::{Direction, Failure, FailureKind, Framing, Scan, Step},
    net::Stream,
    server::{
        exchanges::{Exchange, State},
        handler::Handler,
        snapshot::Closed,
    },
};

/// How many requests of one connection are refused at most: 32 times as many as a pipelined client
/// of ours has in flight by default. Whoever sends more doesn't listen.
const MOST_REFUSALS: usize = 4_096;

/// How long the rest of a request that has begun to arrive may pause: a lost packet is sent again
/// after 200 ms at the earliest.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a client must be silent that has been refused something: it had more in flight than was
/// taken, and the rest may be on its way. So long must one have been as well that has connected, or
/// had its last reply, shortly before the drain began. A round trip across a continent.
const SILENCE: Duration = Duration::from_millis(100);

/// How long that silence is waited for: a client that goes on asking is better off with another
/// server.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// How much of what lies unread is looked at to count the requests in it.
const LOOKED_AT: usize = 64 << 10;

/// What a draining connection still takes.
#[derive(Debug)]
pub(super) struct Draining {
    /// How many requests are still taken: what has arrived is answered, but an endless stream
    /// isn't followed.
    takes: usize,
    /// How many are still refused.
    refuses: usize,
    /// How much of an unfinished request had arrived when it was last looked at.
    partial: usize,
    /// When something last arrived.
    heard: Instant,
    /// When for the first time nothing was owed.
    settled: Option<Instant>,
    /// Nothing was owed as the drain began: the last reply, or the connection itself, came without
    /// the end, and a request may be on its way.
    expects_one: bool,
    /// What is written is held back until it is clear whether the end goes with it.
    holds_back: bool,
    /// Requests that were told of their failure by closing, and those behind them.
    pub(super) unanswered: usize,
}

impl Draining {
    /// `used` is when the connection began, or last had a request or a reply; `is_at_rest`: nothing
    /// is owed on it.
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

    /// Whether the request that has arrived is taken.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        (self.partial, self.heard, self.expects_one) = (0, now, false);
        let takes = self.takes > 0;
        match takes {
            true => self.takes -= 1,
            false => self.refuses -= 1,
        }
        takes
    }

    /// Until when more may be on its way, unless something arrives before.
    fn expects_until(&self) -> Option<Instant> {
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

impl<F: Framing, H: Handler, A: Future<Output = Result<Bytes, Failure>>> Connection<'_, F, H, A> {
    /// Refuses a request: in its turn, so that it takes a place among the exchanges like any other.
    pub(super) fn turn_away(&mut self, body: Bytes) {
        let request = self.service.framing.failure_needs_request().then_some(body);
        self.exchanges.push(Exchange {
            request,
            state: State::Answered(Err(Failure {
                kind: FailureKind::Draining,
                message: String::from("the server is draining, and has not executed the request"),
            })),
        });
    }

    /// Called before replies are written. If these are the last ones, they leave with the end, in
    /// one packet: else a client that uses the connection again as soon as it has its reply
    /// would send a request that crosses the end.
    pub(super) fn hold_last_replies_back(&mut self) {
        // That reading pauses for a full `max_in_flight` doesn't count: with the last reply it
        // isn't full.
        let may_end = self.exchanges.are_answered();
        if let Some(draining) = &mut self.draining
            && may_end
        {
            draining.holds_back = true;
            self.framed.stream().hold_back(true);
        }
    }

    /// Whether nothing is owed and nothing more has arrived: our side can be closed.
    pub(super) fn is_drained(&mut self, now: Instant) -> bool {
        let is_drained = self.expects_nothing(now);
        if let Some(draining) = &mut self.draining
            && draining.holds_back
            && !is_drained
        {
            draining.holds_back = false;
            self.framed.stream().hold_back(false);
        }
        is_drained
    }

    fn expects_nothing(&mut self, now: Instant) -> bool {
        let (arrived, settled) = (self.framed.left_over().len(), self.is_settled());
        let Some(draining) = &mut self.draining else {
            return false;
        };
        if draining.partial != arrived {
            (draining.partial, draining.heard) = (arrived, now);
        }
        if settled {
            draining.settled.get_or_insert(now);
        }
        settled
            && draining.expects_until().is_none_or(|until| until <= now)
            // That a read found nothing may also mean that this task has used its turn up, or that the reactor hasn't looked yet.
            && !self.framed.stream().has_unread()
    }

    /// When a connection that is settled may be drained.
    pub(super) fn drained_due(&self) -> Option<Instant> {
        let draining = self.draining.as_ref()?;
        draining.expects_until().filter(|_| self.is_settled())
    }

    /// Nothing is owed, and all that has come was read.
    fn is_settled(&self) -> bool {
        self.listens() && self.owes_nothing()
    }

    /// Counts the requests that are left without an answer as the connection ends, if the server
    /// drains.
    fn count_unanswered(&mut self, closed: Closed) {
        let ledger = &self.service.ledger;
        // Who has gone waits for nothing.
        let has_gone = matches!(closed, Closed::ByPeer | Closed::Truncated | Closed::Broken);
        if has_gone || !ledger.is_draining() {
            return;
        }
        let told_by_closing = self
            .draining
            .as_ref()
            .map_or(0, |draining| draining.unanswered);
        // What comes behind an end is no request, or comes from somebody who was told of the end. A
        // framing that has panicked isn't asked again.
        let counts =
            self.ending.is_none() && closed != Closed::Drained && !std::thread::panicking();
        let unread = match counts {
            true => self.unread(),
            false => 0,
        };
        let waiting = usize::from(self.waits_for_long_turn());
        let unanswered =
            told_by_closing + self.leaving as usize + self.exchanges.len() + waiting + unread;
        ledger
            .counters
            .unanswered
            .fetch_add(u64::try_from(unanswered).unwrap_or(u64::MAX), Relaxed);
    }

    /// How many whole requests have arrived that nobody has taken.
    fn unread(&mut self) -> usize {
        let framing = &self.service.framing;
        let mut bytes = self.framed.left_over().to_vec();
        let most = bytes.len() + LOOKED_AT;
        let mut room = [0; 4_096];
        while bytes.len() < most
            && let Ok(more @ 1..) = self.framed.stream_mut().try_read(&mut room)
        {
            bytes.extend_from_slice(&room[..more]);
        }
        let (mut rest, mut scan, mut requests) = (&bytes[..], Scan::default(), 0);
        while let Ok(step) = framing.next(Direction::Request, rest, &mut scan) {
            let length = match step {
                Step::More { .. } => break,
                Step::Frame(extent) => {
                    requests += 1;
                    extent.length()
                }
                Step::Heartbeat { length } => length,
            };
            match rest.get(length..) {
                Some(behind) if length > 0 && !behind.is_empty() => rest = behind,
                _ => break,
            }
            scan = Scan::default();
        }
        requests
    }
}

/// A connection that counts what it leaves unanswered as the server drains, also if it is dropped.
pub(super) struct Counted<'s, F, H, A>(Option<Connection<'s, F, H, A>>)
where
    F: Framing,
    H: Handler,
    A: Future<Output = Result<Bytes, Failure>>;

impl<'s, F, H, A> Counted<'s, F, H, A>
where
    F: Framing,
    H: Handler,
    A: Future<Output = Result<Bytes, Failure>>,
{
    pub(super) fn new(connection: Connection<'s, F, H, A>) -> Self {
        Counted(Some(connection))
    }

    /// The connection, until it ends.
    pub(super) fn connection(&mut self) -> &mut Connection<'s, F, H, A> {
        self.0.as_mut().expect("it ends once")
    }

    /// It has ended by itself.
    pub(super) fn end(mut self, closed: Closed) -> Stream {
        let mut connection = self.0.take().expect("it ends once");
        connection.count_unanswered(closed);
        connection.framed.into_stream()
    }
}

impl<F, H, A> Drop for Counted<'_, F, H, A>
where
    F: Framing,
    H: Handler,
    A: Future<Output = Result<Bytes, Failure>>,
{
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.count_unanswered(Closed::Forced);
        }
    }
}
