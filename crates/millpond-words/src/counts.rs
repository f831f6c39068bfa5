//! Numbers in settings that may be without limit, as serde reads and writes them: for
//! `#[serde(with = "…")]`. A number, or `"unlimited"`. In the settings `None` stands for no limit,
//! or [`usize::MAX`] with [`max_is_unlimited`].

use std::fmt;

use serde::{
    Deserializer, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// What stands for no limit. A word, since TOML has no null; null is read as well.
const UNLIMITED: &str = "unlimited";

/// Writes the number, or `"unlimited"`.
///
/// # Errors
///
/// As the format.
pub fn serialize<S: Serializer>(count: &Option<usize>, to: S) -> Result<S::Ok, S::Error> {
    match count {
        Some(count) => to.serialize_u64(*count as u64),
        None => to.serialize_str(UNLIMITED),
    }
}

/// Reads a number, `"unlimited"` or null.
///
/// # Errors
///
/// It is another word, or no number of things.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    from.deserialize_any(OrUnlimited)
}

/// A number of which [`usize::MAX`] stands for no limit. Not every format has that number: TOML's
/// are signed.
pub mod max_is_unlimited {
    use super::{Deserializer, OrUnlimited, Serializer};

    /// Writes the number, or `"unlimited"`.
    ///
    /// # Errors
    ///
    /// As the format.
    pub fn serialize<S: Serializer>(count: &usize, to: S) -> Result<S::Ok, S::Error> {
        super::serialize(&Some(*count).filter(|count| *count != usize::MAX), to)
    }

    /// Reads a number, `"unlimited"` or null.
    ///
    /// # Errors
    ///
    /// It is another word, or no number of things.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        let count = from.deserialize_any(OrUnlimited)?;
        Ok(count.unwrap_or(usize::MAX))
    }
}

struct OrUnlimited;

impl<'de> Visitor<'de> for OrUnlimited {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number, or \"{UNLIMITED}\"")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Self::Value, E> {
        usize::try_from(count)
            .map(Some)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Self::Value, E> {
        match u64::try_from(count) {
            Ok(count) => self.visit_u64(count),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(count), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            UNLIMITED => Ok(None),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Counts {
        #[serde(with = "super")]
        optional: Option<usize>,
        #[serde(with = "super::max_is_unlimited")]
        number: usize,
    }

    fn read(count: &Value) -> Result<Counts, String> {
        serde_json::from_value(json!({ "optional": count, "number": count }))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn counts_come_back_as_they_were_written() {
        for number in [0, 1, usize::MAX - 1, usize::MAX] {
            for optional in [Some(number), None] {
                let counts = Counts { optional, number };
                let text = serde_json::to_string(&counts).expect("JSON");
                let again = serde_json::from_str::<Counts>(&text);
                assert_eq!(again.expect("counts"), counts, "{text}");
            }
        }
    }

    #[test]
    fn no_limit_is_a_word_or_null() {
        let none = Counts {
            optional: None,
            number: usize::MAX,
        };
        let word = json!("unlimited");
        let written = serde_json::to_value(&none).expect("JSON");
        assert_eq!(written, json!({ "optional": word, "number": word }));
        for read_as_none in [word, Value::Null] {
            assert_eq!(read(&read_as_none).expect("counts"), none);
        }
        let most = read(&json!(u64::MAX)).expect("counts");
        assert_eq!(most.number, usize::MAX, "as it was written before");
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for wrong in [
            json!(-1),
            json!(1.5),
            json!("never"),
            json!("1"),
            json!(true),
        ] {
            let refused = read(&wrong).expect_err("no count");
            let expected = "expected a number, or \"unlimited\"";
            assert!(refused.ends_with(expected), "{refused}");
            let number = json!({ "optional": 1, "number": wrong });
            let refused = serde_json::from_value::<Counts>(number).expect_err("no count");
            assert!(refused.to_string().ends_with(expected), "{refused}");
        }
    }
}
