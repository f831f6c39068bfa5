//! The panels over time: throughput, connections, sockets in TIME_WAIT. The modes take turns, so a
//! mode's line is interrupted by the others' rounds.

use super::{
    super::super::results::{Results, Sample},
    chart::{Axis, Chart, ChartSpec, Filling},
    panel::{Area, Drawn, Panel, Size},
    scale::{Scale, count},
};

/// A sample that comes this many times later than usual belongs to another round.
const PAUSE: f64 = 3.0;

pub(super) const THROUGHPUT: Panel = Panel {
    height: 280,
    has_values: |results| has_values(results, throughput),
    draw: |area, size, results| {
        draw(
            area,
            size,
            results,
            "Throughput over time",
            "right replies a second",
            throughput,
        )
    },
};

pub(super) const CONNECTIONS: Panel = Panel {
    height: 280,
    has_values: |results| has_values(results, connections),
    draw: |area, size, results| {
        draw(
            area,
            size,
            results,
            "Connections over time",
            "connections open, or being opened",
            connections,
        )
    },
};

pub(super) const TIME_WAIT: Panel = Panel {
    height: 280,
    has_values: |results| has_values(results, time_wait),
    draw: |area, size, results| {
        draw(
            area,
            size,
            results,
            "TIME_WAIT over time",
            "sockets of this machine in TIME_WAIT",
            time_wait,
        )
    },
};

/// The value of a sample that is plotted.
type ValueOf = fn(&Sample) -> Option<f64>;

fn throughput(sample: &Sample) -> Option<f64> {
    Some(sample.throughput)
}

fn connections(sample: &Sample) -> Option<f64> {
    Some(sample.connections as f64)
}

fn time_wait(sample: &Sample) -> Option<f64> {
    sample.time_wait.map(|sockets| sockets as f64)
}

/// The points of a timeline, by seconds.
fn points(timeline: &[Sample], value: ValueOf) -> Vec<(f64, f64)> {
    let point = |sample: &Sample| Some((sample.at_seconds, value(sample)?));
    let points = timeline.iter().filter_map(point);
    points
        .filter(|(at, value)| at.is_finite() && value.is_finite())
        .collect()
}

fn has_values(results: &Results, value: ValueOf) -> bool {
    let timelines = results.modes.iter().map(|mode| &mode.timeline);
    timelines
        .into_iter()
        .any(|timeline| !points(timeline, value).is_empty())
}

/// The parts of a line without the pauses between rounds.
fn rounds(points: &[(f64, f64)]) -> Vec<&[(f64, f64)]> {
    let mut apart: Vec<_> = points
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    apart.sort_by(f64::total_cmp);
    let pause = apart.get(apart.len() / 2).copied().unwrap_or(0.0) * PAUSE;
    points
        .chunk_by(|one, next| next.0 - one.0 <= pause)
        .collect()
}

fn draw(
    area: &Area<'_>,
    size: Size,
    results: &Results,
    title: &str,
    name: &str,
    value: ValueOf,
) -> Drawn {
    let told = results
        .modes
        .iter()
        .map(|mode| (mode.mode, points(&mode.timeline, value)));
    let lines: Vec<_> = told.filter(|(_, points)| !points.is_empty()).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let end = all().map(|&(at, _)| at).fold(0.0, f64::max);
    let most = all().map(|&(_, value)| value).fold(0.0, f64::max);
    let mut times = Scale::linear(end);
    times.range.end = end.max(1.0);
    times.ticks.retain(|&tick| tick <= times.range.end);
    let chart = Chart::new(
        area,
        size,
        &ChartSpec {
            title,
            legend: lines.iter().map(|&(mode, _)| mode).collect(),
            x: Axis {
                name: "seconds since the beginning",
                scale: times,
                tick: &count,
            },
            y: Axis {
                name,
                scale: Scale::linear(most),
                tick: &count,
            },
        },
    )?;
    for (mode, points) in &lines {
        for round in rounds(points) {
            chart.line(*mode, round)?;
            chart.mark(*mode, round[round.len() / 2], Filling::Filled)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_of_other_modes_interrupt_a_line() {
        let points = [0.1, 0.2, 0.3, 6.1, 6.2, 6.3].map(|at| (at, 1.0));
        let lengths: Vec<_> = rounds(&points).into_iter().map(<[_]>::len).collect();
        assert_eq!(lengths, [3, 3]);
        assert_eq!(rounds(&points[..1]).len(), 1);
        assert!(rounds(&[]).is_empty());
    }
}
