//! Times in settings, as serde reads and writes them: a number of seconds, and `"never"` for a
//! limit that isn't set. As in a pool's settings.

use std::{fmt, time::Duration};

use serde::{
    Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// What stands for no limit. A word, since TOML has no null; null is read as well.
const NEVER: &str = "never";

pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    time.as_secs_f64().serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let seconds = from.deserialize_any(Seconds { or_never: false })?;
    Ok(seconds.expect("a number, where there must be one"))
}

/// A time that may be missing: for `#[serde(with = "…")]`.
pub(crate) mod or_never {
    use super::{Deserializer, Duration, NEVER, Seconds, Serializer, serialize as seconds};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => seconds(time, to),
            None => to.serialize_str(NEVER),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        from.deserialize_any(Seconds { or_never: true })
    }
}

/// Reads one. `None` only where that may be.
struct Seconds {
    or_never: bool,
}

impl<'de> Visitor<'de> for Seconds {
    type Value = Option<Duration>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds")?;
        match self.or_never {
            true => write!(f, ", or \"{NEVER}\""),
            false => Ok(()),
        }
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Self::Value, E> {
        Duration::try_from_secs_f64(seconds)
            .map(Some)
            .map_err(|_| E::invalid_value(Unexpected::Float(seconds), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Self::Value, E> {
        Ok(Some(Duration::from_secs(seconds)))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Self::Value, E> {
        match u64::try_from(seconds) {
            Ok(seconds) => self.visit_u64(seconds),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(seconds), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            NEVER if self.or_never => Ok(None),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        match self.or_never {
            true => Ok(None),
            false => Err(E::invalid_type(Unexpected::Unit, &self)),
        }
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}
