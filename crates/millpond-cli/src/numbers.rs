//! Numbers as people read them.

/// `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let (head, tail) = digits.split_at((digits.len() - 1) % 3 + 1);
    let mut text = String::from(head);
    for (at, digit) in tail.chars().enumerate() {
        if at % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 socket`, `12,345 sockets`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", thousands(number)),
    }
}

/// A time in µs: `80 µs`, `1.9 ms`, `1.2 s`.
pub(crate) fn span(us: u64) -> String {
    match us as f64 {
        us if us >= 999_950.0 => format!("{:.1} s", us / 1e6),
        us if us >= 999.5 => format!("{:.1} ms", us / 1e3),
        us => format!("{us:.0} µs"),
    }
}

/// A number per second: `12,345`, or `0.4` if it is small.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        few if few > 0.0 && few < 9.95 => format!("{few:.1}"),
        _ => thousands(per_second.round() as u64),
    }
}

/// Rounded to this many decimals, for JSON.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let unit = 10_f64.powi(decimals);
    (value * unit).round() / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let written = [0, 999, 1_000, 12_345, 1_234_567].map(thousands);
        assert_eq!(written, ["0", "999", "1,000", "12,345", "1,234,567"]);
        let written = [0, 1, 1_234].map(|number| counted(number, "socket", "sockets"));
        assert_eq!(written, ["0 sockets", "1 socket", "1,234 sockets"]);
        let written = [0, 80, 999, 1_000, 1_940, 999_949, 999_950, 12_000_000].map(span);
        assert_eq!(
            written,
            [
                "0 µs", "80 µs", "999 µs", "1.0 ms", "1.9 ms", "999.9 ms", "1.0 s", "12.0 s"
            ]
        );
        assert_eq!(
            [0.0, 0.4, 9.96, 1_234.5].map(rate),
            ["0", "0.4", "10", "1,235"]
        );
        assert_eq!(rounded(1.26, 1), 1.3);
    }
}
