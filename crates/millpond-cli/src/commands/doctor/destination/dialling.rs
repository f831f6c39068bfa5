//! A destination as the flags name it, and how it is dialled.

use std::time::Duration;

use millpond::net::{Dialer, Endpoint, PhaseLimits, tls::ClientTls};

/// Longer than a dial's usual limits, so that a host that is up is reached even if a SYN or two are
/// lost.
pub(super) const LIMITS: PhaseLimits = PhaseLimits {
    resolve: Duration::from_secs(5),
    connect: Duration::from_secs(4),
    tls: Duration::from_secs(5),
};

/// See the module.
#[derive(Debug)]
pub(in super::super) struct Destination {
    pub(in super::super) endpoint: Endpoint,
    pub(super) tls: Option<ClientTls>,
    /// How long to wait for the end of an idle connection.
    pub(in super::super) idle_test: Option<Duration>,
}

impl Destination {
    /// A dialler for this endpoint with the destination's settings.
    pub(in super::super) fn dialer(&self, endpoint: Endpoint) -> Dialer {
        let dialer = Dialer::new(endpoint).limits(LIMITS);
        match &self.tls {
            Some(tls) => dialer.tls(tls.clone()),
            None => dialer,
        }
    }
}
