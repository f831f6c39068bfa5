//! What a client tells the `metrics` facade. Handles are registered when the client is built, so
//! recording allocates nothing. Names and units are documented in the parent module.

use ::metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use parking_lot::Mutex;

use super::outcome::Outcome;

/// The handles of one client.
pub(super) struct Metrics {
    /// In the order of [`Outcome`].
    exchanges: [Counter; Outcome::ALL.len()],
    in_flight: Gauge,
    /// Requests that wait, and their bytes. Locked from reading them until they are told, so that
    /// an older figure never follows a newer one.
    waiting: Mutex<(Gauge, Gauge)>,
    retries_granted: Counter,
    retries_refused: Counter,
    retries_turned_away: Counter,
    heartbeats_sent: Counter,
    heartbeats_received: Counter,
    heartbeats_missed: Counter,
}

impl Metrics {
    pub(super) fn new(pool: &str) -> Self {
        describe();
        let counted = |name: &'static str| counter!(name, "pool" => pool.to_owned());
        let retries = |outcome: &'static str| counter!("millpond_client_retries_total", "pool" => pool.to_owned(), "outcome" => outcome);
        Metrics {
            exchanges: Outcome::ALL.map(|outcome| {
                counter!("millpond_client_exchanges_total", "pool" => pool.to_owned(), "outcome" => outcome.name())
            }),
            in_flight: gauge!("millpond_client_in_flight", "pool" => pool.to_owned()),
            waiting: Mutex::new((
                gauge!("millpond_client_waiting", "pool" => pool.to_owned()),
                gauge!("millpond_client_waiting_bytes", "pool" => pool.to_owned()),
            )),
            retries_granted: retries("granted"),
            retries_refused: retries("refused"),
            retries_turned_away: retries("turned_away"),
            heartbeats_sent: counted("millpond_client_heartbeats_sent_total"),
            heartbeats_received: counted("millpond_client_heartbeats_received_total"),
            heartbeats_missed: counted("millpond_client_heartbeats_missed_total"),
        }
    }

    pub(super) fn began(&self) {
        self.in_flight.increment(1);
    }

    pub(super) fn ended(&self, outcome: Outcome) {
        self.in_flight.decrement(1);
        self.exchanges[outcome as usize].increment(1);
    }

    /// `now` answers how many requests wait, and their bytes.
    pub(super) fn waiting(&self, now: impl FnOnce() -> (usize, usize)) {
        let gauges = self.waiting.lock();
        let (requests, bytes) = now();
        gauges.0.set(requests as f64);
        gauges.1.set(bytes as f64);
    }

    /// A draining server hadn't taken the request, which is sent again.
    pub(super) fn turned_away(&self) {
        self.retries_turned_away.increment(1);
    }

    pub(super) fn retry(&self, is_granted: bool) {
        match is_granted {
            true => self.retries_granted.increment(1),
            false => self.retries_refused.increment(1),
        }
    }

    pub(super) fn heartbeat_sent(&self) {
        self.heartbeats_sent.increment(1);
    }

    pub(super) fn heartbeat_received(&self) {
        self.heartbeats_received.increment(1);
    }

    pub(super) fn heartbeat_missed(&self) {
        self.heartbeats_missed.increment(1);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn describe() {
    describe_counter!(
        "millpond_client_exchanges_total",
        "Exchanges that have ended, by outcome"
    );
    describe_gauge!(
        "millpond_client_in_flight",
        "Exchanges whose callers wait, for a connection or for the reply"
    );
    describe_gauge!(
        "millpond_client_waiting",
        "Requests that wait for a place on a pipeline"
    );
    describe_gauge!(
        "millpond_client_waiting_bytes",
        ::metrics::Unit::Bytes,
        "The bytes of the requests that wait for a place on a pipeline"
    );
    describe_counter!(
        "millpond_client_retries_total",
        "Requests that were to be sent again, by what the budget said, or since a draining server had turned them away"
    );
    describe_counter!("millpond_client_heartbeats_sent_total", "Heartbeats sent");
    describe_counter!(
        "millpond_client_heartbeats_received_total",
        "Heartbeats received"
    );
    describe_counter!(
        "millpond_client_heartbeats_missed_total",
        "Connections whose peers have stopped sending heartbeats"
    );
}
