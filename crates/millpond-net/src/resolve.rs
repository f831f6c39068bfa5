//! From a name to its addresses: whom to ask. What the answers mean over time is `names.rs`'s.

use std::{future::Future, io, net::SocketAddr, pin::Pin};

use super::HostName;

/// The answer to a lookup, under way.
pub type Lookup<'r> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'r>>;

/// Looks names up. [`SystemResolver`] is the default; another one asks a service registry, or a DNS
/// client of its own.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `name`, each with `port`, best first. An answer without any means that
    /// there are none; connections that exist are kept all the same.
    fn resolve<'r>(&'r self, name: &'r HostName, port: u16) -> Lookup<'r>;
}

/// Asks the system, as every program does (`getaddrinfo`): /etc/hosts, DNS, whatever it is set up
/// for, in the order that it prefers.
///
/// A lookup occupies one of the runtime's threads for blocking work until the system answers, also
/// when nobody waits for it any more.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'r>(&'r self, name: &'r HostName, port: u16) -> Lookup<'r> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name.as_str(), port))
                .await?
                .collect())
        })
    }
}
