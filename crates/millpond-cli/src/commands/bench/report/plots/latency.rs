//! The panel of latency by the share of replies. Both axes are logarithmic, the shares by their
//! nines.

use super::{
    super::super::results::{Latency, ModeResults, Results},
    chart::{Axis, Chart, ChartSpec, Filling},
    panel::{Area, Drawn, Panel, Size},
    scale::{self, MOST_NINES, Scale, nines},
};

pub(super) const PANEL: Panel = Panel {
    height: 400,
    has_values: |results| shown(results).next().is_some(),
    draw,
};

/// The distance in pixels between ticks whose labels don't touch.
const APART: f64 = 26.0;

fn shown(results: &Results) -> impl Iterator<Item = &ModeResults> {
    let has_values = |mode: &&ModeResults| mode.replies_ok > 0 && !mode.percentiles.is_empty();
    results.modes.iter().filter(has_values)
}

/// The points of a mode's line: nines, and the logarithm of µs. Of n replies the slowest is one
/// n-th, so the line ends at that share.
fn line(mode: &ModeResults) -> Vec<(f64, f64)> {
    let last = nines(1.0 - 1.0 / mode.replies_ok as f64);
    let points = mode
        .percentiles
        .iter()
        .filter(|point| point.share.is_finite());
    points
        .map(|point| (nines(point.share).min(last), log(point.us)))
        // With a margin, because rounding may put the last point slightly beyond.
        .filter(|&(nines, _)| nines <= MOST_NINES + 0.01)
        .map(|(nines, time)| (nines.min(MOST_NINES), time))
        .collect()
}

/// Draws latency, with markers on a few points.
fn points(latency: &Latency) -> [(f64, f64); 4] {
    let points = [
        (0.5, latency.p50),
        (0.9, latency.p90),
        (0.99, latency.p99),
        (0.999, latency.p99_9),
    ];
    points.map(|(share, us)| (nines(share), log(us)))
}

fn log(us: u64) -> f64 {
    (us.max(1) as f64).log10()
}

fn draw(area: &Area<'_>, size: Size, results: &Results) -> Drawn {
    let modes: Vec<_> = shown(results).collect();
    let lines: Vec<_> = modes.iter().map(|mode| line(mode)).collect();
    let served = || modes.iter().filter_map(|mode| mode.service_us.as_ref());
    let marked = modes.iter().map(|mode| &mode.latency_us).chain(served());
    let marked = marked.flat_map(points);
    let all: Vec<_> = lines.iter().flatten().copied().chain(marked).collect();
    let most = all.iter().map(|&(nines, _)| nines).fold(0.0, f64::max);
    let least_time = all
        .iter()
        .map(|&(_, time)| time)
        .fold(f64::INFINITY, f64::min);
    let most_time = all.iter().map(|&(_, time)| time).fold(0.0, f64::max);
    let room = f64::from(size.width()) - 100.0;
    let chart = Chart::new(
        area,
        size,
        &ChartSpec {
            title: "Latency by share of the replies",
            legend: modes.iter().map(|mode| mode.mode).collect(),
            x: Axis {
                name: "% of the replies that took no longer (logarithmic)",
                scale: Scale::shares(most, APART / (room / most.clamp(2.0, MOST_NINES))),
                tick: &scale::share,
            },
            y: Axis {
                name: match served().next() {
                    Some(_) => "filled: since it was intended; hollow: since it was sent",
                    None => "time from the request to its reply (logarithmic)",
                },
                scale: Scale::times(least_time, most_time),
                tick: &scale::time,
            },
        },
    )?;
    for (mode, line) in modes.iter().zip(&lines) {
        chart.line(mode.mode, line)?;
        for point in points(&mode.latency_us) {
            chart.mark(mode.mode, point, Filling::Filled)?;
        }
        for point in mode.service_us.as_ref().into_iter().flat_map(points) {
            chart.mark(mode.mode, point, Filling::Hollow)?;
        }
    }
    Ok(())
}
