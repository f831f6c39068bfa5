//! Requests whose values are encoded by a codec.

use std::{fmt, future::Future, panic::Location};

use super::{error::RequestError, requests::Requests};
use crate::{
    codec::{Decode, Encode},
    framing::{Framing, LengthJson},
};

/// Requests whose values a codec encodes: [`Client::coded`](super::Client::coded).
#[derive(Clone, Copy)]
pub struct Coded<'c, C, F: Framing = LengthJson> {
    requests: Requests<'c, F>,
    codec: C,
}

impl<'c, F: Framing> Requests<'c, F> {
    /// As [`Client::coded`](super::Client::coded).
    pub fn coded<C>(self, codec: C) -> Coded<'c, C, F> {
        Coded {
            requests: self,
            codec,
        }
    }
}

impl<C, F: Framing> Coded<'_, C, F> {
    /// Sends a value, and reads its reply's. Nothing else is looked at: an error reply of the
    /// protocol is a body like any other, which the codec decodes or not.
    ///
    /// # Errors
    ///
    /// [`RequestError::Unencodable`], and nothing was sent; [`RequestError::Undecodable`]; and as
    /// [`Client::exchange`](super::Client::exchange).
    ///
    /// # Cancel safety
    ///
    /// As [`Client::request`](super::Client::request).
    #[track_caller]
    pub fn request<T, R>(self, value: &T) -> impl Future<Output = Result<R, RequestError>> + Send
    where
        T: ?Sized,
        C: Encode<T> + Decode<R> + Send,
    {
        let place = Location::caller();
        let body = self.codec.encode(value);
        async move {
            let body = body.map_err(RequestError::Unencodable)?;
            let reply = self.requests.exchange_from(place, &body).await?;
            self.codec.decode(&reply).map_err(RequestError::Undecodable)
        }
    }
}

impl<C, F: Framing> fmt::Debug for Coded<'_, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coded")
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}
