//! Handlers of closures whose values a codec encodes.

use std::{fmt, future::Future, marker::PhantomData};

use millpond_words::Chain;

use super::{
    handler::{Handler, told},
    reply::Reply,
    request::Request,
};
use crate::{
    codec::{Decode, Encode},
    framing::Failure,
};

/// A handler of a closure that takes values and answers with values, which `codec` encodes, on any
/// framing: `coded(Json, async |order: Order| -> Result<Receipt, Refused> { … })`.
///
/// A body that the codec doesn't decode has [failed as malformed](Failure::malformed). An `Err` that
/// is a [`Failure`] is told as it is, any other [as the handler's](Failure::handler_failed). As for
/// captures see [`raw`](super::raw).
///
/// ```
/// use millpond::{codec, server::{Server, coded}};
///
/// let codec = codec::pair(
///     |sum: &u8| Ok::<_, std::convert::Infallible>([*sum]),
///     |body: &[u8]| Ok::<_, std::convert::Infallible>(body.to_vec()),
/// );
/// let sum = coded(codec, async |bytes: Vec<u8>| {
///     let sum = bytes.iter().try_fold(0_u8, |sum, byte| sum.checked_add(*byte));
///     sum.ok_or("more than a byte holds")
/// });
/// # let _ = Server::builder(sum);
/// ```
pub fn coded<C, T, R, E, F, Answer>(codec: C, answer: F) -> Coded<C, T, F>
where
    C: Encode<R> + Decode<T> + Send + Sync + 'static,
    T: 'static,
    E: fmt::Display + 'static,
    F: Fn(T) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<R, E>> + Send,
{
    Coded {
        codec,
        answer,
        takes: PhantomData,
    }
}

/// What [`coded`] makes.
pub struct Coded<C, T, F> {
    codec: C,
    answer: F,
    takes: PhantomData<fn(T)>,
}

impl<C, T, F> fmt::Debug for Coded<C, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coded<{}>", std::any::type_name::<T>())
    }
}

impl<C, T, R, E, F, Answer> Handler for Coded<C, T, F>
where
    C: Encode<R> + Decode<T> + Send + Sync + 'static,
    T: 'static,
    E: fmt::Display + 'static,
    F: Fn(T) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<R, E>> + Send,
{
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, Failure>> + Send {
        // The value needn't be `Send`: it moves into the answer's future before anything is
        // awaited.
        let answer = match self.codec.decode(request.body()) {
            Ok(value) => Ok((self.answer)(value)),
            Err(error) => Err(Failure::malformed(Chain(&*error).to_string())),
        };
        async move {
            let reply = answer?.await.map_err(told)?;
            let body = self.codec.encode(&reply);
            let body = body.map_err(|error| Failure::handler_failed(Chain(&*error).to_string()))?;
            Ok(body.into())
        }
    }
}
