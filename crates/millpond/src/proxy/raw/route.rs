//! A raw route: lends each client an upstream connection for as long as it stays.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    copying::{End, Limits, Side},
    one_way::WriteLimit,
    session::Session,
    snapshot::{RawCounters, RawSnapshot, count},
    upstream::RawConnector,
};
use crate::{
    Chain,
    net::{Listener, Stream},
    pool::{AcquireError, Connection, Pool},
    proxy::{PinReason, pins::Pins},
    server::{Closed, Running, ServeError, ServerSettings, StreamService, serve_streams},
};

/// While a client waits for a connection, how often the kernel is asked whether it is still there.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Passes bytes on, whatever they mean, and lends each client an upstream connection for as long as
/// it stays. Clones are the same route.
///
/// See the [module](crate::proxy#bytes-without-frames).
#[derive(Clone)]
pub struct RawRoute {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool<RawConnector>,
    max_pin_age: Option<Duration>,
    pins: Arc<Pins>,
    counters: RawCounters,
}

impl RawRoute {
    pub(super) fn new(pool: Pool<RawConnector>, max_pin_age: Option<Duration>) -> Self {
        RawRoute {
            shared: Arc::new(Shared {
                pool,
                max_pin_age,
                // The pool says how many there may be.
                pins: Pins::new(u32::MAX),
                counters: RawCounters::default(),
            }),
        }
    }

    /// Serves the route on this runtime until the answer is dropped, drained or closed.
    ///
    /// Of the settings these count; the others are about requests, of which a raw route knows none:
    ///
    /// | setting | what it bounds here |
    /// |---|---|
    /// | `max_connections`, `max_connections_per_address` | clients, those that wait for an upstream connection included |
    /// | `handshake_timeout` | the TLS handshake |
    /// | `idle_timeout` | how long a session may be without a byte in either direction; once the client has ended it is a minute at most, and a second once the upstream has |
    /// | `write_timeout`, `least_rate` | how long either side may take for what is written to it, 16 KiB at most at a time |
    ///
    /// A drain stops accepting, and lets sessions go on until its deadline: no byte tells whether
    /// something is under way. Those that are left then are [forced](crate::server::Ended::forced).
    ///
    /// # Errors
    ///
    /// A setting is out of its range; there is no runtime here.
    pub fn serve(
        &self,
        settings: ServerSettings,
        listener: Listener,
    ) -> Result<Running, ServeError> {
        let limits = Limits {
            write: WriteLimit {
                timeout: settings.write_timeout,
                least_rate: settings.least_rate,
            },
            idle: settings.idle_timeout,
            age: self.shared.max_pin_age,
        };
        let sessions = Sessions {
            shared: Arc::clone(&self.shared),
            limits,
        };
        serve_streams(settings, listener, sessions)
    }

    /// Its pool, which holds the upstream's connections.
    pub fn pool(&self) -> &Pool<RawConnector> {
        &self.shared.pool
    }

    /// The route at this instant.
    pub fn snapshot(&self) -> RawSnapshot {
        RawSnapshot {
            version: RawSnapshot::VERSION,
            pins: self.shared.pins.snapshot(),
            totals: self.shared.counters.totals(),
            upstreams: self.shared.pool.connector().streams().upstreams(),
            pool: self.shared.pool.snapshot(),
        }
    }
}

/// What a server of the route serves clients by.
struct Sessions {
    shared: Arc<Shared>,
    limits: Limits,
}

impl StreamService for Sessions {
    async fn serve(&self, client: Stream) -> Result<Closed, String> {
        let shared = &*self.shared;
        let mut waiting = Waiting {
            counters: &shared.counters,
            client: Some(client),
        };
        let (client, upstream) = match shared.lend(&mut waiting).await {
            Ok(lent) => lent,
            Err(Unlent::Gone) => return Ok(Closed::Broken),
            Err(Unlent::Refused(error)) => return Err(Chain(&error).to_string()),
        };
        let _pin = shared.pins.place(PinReason::Session).await;
        let session = Session::begin(client, upstream, self.limits, &shared.counters);
        Ok(match session.run().await {
            End::Ended(Side::Client) => Closed::ByPeer,
            End::Ended(Side::Upstream) | End::Broken(Side::Upstream) => Closed::ByUpstream,
            End::Broken(Side::Client) => Closed::Broken,
            End::Idle => Closed::IdleTimeout,
            End::Stalled => Closed::WriteTimeout,
            End::TooOld => Closed::MaxPinAge,
        })
    }
}

/// Why a client was lent no connection.
enum Unlent {
    /// It has gone.
    Gone,
    Refused(AcquireError),
}

/// A client that waits for a connection. Dropped with the client, it resets it: of what that has
/// sent, nothing was passed on, and an end in good order might be taken for an answer.
struct Waiting<'w> {
    counters: &'w RawCounters,
    client: Option<Stream>,
}

impl Waiting<'_> {
    fn leaves(&mut self, counter: &AtomicU64) {
        if let Some(client) = self.client.take() {
            count(counter);
            client.abort();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The server closes.
        self.leaves(&self.counters.overloaded);
    }
}

impl Shared {
    /// Lends a connection to a client, unless it goes meanwhile. One that has only ended its sending
    /// is still there.
    async fn lend(
        &self,
        waiting: &mut Waiting<'_>,
    ) -> Result<(Stream, Connection<RawConnector>), Unlent> {
        let mut acquiring = pin!(self.pool.acquire().into_future());
        loop {
            match timeout(BETWEEN_LOOKS, acquiring.as_mut()).await {
                Ok(Ok(upstream)) => {
                    let client = waiting.client.take().expect("until it is lent one");
                    return Ok((client, upstream));
                }
                Ok(Err(error)) => {
                    waiting.leaves(match error {
                        AcquireError::Full { .. }
                        | AcquireError::TimedOut(_)
                        | AcquireError::Shed { .. } => &self.counters.overloaded,
                        _ => &self.counters.unavailable,
                    });
                    return Err(Unlent::Refused(error));
                }
                Err(_) if waiting.client.as_ref().is_some_and(Stream::is_gone) => {
                    waiting.leaves(&self.counters.abandoned);
                    return Err(Unlent::Gone);
                }
                Err(_) => {}
            }
        }
    }
}

impl fmt::Debug for RawRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRoute")
            .field("upstream", self.shared.pool.connector())
            .finish_non_exhaustive()
    }
}
