//! The results as one HTML page that needs no other file, no script and no font. The templates
//! escape all text; only the plots, which are drawn here, go in as they are.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    super::results::{ModeResults, Results},
    plots::{self, NotDrawn, Size},
    table, words,
};
use crate::{
    numbers::{rate, span},
    text::escaped,
};

/// For a screen of any width, light or dark, and for paper.
const STYLE: &str = include_str!("page.css");

/// A whole page.
pub(in super::super) fn html(results: &Results) -> Result<String, NotDrawn> {
    let wide = plots::figure(results, Size::Wide)?;
    let narrow = plots::figure(results, Size::Narrow)?;
    let title = words::title(results);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "millpond " (env!("CARGO_PKG_VERSION")) };
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    p { (with_whole_flags(&words::settings(results))) }
                    @if let Some(ending) = words::ending(results) { p { strong { (ending) } } }
                    @if !results.modes.is_empty() { (figures(results)) }
                    (factors(results))
                    (failures(results))
                    (warnings(results))
                    figure {
                        div.wide { (PreEscaped(wide)) }
                        div.narrow { (PreEscaped(narrow)) }
                        figcaption { (caption(results)) }
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn figures(results: &Results) -> Markup {
    html! {
        h2 { "Figures" }
        @if let Some(reading) = words::reading(results) { p { (reading) } }
        div.scrolls tabindex="0" role="region" aria-label="Figures" {
            table {
                thead { tr {
                    td {}
                    @for name in table::names(results) { th scope="col" { (name) } }
                } }
                tbody { @for row in table::rows(results) { tr {
                    th scope="row" { (row.name) }
                    @for cell in row.cells { td.bad[cell.is_bad] { (cell.text) } }
                } } }
            }
        }
    }
}

fn factors(results: &Results) -> Markup {
    let all = words::factors(results);
    html! {
        @if !all.is_empty() {
            h2 { "How they compare" }
            @for factors in all {
                p { (factors.mode.name()) " had" }
                ul { @for factor in factors.factors { li { strong { (factor.number) } " " (factor.words) } } }
            }
        }
    }
}

fn failures(results: &Results) -> Markup {
    let is_bad = |mode: &&ModeResults| words::failed(mode) > 0;
    let modes: Vec<_> = results.modes.iter().filter(is_bad).collect();
    html! {
        @if !modes.is_empty() {
            h2 { "What failed" }
            @for mode in modes {
                p { (mode.mode.name()) }
                ul { @for failure in words::failures(mode) {
                    li {
                        (failure.what)
                        @if let Some(example) = failure.example { "; the first: " code { (example) } }
                    }
                } }
            }
        }
    }
}

fn warnings(results: &Results) -> Markup {
    html! {
        @for warning in &results.warnings {
            aside role="note" {
                strong { "! " (with_whole_flags(&escaped(&warning.text))) }
                " " (with_whole_flags(&escaped(&warning.advice)))
            }
        }
    }
}

/// A text whose flags browsers don't break at hyphens.
fn with_whole_flags(text: &str) -> Markup {
    html! {
        @for (nth, word) in text.split(' ').enumerate() {
            @if nth > 0 { " " }
            @if word.starts_with("--") { span.flag { (word) } } @else { (word) }
        }
    }
}

/// A description of the plots for those who can't see them.
fn caption(results: &Results) -> String {
    let told = results
        .modes
        .iter()
        .filter(|mode| mode.replies_ok > 0 && mode.throughput.is_finite());
    let sides: Vec<_> = told
        .map(|mode| {
            format!(
                "{} had {} right replies a second, half of them within {}",
                mode.mode.name(),
                rate(mode.throughput),
                span(mode.latency_us.p50),
            )
        })
        .collect();
    match sides.is_empty() {
        true => String::from("There was no reply to plot."),
        false => format!(
            "Throughput, latency by share of the replies, and what happened when: {}.",
            sides.join("; ")
        ),
    }
}
