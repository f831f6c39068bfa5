//! Reads bytes as people write them on a command line.

/// Reads text with `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN`.
pub(super) fn parse_bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (byte, length) = match escape.as_bytes() {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let byte =
                    u8::from_str_radix(&escape[1..3], 16).map_err(|error| error.to_string())?;
                (byte, 3)
            }
            _ => {
                let shown: String = rest[at..].chars().take(4).collect();
                return Err(format!(
                    "{shown} is no escape: write \\r, \\n, \\t, \\0, \\xNN, or \\\\ for a backslash"
                ));
            }
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_their_escapes() {
        assert_eq!(parse_bytes(r"PING\r\n"), Ok(b"PING\r\n".to_vec()));
        assert_eq!(
            parse_bytes(r"\x00\xff\0\t\\n"),
            Ok(b"\x00\xff\0\t\\n".to_vec())
        );
        assert_eq!(parse_bytes("ä"), Ok("ä".into()));
        for bad in [r"\", r"a\q", r"\x1", r"\xg1", r"\xä1"] {
            assert!(
                parse_bytes(bad).is_err_and(|error| error.contains("no escape")),
                "{bad}"
            );
        }
    }
}
