//! All forms of the same results: how they look, and what must hold of each for any results.

use super::{
    super::results::Results, csv::csv, fixture, html::html, markdown::markdown, plots::svg,
    text::text,
};
use crate::color::Paint;

fn plain(results: &Results, width: usize) -> String {
    text(results, width, Paint::Plain).join("\n")
}

#[test]
fn a_closed_loop_in_60_columns() {
    insta::assert_snapshot!(plain(&fixture::closed(), 60));
}

#[test]
fn a_closed_loop_in_120_columns() {
    insta::assert_snapshot!(plain(&fixture::closed(), 120));
}

#[test]
fn an_open_loop_in_60_columns() {
    insta::assert_snapshot!(plain(&fixture::open(), 60));
}

#[test]
fn an_open_loop_in_120_columns() {
    insta::assert_snapshot!(plain(&fixture::open(), 120));
}

#[test]
fn a_closed_loop_in_40_columns_has_the_modes_one_below_the_other() {
    insta::assert_snapshot!(plain(&fixture::closed(), 40));
}

#[test]
fn as_csv() {
    insta::assert_snapshot!(csv(&fixture::open()));
}

#[test]
fn figures_come_before_what_casts_doubt_on_them() {
    let page = html(&fixture::closed()).expect("drawn");
    let figures = page.find("right replies a second").expect("figures");
    let doubts = page.find("role=\"note\"").expect("warnings");
    assert!(figures < doubts);
    let is_said = |page: &str| {
        assert!(page.contains(".flag { white-space: nowrap; }"));
        page.contains("<span class=\"flag\">--expect</span> says what it must be")
    };
    assert!(is_said(&page));
    let mut expected = fixture::closed();
    expected.expected = true;
    assert!(!is_said(&html(&expected).expect("drawn")));
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!(markdown(&fixture::closed()));
}

/// Columns of a terminal: those of letters that are twice as wide count twice.
fn columns(line: &str) -> usize {
    let wide = line
        .chars()
        .filter(|&character| character >= '\u{2e80}')
        .count();
    line.chars().count() + wide
}

#[test]
fn no_line_is_wider_than_the_width_whatever_was_found() {
    for (name, results) in fixture::edges() {
        for width in 40..=140 {
            for line in text(&results, width, Paint::Plain) {
                assert!(
                    columns(&line) <= width,
                    "{name}, too wide for {width}: {line}"
                );
            }
        }
    }
}

#[test]
fn no_word_is_broken_at_its_hyphen() {
    for width in 40..=140 {
        for line in text(&fixture::closed(), width, Paint::Plain) {
            assert!(!line.ends_with('-'), "at {width}: {line}");
        }
    }
}

#[test]
fn colour_changes_no_letter() {
    for (name, results) in fixture::edges() {
        let colored = text(&results, 80, Paint::Colored).join("\n");
        assert!(colored.contains('\x1b'), "{name}");
        assert_eq!(
            anstream::adapter::strip_str(&colored).to_string(),
            plain(&results, 80),
            "{name}"
        );
    }
}

#[test]
fn what_is_no_number_is_never_printed() {
    for (name, results) in fixture::edges() {
        let forms = [
            plain(&results, 80),
            csv(&results),
            markdown(&results),
            svg(&results).expect("drawn"),
            html(&results).expect("drawn"),
        ];
        for form in forms {
            let words = form.split(|character: char| !character.is_alphanumeric());
            let odd = words
                .filter(|word| ["nan", "inf", "infinity"].contains(&word.to_lowercase().as_str()));
            assert_eq!(
                odd.collect::<Vec<_>>(),
                Vec::<&str>::new(),
                "{name}: {form}"
            );
        }
    }
}

#[test]
fn the_plots_are_well_formed_xml_whatever_was_found() {
    for (name, results) in fixture::edges() {
        let svg = svg(&results).expect("drawn");
        let document =
            roxmltree::Document::parse(&svg).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(document.root_element().tag_name().name(), "svg", "{name}");
        let scripts = document
            .descendants()
            .filter(|node| node.has_tag_name("script"));
        assert_eq!(scripts.count(), 0, "{name}");
    }
}

#[test]
fn nothing_from_elsewhere_acts_in_any_form() {
    let hostile = fixture::hostile();
    let (svg, html) = (
        svg(&hostile).expect("drawn"),
        html(&hostile).expect("drawn"),
    );
    for form in [
        &plain(&hostile, 80),
        &csv(&hostile),
        &markdown(&hostile),
        &svg,
        &html,
    ] {
        assert!(!form.contains(['\x1b', '\u{202e}', '\0']), "{form}");
        assert!(form.contains("script"), "it is shown: {form}");
    }
    for form in [svg, html] {
        assert!(!form.contains("<script"), "{form}");
    }
    let markdown = markdown(&hostile);
    let outside_of_code: String = markdown.split("``").step_by(2).collect();
    assert!(
        !outside_of_code.replace("\\<", "").contains('<'),
        "{markdown}"
    );
}

#[test]
fn a_page_needs_nothing_else_and_has_all_parts() {
    let page = html(&fixture::open()).expect("drawn");
    for needed in [
        "<html lang=\"en\">",
        "name=\"viewport\"",
        "scope=\"col\"",
        "scope=\"row\"",
        "<figcaption>",
    ] {
        assert!(page.contains(needed), "no {needed}");
    }
    for outside in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn every_row_of_the_csv_has_all_columns() {
    let mut no_comma = fixture::closed();
    no_comma.warnings.clear();
    let csv = csv(&no_comma);
    let fields: Vec<_> = csv
        .split("\r\n")
        .map(|line| line.split(',').count())
        .collect();
    assert_eq!(
        fields,
        [fields[0], fields[0], fields[0], fields[0], 1],
        "{csv}"
    );
}

#[test]
fn what_the_system_does_not_show_is_unknown_and_not_plotted() {
    let mut unknown = fixture::closed();
    assert!(
        svg(&unknown)
            .expect("drawn")
            .contains("TIME_WAIT over time")
    );
    for mode in &mut unknown.modes {
        mode.time_wait = None;
        mode.timeline
            .iter_mut()
            .for_each(|sample| sample.time_wait = None);
    }
    let row = plain(&unknown, 80);
    let row = row.lines().find(|line| line.contains("left in TIME_WAIT"));
    assert_eq!(row.map(|row| row.matches("unknown").count()), Some(3));
    assert!(!svg(&unknown).expect("drawn").contains("TIME_WAIT"));
}
