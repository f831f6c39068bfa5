//! Bytes in hex digits, as people write them: in either case, with white space wherever they like.

use std::fmt::Write;

/// Reads hex digits.
///
/// # Errors
///
/// What is wrong, and at which character.
pub(crate) fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut first = None;
    for (at, character) in text.chars().enumerate() {
        if character.is_whitespace() {
            continue;
        }
        let Some(digit) = character.to_digit(16) else {
            return Err(format!(
                "'{character}' at character {} is no hex digit",
                at + 1
            ));
        };
        first = match first {
            None => Some(digit),
            Some(first) => {
                bytes.push((first << 4 | digit) as u8);
                None
            }
        };
    }
    match first {
        None => Ok(bytes),
        Some(_) => Err(String::from(
            "the number of hex digits is odd, and a byte has two",
        )),
    }
}

/// Writes bytes as hex digits, in lower case without spaces.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_are_read_with_spaces_and_in_either_case() {
        assert_eq!(
            parse_hex(" 0b 4D\t53\n48 1c0D "),
            Ok(b"\x0bMSH\x1c\r".to_vec())
        );
        assert_eq!(parse_hex("a b"), Ok(vec![0xab]));
        assert_eq!(parse_hex(""), Ok(Vec::new()));
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(parse_hex(&hex(&bytes)), Ok(bytes));
    }

    #[test]
    fn what_is_no_hex_is_told_with_its_place() {
        for (text, said) in [
            ("0b 4x", "'x' at character 5"),
            ("0x0b", "'x' at character 2"),
            ("ü0", "'ü' at character 1"),
            ("0b4", "odd"),
        ] {
            assert!(
                parse_hex(text).is_err_and(|error| error.contains(said)),
                "{text}"
            );
        }
    }
}
