//! A histogram in few rows: several modes over the same times, as bars of block characters. Callers
//! place them.

use super::super::results::Bar;
use crate::numbers::span;

/// When at most this share of a mode's replies is left, the slowest ones share a row.
const SLOWEST: f64 = 0.001;

/// The replies within a range of times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeRange {
    pub(super) from_us: u64,
    pub(super) to_us: u64,
    /// The share of each histogram's replies, 0 to 1.
    pub(super) shares: Vec<f64>,
}

impl TimeRange {
    /// `10–20 µs`, `900 µs–1.2 ms`.
    pub(super) fn label(&self) -> String {
        let (from, to) = (span(self.from_us), span(self.to_us));
        let unit = |text: &str| text.split(' ').next_back().map(String::from);
        match (from.split_once(' '), unit(&from) == unit(&to)) {
            (Some((number, _)), true) => format!("{number}–{to}"),
            _ => format!("{from}–{to}"),
        }
    }
}

/// At most so many ranges over all times that any of the histograms has. Each range has the same
/// number of neighbouring bars, except the last, which has all of the slowest.
pub(super) fn time_ranges(histograms: &[&[Bar]], most: usize) -> Vec<TimeRange> {
    let most = most.max(2);
    let edges = edges(histograms);
    let Some(&end) = edges.last() else {
        return Vec::new();
    };
    let mut starts = edges[..edges.len() - 1].to_vec();
    if starts.len() > most {
        let slowest = histograms
            .iter()
            .map(|bars| slowest(bars))
            .max()
            .unwrap_or(end);
        let common = starts.partition_point(|&start| start < slowest);
        let (each, rest) = match common == starts.len() {
            true => (common.div_ceil(most), None),
            false => (common.div_ceil(most - 1), Some(starts[common])),
        };
        starts = starts[..common]
            .iter()
            .copied()
            .step_by(each)
            .chain(rest)
            .collect();
    }
    let ends = starts.iter().copied().skip(1).chain([end]);
    let range = |(&from_us, to_us)| TimeRange {
        from_us,
        to_us,
        shares: histograms
            .iter()
            .map(|bars| share(bars, from_us, to_us))
            .collect(),
    };
    starts.iter().zip(ends).map(range).collect()
}

/// A bar for this share of the width, in eighths of a column; any share above zero is visible.
pub(super) fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let most = width * 8;
    let mut eighths = (share.clamp(0.0, 1.0) * most as f64).round() as usize;
    if share > 0.0 {
        eighths = eighths.clamp(1, most);
    }
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).map(|eighth| EIGHTHS[eighth]));
    bar
}

/// A share in percent; any share above zero reads as more than zero.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent <= 0.0 => String::new(),
        percent if percent < 0.05 => String::from("<0.1 %"),
        percent => format!("{percent:.1} %"),
    }
}

fn total(bars: &[Bar]) -> f64 {
    bars.iter().map(|bar| bar.count as f64).sum()
}

/// The edges of the bars, from the first that isn't empty to the last.
fn edges(histograms: &[&[Bar]]) -> Vec<u64> {
    let bars = || {
        histograms
            .iter()
            .copied()
            .flatten()
            .filter(|bar| bar.from_us < bar.to_us)
    };
    let filled = || bars().filter(|bar| bar.count > 0);
    let first = filled().map(|bar| bar.from_us).min();
    let last = filled().map(|bar| bar.to_us).max();
    let (Some(first), Some(last)) = (first, last) else {
        return Vec::new();
    };
    let mut edges: Vec<_> = bars()
        .flat_map(|bar| [bar.from_us, bar.to_us])
        .filter(|edge| (first..=last).contains(edge))
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// The time above which all replies share the last row.
fn slowest(bars: &[Bar]) -> u64 {
    let most = total(bars) * SLOWEST;
    let mut slower = 0.0;
    for bar in bars.iter().rev() {
        slower += bar.count as f64;
        if slower > most {
            return bar.to_us;
        }
    }
    0
}

/// The share of the replies between two times. If a bar crosses an edge, the part that lies between
/// them counts.
fn share(bars: &[Bar], from_us: u64, to_us: u64) -> f64 {
    let within = |bar: &Bar| {
        let begin = bar.from_us.max(from_us);
        let shared = bar.to_us.min(to_us).saturating_sub(begin) as f64;
        let length = bar.to_us.saturating_sub(bar.from_us).max(1) as f64;
        bar.count as f64 * shared / length
    };
    match total(bars) {
        total if total > 0.0 => bars.iter().map(within).sum::<f64>() / total,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(counts: &[u64]) -> Vec<Bar> {
        let bar = |(nth, &count): (usize, &u64)| Bar {
            from_us: 1 << nth,
            to_us: 2 << nth,
            count,
        };
        counts.iter().enumerate().map(bar).collect()
    }

    #[test]
    fn neighbouring_bars_are_put_together_and_all_replies_are_in_some_slot() {
        let (first, second) = (
            bars(&[0, 0, 4, 4, 1, 1]),
            bars(&[0, 0, 0, 0, 0, 0, 0, 5, 5]),
        );
        let time_ranges = time_ranges(&[&first, &second], 4);
        let times: Vec<_> = time_ranges
            .iter()
            .map(|range| (range.from_us, range.to_us))
            .collect();
        assert_eq!(times, [(4, 16), (16, 64), (64, 256), (256, 512)]);
        assert_eq!(time_ranges[0].shares, [0.8, 0.0]);
        for nth in 0..2 {
            let sum: f64 = time_ranges.iter().map(|range| range.shares[nth]).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn the_slowest_of_all_share_the_last_slot() {
        let counts = [100_000, 900_000, 0, 0, 0, 0, 0, 0, 3];
        let time_ranges = time_ranges(&[&bars(&counts)], 3);
        let times: Vec<_> = time_ranges
            .iter()
            .map(|range| (range.from_us, range.to_us))
            .collect();
        assert_eq!(times, [(1, 2), (2, 4), (4, 512)]);
    }

    #[test]
    fn nothing_has_no_slots() {
        assert_eq!(time_ranges(&[], 12), []);
        assert_eq!(time_ranges(&[&[], &bars(&[0, 0])], 12), []);
    }

    #[test]
    fn bars_are_drawn_in_eighths_and_the_least_is_seen() {
        let drawn = [0.0, 1e-9, 0.25, 0.5, 0.99, 1.0].map(|share| bar(share, 2));
        assert_eq!(drawn, ["", "▏", "▌", "█", "██", "██"]);
        assert_eq!(bar(f64::NAN, 2), "");
    }

    #[test]
    fn a_unit_that_both_ends_have_is_said_once() {
        let label = |from_us, to_us| {
            TimeRange {
                from_us,
                to_us,
                shares: Vec::new(),
            }
            .label()
        };
        assert_eq!(label(10, 20), "10–20 µs");
        assert_eq!(label(900, 1_200), "900 µs–1.2 ms");
    }
}
