//! Figures: how they leave a scene, and how they are printed. Owns the medians; knows nothing of
//! what the figures mean.

use std::{collections::BTreeSet, time::Duration};

use millpond_rig::Rig;
use serde::{Deserialize, Serialize};

/// One thing seen of one contestant, in one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    row: String,
    /// Which part of the row: rows may play several faults.
    part: String,
    contestant: String,
    what: String,
    value: Value,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Seconds(f64),
    /// It wasn't over when the observation was.
    LongerThanSeconds(f64),
    Count(f64),
    /// What a caller was told.
    Text(String),
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Value {
        Value::Seconds(time.as_secs_f64())
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count as f64)
    }
}

impl Value {
    /// Something that took this long, or longer than it was watched.
    pub fn ended(after: Option<Duration>, watched: Duration) -> Value {
        after.map_or(Value::LongerThanSeconds(watched.as_secs_f64()), Value::from)
    }
}

/// Where a row's figures go.
pub struct Stage<'r> {
    rig: &'r Rig,
    row: &'static str,
}

impl<'r> Stage<'r> {
    pub fn new(rig: &'r Rig, row: &'static str) -> Self {
        Stage { rig, row }
    }

    /// Reports a figure. Several of the same name are runs of the same thing: their median is
    /// printed. A contestant is one of the pools, or whatever else a row compares, by its name.
    pub fn figure(
        &self,
        part: &str,
        contestant: impl Into<String>,
        what: &str,
        value: impl Into<Value>,
    ) {
        let figure = Figure {
            row: self.row.to_owned(),
            part: part.to_owned(),
            contestant: contestant.into(),
            what: what.to_owned(),
            value: value.into(),
        };
        let line = serde_json::to_string(&figure).expect("strings and numbers are JSON");
        self.rig.report(&line);
    }
}

/// Prints a table per part: what was seen, by contestant, each in a column. Texts come below.
pub fn print(figures: &[Figure]) {
    for part in in_order(figures.iter().map(|figure| figure.part.as_str())) {
        let own = figures.iter().filter(|figure| figure.part == part);
        let (texts, numbers): (Vec<&Figure>, Vec<&Figure>) =
            own.partition(|figure| matches!(figure.value, Value::Text(_)));
        let own_names = figures.iter().filter(|figure| figure.part == part);
        let contestants = in_order(own_names.map(|figure| figure.contestant.as_str()));
        print!("\n{part:<66}");
        for who in &contestants {
            print!(" {who:>10}");
        }
        println!();
        for what in in_order(numbers.iter().map(|figure| figure.what.as_str())) {
            print!("  {what:<64}");
            for who in &contestants {
                print!(" {:>10}", median(&values(&numbers, what, who)));
            }
            println!();
        }
        for what in in_order(texts.iter().map(|figure| figure.what.as_str())) {
            println!("  {what}:");
            for who in &contestants {
                for text in different(values(&texts, what, who).into_iter().map(in_words)) {
                    println!("    {who:<10} {text}");
                }
            }
        }
    }
}

/// Texts that differ in more than their numbers: the first of each kind.
fn different(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut kinds = BTreeSet::new();
    let is_new =
        |text: &String| kinds.insert(text.replace(|c: char| c.is_ascii_digit() || c == '.', ""));
    texts.filter(is_new).collect()
}

fn values<'f>(figures: &[&'f Figure], what: &str, who: &str) -> Vec<&'f Value> {
    figures
        .iter()
        .filter(|figure| figure.what == what && figure.contestant == who)
        .map(|figure| &figure.value)
        .collect()
}

/// Each once, in the order of its first appearance.
fn in_order<'s>(all: impl Iterator<Item = &'s str>) -> Vec<&'s str> {
    let mut seen = Vec::new();
    for each in all {
        if !seen.contains(&each) {
            seen.push(each);
        }
    }
    seen
}

/// The middle one, or the upper of two: what wasn't over counts as longer than anything that was.
fn median(values: &[&Value]) -> String {
    let weight = |value: &Value| match value {
        Value::Seconds(number) | Value::Count(number) => *number,
        Value::LongerThanSeconds(_) | Value::Text(_) => f64::INFINITY,
    };
    let mut sorted = values.to_vec();
    sorted.sort_by(|one, other| weight(one).total_cmp(&weight(other)));
    sorted
        .get(sorted.len() / 2)
        .map_or("-".to_owned(), |value| in_words(value))
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Seconds(seconds) if *seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        Value::Seconds(seconds) if *seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        Value::Seconds(seconds) => format!("{seconds:.2} s"),
        Value::LongerThanSeconds(seconds) => format!("> {seconds:.0} s"),
        Value::Count(count) if count.fract() == 0.0 || *count >= 100.0 => format!("{count:.0}"),
        Value::Count(count) => format!("{count:.1}"),
        Value::Text(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_over_counts_as_longer_than_anything() {
        let (short, long, endless) = (
            Value::Seconds(0.25),
            Value::Seconds(9.5),
            Value::LongerThanSeconds(10.0),
        );
        assert_eq!(median(&[&endless, &short, &long]), "9.50 s");
        assert_eq!(median(&[&endless, &short, &endless]), "> 10 s");
        assert_eq!(median(&[&short]), "250.0 ms");
        assert_eq!(median(&[]), "-");
    }

    #[test]
    fn texts_that_differ_in_numbers_alone_are_one() {
        let texts = [
            "5 of 8, 43.2 ms ago",
            "closed",
            "4 of 8, 114 ms ago",
            "4 of 8, 1 s ago",
        ];
        assert_eq!(
            different(texts.map(str::to_owned).into_iter()),
            ["5 of 8, 43.2 ms ago", "closed", "4 of 8, 1 s ago"]
        );
    }
}
