//! Axes: positions, ticks and their labels. Pure.

use std::ops::Range;

use crate::numbers::span;

/// The most nines that are shown: 99.999 %.
pub(super) const MOST_NINES: f64 = 5.0;

/// An axis. Positions on it are linear, so logarithmic values come as logarithms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) range: Range<f64>,
    pub(super) ticks: Vec<f64>,
}

impl Scale {
    /// From 0 to some round number that isn't below `most`.
    pub(super) fn linear(most: f64) -> Scale {
        let most = if most.is_finite() { most.max(1.0) } else { 1.0 };
        let magnitude = 10_f64.powf((most / 6.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
        let step = steps
            .into_iter()
            .find(|step| most / step <= 6.0)
            .unwrap_or(most);
        // Counts have no halves.
        let step = step.max(if most <= 5.0 { 1.0 } else { 0.0 });
        let count = (most / step).ceil().max(1.0);
        Scale {
            range: 0.0..count * step,
            ticks: (0..=count as u32)
                .map(|nth| f64::from(nth) * step)
                .collect(),
        }
    }

    /// For logarithms of times in µs; with ticks at powers of ten, and at two and five times these
    /// if there are few.
    pub(super) fn times(least: f64, most: f64) -> Scale {
        let least = least.clamp(0.0, 20.0).floor();
        let most = most.clamp(least + 1.0, 21.0).ceil();
        let between: &[f64] = if most - least <= 2.0 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let powers = (least as i32)..=(most as i32);
        let ticks =
            powers.flat_map(|power| between.iter().map(move |by| f64::from(power) + by.log10()));
        Scale {
            range: least..most,
            ticks: ticks.filter(|&tick| tick <= most).collect(),
        }
    }

    /// For shares by their [`nines`], with ticks that have at least `apart` between them.
    pub(super) fn shares(most: f64, apart: f64) -> Scale {
        let most = most.clamp(2.0, MOST_NINES);
        let half = nines(0.5);
        let mut ticks = Vec::from([half]);
        if half >= apart {
            ticks.insert(0, 0.0);
        }
        // Rounding may miss the last.
        ticks.extend((1..=(most + 0.01) as i32).map(f64::from));
        Scale {
            range: 0.0..most.max(ticks.last().copied().unwrap_or(most)),
            ticks,
        }
    }
}

/// The position of a share by its nines: 90 % at 1, 99 % at 2, 100 % infinitely far.
pub(super) fn nines(share: f64) -> f64 {
    match share {
        share if share >= 1.0 => f64::INFINITY,
        share if share > 0.0 => -(1.0 - share).log10(),
        _ => 0.0,
    }
}

/// The label of a share, in percent: `50`, `99.9`.
pub(super) fn share(nines: f64) -> String {
    let decimals = (nines.floor() as usize).saturating_sub(2);
    format!("{:.decimals$}", (1.0 - 10_f64.powf(-nines)) * 100.0)
}

/// The label of a time, from its logarithm: `20 µs`, `1 ms`.
pub(super) fn time(log_us: f64) -> String {
    span(10_f64.powf(log_us).round() as u64).replace(".0 ", " ")
}

/// The label of a count or a number per second: `850`, `12 k`, `1.5 M`.
pub(super) fn count(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e15 => return format!("{value:.0e}"),
        value if value >= 999_500_000.0 => (value / 1e9, " G"),
        value if value >= 999_500.0 => (value / 1e6, " M"),
        value if value >= 999.5 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let text = match value < 99.95 && !unit.is_empty() || value.fract() != 0.0 && value < 9.95 {
        true => format!("{value:.1}"),
        false => format!("{value:.0}"),
    };
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_begin_at_nothing_and_end_at_a_round_number() {
        let scale = Scale::linear(168_000.0);
        assert_eq!(scale.range, 0.0..200_000.0);
        assert_eq!(
            scale.ticks,
            [0.0, 50_000.0, 100_000.0, 150_000.0, 200_000.0]
        );
        assert_eq!(Scale::linear(8.0).ticks, [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(Scale::linear(0.0).ticks, [0.0, 1.0]);
        assert_eq!(Scale::linear(f64::NAN).ticks, [0.0, 1.0]);
        assert!(Scale::linear(1e300).ticks.len() <= 8);
    }

    #[test]
    fn times_have_a_tick_at_each_power_of_ten() {
        let read = |scale: Scale| scale.ticks.into_iter().map(time).collect::<Vec<_>>();
        let few = [
            "100 µs", "200 µs", "500 µs", "1 ms", "2 ms", "5 ms", "10 ms",
        ];
        assert_eq!(read(Scale::times(2.1, 3.9)), few);
        let many = ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"];
        assert_eq!(read(Scale::times(1.1, 6.9)), many);
        assert!(Scale::times(0.0, f64::INFINITY).ticks.len() <= 22);
    }

    #[test]
    fn shares_grow_by_nines() {
        let read = |scale: Scale| scale.ticks.into_iter().map(share).collect::<Vec<_>>();
        let all = ["0", "50", "90", "99", "99.9", "99.99", "99.999"];
        assert_eq!(read(Scale::shares(9.0, 0.1)), all);
        assert_eq!(read(Scale::shares(4.999, 0.1)), all, "a rounding less");
        assert_eq!(read(Scale::shares(0.0, 0.5)), ["50", "90", "99"]);
        assert_eq!(
            [nines(1.0), nines(0.0), nines(f64::NAN)],
            [f64::INFINITY, 0.0, 0.0]
        );
    }

    #[test]
    fn counts_read_in_thousands_and_millions() {
        let read = [
            0.0, 0.5, 8.0, 850.0, 12_000.0, 85_403.0, 164_077.0, 1.5e6, 3e9, 1e300,
        ]
        .map(count);
        let expected = [
            "0", "0.5", "8", "850", "12 k", "85.4 k", "164 k", "1.5 M", "3 G", "1e300",
        ];
        assert_eq!(read, expected);
    }
}
