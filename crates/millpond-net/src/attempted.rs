//! The addresses that one dial has tried. How it ends decides which ones the next dial tries first.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use super::lookups::Lookups;

/// The addresses of a dial that is under way. Dropped before `succeed`, because the dial failed,
/// timed out or was cancelled, it marks the tried ones as doubtful.
pub(super) struct Attempted<'d> {
    lookups: &'d Lookups,
    pub(super) addresses: Vec<SocketAddr>,
    /// How many of them have been tried.
    pub(super) tried: AtomicU32,
    pub(super) reached: Option<SocketAddr>,
    succeeded: bool,
}

impl<'d> Attempted<'d> {
    pub(super) fn new(lookups: &'d Lookups, addresses: Vec<SocketAddr>) -> Self {
        Attempted {
            lookups,
            addresses,
            tried: AtomicU32::new(0),
            reached: None,
            succeeded: false,
        }
    }

    /// The address that was reached.
    #[cfg(feature = "tls")]
    pub(super) fn reached(&self) -> SocketAddr {
        self.reached.expect("asked for after connecting")
    }

    pub(super) fn succeed(&mut self) {
        self.succeeded = true;
        if let Some(address) = self.reached {
            self.lookups.reached(address);
        }
    }
}

impl Drop for Attempted<'_> {
    fn drop(&mut self) {
        if !self.succeeded {
            let tried = usize::try_from(self.tried.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            self.lookups
                .doubt(self.addresses.iter().copied().take(tried));
        }
    }
}
