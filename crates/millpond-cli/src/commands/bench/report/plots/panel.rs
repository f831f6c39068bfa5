//! A panel of the plots: its height, whether the results have values for it, and how it is drawn.

use std::io;

use plotters::{
    backend::SVGBackend,
    coord::Shift,
    drawing::{DrawingArea, DrawingAreaErrorKind},
};

use crate::commands::bench::results::Results;

/// The page that the plots are drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Size {
    Wide,
    /// A phone, held upright.
    Narrow,
}

impl Size {
    /// In pixels, unscaled.
    pub(super) fn width(self) -> u32 {
        match self {
            Size::Wide => 760,
            Size::Narrow => 370,
        }
    }

    /// How many average characters fit on a line.
    pub(super) fn columns(self) -> usize {
        (self.width() as usize - 20) / 7
    }
}

/// Where a panel is drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(super) type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// One plot of several.
pub(super) struct Panel {
    pub(super) height: u32,
    /// Whether the results have anything for it.
    pub(super) has_values: fn(&Results) -> bool,
    pub(super) draw: fn(&Area<'_>, Size, &Results) -> Drawn,
}

/// The height of a line of text, in pixels.
pub(super) const LINE: u32 = 18;
