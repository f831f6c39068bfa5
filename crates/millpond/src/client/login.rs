//! The login on a new connection, before it is first lent.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    connectors::Unprepared,
    framed::{FramedStream, Message, ReceiveError, SendError, Verdict},
    framing::{Framing, LengthJson},
    net::{ConnectError, ConnectFailure, DialPhase, Dialer, Stream},
    pool::dial_phase,
};

/// How many logins have begun.
static LOGINS: AtomicU64 = AtomicU64::new(0);

/// A new connection that isn't logged in yet: what [`ClientBuilder::login`] is given.
///
/// [`ClientBuilder::login`]: super::ClientBuilder::login
#[derive(Debug)]
pub struct Login<F: Framing = LengthJson> {
    stream: FramedStream<Arc<F>>,
    /// Requests that were sent and have no reply yet.
    owed: usize,
    /// An error was met after which the stream can't be used.
    broken: bool,
    /// Which connection's it is: no other's has this number.
    number: u64,
}

/// Why an exchange of a login has failed. The login fails then, whatever its hook returns; but not
/// by [`SendError::Unframeable`] or [`SendError::Full`], by which nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The request couldn't be sent.
    #[error("the request couldn't be sent")]
    Send(#[from] SendError),
    /// The reply couldn't be received.
    #[error("the reply couldn't be received")]
    Receive(#[from] ReceiveError),
    /// The server closed the connection instead of answering.
    #[error("the server closed the connection")]
    Closed,
}

/// Why a login that says of itself that it has succeeded is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotAtRest {
    Another,
    Broken,
    Unanswered,
    Unsent,
    Unasked,
}

impl fmt::Display for NotAtRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAtRest::Another => "it returned the login of another connection",
            NotAtRest::Broken => "it went on after an error that ends the connection",
            NotAtRest::Unanswered => "it left a request of its own unanswered",
            NotAtRest::Unsent => "it left a part of a request of its own unsent",
            NotAtRest::Unasked => "the server sent more than was asked for",
        })
    }
}

impl Error for NotAtRest {}

impl<F: Framing> Login<F> {
    /// Sends a request, and returns its reply's body: of several that of the last, and nothing if no
    /// reply comes to it.
    ///
    /// # Errors
    ///
    /// See [`LoginError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it leaves its reply owed, and the login fails whatever it returns.
    pub async fn exchange(&mut self, body: &[u8]) -> Result<Bytes, LoginError> {
        // What can't be queued is not sent, and owes no reply.
        let gets_reply = self.stream.queue_asking(Message::Body(body))?;
        self.owed += usize::from(gets_reply);
        let flushed = self.stream.flush().await;
        self.broken |= flushed.is_err();
        flushed.map_err(SendError::Io)?;
        match gets_reply {
            true => self.next().await,
            false => Ok(Bytes::new()),
        }
    }

    /// What the server sends without being asked, as some do when a connection is opened.
    ///
    /// # Errors
    ///
    /// See [`LoginError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no frame is lost.
    pub async fn greeting(&mut self) -> Result<Bytes, LoginError> {
        self.next().await
    }

    async fn next(&mut self) -> Result<Bytes, LoginError> {
        loop {
            let received = poll_fn(|cx| self.stream.poll_verdict(cx)).await;
            self.broken |= !matches!(received, Ok(Some(_)));
            match received?.ok_or(LoginError::Closed)? {
                Verdict::Last(frame) | Verdict::Unasked(frame) => {
                    self.owed = self.owed.saturating_sub(1);
                    return Ok(frame.into_body());
                }
                Verdict::More(_) | Verdict::Push(_) => {}
                Verdict::Mismatch => unreachable!("it is an error"),
            }
        }
    }

    /// The stream below, for its addresses.
    pub fn stream(&self) -> &Stream {
        self.stream.stream()
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

type LoggedIn<F> = Pin<Box<dyn Future<Output = Result<Login<F>, BoxError>> + Send>>;

/// What logs in on each new connection.
pub(super) struct LoginHook<F: Framing>(Box<dyn Fn(Login<F>) -> LoggedIn<F> + Send + Sync>);

impl<F: Framing> LoginHook<F> {
    pub(super) fn new<H, L>(hook: H) -> Self
    where
        H: Fn(Login<F>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Login<F>, BoxError>> + Send + 'static,
    {
        LoginHook(Box::new(move |login| Box::pin(hook(login))))
    }

    /// This one, and then another.
    pub(super) fn then(self, next: Self) -> Self {
        let (first, next) = (Arc::new(self), Arc::new(next));
        LoginHook::new(move |login| {
            let (first, next) = (Arc::clone(&first), Arc::clone(&next));
            async move {
                let login = (first.0)(login).await?;
                (next.0)(login).await
            }
        })
    }

    /// Logs in on this stream, which `dialer` has opened. Nothing is left on it afterwards but a
    /// part of a heartbeat. Dropped, it leaves the stream's address in doubt.
    pub(super) async fn log_in(
        &self,
        stream: FramedStream<Arc<F>>,
        dialer: &Dialer,
    ) -> Result<FramedStream<Arc<F>>, ConnectError> {
        dial_phase(DialPhase::Login.doing());
        let unprepared = Unprepared::new(dialer, stream.stream());
        let began = Instant::now();
        let number = LOGINS.fetch_add(1, Ordering::Relaxed);
        let login = Login {
            stream,
            owed: 0,
            broken: false,
            number,
        };
        let ended = (self.0)(login)
            .await
            .and_then(|login| match login.number == number {
                true => at_rest(login),
                false => Err(NotAtRest::Another.into()),
            });
        match ended {
            Ok(stream) => {
                unprepared.succeeded();
                Ok(stream)
            }
            Err(error) => {
                let error = dialer.error(began.elapsed(), ConnectFailure::Login(error));
                unprepared.failed(&error);
                Err(error)
            }
        }
    }
}

/// The promise: what is still to come for the login would be taken for the reply to a request.
fn at_rest<F: Framing>(login: Login<F>) -> Result<FramedStream<Arc<F>>, BoxError> {
    let buffered = login.stream.buffered();
    let heartbeat = login.stream.framing().heartbeat().unwrap_or_default();
    if login.broken {
        Err(NotAtRest::Broken.into())
    } else if login.owed > 0 {
        Err(NotAtRest::Unanswered.into())
    } else if !login.stream.is_flushed() {
        // The server has answered before it has read the request.
        Err(NotAtRest::Unsent.into())
    } else if !is_heartbeats(buffered, heartbeat) {
        Err(NotAtRest::Unasked.into())
    } else {
        Ok(login.stream)
    }
}

/// Heartbeats, the last of which may be incomplete.
fn is_heartbeats(bytes: &[u8], heartbeat: &[u8]) -> bool {
    bytes.is_empty()
        || (!heartbeat.is_empty()
            && bytes
                .chunks(heartbeat.len())
                .all(|chunk| heartbeat.starts_with(chunk)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heartbeats_may_be_left_over() {
        for (bytes, is) in [
            (&b""[..], true),
            (b"Heart", true),
            (b"HeartBeatHeartBeatH", true),
            (b"HeartBeatl", false),
            (b"length:", false),
        ] {
            assert_eq!(is_heartbeats(bytes, b"HeartBeat"), is, "{bytes:?}");
        }
        assert!(is_heartbeats(b"", b"") && !is_heartbeats(b"1", b""));
    }
}
