//! The panel with a bar for each mode, and its rounds as points on it.

use super::{
    super::super::results::{ModeResults, Results},
    chart::{Axis, Chart, ChartSpec},
    panel::{Area, Drawn, Panel, Size},
    scale::{Scale, count},
};

pub(super) const PANEL: Panel = Panel {
    height: 300,
    has_values: |results| shown(results).next().is_some(),
    draw,
};

/// The share of a mode's room that its bar takes.
const BAR: f64 = 0.5;

fn shown(results: &Results) -> impl Iterator<Item = &ModeResults> {
    let has_values = |mode: &&ModeResults| mode.throughput.is_finite() && !mode.rounds.is_empty();
    results.modes.iter().filter(has_values)
}

fn throughputs(mode: &ModeResults) -> impl Iterator<Item = f64> {
    let each = mode.rounds.iter().map(|round| round.throughput);
    each.filter(|throughput| throughput.is_finite())
}

fn draw(area: &Area<'_>, size: Size, results: &Results) -> Drawn {
    let modes: Vec<_> = shown(results).collect();
    let highest = |mode: &ModeResults| throughputs(mode).fold(mode.throughput, f64::max);
    let most = modes.iter().map(|mode| highest(mode)).fold(0.0, f64::max);
    let middles: Vec<_> = (0..modes.len()).map(|nth| nth as f64 + 0.5).collect();
    let name = |x: f64| {
        let mode = modes.get(x as usize);
        mode.map_or(String::new(), |mode| String::from(mode.mode.name()))
    };
    let chart = Chart::new(
        area,
        size,
        &ChartSpec {
            title: "Throughput",
            legend: Vec::new(),
            x: Axis {
                name: "bar: all rounds; points: each, in order",
                scale: Scale {
                    range: 0.0..modes.len() as f64,
                    ticks: middles.clone(),
                },
                tick: &name,
            },
            y: Axis {
                name: "right replies a second",
                // With room for the figures above the bars.
                scale: Scale::linear(most * 1.12),
                tick: &count,
            },
        },
    )?;
    for (mode, middle) in modes.iter().zip(middles) {
        chart.bar(mode.mode, (middle, mode.throughput), BAR)?;
        let rounds: Vec<_> = throughputs(mode).collect();
        let apart = BAR / (rounds.len() + 1) as f64;
        for (nth, throughput) in (1_u32..).zip(rounds) {
            chart.dot(middle - BAR / 2.0 + f64::from(nth) * apart, throughput)?;
        }
        chart.above((middle, highest(mode)), &count(mode.throughput))?;
    }
    Ok(())
}
