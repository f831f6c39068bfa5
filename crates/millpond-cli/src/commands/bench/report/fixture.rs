//! Results as a benchmark has them, for the tests of all forms.

use std::collections::BTreeMap;

use super::super::results::{
    Bar, Comparison, ErrorKind, Latency, Mode, ModeResults, Percentile, Results, Round, Sample,
    Warning,
};

/// Seconds of a round.
const ROUND: f64 = 2.0;

const ROUNDS: usize = 5;

/// Samples in a round.
const LOOKS: usize = 20;

/// The figures from which a mode of the fixture is made.
struct Like {
    mode: Mode,
    throughput: f64,
    /// The median latency in µs.
    median: f64,
    /// By how much the latency grows with each further nine.
    tail: f64,
    connections: u64,
    opened: u64,
    time_wait: u32,
    cpu: f64,
}

const SHORT: Like = Like {
    mode: Mode::Short,
    throughput: 12_340.0,
    median: 4_630.0,
    tail: 1.9,
    connections: 61,
    opened: 123_600,
    time_wait: 22_585,
    cpu: 121.4,
};

const EXCLUSIVE: Like = Like {
    mode: Mode::Exclusive,
    throughput: 85_403.0,
    median: 712.0,
    tail: 1.6,
    connections: 8,
    opened: 8,
    time_wait: 0,
    cpu: 17.8,
};

const PIPELINED: Like = Like {
    mode: Mode::Pipelined,
    throughput: 164_077.0,
    median: 371.0,
    tail: 1.5,
    connections: 2,
    opened: 8,
    time_wait: 0,
    cpu: 9.3,
};

/// Three modes in a closed loop; one had errors, and ended early.
pub(super) fn closed() -> Results {
    let mut short = like(&SHORT, 0);
    short.requests += 1_204;
    short.errors = BTreeMap::from([
        (ErrorKind::Connect, 1_200),
        (ErrorKind::TimedOut, 3),
        (ErrorKind::Lost, 1),
    ]);
    short.error_examples = BTreeMap::from([
        (
            ErrorKind::Connect,
            String::from(
                "tcp://127.0.0.1:7000: connecting failed: Connection refused (os error 111)",
            ),
        ),
        (
            ErrorKind::TimedOut,
            String::from("no reply within 5 s; 1 connection was open"),
        ),
        (
            ErrorKind::Lost,
            String::from("Connection reset by peer \x1b[31m(os error 104)"),
        ),
    ]);
    short.ports_nearly_used_up = true;
    Results {
        version: Results::VERSION,
        endpoint: String::from("tcp://127.0.0.1:7000"),
        framing: "length-json",
        callers: 64,
        max_connections: 8,
        body_bytes: 1_024,
        expected: false,
        rate: None,
        threads: 2,
        interrupted: false,
        modes: vec![short, like(&EXCLUSIVE, 1), like(&PIPELINED, 2)],
        comparisons: comparisons(),
        warnings: vec![
            Warning {
                code: "ports_nearly_used_up",
                text: String::from(
                    "short ended early: four fifths of this machine's ports towards the server were in use.",
                ),
                advice: String::from(
                    "Give it less time (--time 1s), or more ports (sysctl net.ipv4.ip_local_port_range).",
                ),
            },
            Warning {
                code: "noisy",
                text: String::from(
                    "The rounds of exclusive differ by 12 %: this machine had other things to do.",
                ),
                advice: String::from(
                    "Close what else is running, or measure for longer (--time 10s).",
                ),
            },
        ],
    }
}

/// The same in an open loop, which none but the last keeps up with.
pub(super) fn open() -> Results {
    let mut results = closed();
    results.rate = Some(90_000.0);
    let late = [
        Like {
            median: 1_760_000.0,
            ..SHORT
        },
        Like {
            median: 15_100.0,
            tail: 1.8,
            ..EXCLUSIVE
        },
        Like {
            median: 388.0,
            throughput: 89_983.0,
            ..PIPELINED
        },
    ];
    for ((nth, mode), late) in results.modes.iter_mut().enumerate().zip(&late) {
        let service = mode.latency_us;
        let (errors, error_examples) = (mode.errors.clone(), mode.error_examples.clone());
        *mode = like(late, nth);
        mode.requests += errors.values().sum::<u64>();
        (mode.errors, mode.error_examples) = (errors, error_examples);
        mode.service_us = Some(service);
    }
    results
}

/// What is possible and rare: for what must hold of any form.
pub(super) fn edges() -> Vec<(&'static str, Results)> {
    let mut nothing = closed();
    nothing.modes.clear();
    nothing.comparisons.clear();
    let mut no_requests = closed();
    no_requests.modes = [Mode::Short, Mode::Exclusive, Mode::Pipelined]
        .map(nothing_done)
        .to_vec();
    no_requests.interrupted = true;
    no_requests.comparisons.clear();
    let mut all_failed = closed();
    all_failed.comparisons.clear();
    for mode in &mut all_failed.modes {
        *mode = nothing_done(mode.mode);
        mode.requests = 9;
        mode.errors = BTreeMap::from([(ErrorKind::Other, 9)]);
        mode.rounds = vec![
            Round {
                seconds: 0.0,
                requests: 9,
                replies_ok: 0,
                throughput: 0.0
            };
            2
        ];
    }
    let mut one_mode = closed();
    one_mode.modes.truncate(1);
    one_mode.comparisons.clear();
    let mut one_round = closed();
    for mode in &mut one_round.modes {
        mode.rounds.truncate(1);
        mode.timeline.truncate(1);
    }
    for comparison in &mut one_round.comparisons {
        comparison.deviation = None;
    }
    let mut unknown = open();
    for mode in &mut unknown.modes {
        mode.time_wait = None;
        mode.client_cpu_us_per_request = None;
        for sample in &mut mode.timeline {
            sample.time_wait = None;
        }
    }
    vec![
        ("closed", closed()),
        ("open", open()),
        ("nothing", nothing),
        ("no requests", no_requests),
        ("all failed", all_failed),
        ("one mode", one_mode),
        ("one round", one_round),
        ("unknown", unknown),
        ("hostile", hostile()),
        ("largest", largest()),
        ("not finite", not_finite()),
    ]
}

/// Hostile text wherever text comes from elsewhere.
pub(super) fn hostile() -> Results {
    const TEXT: &str = "<script>alert(1)</script> & \"'`|\x1b[31m\u{202e}]]> \0 \u{fffe}";
    let mut results = closed();
    results.endpoint = String::from(TEXT);
    for mode in &mut results.modes {
        mode.errors.insert(ErrorKind::Other, 1);
        mode.error_examples
            .insert(ErrorKind::Other, String::from(TEXT));
    }
    results.warnings.push(Warning {
        code: "hostile",
        text: String::from(TEXT),
        advice: String::from(TEXT),
    });
    results
}

/// Numbers that no benchmark reaches.
fn largest() -> Results {
    let mut results = open();
    results.callers = u32::MAX;
    results.max_connections = u32::MAX;
    results.body_bytes = usize::MAX;
    results.rate = Some(1e300);
    let latency = Latency {
        mean: 1e300,
        p50: u64::MAX,
        p90: u64::MAX,
        p99: u64::MAX,
        p99_9: u64::MAX,
        max: u64::MAX,
    };
    for mode in &mut results.modes {
        mode.seconds = 1e15;
        mode.requests = u64::MAX;
        mode.replies_ok = u64::MAX;
        mode.throughput = 1e300;
        mode.latency_us = latency;
        mode.service_us = Some(latency);
        mode.connections_opened = u64::MAX;
        mode.client_cpu_us_per_request = Some(1e300);
        mode.time_wait = Some(u32::MAX);
        mode.errors.insert(ErrorKind::DescriptorsUsedUp, u64::MAX);
        mode.percentiles = vec![Percentile {
            share: 1.0,
            us: u64::MAX,
        }];
        mode.histogram = vec![
            Bar {
                from_us: 0,
                to_us: 1,
                count: u64::MAX,
            },
            Bar {
                from_us: 1,
                to_us: u64::MAX,
                count: u64::MAX,
            },
        ];
        for sample in &mut mode.timeline {
            sample.connections = u64::MAX;
            sample.time_wait = Some(u64::MAX);
            sample.throughput = 1e300;
        }
    }
    for comparison in &mut results.comparisons {
        comparison.ratio = 1e300;
        comparison.deviation = Some(1e300);
    }
    results
}

/// What divisions by zero give.
fn not_finite() -> Results {
    let mut results = open();
    results.rate = Some(0.0);
    for (mode, odd) in results
        .modes
        .iter_mut()
        .zip([f64::NAN, f64::INFINITY, f64::NEG_INFINITY])
    {
        mode.throughput = odd;
        mode.seconds = odd;
        mode.latency_us.mean = odd;
        mode.client_cpu_us_per_request = Some(odd);
        mode.percentiles.push(Percentile { share: odd, us: 0 });
        for round in &mut mode.rounds {
            round.throughput = odd;
        }
        for sample in &mut mode.timeline {
            sample.at_seconds = odd;
            sample.throughput = odd;
        }
    }
    for (comparison, odd) in results
        .comparisons
        .iter_mut()
        .zip([f64::NAN, f64::INFINITY])
    {
        comparison.ratio = odd;
        comparison.deviation = Some(odd);
    }
    results
}

fn nothing_done(mode: Mode) -> ModeResults {
    ModeResults {
        mode,
        seconds: 0.0,
        requests: 0,
        replies_ok: 0,
        errors: BTreeMap::new(),
        error_examples: BTreeMap::new(),
        throughput: 0.0,
        latency_us: Latency::default(),
        service_us: None,
        percentiles: Vec::new(),
        histogram: Vec::new(),
        connections_opened: 0,
        client_cpu_us_per_request: None,
        time_wait: None,
        ports_nearly_used_up: false,
        rounds: Vec::new(),
        timeline: Vec::new(),
    }
}

fn comparisons() -> Vec<Comparison> {
    let comparison = |mode, than, ratio, deviation| Comparison {
        mode,
        than,
        ratio,
        deviation: Some(deviation),
    };
    vec![
        comparison(Mode::Pipelined, Mode::Short, 13.31, 0.51),
        comparison(Mode::Pipelined, Mode::Exclusive, 1.92, 0.07),
        comparison(Mode::Exclusive, Mode::Short, 6.92, 0.35),
    ]
}

/// The mode that is the `nth` in each round.
fn like(like: &Like, nth: usize) -> ModeResults {
    let replies_ok = (like.throughput * ROUND * ROUNDS as f64) as u64;
    let us = |share: f64| (like.median * like.tail.powf(-(1.0 - share).log10() - 0.301)) as u64;
    let max = us(1.0 - 1.0 / replies_ok as f64);
    let rounds = [0.98, 1.03, 1.0, 0.95, 1.01].map(|swing| Round {
        seconds: ROUND,
        requests: (like.throughput * swing * ROUND) as u64,
        replies_ok: (like.throughput * swing * ROUND) as u64,
        throughput: like.throughput * swing,
    });
    let nines = (0..=50).map(|tenth| 1.0 - 10_f64.powf(-f64::from(tenth) / 10.0));
    let mut percentiles: Vec<_> = nines
        .map(|share| Percentile {
            share,
            us: us(share),
        })
        .collect();
    percentiles.push(Percentile {
        share: 1.0,
        us: max,
    });
    let mut mode = nothing_done(like.mode);
    mode.seconds = ROUND * ROUNDS as f64;
    mode.requests = replies_ok;
    mode.replies_ok = replies_ok;
    mode.throughput = like.throughput;
    mode.latency_us = Latency {
        mean: like.median * 1.1,
        p50: us(0.5),
        p90: us(0.9),
        p99: us(0.99),
        p99_9: us(0.999),
        max,
    };
    mode.percentiles = percentiles;
    mode.histogram = histogram(like, replies_ok, max);
    mode.connections_opened = like.opened;
    mode.client_cpu_us_per_request = Some(like.cpu);
    mode.time_wait = Some(like.time_wait);
    mode.rounds = rounds.to_vec();
    mode.timeline = (0..ROUNDS * LOOKS)
        .map(|look| sample(like, nth, look))
        .collect();
    mode
}

/// Bars that grow by a quarter, around the median.
fn histogram(like: &Like, replies: u64, max: u64) -> Vec<Bar> {
    let edge = |nth: i32| (16.0 * 1.25_f64.powi(nth)) as u64;
    let bars = (0..)
        .map(|nth| (edge(nth), edge(nth + 1)))
        .take_while(|&(from, _)| from <= max);
    let weight = |from: u64| {
        let distance = (from as f64 * 1.12 / like.median).ln();
        let width = if distance < 0.0 {
            0.25
        } else {
            0.25 * like.tail
        };
        (-(distance / width).powi(2) / 2.0).exp()
    };
    let sum: f64 = bars.clone().map(|(from, _)| weight(from)).sum();
    bars.map(|(from_us, to_us)| Bar {
        from_us,
        to_us,
        count: (weight(from_us) / sum * replies as f64) as u64 + u64::from(to_us > max),
    })
    .collect()
}

fn sample(like: &Like, nth: usize, look: usize) -> Sample {
    let (round, within) = (look / LOOKS, (look % LOOKS) as f64 / LOOKS as f64);
    let begin = (round * 3 + nth) as f64 * ROUND;
    // The sockets of short's rounds stay for longer than all of it takes.
    let left = f64::from(SHORT.time_wait) / ROUNDS as f64;
    let earlier = round as f64 + f64::from(u32::from(nth > 0));
    let now = if nth == 0 { within } else { 0.0 };
    let wobble = (look * 7919 % 13) as f64 / 13.0;
    Sample {
        at_seconds: begin + within * ROUND + 0.1,
        connections: like.connections - if nth == 0 { (wobble * 12.0) as u64 } else { 0 },
        time_wait: Some((left * (earlier + now)) as u64),
        throughput: like.throughput * (0.94 + 0.12 * wobble),
    }
}
