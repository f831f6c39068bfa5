//! The pool itself: what its handles, its lent connections and its tasks share.
//!
//! The lock is held for the length of one transition, and never while anything is awaited, closed,
//! dropped or woken, or code of a caller's or a connector's runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

#[cfg(millpond_loom)]
use super::state::SlotKey;
use super::{
    clock::Clock,
    connector::Connector,
    pooled::Pooled,
    runtime::{Bell, Runtime},
    settings::PoolSettings,
    state::State,
    sync::{Mutex, MutexGuard},
};

/// With metrics every caller in line has read the clock.
pub(crate) const EVERY_WAIT_IS_MEASURED: bool = cfg!(feature = "metrics");

/// What the handles of a pool, its lent connections and its tasks share.
pub(crate) struct SharedPool<C: Connector> {
    pub(crate) connector: C,
    pub(crate) clock: Clock,
    pub(crate) runtime: Runtime,
    pub(crate) bell: Arc<Bell>,
    /// What events call the pool.
    pub(crate) name: String,
    /// The setting, which never changes.
    pub(crate) acquire_timeout: Option<Duration>,
    /// `acquire_timeout`, if it is a second or more: then it may end 25 ms late. Not if every wait
    /// is measured.
    pub(crate) long_patience: Option<Duration>,
    /// A hint that nothing is idle, read without the lock. A caller that sees it set prepares to
    /// wait before it takes the lock, and so takes it once instead of twice. A wrong hint costs
    /// that second turn, nothing else.
    pub(crate) exhausted: AtomicBool,
    /// How often the connector has said that the endpoint has changed.
    pub(crate) endpoint_changes: AtomicU64,
    /// Notified when the number of connections or the lifecycle changes.
    pub(crate) changed: Notify,
    /// How many verbs (close, drain, retire, …) there have been. Those who hold connections for
    /// long compare it with an earlier value.
    pub(crate) verbs: AtomicU64,
    /// Notified at each verb.
    pub(crate) verb_spoken: Notify,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: super::metrics::Metrics,
    /// Dials that a test will finish.
    #[cfg(millpond_loom)]
    pub(crate) dials_begun: Mutex<Vec<SlotKey>>,
    /// No long operation, no foreign code and no allocation without bound while this is held.
    state: Mutex<State<Pooled<C>>>,
}

impl<C: Connector> SharedPool<C> {
    pub(crate) fn new(connector: C, settings: PoolSettings, runtime: Runtime) -> Self {
        let name = settings.name.clone().unwrap_or_default();
        SharedPool {
            connector,
            clock: Clock::start(),
            runtime,
            bell: Arc::new(Bell::new()),
            acquire_timeout: settings.acquire_timeout,
            long_patience: settings
                .acquire_timeout
                .filter(|&limit| limit >= Duration::from_secs(1))
                .filter(|_| !EVERY_WAIT_IS_MEASURED && settings.shed_waiting.is_none()),
            exhausted: AtomicBool::new(false),
            endpoint_changes: AtomicU64::new(0),
            changed: Notify::new(),
            verbs: AtomicU64::new(0),
            verb_spoken: Notify::new(),
            #[cfg(feature = "metrics")]
            metrics: super::metrics::Metrics::new(&name),
            name,
            #[cfg(millpond_loom)]
            dials_begun: Mutex::new(Vec::new()),
            state: Mutex::new(State::new(settings)),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<Pooled<C>>> {
        self.state.lock()
    }

    /// With metrics the machine is told the time first, so that the time for which a connection is
    /// lent is exact.
    #[inline]
    pub(crate) fn lock_for_lending(&self) -> MutexGuard<'_, State<Pooled<C>>> {
        #[cfg(not(feature = "metrics"))]
        return self.lock();
        #[cfg(feature = "metrics")]
        {
            let now = self.clock.now();
            let mut state = self.lock();
            state.advance(now);
            state
        }
    }

    /// Renews the hint. It is written only where it changes: a write makes every reader fetch it
    /// again.
    #[inline]
    pub(crate) fn note_exhausted(&self, exhausted: bool) {
        if self.exhausted.load(Ordering::Relaxed) != exhausted {
            self.exhausted.store(exhausted, Ordering::Relaxed);
        }
    }
}
