//! Routes have no users: the feature `users` is off.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::snapshot::Counters;
use crate::framing::{Credentials, Failure};

/// A client.
#[derive(Debug)]
pub(super) struct Guest;

impl Guest {
    pub(super) fn new(_: Option<SocketAddr>) -> Self {
        Guest
    }
}

/// There are none.
#[derive(Debug)]
pub(super) enum Logins {}

impl Logins {
    pub(super) fn hashed(&self) -> u64 {
        match *self {}
    }

    pub(super) async fn log_in(
        self: &Arc<Self>,
        _: &Guest,
        _: &Credentials,
        _: &Failure,
        _: Duration,
        _: &Counters,
    ) -> Result<(), Failure> {
        match **self {}
    }
}
