//! What the demo has found. The JSON is the serialization of [`Summary`], and the text in
//! `report.rs` is made from it alone. Also judges whether everything was as it should be.

use std::collections::BTreeMap;

use millpond::{
    Chain,
    client::{HeartbeatTotals, RetryTotals},
    pool::Eviction,
};
use serde::Serialize;

use super::{
    acts::{self, Restart, Unkindness},
    error_kind::ErrorKind,
    scene::Scene,
    setup::Mode,
};
use crate::{
    load::tally::Tally,
    numbers::{counted, rounded},
};

/// See the module. `requests` and the fields up to `latency_us` are those of the load with bad
/// manners.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    /// [`Summary::VERSION`].
    pub(super) version: u32,
    pub(super) seed: u64,
    pub(super) mode: Mode,
    pub(super) callers: u32,
    /// How many the pool could have.
    pub(super) max_connections: u32,
    /// It was stopped before its end: what is missing wasn't reached.
    pub(super) interrupted: bool,
    pub(super) scene: Option<Scene>,
    /// How long the load lasted.
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) replies_ok: u64,
    /// In all acts.
    pub(super) replies_wrong: u64,
    pub(super) errors: BTreeMap<ErrorKind, u64>,
    pub(super) connections_opened: u64,
    /// Right replies by connections opened.
    pub(super) requests_per_connection: f64,
    pub(super) evicted: BTreeMap<&'static str, u64>,
    pub(super) restarts: u32,
    /// Requests that were sent a second time, and those that the retry budget refused.
    pub(super) retries: RetryTotals,
    pub(super) latency_us: Latency,
    /// Of the scene and the load.
    pub(super) heartbeats: Heartbeats,
    /// Right replies a second over the pool, with good manners.
    pub(super) throughput: Option<f64>,
    /// How many times the throughput of a connection per request that is.
    pub(super) throughput_ratio: Option<f64>,
    pub(super) pooled_connections: Option<Side>,
    pub(super) short_connections: Option<Side>,
    /// What shouldn't have happened, in words. Empty: all is well.
    pub(super) unexpected: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50: u64,
    pub(super) p99: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Heartbeats {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// One side of the comparison.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Side {
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) replies_ok: u64,
    pub(super) replies_wrong: u64,
    pub(super) errors: BTreeMap<ErrorKind, u64>,
    pub(super) connections_opened: u64,
    /// Right replies a second.
    pub(super) throughput: f64,
    pub(super) latency_us: Latency,
    /// Sockets left in TIME_WAIT towards the server; null where the system doesn't tell.
    pub(super) time_wait: Option<u32>,
    /// It ended early, since the machine's ports were nearly used up.
    pub(super) ports_nearly_used_up: bool,
}

impl Summary {
    /// The version of the JSON: fields are added without a new one, renamed or removed only with
    /// one.
    pub(super) const VERSION: u32 = 1;

    pub(super) fn new(seed: u64, mode: Mode, callers: u32, max_connections: u32) -> Self {
        Summary {
            version: Summary::VERSION,
            seed,
            mode,
            callers,
            max_connections,
            interrupted: false,
            scene: None,
            seconds: 0.0,
            requests: 0,
            replies_ok: 0,
            replies_wrong: 0,
            errors: BTreeMap::new(),
            connections_opened: 0,
            requests_per_connection: 0.0,
            evicted: BTreeMap::new(),
            restarts: 0,
            retries: RetryTotals::default(),
            latency_us: Latency::default(),
            heartbeats: Heartbeats::default(),
            throughput: None,
            throughput_ratio: None,
            pooled_connections: None,
            short_connections: None,
            unexpected: Vec::new(),
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.unexpected.is_empty()
    }

    pub(super) fn add_scene(&mut self, scene: Scene) {
        if !scene.reused {
            self.unexpected.push(format!(
                "four requests, two at a time, took {} sockets instead of 2",
                scene.connections_opened
            ));
        }
        self.add_heartbeats(scene.heartbeats);
        self.scene = Some(scene);
    }

    pub(super) fn add_load(&mut self, load: &Unkindness) {
        let tally = &load.run.tally;
        self.seconds = rounded(load.run.took.as_secs_f64(), 3);
        self.requests = tally.requests();
        self.replies_ok = tally.replies_ok;
        self.errors = errors(tally);
        self.latency_us = Latency::of(tally);
        self.connections_opened = load.pool.totals.opened;
        self.requests_per_connection = rounded(
            tally.replies_ok as f64 / load.pool.totals.opened.max(1) as f64,
            1,
        );
        self.evicted = Eviction::ALL
            .iter()
            .map(|&reason| (reason.name(), load.pool.totals.evicted(reason)))
            .filter(|&(_, times)| times > 0)
            .collect();
        self.add_heartbeats(load.heartbeats);
        self.retries = load.retries;
        match &load.restart {
            Restart::NotReached => {}
            Restart::Done => self.restarts += 1,
            Restart::Failed(error) => self.unexpected.push(format!(
                "the server could not be restarted: {}",
                Chain(error)
            )),
        }
        self.judge(
            "under load",
            tally,
            load.run.panicked,
            ErrorKind::is_part_of_the_load,
        );
    }

    pub(super) fn add_pooled(&mut self, side: &acts::SideRun) {
        self.judge("over the pool", &side.run.tally, side.run.panicked, |_| {
            false
        });
        let side = Side::of(side);
        self.throughput = Some(side.throughput);
        self.pooled_connections = Some(side);
    }

    pub(super) fn add_short(&mut self, side: &acts::SideRun) {
        let by = "with a connection per request";
        self.judge(by, &side.run.tally, side.run.panicked, |_| false);
        let side = Side::of(side);
        self.throughput_ratio = self
            .throughput
            .filter(|_| side.throughput > 0.0)
            .map(|pooled| rounded(pooled / side.throughput, 2));
        self.short_connections = Some(side);
    }

    fn add_heartbeats(&mut self, heartbeats: HeartbeatTotals) {
        self.heartbeats.sent += heartbeats.sent;
        self.heartbeats.received += heartbeats.received;
    }

    /// Notes what shouldn't have happened in an act.
    fn judge(
        &mut self,
        act: &str,
        tally: &Tally<ErrorKind>,
        panicked: u64,
        is_expected: fn(ErrorKind) -> bool,
    ) {
        let wrong = tally.missed(ErrorKind::Wrong);
        self.replies_wrong += wrong;
        if wrong > 0 {
            self.unexpected.push(format!(
                "{} {act}",
                counted(wrong, "wrong reply", "wrong replies")
            ));
        }
        for (kind, times) in errors(tally) {
            if !is_expected(kind) {
                let example = match tally.examples.get(&kind) {
                    Some(text) => format!("; the first: {text}"),
                    None => String::new(),
                };
                self.unexpected.push(format!(
                    "{} {} {act}{example}",
                    counted(times, "request", "requests"),
                    kind.words()
                ));
            }
        }
        if panicked > 0 {
            self.unexpected.push(format!(
                "{} panicked {act}",
                counted(panicked, "caller", "callers")
            ));
        }
    }
}

/// The errors of an act. Wrong replies have a number of their own.
fn errors(tally: &Tally<ErrorKind>) -> BTreeMap<ErrorKind, u64> {
    let errors = tally.errors.iter().map(|(&kind, &times)| (kind, times));
    errors
        .filter(|&(kind, _)| kind != ErrorKind::Wrong)
        .collect()
}

impl Latency {
    fn of(tally: &Tally<ErrorKind>) -> Latency {
        Latency {
            p50: tally.latency_us(0.5),
            p99: tally.latency_us(0.99),
        }
    }
}

impl Side {
    fn of(side: &acts::SideRun) -> Side {
        let tally = &side.run.tally;
        let seconds = side.run.took.as_secs_f64();
        Side {
            seconds: rounded(seconds, 3),
            requests: tally.requests(),
            replies_ok: tally.replies_ok,
            replies_wrong: tally.missed(ErrorKind::Wrong),
            errors: errors(tally),
            connections_opened: side.opened,
            throughput: rounded(tally.replies_ok as f64 / seconds.max(f64::MIN_POSITIVE), 1),
            latency_us: Latency::of(tally),
            time_wait: side.time_wait,
            ports_nearly_used_up: side.ports_used_up,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::acts::Run, *};
    use crate::load::tally::{Miss, Times};

    /// A side of the comparison, with so many right replies, and these misses.
    fn side(right: u32, misses: &[(ErrorKind, &str)]) -> acts::SideRun {
        let mut tally = Tally::default();
        for _ in 0..right {
            tally.add_reply(Times {
                latency: Duration::from_micros(50),
                service: Duration::from_micros(50),
            });
        }
        for &(kind, text) in misses {
            let text = text.to_owned();
            tally.add_misses(1, Miss { kind, text });
        }
        acts::SideRun {
            run: Run {
                tally,
                took: Duration::from_secs(2),
                panicked: 0,
            },
            opened: 1,
            time_wait: None,
            ports_used_up: false,
        }
    }

    const WRONG: (ErrorKind, &str) = (ErrorKind::Wrong, "another's");

    #[test]
    fn right_replies_alone_are_well() {
        let mut summary = Summary::new(1, Mode::Exclusive, 2, 3);
        summary.add_pooled(&side(2, &[]));
        summary.add_short(&side(1, &[]));
        assert!(summary.is_well(), "{:?}", summary.unexpected);
        assert_eq!(
            (summary.throughput, summary.throughput_ratio),
            (Some(1.0), Some(2.0))
        );
    }

    #[test]
    fn one_wrong_reply_in_any_act_is_not_well() {
        let mut summary = Summary::new(1, Mode::Exclusive, 2, 3);
        summary.add_pooled(&side(1, &[WRONG]));
        summary.add_short(&side(0, &[WRONG]));
        assert_eq!(summary.replies_wrong, 2);
        assert_eq!(
            summary.unexpected,
            [
                "1 wrong reply over the pool",
                "1 wrong reply with a connection per request"
            ]
        );
    }

    #[test]
    fn a_wrong_reply_is_counted_as_one_and_the_sum_is_the_number_of_requests() {
        let cancelled = (ErrorKind::Cancelled, "its caller dropped it");
        let act = side(1, &[WRONG, cancelled, (ErrorKind::Other, "no frame")]);
        let mut total = Tally::default();
        total.merge(&act.run.tally);
        total.merge(&act.run.tally);
        let wrong = total.missed(ErrorKind::Wrong);
        assert_eq!((total.requests(), total.replies_ok, wrong), (8, 2, 2));
        let errors = errors(&total);
        assert_eq!(errors[&ErrorKind::Cancelled], 2);
        assert_eq!(errors[&ErrorKind::Other], 2);
        assert_eq!(errors.len(), 2, "a wrong reply has a number of its own");
        assert_eq!(total.examples[&ErrorKind::Other], "no frame");
        assert_eq!(total.latency_us(0.5), 50);
    }

    #[test]
    fn a_failure_is_expected_only_where_manners_are_bad() {
        let mut summary = Summary::new(1, Mode::Exclusive, 2, 3);
        summary.add_short(&side(0, &[(ErrorKind::Other, "connection refused")]));
        assert_eq!(
            summary.unexpected,
            [
                "1 request failed otherwise with a connection per request; the first: connection refused"
            ]
        );
        assert!(!ErrorKind::TimedOut.is_part_of_the_load());
    }
}
