//! Whether a caller sends one more request, and when that was meant to be sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Limit, Load, pacer::Pacer};
use crate::{ports::Ports, stop::Stop};

/// The turns of a load. Clones share them.
#[derive(Clone)]
pub(super) struct Turns {
    pace: Pace,
    /// The local ports that connections may still use; `None`: any number.
    ports: Option<Ports>,
    stop: Stop,
}

#[derive(Clone)]
enum Pace {
    /// A closed loop: at once, until this time or until so many are sent.
    AtOnce {
        until: Option<Instant>,
        left: Option<Arc<AtomicI64>>,
    },
    /// An open loop.
    Paced {
        pacer: Arc<Pacer>,
        /// A request that hasn't been sent by then is never sent.
        until: Instant,
    },
}

/// What a caller is to do.
pub(super) enum Turn {
    /// Send a request now, which was meant to be sent at `intended`.
    Send { now: Instant, intended: Instant },
    /// It is too late: this request and all that nobody has taken, so many together, are never
    /// sent.
    TooLate { requests: u64 },
    /// The load is over.
    Over,
}

impl Turns {
    /// Begins now.
    pub(super) fn of(load: &Load, ports: Option<&Ports>, stop: &Stop) -> Turns {
        let began = Instant::now();
        let pace = match (load.rate, load.limit) {
            (Some(rate), _) => {
                let requests = load.paced_requests(rate);
                let planned = Duration::from_secs_f64(requests as f64 / rate);
                Pace::Paced {
                    pacer: Arc::new(Pacer::start(rate, requests, load.callers)),
                    until: began + planned + load.patience,
                }
            }
            (None, Limit::Time(time)) => Pace::AtOnce {
                until: Some(began + time),
                left: None,
            },
            (None, Limit::Requests(requests)) => Pace::AtOnce {
                until: None,
                left: Some(Arc::new(AtomicI64::new(
                    i64::try_from(requests).unwrap_or(i64::MAX),
                ))),
            },
        };
        Turns {
            pace,
            ports: ports.cloned(),
            stop: stop.clone(),
        }
    }

    /// The next turn of a caller that has just read the clock.
    pub(super) async fn next(&self, now: Instant) -> Turn {
        if self.stop.is_stopped() {
            return Turn::Over;
        }
        match &self.pace {
            Pace::AtOnce { until, left } => {
                let is_over = until.is_some_and(|until| now >= until)
                    || left
                        .as_ref()
                        .is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) <= 0);
                match (is_over, &self.ports) {
                    (true, _) => Turn::Over,
                    (false, None) => Turn::Send { now, intended: now },
                    (false, Some(ports)) if ports.take().await => {
                        // Asking the system for ports takes time that isn't the request's.
                        let now = Instant::now();
                        Turn::Send { now, intended: now }
                    }
                    (false, Some(_)) => Turn::Over,
                }
            }
            Pace::Paced { pacer, until } => {
                let Some(intended) = pacer.next().await else {
                    return Turn::Over;
                };
                if Instant::now() >= *until {
                    let requests = 1 + pacer.abandon();
                    return Turn::TooLate { requests };
                }
                match &self.ports {
                    Some(ports) if !ports.take().await => {
                        pacer.give_up();
                        Turn::Over
                    }
                    _ => Turn::Send {
                        now: Instant::now(),
                        intended,
                    },
                }
            }
        }
    }

    /// Ends the load for callers that wait for their turn.
    pub(super) fn give_up(&self) {
        if let Pace::Paced { pacer, .. } = &self.pace {
            pacer.give_up();
        }
    }
}
