//! Numbers in settings that may be without limit, as serde reads and writes them: for
//! `#[serde(with = "…")]`. A number, or `"unlimited"`.

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
