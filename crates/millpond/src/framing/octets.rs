//! Bytes in settings: a text where they are one, else numbers.

use std::{fmt, ops::Deref};

/// A few bytes of a protocol, such as a delimiter or a magic number, as settings hold them.
///
/// With the feature `serde` they are read from a text, whose bytes in UTF-8 they are, or from a
/// list of numbers: `"\r\n"`, `[0xCA, 0xFE]`. They are written as a text if they are UTF-8.
///
/// ```
/// use millpond::framing::Octets;
///
/// let end = Octets::from("\r\n");
/// assert_eq!(&end[..], b"\r\n");
/// assert_eq!(end, Octets::from([13, 10]));
/// assert_eq!(format!("{end:?}"), r#""\r\n""#);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Octets(Vec<u8>);

impl Deref for Octets {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Octets {
    fn from(text: &str) -> Self {
        Octets(text.into())
    }
}

impl From<&[u8]> for Octets {
    fn from(bytes: &[u8]) -> Self {
        Octets(bytes.into())
    }
}

impl<const N: usize> From<[u8; N]> for Octets {
    fn from(bytes: [u8; N]) -> Self {
        Octets(bytes.into())
    }
}

impl From<Vec<u8>> for Octets {
    fn from(bytes: Vec<u8>) -> Self {
        Octets(bytes)
    }
}

/// As a text with escapes.
impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(feature = "serde")]
mod form {
    use std::fmt;

    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{Error, SeqAccess, Visitor},
    };

    use super::Octets;

    impl Serialize for Octets {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            match std::str::from_utf8(&self.0) {
                Ok(text) => to.serialize_str(text),
                Err(_) => to.collect_seq(&self.0),
            }
        }
    }

    impl<'de> Deserialize<'de> for Octets {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(TextOrNumbers)
        }
    }

    struct TextOrNumbers;

    impl<'de> Visitor<'de> for TextOrNumbers {
        type Value = Octets;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text, or a list of numbers from 0 to 255")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Octets, E> {
            Ok(Octets::from(text))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Octets, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = numbers.next_element()? {
                bytes.push(byte);
            }
            Ok(Octets(bytes))
        }
    }
}
