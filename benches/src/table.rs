//! Prints what was measured, for people.

use crate::{
    cases::{Case, Figures},
    contestants::Who,
    sizes::{Sizes, WatchedSizes},
    verdict::{Comparison, Middle, Row},
};

pub fn case(case: Case, rows: &[Row], comparisons: &[Comparison]) {
    println!("\n== {}: {} ==", case.name(), case.describe());
    let cost = if case.is_cancelling() {
        "ns/attempt"
    } else {
        "ns/op"
    };
    print!(
        "{:<18} {:>10} {:>9} {:>9}",
        "median", cost, "Mops/s", "allocs/op"
    );
    if case.is_contended() {
        print!(
            " {:>9} {:>9} {:>9} {:>10} {:>10} {:>7} {:>8}",
            "p50 µs", "p99 µs", "max µs", "luckiest", "unluckiest", "ratio", "starved"
        );
    }
    println!(" {:>11}", "never ended");
    for who in Who::ALL {
        let own: Vec<&Row> = rows.iter().filter(|row| row.contestant == who).collect();
        if !own.is_empty() {
            contestant(case, who, &own);
        }
    }
    println!();
    for comparison in comparisons {
        self::comparison(comparison);
    }
}

fn contestant(case: Case, who: Who, rows: &[&Row]) {
    let median = |figure: &dyn Fn(&Figures) -> f64| {
        Middle::of(rows.iter().map(|row| figure(&row.figures)))
            .map_or(f64::NAN, |middle| middle.median)
    };
    print!(
        "{:<18} {:>10.1} {:>9.3} {:>9.2}",
        who.name(),
        median(&|figures| figures.ns_per_operation),
        median(&|figures| figures.operations_per_second / 1e6),
        median(&|figures| figures.allocations_per_operation),
    );
    if case.is_contended() {
        let crowds = || rows.iter().filter_map(|row| row.figures.crowd.as_ref());
        let median = |values: Vec<f64>| Middle::of(values).map_or(f64::NAN, |middle| middle.median);
        print!(
            " {:>9.1} {:>9.1} {:>9.0} {:>10.0} {:>10.0} {:>7.2} {:>8}",
            median(crowds().map(|crowd| crowd.wait_p50_us).collect()),
            median(crowds().map(|crowd| crowd.wait_p99_us).collect()),
            median(crowds().map(|crowd| crowd.wait_max_us).collect()),
            median(crowds().map(|crowd| crowd.luckiest as f64).collect()),
            median(crowds().map(|crowd| crowd.unluckiest as f64).collect()),
            median(crowds().map(|crowd| crowd.spread()).collect()),
            crowds().map(|crowd| crowd.starved).max().unwrap_or(0),
        );
    }
    let never_ended: usize = rows.iter().map(|row| row.figures.never_ended).sum();
    println!(" {never_ended:>11}");
}

pub fn comparison(comparison: &Comparison) {
    let Comparison {
        what,
        middle,
        worst,
        ..
    } = comparison;
    let verdict = match (comparison.target, comparison.met) {
        (Some(target), Some(true)) => format!("{target}: met"),
        (Some(target), Some(false)) => format!("{target}: MISSED (worst {worst:.3})"),
        _ => String::new(),
    };
    println!("  {what:<36} {:<30} {verdict}", middle.to_string());
}

pub fn sizes(sizes: &[Sizes], watched: Option<&WatchedSizes>, comparisons: &[Comparison]) {
    println!(
        "\n== sizes: bytes of the acquire future, and per idle connection of 10,000 (its own 8 left out) =="
    );
    println!("{:<18} {:>10} {:>10}", "", "future", "per idle");
    for Sizes {
        contestant,
        future_bytes,
        per_idle_bytes,
    } in sizes
    {
        println!(
            "{:<18} {future_bytes:>10} {per_idle_bytes:>10.1}",
            contestant.name()
        );
    }
    if let Some(watched) = watched {
        println!(
            "millpond, connections that keep their waker: {:.1} before, {:.1} after upkeep had looked at {} of them, {} ms later",
            watched.unwatched_bytes,
            watched.watched_bytes,
            watched.looked_at,
            watched.took.as_millis(),
        );
    }
    println!();
    for comparison in comparisons {
        self::comparison(comparison);
    }
}

/// Everything with a target, once more.
pub fn conclusion(all: &[(&'static str, Comparison)]) {
    println!(
        "\n== against the targets (met: the interquartile range of the paired rounds touches it) =="
    );
    let (mut met, mut missed) = (0, 0);
    for (case, comparison) in all {
        let (Some(target), Some(reached)) = (comparison.target, comparison.met) else {
            continue;
        };
        if reached {
            met += 1;
        } else {
            missed += 1;
        }
        println!(
            "  {:<6} {case:<17} {:<32} {:<8} {}",
            if reached { "met" } else { "MISSED" },
            comparison.what,
            target.to_string(),
            comparison.middle
        );
    }
    println!("{met} met, {missed} missed");
}
