//! What all panels have in common: title, legend, two axes with names and grid, and the lines,
//! marks and texts in the chart.

use std::ops::Range;

use plotters::{
    coord::ranged1d::{DefaultFormatting, KeyPointHint},
    drawing::DrawingAreaErrorKind,
    prelude::{
        Cartesian2d, ChartBuilder, ChartContext, Circle, Color, FontStyle, IntoFont, PathElement,
        Ranged, Rectangle, SVGBackend, ShapeStyle, Text, TextStyle, TriangleMarker,
    },
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{
    palette::{self, FAINT, GRID, INK, Marker, PAPER},
    panel::{Area, Drawn, LINE, Size},
    scale::Scale,
};
use crate::commands::bench::results::Mode;

/// A place in pixels, within a panel.
pub(super) type Pixel = (i32, i32);

/// Plotters' font sizes differ from SVG's by this factor.
const FONT: f64 = 1.24;

/// Left of the chart, for the ticks' words.
const LEFT: i32 = 64;

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lettering {
    Title,
    Plain,
    Faint,
}

impl Lettering {
    fn style(self) -> TextStyle<'static> {
        let (size, weight, color) = match self {
            Lettering::Title => (15.0, FontStyle::Bold, INK),
            Lettering::Plain => (13.0, FontStyle::Normal, INK),
            Lettering::Faint => (12.0, FontStyle::Normal, FAINT),
        };
        ("sans-serif", size * FONT)
            .into_font()
            .style(weight)
            .color(&color)
    }
}

/// Writes a line whose upper left corner is there.
pub(super) fn write(area: &Area<'_>, at: Pixel, style: Lettering, text: &str) -> Drawn {
    area.draw(&Text::new(text, at, style.style()))
}

/// An axis, and what is on it.
pub(super) struct Axis<'a> {
    /// With the unit, if the ticks don't say it.
    pub(super) name: &'a str,
    pub(super) scale: Scale,
    pub(super) tick: &'a dyn Fn(f64) -> String,
}

/// How a mark looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    Filled,
    Hollow,
}

/// What a chart shows.
pub(super) struct ChartSpec<'a> {
    pub(super) title: &'a str,
    /// The modes in the legend.
    pub(super) legend: Vec<Mode>,
    pub(super) x: Axis<'a>,
    pub(super) y: Axis<'a>,
}

/// A panel with its axes.
pub(super) struct Chart<'p, 'a> {
    area: &'p Area<'a>,
    context: ChartContext<'p, SVGBackend<'a>, Cartesian2d<Scale, Scale>>,
}

impl<'p, 'a> Chart<'p, 'a> {
    /// Draws everything except the content.
    pub(super) fn new(
        area: &'p Area<'a>,
        size: Size,
        frame: &ChartSpec<'_>,
    ) -> Result<Self, DrawingAreaErrorKind<std::io::Error>> {
        let mut top = 6;
        write(area, (10, top), Lettering::Title, frame.title)?;
        top += LINE as i32 + 6;
        if !frame.legend.is_empty() {
            legend(area, (10, top), &frame.legend)?;
            top += LINE as i32 + 4;
        }
        write(area, (10, top), Lettering::Faint, frame.y.name)?;
        let right = match size {
            Size::Wide => 34,
            Size::Narrow => 26,
        };
        let mut context = ChartBuilder::on(area)
            .margin_top(top + LINE as i32 + 6)
            .margin_right(right)
            .margin_bottom(14)
            .margin_left(0)
            .x_label_area_size(44)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(frame.x.scale.clone(), frame.y.scale.clone())?;
        let tick = |axis: &Axis<'_>, value: &f64| (axis.tick)(*value);
        context
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(GRID)
            .axis_style(FAINT)
            .label_style(Lettering::Faint.style())
            .axis_desc_style(Lettering::Faint.style())
            .x_desc(frame.x.name)
            .x_label_formatter(&|value| tick(&frame.x, value))
            .y_label_formatter(&|value| tick(&frame.y, value))
            .draw()?;
        Ok(Chart { area, context })
    }

    /// The pixel of two values.
    pub(super) fn place(&self, x: f64, y: f64) -> Pixel {
        let (left, top) = self.area.get_base_pixel();
        let (x, y) = self.context.plotting_area().map_coordinate(&(x, y));
        (x - left, y - top)
    }

    /// A mode's line; a single point makes none.
    pub(super) fn line(&self, mode: Mode, points: &[(f64, f64)]) -> Drawn {
        let places: Vec<_> = points.iter().map(|&(x, y)| self.place(x, y)).collect();
        match places.len() > 1 {
            true => self.area.draw(&PathElement::new(
                places,
                palette::color(mode).stroke_width(2),
            )),
            false => Ok(()),
        }
    }

    pub(super) fn mark(&self, mode: Mode, (x, y): (f64, f64), filling: Filling) -> Drawn {
        let place = self.place(x, y);
        mark(self.area, mode, place)?;
        match filling {
            Filling::Filled => Ok(()),
            Filling::Hollow => self.area.draw(&Circle::new(place, 2, PAPER.filled())),
        }
    }

    /// A mode's bar from the bottom to there, around `x`.
    pub(super) fn bar(&self, mode: Mode, (x, y): (f64, f64), width: f64) -> Drawn {
        let corners = [
            self.place(x - width / 2.0, y),
            self.place(x + width / 2.0, 0.0),
        ];
        self.area
            .draw(&Rectangle::new(corners, palette::color(mode).filled()))
    }

    /// A point that is seen on any colour.
    pub(super) fn dot(&self, x: f64, y: f64) -> Drawn {
        let place = self.place(x, y);
        self.area.draw(&Circle::new(place, 4, PAPER.filled()))?;
        self.area.draw(&Circle::new(place, 4, INK.stroke_width(1)))
    }

    /// A line of text that stands above the values, in their middle.
    pub(super) fn above(&self, (x, y): (f64, f64), text: &str) -> Drawn {
        let (x, y) = self.place(x, y);
        let style = Lettering::Plain
            .style()
            .pos(Pos::new(HPos::Center, VPos::Bottom));
        self.area.draw(&Text::new(text, (x, y - 6), style))
    }
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (begin, end): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        begin + (f64::from(end - begin) * share.clamp(0.0, 1.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// A mode's marker, the same in the legend and in the chart.
fn mark(area: &Area<'_>, mode: Mode, (x, y): Pixel) -> Drawn {
    let style: ShapeStyle = palette::color(mode).filled();
    match palette::mark(mode) {
        Marker::Circle => area.draw(&Circle::new((x, y), 4, style)),
        Marker::Triangle => area.draw(&TriangleMarker::new((x, y), 6, style)),
        Marker::Square => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], style)),
    }
}

fn legend(area: &Area<'_>, (left, top): Pixel, modes: &[Mode]) -> Drawn {
    let mut left = left;
    for &mode in modes {
        let middle = top + 7;
        let line = vec![(left, middle), (left + 28, middle)];
        area.draw(&PathElement::new(
            line,
            palette::color(mode).stroke_width(2),
        ))?;
        mark(area, mode, (left + 14, middle))?;
        write(area, (left + 34, top), Lettering::Plain, mode.name())?;
        left += 34 + 8 * mode.name().len() as i32 + 14;
    }
    Ok(())
}
