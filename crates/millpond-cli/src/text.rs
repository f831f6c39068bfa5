//! Text for people: escapes what a terminal would act upon, and reads and writes times and sizes.

use std::{num::NonZeroUsize, ops::RangeInclusive, time::Duration};

use crate::numbers::thousands;

/// The longest time that the library's clients and servers accept.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The units that a number of bytes may have.
const UNITS: [(&str, u64); 7] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
];

/// Escapes everything that a terminal acts upon or doesn't show, line ends included, as Rust does.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match acts(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// As [`escaped`], of bytes that need not be text: those that aren't UTF-8 are written as `\xNN`.
pub(crate) fn escaped_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown += &escaped(chunk.valid());
        shown += &chunk.invalid().escape_ascii().to_string();
    }
    shown
}

/// As [`escaped`], but keeps line ends.
pub(crate) fn escaped_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(escaped).collect();
    lines.join("\n")
}

/// Escapes a JSON text for a terminal; it stays the same JSON value.
pub(crate) fn escaped_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // White space between values: within strings JSON has it escaped already.
            '\n' | '\r' | '\t' => shown.push(character),
            // Every such character fits four hex digits.
            _ if acts(character) => shown.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => shown.push(character),
        }
    }
    shown
}

/// Whether a terminal acts upon a character or hides it: control characters, and those that change
/// the direction of writing.
fn acts(character: char) -> bool {
    let is_format = matches!(
        character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    character.is_control() || is_format
}

/// A time as people say it: `1.2 s`, `4.9 ms`, `80 µs`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        s if s >= 0.9995 => (s, "s"),
        s if s >= 0.000_999_5 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    let rounded = (value * 10.0).round() / 10.0;
    format!("{rounded} {unit}")
}

/// A time that may be long: `2 h 11 min`, `2 min 30 s`; below a minute as [`span`].
pub(crate) fn long_span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let [first, second] = match (hours, minutes) {
        (0, 0) => return span(time),
        (0, _) => [(minutes, "min"), (rest, "s")],
        _ => [(hours, "h"), (minutes, "min")],
    };
    let shown = |(number, unit): (u64, &str)| format!("{} {unit}", thousands(number));
    match second.0 {
        0 => shown(first),
        _ => format!("{} {}", shown(first), shown(second)),
    }
}

/// Reads a time: `10s`, `500ms`, `1h 30m`; without a unit in seconds: `3`, `1.5`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let read = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    match read {
        Some(span) if span > LONGEST => Err(String::from("it must be no longer than 365 days")),
        Some(span) => Ok(span),
        None => Err(String::from(
            "write seconds, like 3 or 0.5, or time units, like 500ms or 1m 30s",
        )),
    }
}

/// Reads a time that must not be zero.
pub(crate) fn parse_span_above_zero(text: &str) -> Result<Duration, String> {
    match parse_span(text)? {
        Duration::ZERO => Err(String::from("it must be above zero")),
        span => Ok(span),
    }
}

/// Reads a heartbeat interval; zero means never.
pub(crate) fn parse_heartbeat(text: &str) -> Result<Duration, String> {
    match parse_span(text)? {
        span if span.is_zero() || span >= Duration::from_millis(1) => Ok(span),
        _ => Err(String::from("it must be 0 (never), or 1ms at least")),
    }
}

/// Reads a whole number within limits.
pub(crate) fn count<T: TryFrom<u64>>(
    limits: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text
            .trim()
            .parse()
            .ok()
            .filter(|number| limits.contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                let (least, most) = (thousands(*limits.start()), thousands(*limits.end()));
                format!("write a whole number from {least} to {most}")
            })
    }
}

/// Reads a number of bytes: `1048576`, `64KiB`, `256 MiB`. Whole numbers only, without rounding:
/// crates for this read fractions as well (`parse-size`), or compute in floating point and saturate
/// (`bytesize`).
pub(crate) fn parse_size(text: &str) -> Result<NonZeroUsize, String> {
    let text = text.trim();
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let unit = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (Some((_, unit)), false) = (unit, number.is_empty()) else {
        return Err(String::from(
            "write a whole number of bytes, like 65536, 64KiB or 1MiB",
        ));
    };
    let bytes = number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(*unit));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.ok_or("it is too large for this machine")?;
    NonZeroUsize::new(bytes).ok_or_else(|| String::from("it must be above zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("1048576", 1 << 20),
            ("64KiB", 64 << 10),
            ("256 MiB", 256 << 20),
            ("1gib", 1 << 30),
            ("10 kB", 10_000),
            ("2MB", 2_000_000),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text).map(NonZeroUsize::get), Ok(bytes), "{text}");
        }
        for (bad, reason) in [
            ("0", "above zero"),
            ("0KiB", "above zero"),
            ("-1", "whole number"),
            ("1.5MiB", "whole number"),
            ("MiB", "whole number"),
            ("5 apples", "whole number"),
            ("", "whole number"),
            ("99999999999GiB", "too large"),
            ("99999999999999999999999", "too large"),
        ] {
            assert!(
                parse_size(bad).is_err_and(|error| error.contains(reason)),
                "{bad}"
            );
        }
    }

    #[test]
    fn counts_are_read_within_their_limits_and_these_are_told() {
        let read = count::<u32>(1..=10_000);
        assert_eq!(read("10000"), Ok(10_000));
        for bad in [
            "0",
            "10001",
            "-1",
            "1.5",
            "many",
            "",
            "99999999999999999999",
        ] {
            assert_eq!(
                read(bad),
                Err(String::from("write a whole number from 1 to 10,000")),
                "{bad}"
            );
        }
    }

    #[test]
    fn nothing_that_a_terminal_acts_upon_is_left() {
        assert_eq!(
            escaped("a\x1b[31mb\n\u{9b}\u{202e}ü"),
            "a\\u{1b}[31mb\\n\\u{9b}\\u{202e}ü"
        );
        assert_eq!(escaped_lines("a\x07\nb"), "a\\u{7}\nb");
        assert_eq!(escaped_bytes(b"\x0b\xc3\xbc\xff\r"), "\\u{b}ü\\xff\\r");
    }

    #[test]
    fn an_escaped_json_text_is_the_same_value() {
        let text = "{\n\"a\": \"\u{7f}\u{9b}31m\u{202e}ü\\u001b\"}";
        let shown = escaped_json(text);
        assert!(!shown.contains(['\u{7f}', '\u{9b}', '\u{202e}']), "{shown}");
        let value = |text| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&shown), value(text));
    }

    #[test]
    fn times_are_read_with_units_and_in_seconds_without() {
        assert_eq!(parse_span("0"), Ok(Duration::ZERO));
        assert_eq!(parse_span("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_span("1.5"), Ok(Duration::from_millis(1_500)));
        for bad in ["-1", "NaN", "1e99", "5x", "soon", ""] {
            let error = parse_span(bad).expect_err(bad);
            assert!(error.contains("like 500ms or 1m 30s"), "{bad}: {error}");
        }
        assert_eq!(parse_heartbeat("0"), Ok(Duration::ZERO));
        assert_eq!(parse_heartbeat("1ms"), Ok(Duration::from_millis(1)));
        assert!(parse_heartbeat("0.0001").is_err_and(|error| error.contains("1ms at least")));
        assert!(parse_span("366d").is_err_and(|error| error.contains("365 days")));
        assert!(parse_span_above_zero("0s").is_err());
        assert_eq!(span(Duration::from_micros(1_250)), "1.3 ms");
    }

    #[test]
    fn long_times_have_two_units_at_most() {
        assert_eq!(
            [1, 45, 60, 150, 3_600, 7_875].map(|seconds| long_span(Duration::from_secs(seconds))),
            ["1 s", "45 s", "1 min", "2 min 30 s", "1 h", "2 h 11 min"]
        );
    }
}
