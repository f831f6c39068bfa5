//! A destination, looked at from here: its name, each of its addresses, the path, the TLS handshake, the ports that are left towards it. The
//! facts are gathered by `facts` and `handshake`, and judged by `judge` and `certificate`.

mod certificate;
mod facts;
mod handshake;
mod judge;
#[cfg(test)]
mod tests;

use std::time::Duration;

use millpond::transport::{Dialer, Endpoint, PhaseLimits, tls::ClientTls};

use self::facts::Facts;
use super::finding::Finding;
use crate::{
    commands::{endpoint, tls::TlsFlags},
    complaint::Complaint,
    text::parse_span_above_zero,
};

/// Longer than a dial usually gets, so that a lost SYN or two are told from a host that is down.
const LIMITS: PhaseLimits = PhaseLimits {
    resolve: Duration::from_secs(5),
    connect: Duration::from_secs(4),
    tls: Duration::from_secs(5),
};

/// What to look at.
#[derive(Debug, clap::Args)]
pub(super) struct DestinationFlags {
    /// Look at a destination as well: host:port, tcp://host:port, tls://host:port or unix:///path
    ///
    /// Its name is looked up, each address tried, the path measured, the TLS handshake done twice, and the local ports towards it counted. Nothing is
    /// sent but that.
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<String>,
    /// Wait for up to TIME (2m if none is given) for the destination to close a connection on which nothing is sent
    ///
    /// It tells what idle time a pool may have. Ctrl-C ends it early, with what was found until then.
    #[arg(
        long,
        value_name = "TIME",
        requires = "to",
        num_args = 0..=1,
        default_missing_value = "2m",
        value_parser = parse_span_above_zero
    )]
    idle_test: Option<Duration>,
    #[command(flatten)]
    tls: TlsFlags,
}

/// A destination as the flags have named it, and what is to be done with it.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) endpoint: Endpoint,
    tls: Option<ClientTls>,
    /// How long to wait for the end of an idle connection.
    pub(super) idle_test: Option<Duration>,
}

impl DestinationFlags {
    /// What they ask for; `None` if nothing.
    ///
    /// # Errors
    ///
    /// That the command line is wrong.
    pub(super) fn read(&self) -> Result<Option<Destination>, Complaint> {
        let Some(to) = &self.to else { return Ok(None) };
        let endpoint = endpoint("--to", to)?;
        Ok(Some(Destination {
            tls: self.tls.towards(&endpoint)?,
            endpoint,
            idle_test: self.idle_test,
        }))
    }
}

impl Destination {
    /// Dials this endpoint as the destination is dialled.
    pub(super) fn dialer(&self, endpoint: Endpoint) -> Dialer {
        let dialer = Dialer::new(endpoint).limits(LIMITS);
        match &self.tls {
            Some(tls) => dialer.tls(tls.clone()),
            None => dialer,
        }
    }
}

/// Looks at it: within some 15 s, of a destination that answers nothing, and as quickly as it answers otherwise.
pub(super) async fn check(destination: &Destination) -> Vec<Finding> {
    judge::all(&Facts::gather(destination).await)
}
