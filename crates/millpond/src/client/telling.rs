//! What a client tells of its connections while requests are on them: events, the first of each kind at once and those after it as sums; and, with the
//! feature `metrics`, counters and gauges.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::OnceLock,
    task::Poll,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

#[cfg(feature = "metrics")]
use super::metrics::Metrics;
use super::{error::Loss, failure::ExchangeFailure};
use crate::{
    chain::Chain,
    span::Span,
    storm::{Storm, Sum},
};

/// What happens to connections, and may happen to many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Lost,
    HeartbeatMissed,
}

impl Event {
    const ALL: [Event; 2] = [Event::Lost, Event::HeartbeatMissed];
}

/// See the module. Shared by a client and its sessions.
#[derive(Debug, Default)]
pub(super) struct Telling {
    told_as: OnceLock<ToldAs>,
    storms: Mutex<[Storm; Event::ALL.len()]>,
    began: Notify,
}

/// What is known once the pool has been built.
#[derive(Debug)]
struct ToldAs {
    pool: String,
    #[cfg(feature = "metrics")]
    metrics: Metrics,
}

impl Telling {
    /// From now on it tells, by the pool's name.
    pub(super) fn begin(&self, pool: &str) {
        self.told_as.get_or_init(|| ToldAs {
            pool: pool.to_owned(),
            #[cfg(feature = "metrics")]
            metrics: Metrics::new(pool),
        });
    }

    fn pool(&self) -> &str {
        self.told_as.get().map_or("", |told_as| &told_as.pool)
    }

    #[cfg(feature = "metrics")]
    pub(super) fn metrics(&self) -> Option<&Metrics> {
        self.told_as.get().map(|told_as| &told_as.metrics)
    }

    /// A connection has ended with exchanges on it.
    pub(super) fn ended(&self, cause: &ExchangeFailure) {
        match cause {
            ExchangeFailure::HeartbeatMissed => self.heartbeat_missed(),
            cause if cause.ended_connection() && self.happened(Event::Lost) => {
                let (pool, cause) = (self.pool(), cause.of_another());
                match &cause {
                    ExchangeFailure::NoFrame(error) => {
                        tracing::warn!(target: "millpond::client", pool, cause = %error, "a connection was lost with requests on it");
                    }
                    _ => {
                        let cause = Loss::of(cause);
                        tracing::warn!(target: "millpond::client", pool, cause = %Chain(&cause), "a connection was lost with requests on it");
                    }
                }
            }
            _ => {}
        }
    }

    /// A peer has stopped sending heartbeats, on a connection with exchanges on it or an idle one.
    pub(super) fn heartbeat_missed(&self) {
        #[cfg(feature = "metrics")]
        if let Some(metrics) = self.metrics() {
            metrics.heartbeat_missed();
        }
        if self.happened(Event::HeartbeatMissed) {
            tracing::warn!(target: "millpond::client", pool = self.pool(), "a peer has stopped sending heartbeats");
        }
    }

    /// One more has happened. Answers whether it gets a line of its own.
    fn happened(&self, event: Event) -> bool {
        let is_told = self.storms.lock()[event as usize].happened(Instant::now());
        if is_told {
            self.began.notify_one();
        }
        is_told
    }

    /// Tells the sums as they are due. Never ends; dropped, it tells what is left.
    pub(super) async fn tell_sums(&self) {
        let _rest = Rest(self);
        loop {
            let due = self.storms.lock().iter().filter_map(Storm::due).min();
            let mut due = pin!(async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            });
            // A storm that begins may have its first sum before that of one that lasts.
            let mut began = pin!(self.began.notified());
            poll_fn(|cx| match due.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => began.as_mut().poll(cx),
            })
            .await;
            self.tell(Storm::sum_up);
        }
    }

    fn tell(&self, sum: fn(&mut Storm, Instant) -> Option<Sum>) {
        let now = Instant::now();
        // Who logs may take its time: the lock is free by then.
        let sums = {
            let mut storms = self.storms.lock();
            Event::ALL.map(|event| (event, sum(&mut storms[event as usize], now)))
        };
        let pool = self.pool();
        for (event, sum) in sums {
            let Some(Sum { events, within }) = sum else {
                continue;
            };
            let within = Span(within);
            match event {
                Event::Lost => {
                    tracing::warn!(target: "millpond::client", pool, others = events, %within, "more connections were lost with requests on them");
                }
                Event::HeartbeatMissed => {
                    tracing::warn!(target: "millpond::client", pool, others = events, %within, "more peers have stopped sending heartbeats");
                }
            }
        }
    }
}

/// There will be no later sum.
struct Rest<'t>(&'t Telling);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.tell(Storm::rest);
    }
}
