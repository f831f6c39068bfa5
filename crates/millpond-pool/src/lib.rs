//! A connection pool: who holds which connection, and who waits. It knows nothing of sockets: a
//! [`Connector`] opens connections and judges them.
//!
//! Reading order: [`Connector`] (what a pool asks of you), [`PoolBuilder`] (settings), [`Pool`]
//! (acquire, and the verbs), [`Connection`] (what you are lent), [`AcquireError`]; then, for how it
//! works, `state.rs` (the pure machine), `shared.rs` (the pool itself), `carry_out.rs` (which carries
//! out what the machine decides), `acquisition.rs`, `dial.rs`, `upkeep.rs`.
//!
//! # Words
//!
//! A connection is **connecting**, **idle**, **checking** (being probed, reset or looked at),
//! **active** (lent) or **closing**. A caller that must wait is a **waiter**. A **dial** opens a
//! connection; it is made for the pool, never for one caller, so a caller that gives up
//! cancels nothing. **Evicted** is a connection that the pool closes, always for a reason
//! ([`Eviction`]).
//!
//! # A pool in a struct
//!
//! A connector made of a closure has a type that can't be written down. In a [`BoxConnector`] it
//! can:
//!
//! ```
//! use millpond_pool::{BoxConnector, BuildError, Pool, connect_with};
//! use tokio::net::TcpStream;
//!
//! struct App {
//!     streams: Pool<BoxConnector<TcpStream>>,
//! }
//!
//! fn app(address: std::net::SocketAddr) -> Result<App, BuildError> {
//!     let connector = BoxConnector::new(connect_with(move || TcpStream::connect(address)));
//!     let streams = Pool::builder(connector).build()?;
//!     Ok(App { streams })
//! }
//! ```
//!
//! [`Pool::acquire_owned`] makes a future that can be kept in a struct or spawned. [`AnyPool`] is a
//! pool of whatever connections, for those who show and steer many pools. [`PoolSettings`] are all
//! settings as a value; with the feature `serde` they are read from a file.
//!
//! # The verbs
//!
//! | verb | idle ones | lent ones | waiters | new callers |
//! |---|---|---|---|---|
//! | [`close`](Pool::close) | closed now | closed at release; the call returns at its deadline and says how many are still lent | `Closed` | `Closed` |
//! | [`drain`](Pool::drain) | serve the waiters, then closed | finish | served | `Draining` |
//! | [`retire`](Pool::retire) | closed now, replaced as `min_idle` asks | closed at release | served by new ones | served |
//! | [`pause`](Pool::pause), [`resume`](Pool::resume) | kept | finish | wait | wait, within their deadline |
//! | [`resize`](Pool::resize) | shrunk from the oldest | beyond the limit: closed at release | served within the new limit | served |
//!
//! # Events
//!
//! Through `tracing`, target `millpond::pool`, each with the field `pool`, the pool's name. Nothing
//! is emitted when a connection is lent or released. An outage is told of when the first dial
//! fails, again by a failure 10 s later and then each time that it has lasted three times as
//! long, and when a connection has served again: so an endpoint that is down for a day is a dozen
//! lines.
//!
//! | level | message | fields |
//! |---|---|---|
//! | warn | dials fail | `cause` |
//! | warn | dials still fail | `since` (for how long), `failures` (in a row), `cause` of the last |
//! | info | dials succeed again, and what they open serves | `lasted`, `failures` |
//! | debug | dial failed | `cause` |
//! | info | connections lead where none would be dialled now | `retired` |
//! | error | a waker panicked | |
//! | error | the connector panicked in endpoint_changed or is_current | |
//! | error | the connector panicked in run | |
//! | warn | used connections are dropped without a word, and closed for it; once per pool | `acquired_at`, `unreleased`, `released` |
//! | warn | a connection has been lent for longer than the leak threshold | `connection`, `acquired_at`, `lent_for` |
//! | error | the connector panicked in close | `connection` |
//! | debug | evicted | `connection`, `reason` |
//! | debug | check failed | `error`, `reason` |
//! | debug | the release hook refused a connection | `error` |
//! | debug | closed by force: the farewell took longer than close_timeout | |
//!
//! # Metrics
//!
//! With the feature `metrics`, through the facade of that name; recording allocates nothing. Each
//! has the label `pool`, the pool's name.
//!
//! | name | kind, unit | meaning, and further labels |
//! |---|---|---|
//! | `millpond_pool_connections` | gauge | by `state`: `connecting`, `idle`, `checking`, `active`, `closing`; set by upkeep, every 100 ms |
//! | `millpond_pool_waiting` | gauge, callers | set by upkeep |
//! | `millpond_pool_max_size` | gauge, connections | the setting, as last resized; set by upkeep |
//! | `millpond_pool_`*name*`_total` | counter | each of [`PoolTotals`] by its field's name (`dials_failed`, `timed_out`, `turned_away_full`, `shed`, `waited`, `lent`, …); set by upkeep |
//! | `millpond_pool_wait_seconds` | histogram, seconds | how long each caller waited that had to wait and was served |
//! | `millpond_pool_hold_seconds` | histogram, seconds | how long each connection was lent that came back clean |
//! | `millpond_pool_dial_seconds` | histogram, seconds | by `outcome`: `ok`, `failed` |
//! | `millpond_pool_evicted_total` | counter | by `reason`: [`Eviction::name`] |
#![doc = include_str!("bb8_deadpool.md")]

mod acquire;
mod acquisition;
#[cfg(any(feature = "bb8", feature = "deadpool"))]
mod adapters;
mod any_pool;
mod asker;
mod background;
mod blocking;
mod box_connector;
mod boxed;
mod builder;
mod carry_out;
mod clock;
mod closures;
mod connection;
mod connector;
mod dial;
mod dial_error;
mod ends;
mod error;
mod eviction;
mod explain;
mod handle;
mod leases;
#[cfg(feature = "metrics")]
mod metrics;
mod pool;
mod pooled;
mod reports;
mod returning;
mod runtime;
mod settings;
mod shared;
mod shedding;
mod snapshot;
mod state;
mod sync;
mod totals;
mod upkeep;
mod watching;
mod with;

#[cfg(all(test, millpond_loom))]
mod interleavings;

/// The page that a registry shows: its example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "bb8")]
pub use self::adapters::{FromBb8, from_bb8};
#[cfg(feature = "deadpool")]
pub use self::adapters::{FromDeadpool, Recyclable, from_deadpool};
pub use millpond_words::InvalidSetting;

pub use self::{
    acquire::{Acquire, AcquireOwned},
    any_pool::{AnyPool, EmptiedFuture},
    box_connector::BoxConnector,
    builder::{BuildError, PoolBuilder},
    closures::{ConnectWith, SelfManaged, connect_with},
    connection::Connection,
    connector::{AfterRelease, Closing, Connector, LastExchange},
    dial::dial_phase,
    dial_error::DialError,
    ends::{Address, Ends, Transmission},
    error::{AcquireError, Circumstances, NotReady, StillLent},
    eviction::Eviction,
    pool::Pool,
    settings::{Backoff, Order, PoolSettings, Priority, Probe},
    shedding::Shedding,
    snapshot::{
        Check, ConnectionSnapshot, ConnectionState, EvictionSnapshot, LastFailure, PoolSnapshot,
        PoolStatus,
    },
    totals::PoolTotals,
    with::WithError,
};
/// For millpond's own clients. It changes without notice.
#[doc(hidden)]
pub mod unstable {
    pub use crate::{
        connection::{Served, SlotId},
        leases::{LeaseHandle, LeaseTerms},
        runtime::Runtime,
        shedding::Codel,
        state::{Recall, Refusal},
        sync::{Mutex, MutexGuard},
    };
}
