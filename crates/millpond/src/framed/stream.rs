//! Frames over a stream, for everybody: [`FramedStream`].

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{
    buffers::with_encoded,
    item::{Item, ReadError},
    outgoing::Outgoing,
    outstanding::{Asked, Message, Outstanding, Unsendable, Verdict, with_request},
    reading::Framed,
};
use crate::{
    framing::{self, Direction, Failure, Frame, FrameError, Framing, LengthJson, extent_of},
    net::Stream,
};

/// How many bytes may be queued, unless [`FramedStream::max_queued`] says otherwise.
const MAX_QUEUED: usize = 1 << 20;

/// How large a write buffer is kept between two frames.
const KEPT: u32 = 16 << 10;

/// How many heartbeats one poll takes in.
const BEATS_AT_ONCE: usize = 64;

/// Sends and receives frames on one stream, of whichever protocol. It has no pool, no deadlines and
/// no heartbeats of its own: those a [`Client`](crate::client::Client) and a
/// [`Server`](crate::server::Server) add. For protocols that aren't request and reply, for tests,
/// and for tools.
///
/// ```
/// use millpond::{framed::FramedStream, framing::LengthJson, net::Dialer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let endpoint = format!("tcp://{}", listener.local_addr()?);
/// # tokio::spawn(async move {
/// #     let (stream, _) = listener.accept().await.unwrap();
/// #     let mut server = FramedStream::accepted(stream.into(), LengthJson::default());
/// #     while let Ok(Some(body)) = server.receive().await {
/// #         server.send(&body).await.unwrap();
/// #     }
/// # });
/// let dialled = Dialer::new(endpoint.parse()?).dial().await?;
/// let mut stream = FramedStream::new(dialled.stream, LengthJson::default());
///
/// stream.send(b"[2,3]").await?;
/// assert_eq!(stream.receive().await?.as_deref(), Some(&b"[2,3]"[..]));
///
/// // Several frames with one write.
/// stream.queue(b"1")?;
/// stream.queue(b"2")?;
/// stream.flush().await?;
/// assert_eq!(stream.receive().await?.as_deref(), Some(&b"1"[..]));
/// assert_eq!(stream.receive().await?.as_deref(), Some(&b"2"[..]));
/// # Ok(())
/// # }
/// ```
///
/// # Limits
///
/// A frame is as long as the framing allows, which is refused in either direction beyond that.
/// Memory for what is received grows with what arrives, never with what was announced. What is
/// queued and not yet written is bounded by [`max_queued`](FramedStream::max_queued). There are no
/// timeouts: put [`tokio::time::timeout`] around whatever must end.
///
/// # Whose reply it is
///
/// Replies are taken to come in the order of the requests, and are checked where the
/// [framing](Framing::answers) has something to check. A frame that was received before a request
/// was sent isn't its reply: look at [`buffered`](FramedStream::buffered) before, and close the
/// stream if anything is there.
#[derive(Debug)]
pub struct FramedStream<F = LengthJson> {
    framed: Framed,
    framing: F,
    sends: Direction,
    outgoing: Outgoing,
    max_queued: usize,
    /// What was queued last is a heartbeat.
    ends_with_heartbeat: bool,
    /// The requests that aren't answered, if the framing looks at requests.
    outstanding: Option<Box<Outstanding>>,
    /// Why nothing more can be received.
    lost: Option<Lost>,
}

/// Why nothing more can be received on a stream that goes on.
#[derive(Clone, Debug)]
enum Lost {
    Frame(FrameError),
    Mismatched,
    TooManyUnanswered,
}

/// Why a frame can't be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The framing can't carry this body. Nothing was queued, and the stream can be used further.
    #[error("the frame can't be sent")]
    Unframeable(#[from] FrameError),
    /// The framing refuses this request. Nothing was queued, and the stream can be used further.
    #[error("the protocol refuses this request: {0}")]
    Refused(Failure),
    /// As many requests as may have no reply yet: 65,536. Nothing was queued:
    /// [receive](FramedStream::receive) first, or see
    /// [`without_requests`](FramedStream::without_requests).
    #[error("65,536 requests have no reply yet")]
    TooManyUnanswered,
    /// So much is queued that this frame would exceed [`max_queued`](FramedStream::max_queued).
    /// Nothing was queued: [flush](FramedStream::flush) first.
    #[error(
        "{queued} bytes are queued, and a frame of {frame} would exceed max_queued, which is {max_queued}"
    )]
    #[non_exhaustive]
    Full {
        /// Bytes that are queued and not yet written.
        queued: usize,
        /// Bytes of this frame.
        frame: usize,
        /// The limit.
        max_queued: usize,
    },
    /// The stream can't be written to any more. A part of what was queued may have been sent.
    #[error("the connection broke")]
    Io(#[from] io::Error),
}

/// Why no frame can be received. The stream can't be used to receive any further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The peer has closed its side within a frame or a heartbeat.
    #[error("the peer closed the connection within a frame")]
    Truncated,
    /// What came is no frame of this protocol, or is longer than its limit. Nobody knows where the
    /// next frame begins, so each further call answers the same.
    #[error("what came is no frame")]
    Frame(#[from] FrameError),
    /// A reply came that isn't the oldest request's. Nobody knows whose the others are, so each
    /// further call answers the same.
    #[error("a reply came that answers another request")]
    Mismatched,
    /// As many requests were received as may have no reply yet: 65,536. Each further call answers the
    /// same: see [`without_requests`](FramedStream::without_requests).
    #[error("65,536 requests have no reply yet")]
    TooManyUnanswered,
    /// The stream broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
}

impl<F: Framing> FramedStream<F> {
    /// The client's end: sends requests, receives replies. Nothing of the protocol may have been
    /// read from or written to the stream in part.
    pub fn new(stream: Stream, framing: F) -> Self {
        FramedStream::that_sends(Direction::Request, stream, framing)
    }

    /// The server's end: receives requests, sends replies.
    pub fn accepted(stream: Stream, framing: F) -> Self {
        FramedStream::that_sends(Direction::Reply, stream, framing)
    }

    fn that_sends(sends: Direction, stream: Stream, framing: F) -> Self {
        FramedStream {
            framed: Framed::new(stream),
            outstanding: Outstanding::for_framing(&framing),
            framing,
            sends,
            outgoing: Outgoing::keeping(KEPT),
            max_queued: MAX_QUEUED,
            ends_with_heartbeat: false,
            lost: None,
        }
    }

    /// Keeps nothing of requests, whatever the framing says of them: for protocols that aren't request
    /// and reply. Then no frame is taken for another's reply, and none is checked.
    pub fn without_requests(mut self) -> Self {
        self.outstanding = None;
        self
    }

    /// How many bytes may be queued and not yet written. Default 1 MiB: enough to fill many writes,
    /// and little to hold for a peer that doesn't read. A longer frame goes alone.
    pub fn max_queued(mut self, bytes: usize) -> Self {
        self.max_queued = bytes;
        self
    }

    /// Puts a body into a frame, behind those that are queued. It isn't sent before
    /// [`flush`](FramedStream::flush) or [`send`](FramedStream::send).
    ///
    /// # Errors
    ///
    /// [`SendError::Unframeable`], [`SendError::Refused`], [`SendError::TooManyUnanswered`],
    /// [`SendError::Full`]. Nothing is queued then.
    pub fn queue(&mut self, body: &[u8]) -> Result<(), SendError> {
        self.queue_asking(Message::Body(body)).map(drop)
    }

    /// Queues a whole frame as it is, as [`queue`](FramedStream::queue) does a body. Only its id is
    /// changed, on the client's end, if the framing [has one](Framing::id).
    ///
    /// # Errors
    ///
    /// As [`queue`](FramedStream::queue): [`FrameError::NotOneFrame`] if it isn't exactly one frame.
    pub fn queue_frame(&mut self, frame: &[u8]) -> Result<(), SendError> {
        self.queue_asking(Message::Frame(frame)).map(drop)
    }

    /// Queues a message. Whether it is a request that gets a reply.
    pub(crate) fn queue_asking(&mut self, message: Message<'_>) -> Result<bool, SendError> {
        let gets_reply = match self.sends {
            Direction::Request => self.queue_request(message)?,
            Direction::Reply => {
                self.queue_reply(message)?;
                false
            }
        };
        self.ends_with_heartbeat = false;
        Ok(gets_reply)
    }

    fn queue_request(&mut self, message: Message<'_>) -> Result<bool, SendError> {
        let (framing, outstanding) = (&self.framing, &mut self.outstanding);
        let (outgoing, max_queued) = (&mut self.outgoing, self.max_queued);
        if outstanding
            .as_ref()
            .is_some_and(|outstanding| outstanding.is_full())
        {
            return Err(SendError::TooManyUnanswered);
        }
        let state = outstanding
            .as_ref()
            .map(|outstanding| outstanding.state().clone());
        let number = outstanding
            .as_mut()
            .map_or(0, |outstanding| outstanding.next_number());
        let queued = with_request(
            framing,
            message,
            state.as_ref(),
            || number,
            |frame, asked| {
                append(outgoing, max_queued, frame)?;
                let gets_reply = asked.as_ref().is_none_or(|asked| !asked.is_silent());
                if let (Some(outstanding), Some(asked)) = (outstanding, asked) {
                    outstanding.push(asked);
                }
                Ok(gets_reply)
            },
        );
        queued.map_err(|unsendable| match unsendable {
            Unsendable::Frame(error) => SendError::Unframeable(error),
            Unsendable::Refused(failure) => SendError::Refused(failure),
        })?
    }

    fn queue_reply(&mut self, message: Message<'_>) -> Result<(), SendError> {
        let framing = &self.framing;
        let oldest = self.outstanding.as_deref().map(Outstanding::oldest);
        let context = match &oldest {
            Some(oldest) => oldest.context(),
            None => framing::Context::REPLY,
        };
        let (outgoing, outstanding) = (&mut self.outgoing, &mut self.outstanding);
        let max_queued = self.max_queued;
        // Into a buffer of its own: a framing may write the head when it knows the rest.
        with_encoded(
            |out| {
                match message {
                    Message::Body(body) => framing.encode(context, body, out)?,
                    Message::Frame(frame) => {
                        extent_of(framing, context, frame)?;
                        out.extend_from_slice(frame);
                    }
                }
                if let (Some(field), Some(id)) =
                    (framing.id(), oldest.as_ref().and_then(|oldest| oldest.id))
                {
                    field.write(out, id);
                }
                Ok::<_, FrameError>(())
            },
            |frame| {
                append(outgoing, max_queued, frame)?;
                if let Some(outstanding) = outstanding {
                    outstanding.replied(framing, frame);
                }
                Ok(())
            },
        )?
    }

    /// Queues a heartbeat, unless the last that is queued is one already. Whether one is queued
    /// now: not if the protocol has none, or if [`max_queued`](FramedStream::max_queued) leaves no
    /// room for it.
    pub fn queue_heartbeat(&mut self) -> bool {
        let Some(heartbeat) = self.framing.heartbeat() else {
            return false;
        };
        let queued = self.outgoing.remaining();
        if queued > 0 && self.ends_with_heartbeat {
            return true;
        }
        if queued > 0 && queued.saturating_add(heartbeat.len()) > self.max_queued {
            return false;
        }
        self.outgoing.append(|out| out.extend_from_slice(heartbeat));
        self.ends_with_heartbeat = true;
        true
    }

    /// Bytes that are queued and not yet written.
    pub fn queued(&self) -> usize {
        self.outgoing.remaining()
    }

    /// Whether all that was queued has been written and flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Writes all that is queued.
    ///
    /// # Errors
    ///
    /// The stream can't be written to any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was written is remembered, and the next flush goes on behind it.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// As [`flush`](FramedStream::flush), for futures written by hand.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.outgoing.poll_rest(self.framed.stream_mut(), cx)
    }

    /// Sends a body in a frame, with all that is queued before it.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    ///
    /// # Cancel safety
    ///
    /// The frame is queued when this is first polled. Dropped after that, the frame stays queued,
    /// as a whole or what is left of it, and goes with the next flush: don't send it again. No
    /// other frame is ever written into it.
    pub async fn send(&mut self, body: &[u8]) -> Result<(), SendError> {
        self.queue(body)?;
        Ok(self.flush().await?)
    }

    /// Sends a whole frame as it is, with all that is queued before it: see
    /// [`queue_frame`](FramedStream::queue_frame).
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    ///
    /// # Cancel safety
    ///
    /// As [`send`](FramedStream::send).
    pub async fn send_frame(&mut self, frame: &[u8]) -> Result<(), SendError> {
        self.queue_frame(frame)?;
        Ok(self.flush().await?)
    }

    /// The body of the next frame. Heartbeats before it are passed over. Nothing, if the peer has
    /// closed its side between two frames.
    ///
    /// # Errors
    ///
    /// See [`ReceiveError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was read is kept, and no frame is lost.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// The next frame, as it came; otherwise as [`receive`](FramedStream::receive). On the client's
    /// end its id is the one that its request had.
    ///
    /// # Errors
    ///
    /// See [`ReceiveError`].
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](FramedStream::receive).
    pub async fn receive_frame(&mut self) -> Result<Option<Frame>, ReceiveError> {
        poll_fn(|cx| self.poll_receive_frame(cx)).await
    }

    /// As [`receive`](FramedStream::receive), for futures written by hand. Of a long frame one call
    /// reads 256 KiB or some more, and it passes over 64 heartbeats at most; then it is `Pending`,
    /// and the task is woken when all others have had a turn.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ReceiveError>> {
        self.poll_receive_frame(cx)
            .map_ok(|frame| frame.map(Frame::into_body))
    }

    /// As [`receive_frame`](FramedStream::receive_frame), for futures written by hand: see
    /// [`poll_receive`](FramedStream::poll_receive).
    pub fn poll_receive_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame>, ReceiveError>> {
        let verdict = ready!(self.poll_verdict(cx))?;
        Poll::Ready(Ok(verdict.map(|verdict| match verdict {
            Verdict::Last(frame)
            | Verdict::More(frame)
            | Verdict::Push(frame)
            | Verdict::Unasked(frame) => frame,
            Verdict::Mismatch => unreachable!("it is an error"),
        })))
    }

    /// The next frame, and what it is. A mismatch is an error. On the server's end, and for
    /// framings that don't look at requests, nobody asks what it is.
    pub(crate) fn poll_verdict(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Verdict>, ReceiveError>> {
        if let Some(lost) = &self.lost {
            return Poll::Ready(Err(lost.clone().into()));
        }
        for _ in 0..BEATS_AT_ONCE {
            let outstanding = self.outstanding.as_deref();
            let context = match self.sends {
                Direction::Request => Outstanding::reply_context(outstanding),
                Direction::Reply => Outstanding::request_context(outstanding),
            };
            let next = ready!(self.framed.poll_next(&self.framing, context, cx));
            return Poll::Ready(match next {
                Ok(Item::Heartbeat) => continue,
                Ok(Item::Frame(_)) if self.is_full_of_requests() => {
                    Err(self.lose(Lost::TooManyUnanswered))
                }
                Ok(Item::Frame(frame)) => match self.judge(frame) {
                    Verdict::Mismatch => Err(self.lose(Lost::Mismatched)),
                    verdict => Ok(Some(verdict)),
                },
                Err(ReadError::Closed) => Ok(None),
                Err(ReadError::Truncated) => Err(ReceiveError::Truncated),
                Err(ReadError::Io(error)) => Err(ReceiveError::Io(error)),
                Err(ReadError::Frame(error)) => Err(self.lose(Lost::Frame(error))),
            });
        }
        let _ = pin!(tokio::task::yield_now()).poll(cx);
        Poll::Pending
    }

    fn is_full_of_requests(&self) -> bool {
        let outstanding = self.outstanding.as_deref();
        self.sends == Direction::Reply && outstanding.is_some_and(Outstanding::is_full)
    }

    fn judge(&mut self, frame: Frame) -> Verdict {
        match (&mut self.outstanding, self.sends) {
            (None, _) => Verdict::Last(frame),
            (Some(outstanding), Direction::Request) => outstanding.judge(&self.framing, frame),
            (Some(outstanding), Direction::Reply) => {
                // Whoever receives a request that must not be sent says so in a reply.
                let admission = self.framing.admit(frame.as_bytes(), outstanding.state());
                let asked = Asked::received(&self.framing, &frame, admission.demand);
                outstanding.push(Box::new(asked));
                Verdict::Last(frame)
            }
        }
    }

    fn lose(&mut self, lost: Lost) -> ReceiveError {
        self.lost.insert(lost).clone().into()
    }

    /// What has been received beyond the last frame, without waiting and without taking it: the
    /// beginning of what [`receive`](FramedStream::receive) will answer. What lies in the socket is
    /// not part of it before it was read: [`peek`](FramedStream::peek) reads.
    pub fn buffered(&self) -> &[u8] {
        self.framed.left_over()
    }

    /// Waits until something is there beyond the last frame, and shows it without taking it: at
    /// least one byte, or none if the peer has closed its side. To tell which protocol a peer
    /// speaks, or that it says something unasked.
    ///
    /// # Errors
    ///
    /// The stream broke.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was read is kept.
    pub async fn peek(&mut self) -> io::Result<&[u8]> {
        poll_fn(|cx| self.framed.poll_some(cx)).await?;
        Ok(self.framed.left_over())
    }

    /// The framing.
    pub fn framing(&self) -> &F {
        &self.framing
    }

    /// The stream, for its addresses and its state.
    pub fn stream(&self) -> &Stream {
        self.framed.stream()
    }

    /// The stream, with what was received beyond the last frame, and the requests that aren't
    /// answered.
    pub(crate) fn into_parts(self) -> (Framed, Option<Box<Outstanding>>) {
        (self.framed, self.outstanding)
    }

    /// The stream alone. What was received beyond the last frame, and what is queued, is dropped.
    pub fn into_stream(self) -> Stream {
        self.framed.into_stream()
    }
}

/// Queues a frame, if there is room for it.
fn append(outgoing: &mut Outgoing, max_queued: usize, frame: &[u8]) -> Result<(), SendError> {
    let queued = outgoing.remaining();
    if queued > 0 && queued.saturating_add(frame.len()) > max_queued {
        return Err(SendError::Full {
            queued,
            frame: frame.len(),
            max_queued,
        });
    }
    outgoing.append(|out| out.extend_from_slice(frame));
    Ok(())
}

impl From<Lost> for ReceiveError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Frame(error) => ReceiveError::Frame(error),
            Lost::Mismatched => ReceiveError::Mismatched,
            Lost::TooManyUnanswered => ReceiveError::TooManyUnanswered,
        }
    }
}
