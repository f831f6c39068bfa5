//! The one lock, so that loom can stand in for it.
//!
//! It is held for tens of nanoseconds. parking_lot's spins a little before it sleeps, which std's gives up earlier: with two
//! threads at it that is worth a third to a half of the time, and alone it costs the same.

#[cfg(millpond_loom)]
use loom::sync as imp;
#[cfg(not(millpond_loom))]
use parking_lot as imp;

pub(crate) use imp::MutexGuard;

/// A mutex that isn't poisoned: what it guards is changed by code that doesn't run anybody else's.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(imp::Mutex::new(value))
    }

    #[cfg(not(millpond_loom))]
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    #[cfg(millpond_loom)]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
