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

/// With metrics nobody gets in line without a look at the clock.
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
    /// `acquire_timeout`, where it is so long that nobody minds 25 ms more.
    pub(crate) long_patience: Option<Duration>,
    /// A hint, read without the lock and never trusted: nothing was idle when somebody last
    /// looked. Who sees it set gets ready to wait before taking the lock, and so takes it once
    /// instead of twice.
    pub(crate) exhausted: AtomicBool,
    /// How often the connector has said that the endpoint has changed.
    pub(crate) endpoint_changes: AtomicU64,
    /// Notified when the number of connections or the lifecycle changes.
    pub(crate) changed: Notify,
    /// How often a verb has been spoken: who holds connections for long compares it with what it
    /// was.
    pub(crate) verbs: AtomicU64,
    /// Notified with each.
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
        SharedPool {
            connector,
            clock: Clock::start(),
            runtime,
            bell: Arc::new(Bell::new()),
            name: settings.name.clone(),
            acquire_timeout: settings.acquire_timeout,
            long_patience: settings
                .acquire_timeout
                .filter(|&limit| limit >= Duration::from_secs(1) && !EVERY_WAIT_IS_MEASURED),
            exhausted: AtomicBool::new(false),
            endpoint_changes: AtomicU64::new(0),
            changed: Notify::new(),
            verbs: AtomicU64::new(0),
            verb_spoken: Notify::new(),
            #[cfg(feature = "metrics")]
            metrics: super::metrics::Metrics::new(&settings.name),
            #[cfg(millpond_loom)]
            dials_begun: Mutex::new(Vec::new()),
            state: Mutex::new(State::new(settings)),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<Pooled<C>>> {
        self.state.lock()
    }

    /// With metrics, how long a connection is lent is measured exactly: the machine is told the
    /// time first.
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

    /// Renews the hint. It is written only where it changes, so that who reads it doesn't wait for
    /// whoever writes it.
    #[inline]
    pub(crate) fn note_exhausted(&self, exhausted: bool) {
        if self.exhausted.load(Ordering::Relaxed) != exhausted {
            self.exhausted.store(exhausted, Ordering::Relaxed);
        }
    }
}
