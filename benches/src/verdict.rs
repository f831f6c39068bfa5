//! Sets our figures against the others', round by round, and against what is to be reached.

use std::fmt;

use serde::Serialize;

use crate::{
    cases::{Case, Figures},
    contestants::Who,
};

/// One round of one contestant.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub round: usize,
    pub contestant: Who,
    #[serde(flatten)]
    pub figures: Figures,
}

/// The middle of some values: median, first and third quartile.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Middle {
    pub median: f64,
    pub q1: f64,
    pub q3: f64,
}

impl Middle {
    /// `None` when there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Middle> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let quantile = |share: f64| {
            let position = share * last as f64;
            let (below, above) = (
                sorted[position.floor() as usize],
                sorted[position.ceil() as usize],
            );
            // Equal ends first: between two infinities there is nothing to interpolate.
            if below == above {
                below
            } else {
                below + (above - below) * position.fract()
            }
        };
        Some(Middle {
            median: quantile(0.5),
            q1: quantile(0.25),
            q3: quantile(0.75),
        })
    }
}

impl fmt::Display for Middle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} [{:.3} – {:.3}]", self.median, self.q1, self.q3)
    }
}

/// What a ratio is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// Not in a single round: for what must never happen.
    Never,
}

impl Target {
    /// Met if the interquartile range touches it.
    fn is_met(self, middle: Middle, worst: f64) -> bool {
        match self {
            Target::AtMost(most) => middle.q1 <= most,
            Target::AtLeast(least) => middle.q3 >= least,
            Target::Never => worst == 0.0,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtMost(most) => write!(f, "≤ {most}"),
            Target::AtLeast(least) => write!(f, "≥ {least}"),
            Target::Never => f.write_str("never"),
        }
    }
}

/// One of our figures, alone or over another contestant's of the same round.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub what: String,
    pub middle: Middle,
    pub worst: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// `None` without a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Comparison {
    pub fn new(what: String, middle: Middle, worst: f64, target: Option<Target>) -> Self {
        Comparison {
            what,
            middle,
            worst,
            target,
            met: target.map(|target| target.is_met(middle, worst)),
        }
    }
}

/// Every comparison of a case that its rows allow.
pub fn compare(case: Case, rows: &[Row]) -> Vec<Comparison> {
    let judge = Judge { rows };
    let mut comparisons = Vec::new();
    if case.is_contended() {
        let throughput = |figures: &Figures| Some(figures.operations_per_second);
        for other in others() {
            let target = (other == Who::Deadpool).then_some(Target::AtLeast(1.2));
            comparisons.extend(judge.ratio("ops/s", other, throughput, target));
        }
        let p99 = |figures: &Figures| figures.crowd.as_ref().map(|crowd| crowd.wait_p99_us);
        for other in others() {
            let target = (other == Who::Deadpool).then_some(Target::AtMost(1.0));
            comparisons.extend(judge.ratio("p99 wait", other, p99, target));
        }
        let spread = |figures: &Figures| figures.crowd.as_ref().map(|crowd| crowd.spread());
        comparisons.extend(judge.alone("luckiest task / unluckiest", spread, Target::AtMost(1.1)));
        let starved = |figures: &Figures| figures.crowd.as_ref().map(|crowd| crowd.starved as f64);
        comparisons.extend(judge.alone("starved tasks", starved, Target::Never));
    } else {
        let what = if case.is_cancelling() {
            "CPU per attempt"
        } else {
            "time"
        };
        for other in others() {
            let time = |figures: &Figures| Some(figures.ns_per_operation);
            comparisons.extend(judge.ratio(what, other, time, time_target(case, other)));
        }
    }
    let never_ended = |figures: &Figures| Some(figures.never_ended as f64);
    comparisons.extend(judge.alone("waits that never ended", never_ended, Target::Never));
    let allocations =
        |figures: &Figures| Some((figures.allocations_per_operation * 100.0).round() / 100.0);
    comparisons.extend(judge.alone(
        "allocations per operation",
        allocations,
        Target::AtMost(0.0),
    ));
    comparisons
}

fn others() -> impl Iterator<Item = Who> {
    Who::ALL.into_iter().filter(|&who| who != Who::Millpond)
}

fn time_target(case: Case, other: Who) -> Option<Target> {
    match (case, other) {
        (Case::OneTask | Case::OneTaskMulti, Who::Deadpool) => Some(Target::AtMost(0.33)),
        (Case::OneTask | Case::OneTaskMulti, Who::Semaphore) => Some(Target::AtMost(1.3)),
        (Case::TwoTasks, Who::Deadpool) => Some(Target::AtMost(0.5)),
        (Case::Cancel, Who::Deadpool) => Some(Target::AtMost(0.75)),
        _ => None,
    }
}

struct Judge<'r> {
    rows: &'r [Row],
}

impl Judge<'_> {
    fn of(&self, who: Who) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.contestant == who)
    }

    fn ratio(
        &self,
        what: &str,
        other: Who,
        figure: impl Fn(&Figures) -> Option<f64>,
        target: Option<Target>,
    ) -> Option<Comparison> {
        let pairs = self.of(Who::Millpond).filter_map(|ours| {
            let theirs = self.of(other).find(|theirs| theirs.round == ours.round)?;
            Some(figure(&ours.figures)? / figure(&theirs.figures)?)
        });
        conclude(format!("{what} / {}'s", other.name()), pairs, target)
    }

    fn alone(
        &self,
        what: &str,
        figure: impl Fn(&Figures) -> Option<f64>,
        target: Target,
    ) -> Option<Comparison> {
        let values = self
            .of(Who::Millpond)
            .filter_map(|row| figure(&row.figures));
        conclude(what.to_owned(), values, Some(target))
    }
}

fn conclude(
    what: String,
    values: impl Iterator<Item = f64>,
    target: Option<Target>,
) -> Option<Comparison> {
    let values: Vec<f64> = values.collect();
    let worst = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = Middle::of(values)?;
    Some(Comparison::new(what, middle, worst, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_values() {
        let middle = Middle::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((middle.q1, middle.median, middle.q3), (1.75, 2.5, 3.25));
        assert!(Middle::of([]).is_none());
    }

    #[test]
    fn infinite_values_have_a_middle() {
        let middle = Middle::of([1.0, f64::INFINITY, f64::INFINITY]).unwrap();
        assert_eq!(middle.median, f64::INFINITY);
    }

    #[test]
    fn a_target_is_met_when_the_interquartile_range_touches_it() {
        let middle = Middle::of([0.9, 1.0, 1.1, 1.2, 1.3]).unwrap();
        assert!(Target::AtMost(1.0).is_met(middle, 1.3));
        assert!(!Target::AtMost(0.99).is_met(middle, 1.3));
        assert!(Target::AtLeast(1.2).is_met(middle, 1.3));
        assert!(!Target::AtLeast(1.21).is_met(middle, 1.3));
        assert!(!Target::Never.is_met(Middle::of([0.0, 0.0, 1.0]).unwrap(), 1.0));
    }
}
