//! Spans of time as people write them, for errors and for whatever else is read by people.

use std::{fmt, time::Duration};

/// A duration as people write it: `5 s`, `4.9 s`, `250 ms`, `80 µs`.
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let (value, unit) = match seconds {
            s if s >= 0.9995 => (s, "s"),
            s if s >= 0.000_999_5 => (s * 1e3, "ms"),
            s => (s * 1e6, "µs"),
        };
        let rounded = (value * 10.0).round() / 10.0;
        write!(f, "{rounded} {unit}")
    }
}

/// How long ago something was: `2 s ago`, `just now`.
pub struct Ago(pub Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 < Duration::from_millis(1) {
            true => f.write_str("just now"),
            false => write!(f, "{} ago", Span(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (span, text) in [
            (Duration::from_secs(5), "5 s"),
            (Duration::from_millis(4_900), "4.9 s"),
            (Duration::from_millis(250), "250 ms"),
            (Duration::from_micros(999_990), "1 s"),
            (Duration::from_micros(80), "80 µs"),
            (Duration::ZERO, "0 µs"),
        ] {
            assert_eq!(Span(span).to_string(), text);
        }
        assert_eq!(Ago(Duration::from_secs(2)).to_string(), "2 s ago");
        assert_eq!(Ago(Duration::from_micros(999)).to_string(), "just now");
    }
}
