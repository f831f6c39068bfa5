//! The plots: one SVG with several panels, one below the other, for a wide or a narrow page. Owns
//! the page, the list of panels, and the document; each panel's content has a file of its own.
//!
//! Colours are attributes for a light page, which every renderer understands; a style sheet changes
//! them for readers who prefer dark.

mod chart;
mod latency;
mod palette;
mod panel;
mod scale;
mod throughput;
mod timeline;

use std::io;

use maud::{PreEscaped, html};
use plotters::{
    backend::SVGBackend,
    drawing::{DrawingAreaErrorKind, IntoDrawingArea},
};

pub(super) use self::panel::Size;
use self::{
    chart::Lettering,
    palette::PAPER,
    panel::{LINE, Panel},
};
use super::{super::results::Results, words};

/// The plots can't be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plots can't be drawn")]
pub(in super::super) struct NotDrawn(#[from] DrawingAreaErrorKind<io::Error>);

const PANELS: [Panel; 5] = [
    throughput::PANEL,
    latency::PANEL,
    timeline::THROUGHPUT,
    timeline::CONNECTIONS,
    timeline::TIME_WAIT,
];

/// All plots as a document of its own, which says what was measured.
pub(in super::super) fn svg(results: &Results) -> Result<String, NotDrawn> {
    let wrapped = |text: &str| -> Vec<String> {
        let lines = textwrap::wrap(text, Size::Wide.columns());
        lines.into_iter().map(|line| line.into_owned()).collect()
    };
    let mut heading = wrapped(&words::title(results));
    heading.extend(wrapped(&words::settings(results)));
    let declared = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
    Ok(format!(
        "{declared}\n{}",
        document(results, Size::Wide, &heading)?
    ))
}

/// All plots without that heading, for a page that has it already.
pub(super) fn figure(results: &Results, size: Size) -> Result<String, NotDrawn> {
    document(results, size, &[])
}

fn document(results: &Results, size: Size, heading: &[String]) -> Result<String, NotDrawn> {
    let panels: Vec<_> = PANELS
        .iter()
        .filter(|panel| (panel.has_values)(results))
        .collect();
    let top = match (heading.len() as u32 * LINE, panels.is_empty()) {
        (0, false) => 0,
        (heading, false) => heading + 26,
        (heading, true) => heading + 20 + LINE,
    };
    let height = top + panels.iter().map(|panel| panel.height).sum::<u32>();
    let mut drawn = String::new();
    {
        let root = SVGBackend::with_string(&mut drawn, (size.width(), height)).into_drawing_area();
        root.fill(&PAPER)?;
        let mut lines = heading.to_vec();
        if panels.is_empty() {
            lines.push(String::from("Nothing was measured."));
        }
        for (nth, line) in (0_i32..).zip(&lines) {
            let style = if nth == 0 {
                Lettering::Title
            } else {
                Lettering::Faint
            };
            chart::write(
                &root,
                (10, 10 + nth * LINE as i32 + if nth == 0 { 0 } else { 6 }),
                style,
                &shown(line),
            )?;
        }
        let (_, mut rest) = root.split_vertically(top);
        for panel in panels {
            let (area, below) = rest.split_vertically(panel.height);
            (panel.draw)(&area, size, results)?;
            rest = below;
        }
        root.present()?;
    }
    Ok(finished(&drawn, results, (size.width(), height)))
}

/// The drawing as an SVG document that adapts to its place, with a title and the style sheet.
fn finished(drawn: &str, results: &Results, (width, height): (u32, u32)) -> String {
    let content = drawn.split_once('>').map_or("", |(_, content)| content);
    let content = content.strip_suffix("</svg>\n").unwrap_or(content);
    let title = html! { title { (shown(&words::title(results))) } };
    let style = PreEscaped(palette::style());
    let head = html! { (title) style { (style) } };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plots\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">{}{content}</svg>\n",
        head.into_string()
    )
}

/// Replaces what XML can't hold.
fn shown(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
