//! The one lock, so that loom can stand in for it.

use std::sync::PoisonError;

#[cfg(millpond_loom)]
use loom::sync as imp;
#[cfg(not(millpond_loom))]
use std::sync as imp;

pub(crate) use imp::MutexGuard;

/// A mutex that isn't poisoned: what it guards is changed by code that doesn't run anybody else's.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(imp::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
