//! What a pool tells the `metrics` facade. Handles are registered when the pool is built, so
//! recording allocates nothing. Names and units are documented in the parent module.

use std::time::Duration;

use ::metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::{
    connector::Connector,
    eviction::Eviction,
    pooled::Pooled,
    state::{Moment, StageName, State},
    totals::PoolTotals,
};

/// The handles of one pool.
pub(crate) struct Metrics {
    connecting: Gauge,
    idle: Gauge,
    checking: Gauge,
    active: Gauge,
    closing: Gauge,
    waiting: Gauge,
    max_size: Gauge,
    /// In the order of [`PoolTotals::named`].
    totals: [Counter; 16],
    wait: Histogram,
    hold: Histogram,
    dial_ok: Histogram,
    dial_failed: Histogram,
    evicted: [Counter; Eviction::COUNT],
}

impl Metrics {
    pub(crate) fn new(pool: &str) -> Self {
        describe();
        let connections = |state: &'static str| gauge!("millpond_pool_connections", "pool" => pool.to_owned(), "state" => state);
        let dial = |outcome: &'static str| histogram!("millpond_pool_dial_seconds", "pool" => pool.to_owned(), "outcome" => outcome);
        Metrics {
            connecting: connections("connecting"),
            idle: connections("idle"),
            checking: connections("checking"),
            active: connections("active"),
            closing: connections("closing"),
            waiting: gauge!("millpond_pool_waiting", "pool" => pool.to_owned()),
            max_size: gauge!("millpond_pool_max_size", "pool" => pool.to_owned()),
            totals: PoolTotals::default()
                .named()
                .map(|(name, _)| counter!(format!("millpond_pool_{name}_total"), "pool" => pool.to_owned())),
            wait: histogram!("millpond_pool_wait_seconds", "pool" => pool.to_owned()),
            hold: histogram!("millpond_pool_hold_seconds", "pool" => pool.to_owned()),
            dial_ok: dial("ok"),
            dial_failed: dial("failed"),
            evicted: std::array::from_fn(|index| {
                let reason = Eviction::ALL[index];
                counter!("millpond_pool_evicted_total", "pool" => pool.to_owned(), "reason" => reason.name())
            }),
        }
    }

    pub(crate) fn waited(&self, waited: Duration) {
        self.wait.record(waited.as_secs_f64());
    }

    pub(crate) fn held(&self, since: Moment, now: Moment) {
        self.hold.record(now.since(since).as_secs_f64());
    }

    pub(crate) fn dialled(&self, since: Moment, now: Moment, ok: bool) {
        let histogram = if ok { &self.dial_ok } else { &self.dial_failed };
        histogram.record(now.since(since).as_secs_f64());
    }

    pub(crate) fn evicted(&self, reason: Eviction) {
        self.evicted[reason as usize].increment(1);
    }

    pub(crate) fn gauge(&self, counts: &Counts) {
        self.connecting.set(f64::from(counts.connecting));
        self.idle.set(f64::from(counts.idle));
        self.checking.set(f64::from(counts.checking));
        self.active.set(f64::from(counts.active));
        self.closing.set(f64::from(counts.closing));
        self.waiting.set(f64::from(counts.waiting));
        self.max_size.set(f64::from(counts.max_size));
        for (counter, (_, total)) in self.totals.iter().zip(counts.totals.named()) {
            counter.absolute(total);
        }
    }
}

/// What the gauges and the counters of totals show, read under the lock and recorded after it.
pub(crate) struct Counts {
    connecting: u32,
    idle: u32,
    checking: u32,
    active: u32,
    closing: u32,
    waiting: u32,
    max_size: u32,
    totals: PoolTotals,
}

impl Counts {
    pub(crate) fn read<C: Connector>(state: &State<Pooled<C>>) -> Self {
        let count = |stage| u32::try_from(state.slots().count(stage)).unwrap_or(u32::MAX);
        Counts {
            connecting: count(StageName::Connecting),
            idle: count(StageName::Idle),
            checking: count(StageName::Checking),
            active: count(StageName::Active) + count(StageName::Granted),
            closing: count(StageName::Closing),
            waiting: u32::try_from(state.waiters().waiting()).unwrap_or(u32::MAX),
            max_size: state.settings().max_size,
            totals: *state.totals(),
        }
    }
}

fn describe() {
    describe_gauge!("millpond_pool_connections", "Connections by state");
    describe_gauge!(
        "millpond_pool_waiting",
        "Callers that wait for a connection"
    );
    describe_gauge!(
        "millpond_pool_max_size",
        "The most connections there may be"
    );
    for (name, _) in PoolTotals::default().named() {
        describe_counter!(
            format!("millpond_pool_{name}_total"),
            "As the field of this name in the totals of a snapshot"
        );
    }
    describe_histogram!(
        "millpond_pool_wait_seconds",
        ::metrics::Unit::Seconds,
        "How long callers waited that had to wait and were served"
    );
    describe_histogram!(
        "millpond_pool_hold_seconds",
        ::metrics::Unit::Seconds,
        "How long connections were lent that came back clean"
    );
    describe_histogram!(
        "millpond_pool_dial_seconds",
        ::metrics::Unit::Seconds,
        "How long dials took"
    );
    describe_counter!(
        "millpond_pool_evicted_total",
        "Connections evicted, by reason"
    );
}
