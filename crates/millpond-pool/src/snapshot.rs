//! A pool at one instant, read under one lock: for people, pages, tests.

use std::{fmt, panic::Location, time::Duration};

use super::{
    connector::Connector,
    ends::{Ends, Transmission},
    eviction::Eviction,
    explain::last_failure,
    pooled::Pooled,
    shared::SharedPool,
    state::{Checking, Lifecycle, Slot, Stage, StageName, State},
    totals::PoolTotals,
};
use millpond_words::Ago;

/// A pool at one instant.
///
/// With the feature `serde` it serializes, and [`PoolSnapshot::VERSION`] tells readers of the JSON
/// what to expect: fields are added without a new version, renamed or removed only with one. Times
/// are in seconds.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// [`PoolSnapshot::VERSION`].
    pub version: u32,
    /// The pool's name.
    pub name: String,
    /// Whether it takes callers.
    pub status: PoolStatus,
    /// Nobody is served until it is resumed.
    pub paused: bool,
    /// Time since the pool was built.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "up_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub up: Duration,
    /// The setting, as last resized.
    pub max_size: u32,
    /// The setting.
    pub min_idle: u32,
    /// Dials under way.
    pub connecting: usize,
    /// Connections nobody has.
    pub idle: usize,
    /// Connections being probed, reset or looked at.
    pub checking: usize,
    /// Connections lent, or granted and about to be picked up.
    pub active: usize,
    /// Connections being closed.
    pub closing: usize,
    /// Callers that wait.
    pub waiting: usize,
    /// Dials are failing, and none has been made good since.
    pub failing: bool,
    /// The last dial that failed.
    pub last_failure: Option<LastFailure>,
    /// What has happened since the pool was built.
    pub totals: PoolTotals,
    /// Every connection, in the order of their dials.
    pub connections: Vec<ConnectionSnapshot>,
    /// The last evictions, the latest last: at most 64.
    pub evictions: Vec<EvictionSnapshot>,
}

/// Whether a pool takes callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PoolStatus {
    /// It does.
    Open,
    /// It serves those who wait, and takes no new ones.
    Draining,
    /// It doesn't.
    Closed,
    /// It doesn't, since its runtime has ended.
    RuntimeEnded,
}

/// A failed dial.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LastFailure {
    /// How long ago.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "ago_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub ago: Duration,
    /// Why.
    pub cause: String,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ConnectionState {
    /// Its dial is under way.
    Connecting,
    /// Nobody has it.
    Idle,
    /// It is being probed, reset or looked at.
    Checking,
    /// It is lent, or granted and about to be picked up.
    Active,
    /// It is being closed.
    Closing,
}

/// Why a connection is being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Check {
    /// It is probed for a caller who waits.
    Probe,
    /// It is reset after its release.
    Reset,
    /// The connector looks at it while it is idle.
    Look,
}

/// One connection at that instant.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConnectionSnapshot {
    /// Its number in the pool, never used again.
    pub number: u64,
    /// What it is doing.
    pub state: ConnectionState,
    /// Why it is being checked, if it is.
    pub check: Option<Check>,
    /// For how long it has been doing that: idle for, lent for, …
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "state_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub state_for: Duration,
    /// Time since its dial ended; while connecting, since it began.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "age_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub age: Duration,
    /// How often it has been lent.
    pub uses: u64,
    /// Its addresses, if the connector says.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub ends: Ends,
    /// How it transmits, in a [detailed](super::Pool::detailed_snapshot) snapshot.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub transmission: Option<Transmission>,
    /// The call that acquired it, if it is lent.
    #[cfg_attr(feature = "serde", serde(serialize_with = "location"))]
    pub acquired_at: Option<&'static Location<'static>>,
    /// Lent for longer than `leak_threshold`.
    pub leaked: bool,
}

/// A connection that was evicted.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EvictionSnapshot {
    /// Its number in the pool.
    pub number: u64,
    /// Why.
    pub reason: Eviction,
    /// How long ago.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "ago_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub ago: Duration,
    /// How old it was.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "age_seconds",
            serialize_with = "millpond_words::seconds::serialize"
        )
    )]
    pub age: Duration,
    /// How often it had been lent.
    pub uses: u64,
}

#[cfg(feature = "serde")]
fn location<S: serde::Serializer>(
    call: &Option<&'static Location<'static>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match call {
        Some(call) => serializer.collect_str(call),
        None => serializer.serialize_none(),
    }
}

impl PoolSnapshot {
    /// The version of the JSON.
    pub const VERSION: u32 = 1;

    /// Takes one. The room is made before the lock is taken, and made larger if it wasn't enough.
    pub(crate) fn take<C: Connector>(shared: &SharedPool<C>) -> PoolSnapshot {
        let name = shared.name.clone();
        let mut room = shared.lock().slots().occupied();
        loop {
            let mut connections = Vec::with_capacity(room);
            let mut evictions = Vec::with_capacity(super::state::REMEMBERED_EVICTIONS);
            let now = shared.clock.now();
            let state = shared.lock();
            if state.slots().occupied() > room {
                room = 2 * state.slots().occupied();
                continue;
            }
            for slot in state.slots().all() {
                connections.extend(connection_snapshot(slot, now, &state));
            }
            evictions.extend(state.evictions().map(|record| EvictionSnapshot {
                number: record.number,
                reason: record.reason,
                ago: now.since(record.at),
                age: record.age,
                uses: record.uses,
            }));
            let slots = state.slots();
            let failure = last_failure(&state, now);
            let mut snapshot = PoolSnapshot {
                version: PoolSnapshot::VERSION,
                name,
                status: match state.lifecycle() {
                    Lifecycle::Open => PoolStatus::Open,
                    Lifecycle::Draining => PoolStatus::Draining,
                    Lifecycle::Closed => PoolStatus::Closed,
                    Lifecycle::RuntimeEnded => PoolStatus::RuntimeEnded,
                },
                paused: state.paused(),
                up: now.since_built(),
                max_size: state.settings().max_size,
                min_idle: state.settings().min_idle,
                connecting: slots.count(StageName::Connecting),
                idle: slots.count(StageName::Idle),
                checking: slots.count(StageName::Checking),
                active: slots.count(StageName::Active) + slots.count(StageName::Granted),
                closing: slots.count(StageName::Closing),
                waiting: state.waiters().waiting(),
                failing: state.outage().failing(),
                last_failure: None,
                totals: *state.totals(),
                connections,
                evictions,
            };
            drop(state);
            snapshot.last_failure = failure.map(|(ago, cause)| LastFailure {
                ago,
                cause: cause.cause().to_string(),
            });
            snapshot.connections.sort_unstable_by_key(|one| one.number);
            return snapshot;
        }
    }
}

fn connection_snapshot<C: Connector>(
    slot: &Slot<Pooled<C>>,
    now: super::state::Moment,
    state: &State<Pooled<C>>,
) -> Option<ConnectionSnapshot> {
    let (doing, acquired_at) = match &slot.stage {
        Stage::Vacant => return None,
        Stage::Connecting => (ConnectionState::Connecting, None),
        Stage::Idle(_) => (ConnectionState::Idle, None),
        Stage::Checking(_) => (ConnectionState::Checking, None),
        Stage::Granted { .. } => (ConnectionState::Active, None),
        Stage::Active { tag, .. } => (ConnectionState::Active, Some(tag.acquired_at)),
        Stage::Closing => (ConnectionState::Closing, None),
    };
    let lent_for = now.since(slot.since);
    let exclusive = matches!(
        slot.stage,
        Stage::Active {
            lease: super::state::Lease::Exclusive,
            ..
        }
    );
    let threshold = state.settings().leak_threshold;
    Some(ConnectionSnapshot {
        number: slot.number,
        state: doing,
        check: match slot.stage {
            Stage::Checking(Checking::Probe) => Some(Check::Probe),
            Stage::Checking(Checking::Reset) => Some(Check::Reset),
            Stage::Checking(Checking::Look) => Some(Check::Look),
            _ => None,
        },
        state_for: lent_for,
        age: now.since(slot.opened),
        uses: slot.uses,
        ends: slot.label.clone(),
        transmission: None,
        acquired_at,
        leaked: exclusive && threshold.is_some_and(|threshold| lent_for >= threshold),
    })
}

impl fmt::Display for PoolSnapshot {
    /// The counts in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} idle, {} active, {} connecting, {} checking, {} closing of {}; {} waiting",
            self.name,
            self.idle,
            self.active,
            self.connecting,
            self.checking,
            self.closing,
            self.max_size,
            self.waiting,
        )?;
        if let Some(failure) = self.last_failure.as_ref().filter(|_| self.failing) {
            write!(
                f,
                "; last dial failed {}: {}",
                Ago(failure.ago),
                failure.cause
            )?;
        }
        Ok(())
    }
}
