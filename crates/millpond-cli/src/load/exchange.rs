//! One exchange over a connection that nobody else uses, for callers that open one for each
//! request.

use std::{io, pin::pin};

use bytes::Bytes;
use millpond::{
    framing::{Direction, FrameError, Framing, Scan, Step},
    net::Stream,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, split},
    select,
};

/// Room for a reply at first; it grows.
const REPLY: usize = 1024;

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
    #[error("the connection was lost before the reply came")]
    Lost(#[source] io::Error),
}

/// Sends a request and waits for its reply.
pub(crate) async fn exchange(
    stream: &mut Stream,
    framing: &impl Framing,
    body: &[u8],
) -> Result<Reply, ExchangeError> {
    let mut frame = Vec::new();
    framing
        .encode(Direction::Request, body, &mut frame)
        .map_err(ExchangeError::Unframeable)?;
    let (mut from, mut to) = split(stream);
    let mut reading = pin!(read_reply(&mut from, framing));
    // Both at once: a server may begin to reply before it has read the whole request.
    select! {
        biased;
        written = to.write_all(&frame) => match written {
            Ok(()) => reading.await,
            // It may have said why before it closed.
            Err(error) => reading.await.map_err(|_| ExchangeError::Lost(error)),
        },
        replied = &mut reading => replied,
    }
}

async fn read_reply(
    stream: &mut (impl AsyncRead + Unpin),
    framing: &impl Framing,
) -> Result<Reply, ExchangeError> {
    let mut received = Vec::with_capacity(REPLY);
    let mut scan = Scan::default();
    loop {
        match framing
            .next(Direction::Reply, &received, &mut scan)
            .map_err(ExchangeError::NoFrame)?
        {
            Step::Frame(extent) => {
                let behind = received.len() - extent.length();
                let body = Bytes::from(received).slice(extent.head..extent.head + extent.body);
                return Ok(Reply { body, behind });
            }
            Step::Heartbeat { length } => {
                received.drain(..length);
                scan.reset();
            }
            Step::More { .. } => {
                let read = stream.read_buf(&mut received).await;
                if read.map_err(ExchangeError::Lost)? == 0 {
                    let closed = io::Error::other("the peer closed it");
                    return Err(ExchangeError::Lost(closed));
                }
            }
        }
    }
}
