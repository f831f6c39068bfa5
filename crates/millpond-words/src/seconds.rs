//! Times in snapshots and settings, as serde reads and writes them: for
//! `#[serde(rename = "…_seconds", with = "…")]`. A number of seconds, with a fraction where there is
//! one, and `"never"` for a limit that isn't set. A time above a hundred years is refused: added to
//! a point in time, it could overflow.

use std::{fmt, time::Duration};

use serde::{
    Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// What stands for no limit. A word, since TOML has no null; null is read as well.
pub const NEVER: &str = "never";

/// The longest time that is read: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Writes the number.
///
/// # Errors
///
/// As the format.
pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    time.as_secs_f64().serialize(to)
}

/// Reads a number.
///
/// # Errors
///
/// It is no number, negative, not finite, or more than a hundred years.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let seconds = from.deserialize_any(Seconds { or_never: false })?;
    Ok(seconds.expect("a number, where there must be one"))
}

/// A time that may be missing.
pub mod or_never {
    use super::{Deserializer, Duration, NEVER, Seconds, Serializer, serialize as seconds};

    /// Writes the number, or `"never"`.
    ///
    /// # Errors
    ///
    /// As the format.
    pub fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => seconds(time, to),
            None => to.serialize_str(NEVER),
        }
    }

    /// Reads a number, `"never"` or null.
    ///
    /// # Errors
    ///
    /// It is another word, or no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
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
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if time <= LONGEST => Ok(Some(time)),
            _ => Err(E::invalid_value(Unexpected::Float(seconds), &self)),
        }
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Self::Value, E> {
        match Duration::from_secs(seconds) {
            time if time <= LONGEST => Ok(Some(time)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(seconds), &self)),
        }
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super")]
        always: Duration,
        #[serde(with = "super::or_never")]
        perhaps: Option<Duration>,
    }

    fn read(always: &Value, perhaps: &Value) -> Result<Times, String> {
        serde_json::from_value(json!({ "always": always, "perhaps": perhaps }))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn times_come_back_as_they_were_written() {
        for time in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_nanos(86_400_000_000_001),
            LONGEST,
        ] {
            for perhaps in [Some(time), None] {
                let times = Times {
                    always: time,
                    perhaps,
                };
                let text = serde_json::to_string(&times).expect("JSON");
                assert_eq!(serde_json::from_str::<Times>(&text).expect("times"), times);
            }
        }
    }

    #[test]
    fn no_limit_is_a_word_or_null_and_only_where_there_may_be_none() {
        for none in [json!("never"), Value::Null] {
            assert_eq!(read(&json!(1), &none).expect("times").perhaps, None);
            let refused = read(&none, &json!(1)).expect_err("a time");
            assert!(
                refused.ends_with("expected a number of seconds"),
                "{refused}"
            );
        }
        let times = Times {
            always: Duration::from_millis(1_500),
            perhaps: None,
        };
        let written = serde_json::to_value(times).expect("JSON");
        assert_eq!(written, json!({ "always": 1.5, "perhaps": "never" }));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            json!(-1),
            json!(-0.5),
            json!(1e300),
            json!(1e18),
            json!(u64::MAX),
            json!("1 s"),
            json!(true),
        ] {
            let refused = read(&wrong, &json!(1)).expect_err("no time");
            assert!(
                refused.ends_with("expected a number of seconds"),
                "{refused}"
            );
            let refused = read(&json!(1), &wrong).expect_err("no time");
            let expected = "expected a number of seconds, or \"never\"";
            assert!(refused.ends_with(expected), "{refused}");
        }
        use serde::de::{IntoDeserializer, value::Error};
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let from = IntoDeserializer::<Error>::into_deserializer(wrong);
            deserialize(from).expect_err("no time");
        }
    }
}
