//! The results for a terminal, as lines of at most the width that is asked for: the modes side by
//! side where they fit, one below the other where they don't.

use super::{
    super::results::{ModeResults, Results},
    histogram::{self, TimeRange},
    table::{self, Cell, Row},
    words,
};
use crate::{
    color::{Paint, Tone},
    page::Page,
    text::escaped,
};

/// Rows of a histogram.
const HISTOGRAM_ROWS: usize = 12;

/// The shortest bar that shows differences, in columns.
const SHORTEST_BAR: usize = 10;

/// The longest bar, in columns: longer ones are hard to compare.
const LONGEST_BAR: usize = 40;

/// The columns of `100.0 %` and of the space before it.
const PERCENT: usize = 8;

/// The results as lines of at most `width` columns, which must be 40 or more.
pub(in super::super) fn text(results: &Results, width: usize, paint: Paint) -> Vec<String> {
    let mut page = Page::new(width, paint);
    page.heading(&words::title(results));
    page.text(&words::settings(results));
    if let Some(reading) = words::reading(results) {
        page.text(reading);
    }
    figures(results, paint, &mut page);
    failures(results, paint, &mut page);
    latencies(results, paint, &mut page);
    factors(results, &mut page);
    for warning in &results.warnings {
        page.verdict(Tone::Warning, '!', &escaped(&warning.text));
        page.text(&escaped(&warning.advice));
    }
    if let Some(ending) = words::ending(results) {
        page.heading(ending);
    }
    page.into_lines()
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Pads on the left to `width` columns. Colour is added afterwards, since it has no width.
fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

/// The table, side by side if that fits.
fn figures(results: &Results, paint: Paint, page: &mut Page) {
    let (names, rows) = (table::names(results), table::rows(results));
    if names.is_empty() {
        return;
    }
    let label = rows.iter().map(|row| columns(row.name)).max().unwrap_or(0);
    let widest = |nth: usize| {
        let cells = rows.iter().map(|row| columns(&row.cells[nth].text));
        3 + cells.max().unwrap_or(0).max(columns(names[nth]))
    };
    let widths: Vec<_> = (0..names.len()).map(widest).collect();
    if 2 + label + widths.iter().sum::<usize>() > page.width() {
        return stacked(&names, &rows, label, paint, page);
    }
    page.line(String::new());
    let heads = names
        .iter()
        .zip(&widths)
        .map(|(name, &width)| right(name, width));
    let head = format!("  {:label$}{}", "", heads.collect::<String>());
    page.line(paint.tone(Tone::Heading, head));
    for row in &rows {
        let cells = row.cells.iter().zip(&widths);
        let cells: String = cells
            .map(|(cell, &width)| toned(cell, width, paint))
            .collect();
        page.line(format!("  {:<label$}{cells}", row.name));
    }
}

/// The table's columns, one below the other.
fn stacked(names: &[&str], rows: &[Row], label: usize, paint: Paint, page: &mut Page) {
    for (nth, name) in names.iter().enumerate() {
        page.heading(name);
        let cells = rows.iter().map(|row| columns(&row.cells[nth].text));
        let width = 2 + cells.max().unwrap_or(0);
        for row in rows {
            let cell = &row.cells[nth];
            match 2 + label + width <= page.width() {
                true => page.line(format!(
                    "  {:<label$}{}",
                    row.name,
                    toned(cell, width, paint)
                )),
                false => page.wrapped("  ", "    ", &format!("{}: {}", row.name, cell.text)),
            }
        }
    }
}

fn toned(cell: &Cell, width: usize, paint: Paint) -> String {
    let text = right(&cell.text, width);
    match cell.is_bad {
        true => paint.tone(Tone::Bad, text),
        false => text,
    }
}

fn failures(results: &Results, paint: Paint, page: &mut Page) {
    let modes = || results.modes.iter().filter(|mode| words::failed(mode) > 0);
    if modes().next().is_none() {
        return;
    }
    page.heading("What failed");
    for mode in modes() {
        page.line(format!("  {}", paint.tone(Tone::Bad, mode.mode.name())));
        for failure in words::failures(mode) {
            page.wrapped("    ", "      ", &failure.what);
            if let Some(example) = failure.example {
                page.wrapped("      the first: ", "        ", &example);
            }
        }
    }
}

/// The histograms, over the same times side by side if that fits, else each over its own.
fn latencies(results: &Results, paint: Paint, page: &mut Page) {
    let modes: Vec<_> = results
        .modes
        .iter()
        .filter(|mode| mode.replies_ok > 0)
        .collect();
    let bars: Vec<_> = modes.iter().map(|mode| mode.histogram.as_slice()).collect();
    let slots = histogram::time_ranges(&bars, HISTOGRAM_ROWS);
    if slots.is_empty() {
        return;
    }
    let label = 2 + widest_label(&slots);
    let room = page.width().saturating_sub(label) / modes.len();
    match modes.len() > 1 && room >= 2 + SHORTEST_BAR + PERCENT {
        true => {
            page.heading("How many replies took how long");
            beside(&modes, &slots, paint, page);
        }
        false => {
            for mode in modes {
                let slots = histogram::time_ranges(&[&mode.histogram], HISTOGRAM_ROWS);
                if !slots.is_empty() {
                    page.heading(&format!(
                        "How many replies took how long: {}",
                        mode.mode.name()
                    ));
                    rows(&slots, paint, page);
                }
            }
        }
    }
}

fn beside(modes: &[&ModeResults], slots: &[TimeRange], paint: Paint, page: &mut Page) {
    let (label, column) = (widest_label(slots), bar_width(slots, page) + PERCENT);
    let heads = modes
        .iter()
        .map(|mode| format!("  {:<column$}", mode.mode.name()));
    let head = format!("  {:label$}{}", "", heads.collect::<String>());
    page.line(paint.tone(Tone::Heading, head.trim_end()));
    rows(slots, paint, page);
}

fn widest_label(slots: &[TimeRange]) -> usize {
    slots
        .iter()
        .map(|slot| columns(&slot.label()))
        .max()
        .unwrap_or(0)
}

/// The longest bar that fits beside the label and the other bars of a row.
fn bar_width(slots: &[TimeRange], page: &Page) -> usize {
    let beside = slots.first().map_or(1, |slot| slot.shares.len().max(1));
    let room = page.width().saturating_sub(2 + widest_label(slots)) / beside;
    room.saturating_sub(2 + PERCENT).min(LONGEST_BAR)
}

/// A row for each range, with a bar for each of its shares; the longest bar takes all the room
/// there is.
fn rows(slots: &[TimeRange], paint: Paint, page: &mut Page) {
    let (label, width) = (widest_label(slots), bar_width(slots, page));
    let shares = slots.iter().flat_map(|slot| &slot.shares);
    let most = shares.copied().fold(0.0, f64::max);
    for slot in slots {
        let bars = slot.shares.iter().map(|&share| {
            let bar = histogram::bar(share / most, width);
            format!("  {bar:<width$}{:>PERCENT$}", histogram::percent(share))
        });
        let label = paint.tone(Tone::Faint, right(&slot.label(), label));
        page.line(
            format!("  {label}{}", bars.collect::<String>())
                .trim_end()
                .to_owned(),
        );
    }
}

fn factors(results: &Results, page: &mut Page) {
    let all = words::factors(results);
    if all.is_empty() {
        return;
    }
    page.heading("How they compare");
    let numbers = all.iter().flat_map(|factors| &factors.factors);
    let width = numbers
        .map(|factor| columns(&factor.number))
        .max()
        .unwrap_or(0);
    for factors in all {
        page.text(&format!("{} had", factors.mode.name()));
        for factor in factors.factors {
            let first = format!("    {} ", right(&factor.number, width));
            page.wrapped(&first, "      ", &factor.words);
        }
    }
}
