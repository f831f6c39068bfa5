//! How a protocol is read from a document, and written into one: its name alone, or a table of one
//! key. What is wrong is said where it stands: errors are raised while the format's reader is at
//! the key or the value, so that a format that knows lines can name them.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Unexpected, Visitor},
    ser::SerializeMap,
};

use millpond_words::Chain;

use super::{Chosen, Names, Protocol, UnknownPreset};

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        self.chosen.write(&mut map)?;
        map.end()
    }
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = Protocol;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a framing's name, or a table with its name as the only key, and its settings; there \
             are: {Names}"
        )
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Protocol, E> {
        Protocol::named(name).map_err(|error| E::custom(Chain(&error)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Protocol, A::Error> {
        let Some(name) = map.next_key_seed(Name)? else {
            return Err(A::Error::invalid_value(Unexpected::Map, &self));
        };
        let chosen = map.next_value_seed(Settings(name))?;
        match map.next_key_seed(NoMore)? {
            None => Ok(chosen.into()),
            Some(never) => match never {},
        }
    }
}

/// The name of a preset. Any other is refused while the reader is at it.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Protocol::presets()
            .iter()
            .find(|preset| preset.name == name);
        known
            .map(|preset| preset.name)
            .ok_or_else(|| D::Error::custom(UnknownPreset { name }))
    }
}

/// The settings of the preset of this name.
struct Settings(&'static str);

impl<'de> DeserializeSeed<'de> for Settings {
    type Value = Chosen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Chosen, D::Error> {
        let unknown = || {
            D::Error::custom(UnknownPreset {
                name: self.0.into(),
            })
        };
        Chosen::read(self.0, deserializer).unwrap_or_else(|| Err(unknown()))
    }
}

/// A second key, which there must not be.
struct NoMore;

enum Never {}

impl<'de> DeserializeSeed<'de> for NoMore {
    type Value = Never;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Never, D::Error> {
        let name = String::deserialize(deserializer)?;
        Err(D::Error::custom(format_args!(
            "a connection has one framing, and `{name}` is a second"
        )))
    }
}
