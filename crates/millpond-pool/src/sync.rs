//! The one kind of lock, so that loom can stand in for it.
//!
//! parking_lot's, because it was measured faster than std's where two threads are at it (two tasks
//! in parallel: 0.30 to 0.40 of deadpool's time against 0.54 to 0.65, in three interleaved pairs of
//! runs on two busy cores), and no slower alone.

#[cfg(millpond_loom)]
use loom::sync as imp;
#[cfg(not(millpond_loom))]
use parking_lot as imp;

pub use imp::MutexGuard;

/// A mutex that isn't poisoned: what it guards is changed by code that doesn't run anybody else's.
#[derive(Debug)]
pub struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    /// Unlocked.
    pub fn new(value: T) -> Self {
        Mutex(imp::Mutex::new(value))
    }

    /// Waits for whoever has it.
    #[cfg(not(millpond_loom))]
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    /// Under loom.
    #[cfg(millpond_loom)]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The guard, unless somebody else has it.
    #[cfg(not(millpond_loom))]
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Under loom.
    #[cfg(millpond_loom)]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}
