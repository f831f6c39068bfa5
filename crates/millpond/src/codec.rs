//! Values and the bodies that carry them: JSON, or whatever else an application encodes. For
//! clients [`Client::coded`](crate::client::Client::coded), for servers
//! [`server::coded`](crate::server::coded).
//!
//! A codec is a value. [`Json`] is one; [`pair`] makes one of two closures; and a type of one's own
//! becomes one by [`Encode`] and [`Decode`].
//!
//! ```
//! use millpond::codec::{Decode, Encode, pair};
//!
//! // Numbers as eight bytes, as everybody writes them who has no better idea.
//! let numbers = pair(
//!     |number: &u64| Ok::<_, std::convert::Infallible>(number.to_be_bytes().to_vec()),
//!     |body: &[u8]| body.try_into().map(u64::from_be_bytes),
//! );
//! let body = numbers.encode(&7).unwrap();
//! assert_eq!(body, [0, 0, 0, 0, 0, 0, 0, 7]);
//! assert_eq!(numbers.decode(&body).unwrap(), 7);
//! ```

use std::error::Error;

use serde::{Serialize, de::DeserializeOwned};

use crate::framing::json;

/// Why a value can't be encoded, or a body not be decoded.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// Makes a body of a value.
pub trait Encode<T: ?Sized> {
    /// The body.
    ///
    /// # Errors
    ///
    /// This value can't be encoded.
    fn encode(&self, value: &T) -> Result<Vec<u8>, CodecError>;
}

/// Makes a value of a body.
pub trait Decode<T> {
    /// The value.
    ///
    /// # Errors
    ///
    /// The body isn't a `T`.
    fn decode(&self, body: &[u8]) -> Result<T, CodecError>;
}

impl<T: ?Sized, C: Encode<T> + ?Sized> Encode<T> for &C {
    fn encode(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        (**self).encode(value)
    }
}

impl<T, C: Decode<T> + ?Sized> Decode<T> for &C {
    fn decode(&self, body: &[u8]) -> Result<T, CodecError> {
        (**self).decode(body)
    }
}

/// JSON, by serde. Decoding refuses what [`json`] refuses: what is nested too
/// deep, for instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn encode(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        Ok(json::write(value)?)
    }
}

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, body: &[u8]) -> Result<T, CodecError> {
        Ok(json::read(body)?)
    }
}

/// A codec of two closures: one for values that are sent, and one for bodies that are received. On a
/// client these are a request and its reply, on a server the other way round.
pub fn pair<E, D>(encode: E, decode: D) -> Pair<E, D> {
    Pair { encode, decode }
}

/// What [`pair`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Pair<E, D> {
    encode: E,
    decode: D,
}

impl<T: ?Sized, E, D, B, X> Encode<T> for Pair<E, D>
where
    E: Fn(&T) -> Result<B, X>,
    B: Into<Vec<u8>>,
    X: Into<CodecError>,
{
    fn encode(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        (self.encode)(value).map(Into::into).map_err(Into::into)
    }
}

impl<T, E, D, X> Decode<T> for Pair<E, D>
where
    D: Fn(&[u8]) -> Result<T, X>,
    X: Into<CodecError>,
{
    fn decode(&self, body: &[u8]) -> Result<T, CodecError> {
        (self.decode)(body).map_err(Into::into)
    }
}
