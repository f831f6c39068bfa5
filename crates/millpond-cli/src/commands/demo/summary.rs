//! What the demo has found, as one struct: the JSON is its serialization, and the text in
//! `report.rs` is made from it alone. Judges also whether all was as it should be.

use std::collections::BTreeMap;

use millpond::{
    Chain,
    client::{HeartbeatTotals, RetryTotals},
    pool::Eviction,
};
use serde::Serialize;

use super::{
    acts::{self, Restart, Unkindness},
    scene::Scene,
    tally::{Failing, Tally},
};
use crate::numbers::{counted, rounded};

/// What the demo has found. `requests` and what follows it up to `latency_us` are those of the load
/// with bad manners.
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
    pub(super) errors: BTreeMap<Failing, u64>,
    pub(super) connections_opened: u64,
    /// Right replies by connections opened.
    pub(super) requests_per_connection: f64,
    pub(super) evicted: BTreeMap<&'static str, u64>,
    pub(super) restarts: u32,
    /// Requests that were sent a second time, and those for which the budget had nothing left.
    pub(super) retries: RetryTotals,
    pub(super) latency_us: Latency,
    /// Of the scene and the load.
    pub(super) heartbeats: Heartbeats,
    /// Right replies a second with good manners, over the pool.
    pub(super) throughput: Option<f64>,
    /// That, and with a connection per request, compared.
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
    pub(super) errors: BTreeMap<Failing, u64>,
    pub(super) connections_opened: u64,
    /// Right replies a second.
    pub(super) throughput: f64,
    pub(super) latency_us: Latency,
    /// Sockets left in TIME_WAIT towards the server; null where the system doesn't tell.
    pub(super) time_wait: Option<u32>,
    /// The machine's ports were nearly used up before the time was.
    pub(super) ports_nearly_used_up: bool,
}

/// How many exchanges the client keeps on a connection at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// One.
    Exclusive,
    /// Several, answered in order.
    Pipelined,
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
        self.requests = tally.requests;
        self.replies_ok = tally.right;
        self.errors = tally.failed.clone();
        self.latency_us = Latency::of(tally);
        self.connections_opened = load.pool.totals.opened;
        self.requests_per_connection = rounded(
            tally.right as f64 / load.pool.totals.opened.max(1) as f64,
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
            Failing::is_part_of_the_load,
        );
    }

    pub(super) fn add_pooled(&mut self, side: &acts::Side) {
        self.judge("over the pool", &side.run.tally, side.run.panicked, |_| {
            false
        });
        let side = Side::of(side);
        self.throughput = Some(side.throughput);
        self.pooled_connections = Some(side);
    }

    pub(super) fn add_short(&mut self, side: &acts::Side) {
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

    /// Puts down what shouldn't have happened in an act.
    fn judge(&mut self, act: &str, tally: &Tally, panicked: u64, is_expected: fn(Failing) -> bool) {
        self.replies_wrong += tally.wrong;
        if tally.wrong > 0 {
            self.unexpected.push(format!(
                "{} {act}",
                counted(tally.wrong, "wrong reply", "wrong replies")
            ));
        }
        for (&failing, &times) in &tally.failed {
            if times > 0 && !is_expected(failing) {
                let said = match tally.said.get(&failing) {
                    Some(text) => format!("; the first: {text}"),
                    None => String::new(),
                };
                self.unexpected.push(format!(
                    "{} {} {act}{said}",
                    counted(times, "request", "requests"),
                    failing.words()
                ));
            }
        }
        if panicked > 0 {
            self.unexpected.push(format!(
                "{} panicked {act}",
                counted(panicked, "caller", "callers")
            ));
        }
        let told = tally.right + tally.wrong + tally.failed.values().sum::<u64>();
        if told != tally.requests {
            let lost = tally.requests.abs_diff(told);
            self.unexpected.push(format!(
                "{} unaccounted for {act}",
                counted(lost, "request", "requests")
            ));
        }
    }
}

impl Latency {
    fn of(tally: &Tally) -> Latency {
        Latency {
            p50: tally.latency_us(0.5),
            p99: tally.latency_us(0.99),
        }
    }
}

impl Side {
    fn of(side: &acts::Side) -> Side {
        let tally = &side.run.tally;
        let seconds = side.run.took.as_secs_f64();
        Side {
            seconds: rounded(seconds, 3),
            requests: tally.requests,
            replies_ok: tally.right,
            replies_wrong: tally.wrong,
            errors: tally.failed.clone(),
            connections_opened: side.opened,
            throughput: rounded(tally.right as f64 / seconds.max(f64::MIN_POSITIVE), 1),
            latency_us: Latency::of(tally),
            time_wait: side.time_wait,
            ports_nearly_used_up: side.ports_used_up,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{load::Run, question::Verdict, tally::Outcome},
        *,
    };

    fn side(outcomes: &[Outcome]) -> acts::Side {
        let mut tally = Tally::default();
        outcomes
            .iter()
            .for_each(|outcome| tally.add(outcome.clone()));
        acts::Side {
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

    fn replied(verdict: Verdict) -> Outcome {
        Outcome::Replied(verdict, Duration::from_micros(50))
    }

    #[test]
    fn right_replies_alone_are_well() {
        let mut summary = Summary::new(1, Mode::Exclusive, 2, 3);
        summary.add_pooled(&side(&[replied(Verdict::Right), replied(Verdict::Right)]));
        summary.add_short(&side(&[replied(Verdict::Right)]));
        assert!(summary.is_well(), "{:?}", summary.unexpected);
        assert_eq!(
            (summary.throughput, summary.throughput_ratio),
            (Some(1.0), Some(2.0))
        );
    }

    #[test]
    fn one_wrong_reply_in_any_act_is_not_well() {
        let mut summary = Summary::new(1, Mode::Exclusive, 2, 3);
        summary.add_pooled(&side(&[replied(Verdict::Right), replied(Verdict::Wrong)]));
        summary.add_short(&side(&[replied(Verdict::Wrong)]));
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
    fn a_failure_is_expected_only_where_manners_are_bad() {
        let mut summary = Summary::new(1, Mode::Exclusive, 2, 3);
        let refused = Outcome::Failed(Failing::Other, String::from("connection refused"));
        summary.add_short(&side(&[refused]));
        assert_eq!(
            summary.unexpected,
            [
                "1 request failed otherwise with a connection per request; the first: connection refused"
            ]
        );
        assert!(!Failing::TimedOut.is_part_of_the_load());
    }
}
