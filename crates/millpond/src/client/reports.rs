//! What a client reports of its connections while requests are on them: events, the first of each
//! kind at once and those after it as sums; and, with the feature `metrics`, counters and gauges.

use std::sync::OnceLock;

use super::{error::Loss, failure::ExchangeFailure, metrics::Metrics};
use millpond_words::{Chain, Span, Storms, Sum};

/// What happens to connections, and may happen to many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Lost,
    HeartbeatMissed,
    Unfit,
}

impl Event {
    const ALL: [Event; 3] = [Event::Lost, Event::HeartbeatMissed, Event::Unfit];
}

/// See the module. Shared by a client and its sessions.
#[derive(Debug)]
pub(super) struct Reports {
    names: OnceLock<Names>,
    storms: Storms<Event, { Event::ALL.len() }>,
}

impl Default for Reports {
    fn default() -> Self {
        Reports {
            names: OnceLock::new(),
            storms: Storms::new(Event::ALL),
        }
    }
}

/// What is known once the pool has been built: by which name events and metrics go.
#[derive(Debug)]
struct Names {
    pool: String,
    #[cfg(feature = "metrics")]
    metrics: Metrics,
}

impl Reports {
    /// From now on there are metrics, and events have the pool's name.
    pub(super) fn begin(&self, pool: &str) {
        self.names.get_or_init(|| Names {
            pool: pool.to_owned(),
            #[cfg(feature = "metrics")]
            metrics: Metrics::new(pool),
        });
    }

    fn pool(&self) -> &str {
        self.names.get().map_or("", |names| &names.pool)
    }

    /// None without the feature `metrics`.
    #[inline]
    pub(super) fn metrics(&self) -> Option<&Metrics> {
        #[cfg(feature = "metrics")]
        return self.names.get().map(|names| &names.metrics);
        #[cfg(not(feature = "metrics"))]
        None
    }

    /// A connection has ended with exchanges on it.
    pub(super) fn ended(&self, cause: &ExchangeFailure) {
        match cause {
            ExchangeFailure::HeartbeatMissed => self.heartbeat_missed(),
            cause if cause.ended_connection() && self.storms.happened(Event::Lost) => {
                let cause = match cause.of_another() {
                    ExchangeFailure::NoFrame(error) => error.to_string(),
                    cause => Chain(&Loss::of(cause)).to_string(),
                };
                tracing::warn!(target: "millpond::client", pool = self.pool(), %cause, "a connection was lost with requests on it");
            }
            _ => {}
        }
    }

    /// A peer has stopped sending heartbeats, on a connection with exchanges on it or an idle one.
    pub(super) fn heartbeat_missed(&self) {
        if let Some(metrics) = self.metrics() {
            metrics.heartbeat_missed();
        }
        if self.storms.happened(Event::HeartbeatMissed) {
            tracing::warn!(target: "millpond::client", pool = self.pool(), "a peer has stopped sending heartbeats");
        }
    }

    /// A server answers that it can't serve now.
    pub(super) fn unfit(&self) {
        if self.storms.happened(Event::Unfit) {
            tracing::warn!(target: "millpond::client", pool = self.pool(), "a server answers that it can't serve now: its connection is closed");
        }
    }

    /// Reports the sums as they are due. Never ends. Dropped, it reports what is left.
    pub(super) async fn report_sums(&self) {
        self.storms
            .tell_sums(|event, sum| self.report(event, sum))
            .await;
    }

    fn report(&self, event: Event, Sum { events, within }: Sum) {
        let (pool, within) = (self.pool(), Span(within));
        match event {
            Event::Lost => {
                tracing::warn!(target: "millpond::client", pool, others = events, %within, "more connections were lost with requests on them");
            }
            Event::Unfit => {
                tracing::warn!(target: "millpond::client", pool, others = events, %within, "more connections were closed whose servers can't serve now");
            }
            Event::HeartbeatMissed => {
                tracing::warn!(target: "millpond::client", pool, others = events, %within, "more peers have stopped sending heartbeats");
            }
        }
    }
}
