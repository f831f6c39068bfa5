//! Turns measurements into results: medians, shares, factors with their spread, and warnings. Pure.

use std::{iter, time::Duration};

use hdrhistogram::Histogram;

use super::{
    plan::Plan,
    results::{Bar, Comparison, ErrorKind, Latency, ModeResults, Percentile, Results, Round},
    run::Measured,
    statistics::{deviation, mean},
    warnings::{Conditions, warnings},
};
use crate::{load::tally::us, numbers::rounded};

pub(super) fn conclude(plan: &Plan, measured: Vec<Measured>, interrupted: bool) -> Results {
    let modes: Vec<ModeResults> = measured
        .into_iter()
        .map(|mode| results_of(mode, plan.rate))
        .collect();
    let comparisons = match plan.rate {
        // In an open loop all modes have the rate that was asked for.
        Some(_) => Vec::new(),
        None => comparisons(&modes),
    };
    let conditions = Conditions {
        threads: plan.threads,
        cores: plan.cores,
        callers: plan.callers,
        rate: plan.rate,
        exhaust: plan.exhaust,
    };
    Results {
        version: Results::VERSION,
        endpoint: plan.endpoint.to_string(),
        framing: plan.framing_name,
        callers: plan.callers,
        max_connections: plan.connections,
        body_bytes: plan.request.body.len(),
        expected: plan.expected,
        rate: plan.rate,
        threads: plan.threads,
        interrupted,
        warnings: warnings(&modes, &conditions),
        modes,
        comparisons,
    }
}

pub(super) fn results_of(measured: Measured, rate: Option<f64>) -> ModeResults {
    let tally = &measured.tally;
    let requests = tally.requests();
    let sent = requests - tally.missed(ErrorKind::NotSent);
    let per_request = |cpu: Duration| rounded(cpu.as_secs_f64() * 1e6 / sent as f64, 3);
    let seconds = rounded(measured.rounds.iter().map(|round| round.seconds).sum(), 3);
    let throughput = match seconds > 0.0 {
        true => tally.replies_ok as f64 / seconds,
        false => 0.0,
    };
    ModeResults {
        mode: measured.mode,
        seconds,
        requests,
        replies_ok: tally.replies_ok,
        errors: tally.errors.clone(),
        error_examples: tally.examples.clone(),
        throughput: rounded(throughput, 1),
        latency_us: latency(&tally.latency),
        service_us: rate.map(|_| latency(&tally.service)),
        percentiles: percentiles(&tally.latency),
        histogram: bars(&tally.latency),
        connections_opened: measured.opened,
        client_cpu_us_per_request: measured.cpu.filter(|_| sent > 0).map(per_request),
        time_wait: measured.time_wait,
        ports_nearly_used_up: measured.ports_nearly_used_up,
        rounds: measured.rounds,
        timeline: measured.timeline,
    }
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let at = |share| us(histogram.value_at_quantile(share));
    Latency {
        mean: rounded(histogram.mean() / 1e3, 1),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p99_9: at(0.999),
        max: us(histogram.max()),
    }
}

/// Percentiles with nine points for each nine of the share, as far as at least one reply lies
/// beyond.
fn percentiles(histogram: &Histogram<u64>) -> Vec<Percentile> {
    let mut points = Vec::new();
    if histogram.is_empty() {
        return points;
    }
    let mut beyond = 1.0;
    'nines: loop {
        for tenth in (2..=10).rev() {
            let left = beyond * f64::from(tenth) / 10.0;
            if left * (histogram.len() as f64) < 1.0 {
                break 'nines;
            }
            let share = 1.0 - left;
            points.push(Percentile {
                share: rounded(share, 9),
                us: us(histogram.value_at_quantile(share)),
            });
        }
        beyond /= 10.0;
    }
    points.push(Percentile {
        share: 1.0,
        us: us(histogram.max()),
    });
    points
}

/// A histogram from the shortest time to the longest. All histograms have the same edges, each a
/// quarter above the one before, so that modes can be compared bar by bar.
fn bars(histogram: &Histogram<u64>) -> Vec<Bar> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let (shortest, longest) = (us(histogram.min()), us(histogram.max()));
    let edges = iter::successors(Some(0_u64), |&edge| Some((edge + edge / 4).max(edge + 1)));
    let pairs = edges.clone().zip(edges.skip(1));
    let mut bars: Vec<Bar> = pairs
        .skip_while(|&(_, to_us)| to_us <= shortest)
        .take_while(|&(from_us, _)| from_us <= longest)
        .map(|(from_us, to_us)| Bar {
            from_us,
            to_us,
            count: 0,
        })
        .collect();
    for value in histogram.iter_recorded() {
        let at = us(value.value_iterated_to()).clamp(shortest, longest);
        let bar = bars.partition_point(|bar| bar.to_us <= at);
        bars[bar].count += value.count_at_value();
    }
    bars
}

/// Compares each mode with every slower one, the fastest first. Modes without a right reply are
/// left out.
fn comparisons(modes: &[ModeResults]) -> Vec<Comparison> {
    let mut order: Vec<&ModeResults> = modes.iter().filter(|mode| mode.throughput > 0.0).collect();
    order.sort_by(|one, other| other.throughput.total_cmp(&one.throughput));
    let pairs = order
        .iter()
        .enumerate()
        .flat_map(|(at, faster)| order[at + 1..].iter().map(move |slower| (*faster, *slower)));
    let comparison = |(faster, slower): (&ModeResults, &ModeResults)| {
        let ratios = ratios(&faster.rounds, &slower.rounds);
        (!ratios.is_empty()).then(|| Comparison {
            mode: faster.mode,
            than: slower.mode,
            ratio: rounded(mean(&ratios), 3),
            deviation: deviation(&ratios).map(|deviation| rounded(deviation, 3)),
        })
    };
    pairs.filter_map(comparison).collect()
}

/// Ratios round by round, so that what changes on the machine between rounds affects both sides.
fn ratios(faster: &[Round], slower: &[Round]) -> Vec<f64> {
    let pairs = faster.iter().zip(slower);
    pairs
        .filter(|(_, slower)| slower.throughput > 0.0)
        .map(|(faster, slower)| faster.throughput / slower.throughput)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::results::Mode, *};

    fn histogram(times_us: impl Iterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).expect("three digits");
        for us in times_us {
            histogram.record(us * 1_000).expect("it grows");
        }
        histogram
    }

    #[test]
    fn every_reply_is_in_exactly_one_bar_and_the_bars_have_no_gaps() {
        for times in [
            vec![7],
            vec![1, 1, 2],
            (1..=5_000).collect(),
            vec![80, 81, 82, 2_000_000],
        ] {
            let count = times.len() as u64;
            let bars = bars(&histogram(times.into_iter()));
            assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), count);
            assert!(
                bars[0].count > 0 && bars[bars.len() - 1].count > 0,
                "{bars:?}"
            );
            assert!(bars.iter().all(|bar| bar.from_us < bar.to_us), "{bars:?}");
            assert!(
                bars.windows(2).all(|pair| pair[0].to_us == pair[1].from_us),
                "{bars:?}"
            );
        }
        assert_eq!(bars(&histogram(std::iter::empty())), []);
    }

    #[test]
    fn percentiles_go_as_far_as_there_are_replies_and_end_with_the_longest() {
        let points = percentiles(&histogram(1..=1_000));
        assert_eq!(points[0], Percentile { share: 0.0, us: 1 });
        let at = |share| {
            points
                .iter()
                .find(|point| point.share == share)
                .expect("a point")
                .us
        };
        assert_eq!((at(0.5), at(0.99)), (500, 990));
        assert_eq!(
            points.last(),
            Some(&Percentile {
                share: 1.0,
                us: 1_000
            })
        );
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].share < pair[1].share && pair[0].us <= pair[1].us)
        );
        assert!(points.len() < 40, "{}", points.len());
    }

    fn mode(mode: Mode, throughputs: &[f64]) -> ModeResults {
        let rounds = throughputs.iter().map(|&throughput| Round {
            seconds: 1.0,
            requests: throughput as u64,
            replies_ok: throughput as u64,
            throughput,
        });
        let mut measured = Measured::empty(mode);
        measured.rounds = rounds.collect();
        measured.tally.replies_ok = measured.rounds.iter().map(|round| round.replies_ok).sum();
        results_of(measured, None)
    }

    #[test]
    fn the_throughput_is_the_right_replies_by_the_time() {
        let uneven = mode(Mode::Short, &[10.0, 20.0, 60.0]);
        assert_eq!((uneven.replies_ok, uneven.seconds), (90, 3.0));
        assert_eq!(uneven.throughput, 30.0);
    }

    #[test]
    fn every_two_modes_are_compared() {
        let modes = [
            mode(Mode::Short, &[10.0]),
            mode(Mode::Exclusive, &[40.0]),
            mode(Mode::Pipelined, &[80.0]),
        ];
        let told: Vec<_> = comparisons(&modes)
            .iter()
            .map(|told| (told.mode, told.than, told.ratio))
            .collect();
        assert_eq!(
            told,
            [
                (Mode::Pipelined, Mode::Exclusive, 2.0),
                (Mode::Pipelined, Mode::Short, 8.0),
                (Mode::Exclusive, Mode::Short, 4.0)
            ]
        );
    }

    #[test]
    fn modes_are_compared_by_the_ratios_within_rounds() {
        let modes = [
            mode(Mode::Short, &[10.0, 20.0, 10.0]),
            mode(Mode::Exclusive, &[40.0, 80.0, 70.0]),
            mode(Mode::Pipelined, &[0.0, 0.0, 0.0]),
        ];
        let told = comparisons(&modes);
        assert_eq!(told.len(), 1, "without a reply there is nothing to compare");
        assert_eq!((told[0].mode, told[0].than), (Mode::Exclusive, Mode::Short));
        assert_eq!((told[0].ratio, told[0].deviation), (5.0, Some(1.732)));
        let single = comparisons(&[mode(Mode::Short, &[1.0]), mode(Mode::Exclusive, &[2.0])]);
        assert_eq!((single[0].ratio, single[0].deviation), (2.0, None));
        assert_eq!(comparisons(&[]), []);
    }

    #[test]
    fn nothing_measured_is_told_as_zeros_and_nothing_else() {
        let told = results_of(Measured::empty(Mode::Short), Some(5.0));
        assert_eq!(
            (told.requests, told.throughput, told.latency_us),
            (0, 0.0, Latency::default())
        );
        assert_eq!(
            (told.client_cpu_us_per_request, told.percentiles.len()),
            (None, 0)
        );
    }
}
