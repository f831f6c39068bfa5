//! The plots' colours, marks and dashes. The modes' colours are Okabe and Ito's, which colour-blind
//! readers can distinguish; each mode also has its mark and its dashes.

use plotters::style::RGBColor;

use super::super::super::results::Mode;

pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
pub(super) const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
pub(super) const FAINT: RGBColor = RGBColor(0x59, 0x63, 0x6E);
pub(super) const GRID: RGBColor = RGBColor(0xDD, 0xE1, 0xE6);

const VERMILION: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);

/// The colours for readers who prefer dark.
const DARK: [(RGBColor, RGBColor); 6] = [
    (PAPER, RGBColor(0x12, 0x15, 0x1A)),
    (INK, RGBColor(0xE6, 0xED, 0xF3)),
    (FAINT, RGBColor(0xA3, 0xAD, 0xB8)),
    (GRID, RGBColor(0x31, 0x37, 0x3F)),
    // Okabe and Ito's orange and sky blue.
    (VERMILION, RGBColor(0xE6, 0x9F, 0x00)),
    (BLUE, RGBColor(0x56, 0xB4, 0xE9)),
];

/// The shape of a mode's points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Triangle,
    Square,
}

pub(super) fn color(mode: Mode) -> RGBColor {
    match mode {
        Mode::Short => VERMILION,
        Mode::Exclusive => BLUE,
        Mode::Pipelined => GREEN,
    }
}

pub(super) fn mark(mode: Mode) -> Marker {
    match mode {
        Mode::Short => Marker::Circle,
        Mode::Exclusive => Marker::Triangle,
        Mode::Pipelined => Marker::Square,
    }
}

/// The style sheet, which selects elements by their colours.
pub(super) fn style() -> String {
    let hex = |RGBColor(red, green, blue): RGBColor| format!("#{red:02X}{green:02X}{blue:02X}");
    let turned = DARK.map(|(light, dark)| {
        let (light, dark) = (hex(light), hex(dark));
        format!(
            ".plots [fill=\"{light}\"]{{fill:{dark}}}.plots [stroke=\"{light}\"]{{stroke:{dark}}}"
        )
    });
    let dashed = [(Mode::Short, "5 2"), (Mode::Exclusive, "12 4")].map(|(mode, dashes)| {
        let color = hex(color(mode));
        format!(".plots polyline[stroke=\"{color}\"]{{stroke-dasharray:{dashes}}}")
    });
    format!(
        ".plots text{{font-family:system-ui,sans-serif}}{}@media screen and (prefers-color-scheme:dark){{{}}}",
        dashed.concat(),
        turned.concat()
    )
}
