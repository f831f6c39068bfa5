//! Runs the warm-up and the rounds. In each round the modes take turns, so that what changes on the
//! machine meanwhile affects all of them. Watches each round while it lasts.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use millpond::pool::BuildError;

use super::{
    contender::Contender,
    plan::Plan,
    progress,
    results::{ErrorKind, Mode, Round, Sample},
    usage::{cpu_time, sockets_in_time_wait},
};
use crate::{
    load::{
        Load, callers,
        recorder::Recorder,
        tally::Tally,
        watch::{Moment, Rate, per_second, watched},
    },
    ports::{self, Ports},
    screen::Screen,
    stop::Stop,
};

/// The interval between samples of the timeline.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(250);

/// How long a pool's connections may take to close.
const CLOSE: Duration = Duration::from_secs(1);

/// What was measured of one mode.
pub(super) struct Measured {
    pub(super) mode: Mode,
    pub(super) tally: Tally<ErrorKind>,
    pub(super) rounds: Vec<Round>,
    pub(super) opened: u64,
    pub(super) cpu: Option<Duration>,
    pub(super) time_wait: Option<u32>,
    pub(super) ports_nearly_used_up: bool,
    pub(super) timeline: Vec<Sample>,
}

impl Measured {
    pub(super) fn empty(mode: Mode) -> Measured {
        Measured {
            mode,
            tally: Tally::default(),
            rounds: Vec::new(),
            opened: 0,
            cpu: Some(Duration::ZERO),
            time_wait: Some(0),
            ports_nearly_used_up: false,
            timeline: Vec::new(),
        }
    }
}

/// Runs all rounds of all modes, until it is stopped. `server` is the server's address, if it has
/// one.
pub(super) async fn run(
    plan: &Plan,
    server: Option<SocketAddr>,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<Vec<Measured>, BuildError> {
    let mut bench = BenchRun {
        plan,
        server,
        screen,
        stop,
        began: Instant::now(),
        time_wait_before: None,
    };
    bench.time_wait_before = bench.time_wait().await;
    let mut sides = Vec::new();
    for &mode in &plan.modes {
        sides.push((Contender::new(mode, plan)?, Measured::empty(mode)));
    }
    for (contender, measured) in &sides {
        bench.warm_up(contender, measured.mode).await;
    }
    for (contender, measured) in &mut sides {
        // Connections left open by the warm-up serve the rounds as well.
        measured.opened = contender.connections();
    }
    for number in 0..plan.rounds {
        // Each round begins with another mode, so that none always follows the same one.
        let first = number as usize % sides.len();
        let (later, earlier) = sides.split_at_mut(first);
        for (contender, measured) in earlier.iter_mut().chain(later) {
            // Without ports there is nothing left to measure.
            if stop.is_stopped() || measured.ports_nearly_used_up {
                continue;
            }
            bench.round(number, contender, measured).await;
        }
    }
    for (contender, _) in &sides {
        contender.close(CLOSE).await;
    }
    bench.screen.keep();
    Ok(sides.into_iter().map(|(_, measured)| measured).collect())
}

struct BenchRun<'s> {
    plan: &'s Plan,
    server: Option<SocketAddr>,
    screen: &'s mut Screen,
    stop: &'s Stop,
    began: Instant,
    /// Sockets towards the server that were in TIME_WAIT before anything was sent.
    time_wait_before: Option<u32>,
}

impl BenchRun<'_> {
    /// Opens connections, looks names up, touches memory. Nothing of it counts.
    async fn warm_up(&mut self, contender: &Contender, mode: Mode) {
        if self.plan.warm_up.is_zero() || self.stop.is_stopped() {
            return;
        }
        self.screen.counts(&format!("warming up: {}", mode.name()));
        let ports = self.ports(mode).await;
        let load = self.plan.warm_up_load();
        send(load, contender, ports.as_ref(), &Arc::default(), self.stop).await;
    }

    async fn round(&mut self, number: u32, contender: &Contender, measured: &mut Measured) {
        let ports = self.ports(measured.mode).await;
        let time_wait_before = match measured.mode {
            // Those of its earlier rounds count as well.
            Mode::Short => self.time_wait_before,
            // Those that short connections left don't count.
            Mode::Exclusive | Mode::Pipelined => self.time_wait().await,
        };
        let opened = contender.opened();
        let cpu = cpu_time();
        let recorder = Arc::new(Recorder::default());
        let load = self.plan.load(number);
        let running = send(load, contender, ports.as_ref(), &recorder, self.stop);
        let watch = Watch {
            began: self.began,
            title: progress::Title {
                round: number + 1,
                rounds: self.plan.rounds,
                mode: measured.mode,
            },
            contender,
            recorder: &recorder,
        };
        let took = watch
            .until_over(running, self.screen, &mut measured.timeline)
            .await;
        let tally = recorder.tally();
        measured.rounds.push(Round {
            seconds: took.as_secs_f64(),
            requests: tally.requests(),
            replies_ok: tally.replies_ok,
            throughput: per_second(tally.replies_ok, took),
        });
        measured.tally.merge(&tally);
        measured.opened += contender.opened() - opened;
        measured.cpu = both(
            measured.cpu,
            both(cpu_time(), cpu, Duration::saturating_sub),
            |sum, more| sum + more,
        );
        let left = both(
            self.time_wait().await,
            time_wait_before,
            u32::saturating_sub,
        );
        measured.time_wait = both(
            measured.time_wait,
            left,
            match measured.mode {
                // Ports may have been taken again, or have become free: the largest number seen
                // counts.
                Mode::Short => u32::max,
                Mode::Exclusive | Mode::Pipelined => u32::saturating_add,
            },
        );
        measured.ports_nearly_used_up |= ports.is_some_and(|ports| ports.are_used_up());
    }

    /// The ports that short connections may use.
    async fn ports(&self, mode: Mode) -> Option<Ports> {
        match (mode, self.server) {
            (Mode::Short, Some(server)) if !self.plan.exhaust => Some(Ports::towards(server).await),
            _ => None,
        }
    }

    async fn time_wait(&self) -> Option<u32> {
        ports::time_wait(self.server?).await
    }
}

/// Combines two values, if both are known.
fn both<T>(one: Option<T>, other: Option<T>, combine: impl Fn(T, T) -> T) -> Option<T> {
    Some(combine(one?, other?))
}

/// Sends a load over this contender, and returns how long it took.
async fn send(
    load: Load,
    contender: &Contender,
    ports: Option<&Ports>,
    recorder: &Arc<Recorder<ErrorKind>>,
    stop: &Stop,
) -> Duration {
    let caller = |_| contender.clone();
    let finished = callers::run(load, caller, ports, recorder, stop).await;
    finished.took_or_panic()
}

/// Watches a round.
struct Watch<'w> {
    /// When the benchmark began.
    began: Instant,
    title: progress::Title,
    contender: &'w Contender,
    recorder: &'w Recorder<ErrorKind>,
}

impl Watch<'_> {
    /// Waits for a round; draws its progress, and takes samples for the timeline.
    async fn until_over(
        &self,
        running: impl Future<Output = Duration>,
        screen: &mut Screen,
        timeline: &mut Vec<Sample>,
    ) -> Duration {
        let round_began = Instant::now();
        let samples_before = timeline.len();
        let (mut sampled, mut drawn) = (Rate::default(), Rate::default());
        let sampling = watched(running, BETWEEN_SAMPLES, |moment| {
            let at = round_began.elapsed();
            let is_new = at - sampled.at >= BETWEEN_SAMPLES / 2;
            // A moment after the last sample there is nothing new to tell, unless it is the only
            // one.
            if moment == Moment::Meanwhile || is_new || timeline.len() == samples_before {
                timeline.push(self.sample(sampled.since(at, self.recorder.replied())));
            }
        });
        watched(sampling, screen.cadence(), |moment| {
            if moment == Moment::Meanwhile {
                let rate = drawn.since(round_began.elapsed(), self.recorder.replied());
                let time = self.began.elapsed();
                let connections = self.contender.connections();
                let line = self.title.line(time, rate, connections, screen.width());
                screen.counts(&line);
            }
        })
        .await
    }

    fn sample(&self, throughput: f64) -> Sample {
        Sample {
            at_seconds: self.began.elapsed().as_secs_f64(),
            connections: self.contender.connections(),
            time_wait: sockets_in_time_wait(),
            throughput,
        }
    }
}
