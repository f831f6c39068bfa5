//! One round of load on one contender: callers that send as soon as they have their reply (a closed
//! loop), or when the time has come (an open one). Ends by itself: after its time, its number of
//! requests, or when the machine's ports are nearly used up.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{select, task::JoinSet, time::sleep};

use super::{
    contender::Contender,
    pacer::Pacer,
    results::ErrorKind,
    tally::{Batch, Miss, Recorder, Took},
};
use crate::{ports::Ports, stop::Stop};

/// How long a caller rests when it couldn't connect: what fails at once would fail a million times
/// otherwise. What the server had a part in costs time by itself, and whoever rested then would ask
/// a server that fails less than one that doesn't.
const AFTER_NO_CONNECTION: Duration = Duration::from_millis(10);

/// How long callers may go on when the benchmark is stopped early.
const AFTER_A_STOP: Duration = Duration::from_millis(500);

/// What a round is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) callers: u32,
    pub(super) limit: Limit,
    /// In an open loop, requests a second.
    pub(super) rate: Option<f64>,
    /// How much longer than planned an open loop may take to send what was due.
    pub(super) patience: Duration,
}

/// When a round ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    Time(Duration),
    Requests(u64),
}

impl Load {
    /// The time that belongs to one request of an open loop.
    fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.rate.map_or(0.0, |rate| 1.0 / rate))
    }

    /// How many requests an open loop sends: at least one.
    pub(super) fn paced_requests(&self, per_second: f64) -> u64 {
        match self.limit {
            Limit::Time(time) => ((time.as_secs_f64() * per_second).round() as u64).max(1),
            Limit::Requests(requests) => requests,
        }
    }
}

/// Runs a round; how long it took.
pub(super) async fn run(
    load: Load,
    contender: &Contender,
    ports: Option<&Ports>,
    recorder: &Arc<Recorder>,
    stop: &Stop,
) -> Duration {
    let began = Instant::now();
    let source = Source::new(load, ports, stop);
    let mut callers: JoinSet<()> = (0..load.callers)
        .map(|_| call(contender.clone(), source.clone(), Arc::clone(recorder)))
        .collect();
    let all_ended = async {
        while let Some(ended) = callers.join_next().await {
            if let Err(error) = ended {
                resume_unwind(error.into_panic());
            }
        }
    };
    let cut_short = async {
        stop.stopped().await;
        source.give_up();
        sleep(AFTER_A_STOP).await;
    };
    select! {
        () = all_ended => {}
        () = cut_short => callers.shutdown().await,
    }
    // The last request of an open loop has an interval of its own, though nothing is sent at its
    // end.
    began.elapsed() + load.interval()
}

/// Where callers learn whether to send one more request, and when it was meant to be sent.
#[derive(Clone)]
struct Source {
    when: When,
    ports: Option<Ports>,
    stop: Stop,
}

#[derive(Clone)]
enum When {
    AtOnce {
        until: Option<Instant>,
        left: Option<Arc<AtomicI64>>,
    },
    Due {
        pacer: Arc<Pacer>,
        /// What isn't sent then is never sent.
        until: Instant,
    },
}

/// Whether to send.
enum Turn {
    /// Now; it was meant to be sent then.
    Send {
        now: Instant,
        intended: Instant,
    },
    /// Never: this one, and those that nobody has asked for yet, so many in all.
    TooLate {
        requests: u64,
    },
    Over,
}

impl Source {
    fn new(load: Load, ports: Option<&Ports>, stop: &Stop) -> Source {
        let began = Instant::now();
        let when = match (load.rate, load.limit) {
            (Some(rate), _) => {
                let requests = load.paced_requests(rate);
                let planned = Duration::from_secs_f64(requests as f64 / rate);
                When::Due {
                    pacer: Arc::new(Pacer::start(rate, requests, load.callers)),
                    until: began + planned + load.patience,
                }
            }
            (None, Limit::Time(time)) => When::AtOnce {
                until: Some(began + time),
                left: None,
            },
            (None, Limit::Requests(requests)) => When::AtOnce {
                until: None,
                left: Some(Arc::new(AtomicI64::new(
                    i64::try_from(requests).unwrap_or(i64::MAX),
                ))),
            },
        };
        Source {
            when,
            ports: ports.cloned(),
            stop: stop.clone(),
        }
    }

    /// The next turn of a caller that has looked at the clock just now.
    async fn next(&self, now: Instant) -> Turn {
        if self.stop.is_stopped() {
            return Turn::Over;
        }
        match &self.when {
            When::AtOnce { until, left } => {
                let is_over = until.is_some_and(|until| now >= until)
                    || left
                        .as_ref()
                        .is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) <= 0);
                match (is_over, &self.ports) {
                    (true, _) => Turn::Over,
                    (false, None) => Turn::Send { now, intended: now },
                    (false, Some(ports)) if ports.take().await => {
                        // To ask the system for ports takes time, which is none of the request's.
                        let now = Instant::now();
                        Turn::Send { now, intended: now }
                    }
                    (false, Some(_)) => Turn::Over,
                }
            }
            When::Due { pacer, until } => {
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

    fn give_up(&self) {
        if let When::Due { pacer, .. } = &self.when {
            pacer.give_up();
        }
    }
}

/// One caller, until there is nothing more to send.
async fn call(contender: Contender, source: Source, recorder: Arc<Recorder>) {
    let mut batch = Batch::of(&recorder);
    let mut after = Instant::now();
    loop {
        let (now, intended) = match source.next(after).await {
            Turn::Send { now, intended } => (now, intended),
            Turn::TooLate { requests } => {
                batch.missed(requests, not_sent());
                continue;
            }
            Turn::Over => return,
        };
        batch.begun();
        let outcome = contender.exchange().await;
        after = Instant::now();
        match outcome {
            Ok(()) => batch.replied(Took {
                latency: after - intended,
                service: after - now,
            }),
            Err(miss) => {
                let unconnected = miss.kind.is_before_the_server();
                batch.missed(1, miss);
                if unconnected {
                    sleep(AFTER_NO_CONNECTION).await;
                    after = Instant::now();
                }
            }
        }
    }
}

fn not_sent() -> Miss {
    Miss {
        kind: ErrorKind::NotSent,
        said: String::from(
            "all callers were still waiting for replies when it should have been sent",
        ),
    }
}
