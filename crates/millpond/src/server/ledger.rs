//! What all tasks of a server share: settings, counts, which connections are admitted, and whether
//! the server drains. Admits connections and requests; closes nothing itself.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    handler::ConnectionHandler,
    limits::origin,
    memory::Memory,
    reply::Reply,
    request::Request,
    settings::ServerSettings,
    snapshot::{Closed, Counters, ServerSnapshot, ServerStatus, count},
    storms::{Event, Storms},
};
use crate::{framing::Failure, net::Endpoint};

/// A server's handler, protocol and ledger.
pub(super) struct Service<F, H> {
    pub(super) handler: H,
    pub(super) framing: F,
    pub(super) ledger: Arc<Ledger>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) settings: ServerSettings,
    pub(super) endpoint: Endpoint,
    pub(super) counters: Counters,
    pub(super) memory: Memory,
    pub(super) storms: Storms,
    /// Permits for long turns (`long_turn.rs`): as many as the runtime has workers.
    pub(super) long_turns: Semaphore,
    since: Instant,
    open: AtomicUsize,
    handled: AtomicUsize,
    /// How many connections were served before the next.
    number: AtomicU64,
    /// Connections per address. No entry is zero, so there are at most as many as connections.
    by_origin: Mutex<HashMap<IpAddr, usize>>,
    /// Notified, by `notify_waiters`, after `force_at` has changed: for the task that accepts.
    pub(super) end_asked: Notify,
    /// Notified, by `notify_waiters`, as the connections begin to drain.
    pub(super) drain_begun: Notify,
    /// When the connections that are left are closed by force. It is only ever brought forward.
    force_at: Mutex<Option<Instant>>,
    /// [`ServerStatus`] as a number, because every connection reads it at every turn.
    status: AtomicUsize,
}

const OPEN: usize = 0;
const DRAINING: usize = 1;
const ENDED: usize = 2;

/// Which limit keeps a connection from being admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitReached {
    MaxConnections,
    PerAddress,
}

impl Ledger {
    pub(super) fn new(settings: ServerSettings, endpoint: Endpoint, workers: usize) -> Self {
        Ledger {
            memory: Memory::new(settings.max_bytes, settings.max_bytes_per_connection),
            settings,
            endpoint,
            counters: Counters::default(),
            storms: Storms::new(Event::ALL),
            long_turns: Semaphore::new(workers),
            since: Instant::now(),
            open: AtomicUsize::new(0),
            handled: AtomicUsize::new(0),
            number: AtomicU64::new(0),
            by_origin: Mutex::new(HashMap::new()),
            end_asked: Notify::new(),
            drain_begun: Notify::new(),
            force_at: Mutex::new(None),
            status: AtomicUsize::new(OPEN),
        }
    }

    /// Admits a connection, unless a limit is reached. Called by one task only: the look at the
    /// count and its increment aren't one step.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: Option<SocketAddr>,
    ) -> Result<ConnectionPermit, LimitReached> {
        if self.open.load(Relaxed) >= self.settings.max_connections {
            count(&self.counters.refused_max_connections);
            return Err(LimitReached::MaxConnections);
        }
        let mut counted = None;
        if let (Some(max), Some(peer)) = (self.settings.max_connections_per_address, peer) {
            let origin = origin(peer.ip());
            let mut by_origin = self.by_origin.lock();
            let open = by_origin.entry(origin).or_insert(0);
            if *open >= max {
                count(&self.counters.refused_per_address);
                return Err(LimitReached::PerAddress);
            }
            *open += 1;
            counted = Some(origin);
        }
        self.open.fetch_add(1, Relaxed);
        count(&self.counters.accepted);
        Ok(ConnectionPermit {
            ledger: Arc::clone(self),
            origin: counted,
            closed: Closed::Forced,
        })
    }

    /// How many connections were served before this one, which asks once.
    pub(super) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Relaxed)
    }

    /// Counts one more handled request, unless `max_handled` is reached.
    pub(super) fn begin_handling(&self) -> bool {
        let max = self.settings.max_handled;
        let more = |handled| (handled < max).then_some(handled + 1);
        self.handled.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Counts as many more as `max_handled` allows, at most these, and answers how many.
    pub(super) fn begin_handling_up_to(&self, most: usize) -> usize {
        let max = self.settings.max_handled;
        let more = |handled: usize| Some(handled + most.min(max.saturating_sub(handled)));
        let before = self.handled.fetch_update(Relaxed, Relaxed, more);
        let before = before.unwrap_or_else(|handled| handled);
        most.min(max.saturating_sub(before))
    }

    pub(super) fn end_handling(&self, count: usize) {
        self.handled.fetch_sub(count, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.status.load(Relaxed) != OPEN
    }

    /// Asks for a drain, or hurries one that is under way.
    pub(super) fn drain(&self, within: Duration) {
        // A century from now is as good as never.
        let by = Instant::now() + within.min(Duration::from_secs(100 * 365 * 24 * 3_600));
        {
            let mut force_at = self.force_at.lock();
            *force_at = Some(force_at.map_or(by, |before| before.min(by)));
        }
        self.end_asked.notify_waiters();
    }

    /// Has the connections drain. Called after the listener was closed: a client that is told of
    /// the end may connect again at once, and would be reset with the rest of the backlog.
    pub(super) fn begin_draining(&self) {
        self.status.store(DRAINING, Relaxed);
        self.drain_begun.notify_waiters();
    }

    /// When the connections that are left are closed by force, if a drain was asked for.
    pub(super) fn drained_by(&self) -> Option<Instant> {
        *self.force_at.lock()
    }

    pub(super) fn end(&self) {
        self.status.store(ENDED, Relaxed);
    }

    pub(super) fn snapshot(&self) -> ServerSnapshot {
        ServerSnapshot {
            version: ServerSnapshot::VERSION,
            endpoint: self.endpoint.to_string(),
            status: match self.status.load(Relaxed) {
                OPEN => ServerStatus::Open,
                DRAINING => ServerStatus::Draining,
                _ => ServerStatus::Ended,
            },
            up: self.since.elapsed(),
            max_connections: self.settings.max_connections,
            open: self.open.load(Relaxed),
            handled: self.handled.load(Relaxed),
            bytes: self.memory.held(),
            max_bytes: self.settings.max_bytes,
            waiting_for_bytes: self.memory.waiting(),
            totals: self.counters.totals(),
        }
    }
}

/// An admitted connection. Dropped, however its task ends, it makes room for another.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    ledger: Arc<Ledger>,
    origin: Option<IpAddr>,
    /// Why the connection has ended: by force, unless it says otherwise.
    closed: Closed,
}

impl ConnectionPermit {
    /// The connection has ended by itself; what may follow is its farewell.
    pub(super) fn ended(&mut self, reason: Closed) {
        self.closed = reason;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(origin) = self.origin {
            let mut by_origin = self.ledger.by_origin.lock();
            if let Some(open) = by_origin.get_mut(&origin) {
                *open -= 1;
                if *open == 0 {
                    by_origin.remove(&origin);
                }
            }
        }
        self.ledger.counters.closed(self.closed);
        self.ledger.open.fetch_sub(1, Relaxed);
    }
}

/// A request that is being handled, its handler, and what that keeps for the connection. Counted
/// until it is dropped.
pub(super) struct RequestPermit<F, H: ConnectionHandler> {
    service: Arc<Service<F, H>>,
    kept: Arc<H::Connection>,
}

impl<F, H: ConnectionHandler> RequestPermit<F, H> {
    /// One more, unless `max_handled` is reached.
    pub(super) fn new(service: &Arc<Service<F, H>>, kept: &Arc<H::Connection>) -> Option<Self> {
        service.ledger.begin_handling().then(|| RequestPermit {
            service: Arc::clone(service),
            kept: Arc::clone(kept),
        })
    }

    /// The answer.
    pub(super) async fn handle(&self, mut request: Request) -> Result<Reply, Failure> {
        let handler = &self.service.handler;
        match request.local.take() {
            None => handler.handle(&self.kept, request).await,
            Some(local) => {
                handler.local(&self.kept, (*local).clone()).await?;
                Ok(Reply::local(*local))
            }
        }
    }
}

impl<F, H: ConnectionHandler> Drop for RequestPermit<F, H> {
    fn drop(&mut self) {
        self.service.ledger.end_handling(1);
    }
}

/// Requests of a group that are being handled. What isn't given back before is when it is dropped.
pub(super) struct Handled {
    ledger: Arc<Ledger>,
    count: usize,
}

impl Handled {
    /// As many of these as `max_handled` allows.
    pub(super) fn up_to(ledger: &Arc<Ledger>, most: usize) -> Self {
        Handled {
            ledger: Arc::clone(ledger),
            count: ledger.begin_handling_up_to(most),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// So many have been answered.
    pub(super) fn end(&mut self, answered: usize) {
        self.count -= answered;
        self.ledger.end_handling(answered);
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        self.ledger.end_handling(self.count);
    }
}
