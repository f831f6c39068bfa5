//! What all tasks of a server share: settings, counts, who has a place, and whether it drains.
//! Decides who gets in; closes nothing itself.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    limits::origin,
    memory::Memory,
    settings::Settings,
    snapshot::{Closed, Counters, Snapshot, Status, count},
    storms::{Event, Storms},
};
use crate::net::Endpoint;

/// A server's protocol and handler, and its ledger.
pub(super) struct Service<F, H> {
    pub(super) handler: H,
    pub(super) framing: F,
    pub(super) ledger: Arc<Ledger>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) settings: Settings,
    pub(super) endpoint: Endpoint,
    pub(super) counters: Counters,
    pub(super) memory: Memory,
    pub(super) storms: Storms,
    /// For long requests and replies: as many as there are workers.
    pub(super) long_turns: Semaphore,
    since: Instant,
    open: AtomicUsize,
    handled: AtomicUsize,
    /// No entry is zero, so there are at most as many as connections.
    by_origin: Mutex<HashMap<IpAddr, usize>>,
    /// Rung, by `notify_waiters`, after `ending` has changed: for the task that accepts.
    pub(super) asked: Notify,
    /// Rung, by `notify_waiters`, as the connections begin to drain.
    pub(super) bell: Notify,
    ending: Mutex<Ending>,
    /// `Status` as a number: read by every connection at every turn.
    status: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ending {
    /// When the connections that are left are closed by force. It is only ever brought forward.
    by: Option<Instant>,
}

const OPEN: usize = 0;
const DRAINING: usize = 1;
const ENDED: usize = 2;

/// Why a connection isn't let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    MaxConnections,
    PerAddress,
}

impl Ledger {
    pub(super) fn new(settings: Settings, endpoint: Endpoint, workers: usize) -> Self {
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
            by_origin: Mutex::new(HashMap::new()),
            asked: Notify::new(),
            bell: Notify::new(),
            ending: Mutex::new(Ending::default()),
            status: AtomicUsize::new(OPEN),
        }
    }

    /// Gives a connection a place, if there is one. Called by one task only, so that the count
    /// isn't overtaken.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Result<Place, Refusal> {
        if self.open.load(Relaxed) >= self.settings.max_connections {
            count(&self.counters.refused_max_connections);
            return Err(Refusal::MaxConnections);
        }
        let mut counted = None;
        if let (Some(max), Some(peer)) = (self.settings.max_connections_per_address, peer) {
            let origin = origin(peer.ip());
            let mut by_origin = self.by_origin.lock();
            let places = by_origin.entry(origin).or_insert(0);
            if *places >= max {
                count(&self.counters.refused_per_address);
                return Err(Refusal::PerAddress);
            }
            *places += 1;
            counted = Some(origin);
        }
        self.open.fetch_add(1, Relaxed);
        count(&self.counters.accepted);
        Ok(Place {
            ledger: Arc::clone(self),
            origin: counted,
            closed: Closed::Forced,
        })
    }

    /// Counts one more request that is handled, if there may be one.
    pub(super) fn begin_handling(&self) -> bool {
        let max = self.settings.max_handled;
        let more = |handled| (handled < max).then_some(handled + 1);
        self.handled.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn end_handling(&self) {
        self.handled.fetch_sub(1, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.status.load(Relaxed) != OPEN
    }

    /// Asks for a drain, or hurries one that is under way.
    pub(super) fn drain(&self, within: Duration) {
        // A century from now is as good as never.
        let by = Instant::now() + within.min(Duration::from_secs(100 * 365 * 24 * 3_600));
        {
            let mut ending = self.ending.lock();
            ending.by = Some(ending.by.map_or(by, |before| before.min(by)));
        }
        self.asked.notify_waiters();
    }

    /// Has the connections drain, once the listener is closed. In this order: a client that is told
    /// of the end may connect again at once, and the kernel would reset what it finds in the
    /// backlog as the listener is closed.
    pub(super) fn begin_draining(&self) {
        self.status.store(DRAINING, Relaxed);
        self.bell.notify_waiters();
    }

    /// When what is left is closed by force, if a drain was asked for.
    pub(super) fn drained_by(&self) -> Option<Instant> {
        self.ending.lock().by
    }

    pub(super) fn end(&self) {
        self.status.store(ENDED, Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: Snapshot::VERSION,
            endpoint: self.endpoint.to_string(),
            status: match self.status.load(Relaxed) {
                OPEN => Status::Open,
                DRAINING => Status::Draining,
                _ => Status::Ended,
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

/// A connection's place; dropped, however its task ends, it is free again.
#[derive(Debug)]
pub(super) struct Place {
    ledger: Arc<Ledger>,
    origin: Option<IpAddr>,
    /// Forced, until the connection has ended by itself.
    closed: Closed,
}

impl Place {
    /// The connection has ended by itself; what may follow is its farewell.
    pub(super) fn ended(&mut self, reason: Closed) {
        self.closed = reason;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(origin) = self.origin {
            let mut by_origin = self.ledger.by_origin.lock();
            if let Some(places) = by_origin.get_mut(&origin) {
                *places -= 1;
                if *places == 0 {
                    by_origin.remove(&origin);
                }
            }
        }
        self.ledger.counters.closed(self.closed);
        self.ledger.open.fetch_sub(1, Relaxed);
    }
}

/// A request being handled, and the way to its handler; counted until it is dropped.
pub(super) struct Ticket<F, H>(Arc<Service<F, H>>);

impl<F, H> Ticket<F, H> {
    /// One more, if there may be one.
    pub(super) fn new(service: &Arc<Service<F, H>>) -> Option<Self> {
        service
            .ledger
            .begin_handling()
            .then(|| Ticket(Arc::clone(service)))
    }

    pub(super) fn handler(&self) -> &H {
        &self.0.handler
    }
}

impl<F, H> Drop for Ticket<F, H> {
    fn drop(&mut self) {
        self.0.ledger.end_handling();
    }
}
