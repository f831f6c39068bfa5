//! Numbers as people write them.

use std::fmt;

/// A number as people write it: `28,232`.
#[derive(Clone, Copy)]
pub struct Thousands(pub u64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let (head, tail) = digits.split_at((digits.len() - 1) % 3 + 1);
        f.write_str(head)?;
        // Digits are ASCII, and so their own characters.
        for group in tail.as_bytes().chunks(3) {
            write!(
                f,
                ",{}",
                group
                    .iter()
                    .map(|digit| char::from(*digit))
                    .collect::<String>()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Thousands;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (28_232, "28,232"),
            (524_288, "524,288"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(Thousands(number).to_string(), text);
        }
    }
}
