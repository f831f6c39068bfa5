//! Times as serde formats carry them: in seconds, as a number with a fraction.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    from_seconds(f64::deserialize(source)?)
}

fn from_seconds<E: Error>(seconds: f64) -> Result<Duration, E> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| E::custom(format_args!("{seconds} is no time in seconds")))
}

/// A time that may be none: `"never"`, or `null` where the format has it. TOML hasn't.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&time.as_secs_f64()),
            None => serializer.serialize_str("never"),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        source: D,
    ) -> Result<Option<Duration>, D::Error> {
        match OrNever::deserialize(source)? {
            OrNever::Seconds(seconds) => from_seconds(seconds).map(Some),
            OrNever::Word(Never::Never) | OrNever::Null => Ok(None),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of seconds, or \"never\"")]
enum OrNever {
    Seconds(f64),
    Word(Never),
    Null,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Never {
    Never,
}
