//! One exchange over a connection that nobody else uses, for callers that open one for each
//! request.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use millpond::{
    framed::{FramedStream, ReceiveError, SendError},
    framing::{Failure, FrameError, Framing},
    net::Stream,
};

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) body: Bytes,
    /// How many bytes came behind it.
    pub(crate) behind: usize,
}

/// Why no reply came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the request can't be framed")]
    Unframeable(#[source] FrameError),
    #[error("the reply can't be read")]
    NoFrame(#[source] FrameError),
    #[error("the protocol refuses this request: {0}")]
    Refused(Failure),
    #[error("the reply that came answers another request")]
    Mismatched,
    #[error("the connection was lost before the reply came")]
    Lost(#[source] io::Error),
}

/// Sends a request, waits for its reply, and closes the connection.
///
/// # Cancel safety
///
/// Dropping it closes the connection.
pub(crate) async fn exchange(
    stream: Stream,
    framing: impl Framing,
    body: &[u8],
) -> Result<Reply, ExchangeError> {
    let mut stream = FramedStream::new(stream, framing);
    stream.queue(body).map_err(ExchangeError::of_send)?;
    let mut unsent = None;
    let replied = poll_fn(|cx| poll_reply(&mut stream, &mut unsent, cx)).await;
    let behind = stream.buffered().len();
    stream.into_stream().close();
    let body = replied?;
    Ok(Reply { body, behind })
}

/// Sends and receives at once: a server may begin to reply before it has read the whole request.
/// `unsent` keeps why the request couldn't be sent.
fn poll_reply<F: Framing>(
    stream: &mut FramedStream<F>,
    unsent: &mut Option<io::Error>,
    cx: &mut Context<'_>,
) -> Poll<Result<Bytes, ExchangeError>> {
    if unsent.is_none()
        && let Poll::Ready(Err(error)) = stream.poll_flush(cx)
    {
        // The server may have said why before it closed.
        *unsent = Some(error);
    }
    let received = ready!(stream.poll_receive(cx));
    Poll::Ready(match (received, unsent.take()) {
        (Ok(Some(body)), _) => Ok(body),
        (_, Some(error)) => Err(ExchangeError::Lost(error)),
        (Ok(None), None) => Err(closed()),
        (Err(error), None) => Err(ExchangeError::of_receive(error)),
    })
}

impl ExchangeError {
    fn of_send(error: SendError) -> Self {
        match error {
            SendError::Unframeable(error) => ExchangeError::Unframeable(error),
            SendError::Refused(failure) => ExchangeError::Refused(failure),
            SendError::Io(error) => ExchangeError::Lost(error),
            other => ExchangeError::Lost(io::Error::other(other)),
        }
    }

    fn of_receive(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Frame(error) => ExchangeError::NoFrame(error),
            ReceiveError::Io(error) => ExchangeError::Lost(error),
            ReceiveError::Truncated => closed(),
            ReceiveError::Mismatched => ExchangeError::Mismatched,
            other => ExchangeError::Lost(io::Error::other(other)),
        }
    }
}

fn closed() -> ExchangeError {
    ExchangeError::Lost(io::Error::other("the peer closed it"))
}
