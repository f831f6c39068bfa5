//! What answers requests: the trait, and handlers made of closures. Knows nothing of connections
//! and limits.

use std::{
    any::Any,
    fmt,
    future::Future,
    marker::PhantomData,
    net::SocketAddr,
    task::{Context, Poll},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use millpond_words::Chain;

use super::{group::HandlesGroups, reply::Reply, request::Request};
use crate::framing::{
    Failure, Frame, LocalReply,
    json::{self, JsonError},
};

/// Answers requests.
///
/// ```
/// use millpond::{framing::Failure, server::{Handler, Reply, Request}};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     async fn handle(&self, request: Request) -> Result<Reply, Failure> {
///         Ok(request.into_body().into())
///     }
/// }
/// ```
///
/// # Cancel safety
///
/// A handler's future is dropped at its deadline, when its client has gone, and when the server
/// closes. A client's departure is noticed within a quarter of a second. A client that has closed
/// only its sending side still gets its replies. Over TCP a client that closes its socket looks
/// like that until a reply reaches it; over a Unix socket the departure is seen at once. A panic
/// costs that request alone.
///
/// # Who polls it
///
/// The connection's task, with the other requests of that connection. A handler that computes for
/// long without awaiting delays them and the connection's heartbeats: spawn such work.
pub trait Handler: Send + Sync + 'static {
    /// The reply.
    ///
    /// # Errors
    ///
    /// What the client is told: by an error reply, or where the protocol has none, by closing its
    /// connection.
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// What bodies must be before they get here. Default: anything, because most protocols carry
    /// something else than JSON, and only the handler knows what it takes.
    fn bodies(&self) -> Bodies {
        Bodies::Opaque
    }
}

/// Answers the requests of connections, and keeps something of its own for each of them: who has
/// logged in, say, or what a proxy has lent. Whatever is a [`Handler`] is one that keeps nothing.
///
/// ```
/// use std::{net::SocketAddr, sync::atomic::{AtomicU64, Ordering}};
/// use millpond::{framing::Failure, server::{ConnectionHandler, Reply, Request}};
///
/// /// Tells each client how many requests it has sent.
/// struct Counts;
///
/// impl ConnectionHandler for Counts {
///     type Connection = AtomicU64;
///
///     fn connected(&self, _: Option<SocketAddr>) -> AtomicU64 {
///         AtomicU64::new(0)
///     }
///
///     async fn handle(&self, sent: &AtomicU64, _: Request) -> Result<Reply, Failure> {
///         Ok((sent.fetch_add(1, Ordering::Relaxed) + 1).to_string().into())
///     }
/// }
/// ```
///
/// # Cancel safety
///
/// As [`Handler`]'s.
pub trait ConnectionHandler: Send + Sync + 'static {
    /// What is kept for one connection. It is dropped when the connection has ended and no handler
    /// of it runs any more.
    type Connection: Send + Sync + 'static;

    /// A client has connected, and a TLS handshake, if there is one, has succeeded. The address is
    /// `None` over Unix sockets.
    fn connected(&self, peer: Option<SocketAddr>) -> Self::Connection;

    /// The reply. The handlers of one connection run at the same time, up to `max_in_flight`; each
    /// is polled for the first time in the order of the requests.
    ///
    /// # Errors
    ///
    /// As [`Handler::handle`].
    fn handle(
        &self,
        connection: &Self::Connection,
        request: Request,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// Whether the client is sent a reply that the framing has [given itself](LocalReply), if that
    /// concerns what is kept for the connection: it resets the connection, changes its lane, or
    /// depends on credentials. In the order of the requests, as [`handle`](ConnectionHandler::handle).
    /// Default: it is, unless there are credentials, for there are no users.
    ///
    /// # Errors
    ///
    /// What the client is told in its place.
    fn local(
        &self,
        connection: &Self::Connection,
        reply: LocalReply,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = connection;
        std::future::ready(match reply.credentials() {
            None => Ok(()),
            Some(_) => Err(Failure::refused("there are no users here")),
        })
    }

    /// The next frame that the client is to be sent without having asked for it. Polled while the
    /// framing says that there [may be one](crate::framing::Framing::may_push), no request of the
    /// connection is unanswered, and all replies are written. Default: none ever comes.
    ///
    /// # Errors
    ///
    /// No more can come, and the client has to know: its connection is closed.
    fn poll_push(
        &self,
        connection: &Self::Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Frame, Failure>> {
        let _ = (connection, cx);
        Poll::Pending
    }

    /// As [`Handler::bodies`].
    fn bodies(&self) -> Bodies {
        Bodies::Opaque
    }

    /// How it takes requests that came together, if it does. Then those that get one reply, and
    /// don't pin their connection, don't come to [`handle`](ConnectionHandler::handle).
    #[doc(hidden)]
    fn groups(&self) -> Option<&dyn HandlesGroups<Self::Connection>> {
        None
    }
}

impl<H: Handler> ConnectionHandler for H {
    type Connection = ();

    fn connected(&self, _: Option<SocketAddr>) {}

    fn handle(
        &self,
        (): &(),
        request: Request,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send {
        Handler::handle(self, request)
    }

    fn bodies(&self) -> Bodies {
        Handler::bodies(self)
    }
}

/// What is checked of a body before a handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bodies {
    /// It has been checked to be one JSON text, nested at most [`MAX_DEPTH`](json::MAX_DEPTH) deep;
    /// any other is answered with the error -32700.
    Json,
    /// Nothing: the handler checks it itself, or passes it on.
    Opaque,
}

/// A handler of a closure that takes bodies as they came, whatever is in them, and answers in kind:
/// `raw(async |body: Bytes| Ok(body))`. [`Raw::only_json`] has them checked.
///
/// A closure that needs what it captures clones it for each request: `move |body| { let stock =
/// stock.clone(); async move { … } }`.
pub fn raw<F, Answer, R>(answer: F) -> Raw<F>
where
    F: Fn(Bytes) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<R, Failure>> + Send,
    R: Into<Reply>,
{
    Raw {
        answer,
        bodies: Bodies::Opaque,
    }
}

/// What [`raw`] makes.
pub struct Raw<F> {
    answer: F,
    bodies: Bodies,
}

impl<F> Raw<F> {
    /// Takes JSON texts only, unparsed: for handlers that pass them on, or read them in their own
    /// way. Any other body is answered with the error -32700.
    pub fn only_json(mut self) -> Self {
        self.bodies = Bodies::Json;
        self
    }
}

impl<F> fmt::Debug for Raw<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("bodies", &self.bodies).finish()
    }
}

impl<F, Answer, R> Handler for Raw<F>
where
    F: Fn(Bytes) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<R, Failure>> + Send,
    R: Into<Reply>,
{
    async fn handle(&self, request: Request) -> Result<Reply, Failure> {
        (self.answer)(request.into_body()).await.map(Into::into)
    }

    fn bodies(&self) -> Bodies {
        self.bodies
    }
}

/// A handler of a closure that takes values and answers with values, by serde: `json(async |order:
/// Order| -> Result<Receipt, Refused> { … })`.
///
/// A body that isn't JSON is answered with the error -32700, one that isn't a `T` with -32600. An
/// `Err` that is a [`Failure`] is told as it is, so it may have a code of the application's own;
/// any other with -32603 and its text. As for captures see [`raw`].
///
/// ```
/// use millpond::{framing::{ApplicationCode, Failure}, server::json};
///
/// const TOO_LARGE: ApplicationCode = ApplicationCode::new(413).unwrap();
///
/// let double = json(async |number: i64| {
///     number
///         .checked_mul(2)
///         .ok_or_else(|| Failure::application(TOO_LARGE, "too large to be doubled"))
/// });
/// # let _ = millpond::server::Server::builder(double);
/// ```
pub fn json<T, R, E, F, Answer>(answer: F) -> Json<T, F>
where
    T: DeserializeOwned + 'static,
    R: Serialize,
    E: fmt::Display + 'static,
    F: Fn(T) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<R, E>> + Send,
{
    Json {
        answer,
        takes: PhantomData,
    }
}

/// What [`json()`] makes.
pub struct Json<T, F> {
    answer: F,
    takes: PhantomData<fn(T)>,
}

impl<T, F> fmt::Debug for Json<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json<{}>", std::any::type_name::<T>())
    }
}

impl<T, R, E, F, Answer> Handler for Json<T, F>
where
    T: DeserializeOwned + 'static,
    R: Serialize,
    E: fmt::Display + 'static,
    F: Fn(T) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<R, E>> + Send,
{
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, Failure>> + Send {
        // To read it is to check it. The value needn't be `Send`: it moves into the answer's future
        // before anything is awaited.
        let answer = value_of::<T>(request.body()).map(&self.answer);
        async move {
            let reply = answer?.await.map_err(told)?;
            Ok(json::write(&reply)
                .map_err(|error| Failure::handler_failed(Chain(&error).to_string()))?
                .into())
        }
    }
}

/// What a client is told of an error: itself, if it is a [`Failure`].
pub(super) fn told<E: fmt::Display + 'static>(error: E) -> Failure {
    match (&error as &dyn Any).downcast_ref::<Failure>() {
        Some(failure) => failure.clone(),
        None => Failure::handler_failed(error.to_string()),
    }
}

/// The value in a body. The failure tells a body that is no JSON from one of another type.
fn value_of<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let error = match json::read(body) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // A value of the wrong type may be followed by what is no JSON.
    if matches!(&error, JsonError::Invalid(error) if error.is_data()) {
        check(body)?;
        return Err(Failure::refused(Chain(&error).to_string()));
    }
    Err(malformed(&error))
}

/// Whether a body is JSON.
pub(super) fn check(body: &[u8]) -> Result<(), Failure> {
    json::check(body).map_err(|error| malformed(&error))
}

fn malformed(error: &JsonError) -> Failure {
    Failure::malformed(Chain(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::FailureKind;

    #[test]
    fn no_json_and_no_value_of_the_type_are_told_apart() {
        let kind = |body: &[u8]| value_of::<u8>(body).map_err(|failure| failure.kind());
        assert_eq!(kind(b" 7 "), Ok(7));
        for refused in ["\"7\"", "700", "{}", "[7]", "null"] {
            assert_eq!(
                kind(refused.as_bytes()),
                Err(FailureKind::Refused),
                "{refused}"
            );
        }
        let deep = [vec![b'['; 65], vec![b']'; 65]].concat();
        for malformed in [&b""[..], b"7 7", b"7x", b"\"7", b"[7,}", b"\"\xff\"", &deep] {
            assert_eq!(
                kind(malformed),
                Err(FailureKind::Malformed),
                "{malformed:?}"
            );
        }
    }
}
