//! How a connection ends as the server drains: when nothing more is to be expected on it, and how
//! many requests it leaves unanswered.

use std::{future::Future, sync::atomic::Ordering::Relaxed};

use tokio::time::Instant;

use super::Connection;
use crate::{
    framing::{Context, Failure, Framing, Scan, Step},
    net::Stream,
    server::{handler::ConnectionHandler, reply::Reply, snapshot::Closed},
};

/// How many unread bytes are searched for requests to count.
const LOOKED_AT: usize = 64 << 10;

impl<F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'_, F, H, A>
{
    /// Whether the server drains, nothing is owed and nothing more is expected: the sending side
    /// can be closed.
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
        let (arrived, is_settled) = (self.framed.left_over().len(), self.is_settled());
        let Some(draining) = &mut self.draining else {
            return false;
        };
        draining.look(arrived, is_settled, now);
        is_settled
            && draining.expects_until().is_none_or(|until| until <= now)
            // The kernel is asked as well. A read that found nothing may only mean that the task's
            // budget was used up, or that the reactor hasn't looked yet.
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
        let ledger = self.ledger();
        // A client that has gone waits for nothing.
        let has_gone = matches!(closed, Closed::ByPeer | Closed::Truncated | Closed::Broken);
        if has_gone || !ledger.is_draining() {
            return;
        }
        let told_by_closing = self
            .draining
            .as_ref()
            .map_or(0, |draining| draining.unanswered);
        // What comes after a connection's end isn't a request, or its client was told of the end.
        // A framing that has panicked isn't called again.
        let counts_unread =
            self.ending.is_none() && closed != Closed::Drained && !std::thread::panicking();
        let unread = match counts_unread {
            true => self.unread(),
            false => 0,
        };
        let waiting = usize::from(self.excess.waits_for_long_turn());
        let unanswered =
            told_by_closing + self.leaving as usize + self.exchanges.len() + waiting + unread;
        ledger
            .counters
            .unanswered
            .fetch_add(u64::try_from(unanswered).unwrap_or(u64::MAX), Relaxed);
    }

    /// How many whole requests have arrived that weren't taken.
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
        while let Ok(step) = framing.next(Context::request(&self.state), rest, &mut scan) {
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

/// Holds a connection and counts what it leaves unanswered as the server drains, also if the
/// connection's task is dropped.
pub(super) struct EndGuard<'s, F, H, A>(Option<Connection<'s, F, H, A>>)
where
    F: Framing,
    H: ConnectionHandler,
    A: Future<Output = Result<Reply, Failure>>;

impl<'s, F, H, A> EndGuard<'s, F, H, A>
where
    F: Framing,
    H: ConnectionHandler,
    A: Future<Output = Result<Reply, Failure>>,
{
    pub(super) fn new(connection: Connection<'s, F, H, A>) -> Self {
        EndGuard(Some(connection))
    }

    /// The connection, until it ends.
    pub(super) fn connection(&mut self) -> &mut Connection<'s, F, H, A> {
        self.0.as_mut().expect("it ends once")
    }

    /// The connection has ended by itself.
    pub(super) fn end(mut self, closed: Closed) -> Stream {
        let mut connection = self.0.take().expect("it ends once");
        connection.count_unanswered(closed);
        connection.framed.into_stream()
    }
}

impl<F, H, A> Drop for EndGuard<'_, F, H, A>
where
    F: Framing,
    H: ConnectionHandler,
    A: Future<Output = Result<Reply, Failure>>,
{
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.count_unanswered(Closed::Forced);
        }
    }
}
