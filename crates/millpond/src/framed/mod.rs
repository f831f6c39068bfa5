//! A stream whose bytes are frames: reads them as they come, however they are cut, and keeps what
//! came beyond them. What both sides of every protocol need; what an exchange is, and whose turn it
//! is, the client and the server know.
//!
//! # Where the bytes lie
//!
//! A read goes to a buffer of the thread, and what it brought is taken from there, so a connection
//! on which nothing is under way holds no buffer at all. Only what is left over, a part of a frame
//! or the frames behind the first, is kept in one of the connection's own; that grows with what
//! arrives, never with what was announced. Of a long frame of which as much has come as the
//! thread's buffer holds, the rest is read straight into the connection's.
//!
//! # What it costs
//!
//! Work and memory are proportional to the bytes received, however they are cut, if the framing
//! uses its [`Scan`]. For that the framing is asked once or twice for each read and each item,
//! never for each byte.

mod allowance;
mod batch;
mod pulse;
mod received;

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop::has_budget_remaining,
};

pub use self::allowance::HeartbeatLimit;
use self::received::Received;
pub(crate) use self::{
    allowance::{Allowance, validate_heartbeats},
    pulse::Pulse,
};
use crate::{
    framing::{Direction, Extent, FrameError, Framing, Scan, Step},
    net::Stream,
};

/// The size of a thread's buffer: a read that doesn't fill it tells the reactor that nothing more
/// has arrived, at no further system call.
const THREAD_BUFFER: usize = 16 << 10;

/// How much one call of [`Framed::poll_next`] reads: behind that, whoever reads a long frame looks
/// at the clock.
pub(crate) const READ_AT_ONCE: usize = 256 << 10;

/// Frames up to this length are copied out of the connection's buffer, so that none pins a larger
/// one.
const SMALL_FRAME: usize = 4 << 10;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; THREAD_BUFFER].into_boxed_slice());
    static WRITE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A stream, and what was received on it beyond the last item.
#[derive(Debug)]
pub(crate) struct Framed {
    stream: Stream,
    received: Received,
    scan: Scan,
    /// See [`Framed::is_caught_up`].
    caught_up: bool,
}

/// What arrives on a framed stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Frame(Frame),
    Heartbeat,
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    whole: Bytes,
    extent: Extent,
}

impl Frame {
    /// All of its bytes.
    #[inline]
    pub(crate) fn length(&self) -> usize {
        self.whole.len()
    }

    /// What is in it: without a second owner, which would cost an allocation.
    #[inline]
    pub(crate) fn into_body(mut self) -> Bytes {
        self.whole.advance(self.extent.head);
        if self.extent.tail > 0 {
            self.whole.truncate(self.extent.body);
        }
        self.whole
    }
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The peer has closed its side, at a boundary.
    Closed,
    /// The peer has closed its side within a frame or a heartbeat.
    Truncated,
    /// What came is no frame.
    Frame(FrameError),
    /// The connection broke.
    Io(io::Error),
}

impl Framed {
    pub(crate) fn new(stream: Stream) -> Self {
        Framed {
            stream,
            received: Received::default(),
            scan: Scan::default(),
            caught_up: false,
        }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// What has been received beyond the last item.
    #[inline]
    pub(crate) fn left_over(&self) -> &[u8] {
        self.received.as_slice()
    }

    /// How many bytes the buffer of what has been received takes up.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.received.capacity()
    }

    /// The length of the frame that is on its way, once its head has told.
    pub(crate) fn announced(&self) -> Option<usize> {
        self.scan.announced().map(Extent::length)
    }

    /// Whether the last read found that nothing more has arrived. Only then does the peer's silence
    /// mean something.
    ///
    /// A read that is pending need not have looked: once a task has used up its budget, tokio
    /// refuses every read until the task's next turn (which it arranges), whatever lies in the
    /// socket.
    #[inline]
    pub(crate) fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// The next item, if all of it has been received.
    #[inline]
    pub(crate) fn take(
        &mut self,
        framing: &impl Framing,
        way: Direction,
    ) -> Result<Option<Item>, FrameError> {
        if self.received.is_empty() {
            return Ok(None);
        }
        Ok(
            match first(framing, way, self.received.as_slice(), &mut self.scan)? {
                Step::More { .. } => None,
                Step::Heartbeat { length } => {
                    self.scan.reset();
                    self.received.forget(length);
                    Some(Item::Heartbeat)
                }
                Step::Frame(extent) => {
                    self.scan.reset();
                    let whole = self.received.take(extent.length());
                    Some(Item::Frame(Frame { whole, extent }))
                }
            },
        )
    }

    /// Reads what has arrived already, without waiting, and adds it to what was received; no system
    /// call while the reactor has seen nothing arrive. What is there is shown by
    /// [`take`](Framed::take).
    #[inline]
    pub(crate) fn receive_now(&mut self) -> io::Result<usize> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let arrived = self.stream.try_read(buffer)?;
            self.received.append(&buffer[..arrived]);
            Ok(arrived)
        })
    }

    /// The next item. Of one that is long, [`READ_AT_ONCE`] bytes or some more are read in one
    /// call: then it is `Pending`, and the task is woken when all others and the reactor have
    /// had a turn. Cancel safe: what was read is kept.
    pub(crate) fn poll_next(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Item, ReadError>> {
        let next = ready!(self.poll_next_within(framing, way, usize::MAX, cx))?;
        Poll::Ready(Ok(next.expect("no buffer is so long")))
    }

    /// The next item, as [`poll_next`](Framed::poll_next) has it, if no more than `most` bytes have
    /// to be kept for it: nothing, when so many have come and more are missing. What one read
    /// brings may go beyond it.
    pub(crate) fn poll_next_within(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Item>, ReadError>> {
        let before = self.received.len();
        loop {
            if let Some(item) = self.take(framing, way).map_err(ReadError::Frame)? {
                return Poll::Ready(Ok(Some(item)));
            }
            if self.received.len() >= most {
                return Poll::Ready(Ok(None));
            }
            if self.received.len() - before >= READ_AT_ONCE {
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            }
            let arrived = match self.received.is_empty() {
                true => ready!(self.poll_first(framing, way, cx))?,
                false => ready!(self.poll_more(most, cx))?,
            };
            match arrived {
                Arrived::Item(item) => return Poll::Ready(Ok(Some(item))),
                Arrived::Bytes => {}
                Arrived::End if self.received.is_empty() => {
                    return Poll::Ready(Err(ReadError::Closed));
                }
                Arrived::End => return Poll::Ready(Err(ReadError::Truncated)),
            }
        }
    }

    /// Reads where nothing is left over: into the thread's buffer, and takes the first item from
    /// there.
    fn poll_first(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Arrived, ReadError>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let arrived = ready!(self.poll_read(cx, buffer)).map_err(ReadError::Io)?;
            if arrived.is_empty() {
                return Poll::Ready(Ok(Arrived::End));
            }
            let Some((item, taken)) =
                first_in(framing, way, arrived, &mut self.scan).map_err(ReadError::Frame)?
            else {
                self.received.append(arrived);
                return Poll::Ready(Ok(Arrived::Bytes));
            };
            self.received.append(&arrived[taken..]);
            Poll::Ready(Ok(Arrived::Item(item)))
        })
    }

    /// Reads the rest of what has begun, as far as that makes it `most` bytes.
    fn poll_more(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Result<Arrived, ReadError>> {
        let room = most - self.received.len();
        let arrived = match self.lacks_much() {
            Some(lacking) => ready!(self.poll_fill(cx, lacking.min(room))),
            // Whatever has come with the rest is read at once, and none of it costs room before it
            // is there.
            None => ready!(READ_BUFFER.with_borrow_mut(|buffer| {
                let arrived = ready!(self.poll_read(cx, buffer))?;
                self.received.append(arrived);
                Poll::Ready(Ok(arrived.len()))
            })),
        };
        Poll::Ready(match arrived.map_err(ReadError::Io)? {
            0 => Ok(Arrived::End),
            _ => Ok(Arrived::Bytes),
        })
    }

    /// How much of a frame is to be read straight into the connection's buffer, if that pays: not
    /// while little has come of it, for then little may be given to it, and not for its end,
    /// for the thread's buffer takes up what is behind that as well. A long frame's end is read
    /// alone: what is behind it would make a long buffer longer.
    fn lacks_much(&self) -> Option<usize> {
        let received = self.received.len();
        let lacking = match self.announced() {
            Some(whole) => whole.saturating_sub(received),
            None => usize::MAX,
        };
        let is_long = received >= 4 * THREAD_BUFFER;
        (is_long || received >= THREAD_BUFFER && lacking >= THREAD_BUFFER).then_some(lacking)
    }

    /// Reads once, into a buffer of the thread.
    #[inline]
    fn poll_read<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut [u8],
    ) -> Poll<io::Result<&'b [u8]>> {
        let mut unfilled = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut unfilled);
        let arrived = unfilled.filled().len();
        self.caught_up = found_nothing(&read);
        ready!(read)?;
        Poll::Ready(Ok(&buffer[..arrived]))
    }

    /// Reads once, into the connection's buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let read = self.received.poll_fill(&mut self.stream, cx, most);
        self.caught_up = found_nothing(&read);
        read
    }
}

/// Whether a read is pending since nothing has arrived, and not since tokio refused it to a task
/// without budget.
#[inline]
fn found_nothing<T>(read: &Poll<T>) -> bool {
    read.is_pending() && has_budget_remaining()
}

/// What the bytes begin with, if the framing's answer can be true.
#[inline]
fn first(
    framing: &impl Framing,
    way: Direction,
    bytes: &[u8],
    scan: &mut Scan,
) -> Result<Step, FrameError> {
    framing.next(way, bytes, scan)?.checked(bytes.len(), scan)
}

/// The item that the bytes begin with, as a copy, and its length; nothing, if not all of it is
/// there.
#[inline]
fn first_in(
    framing: &impl Framing,
    way: Direction,
    bytes: &[u8],
    scan: &mut Scan,
) -> Result<Option<(Item, usize)>, FrameError> {
    let (item, length) = match first(framing, way, bytes, scan)? {
        Step::More { .. } => return Ok(None),
        Step::Heartbeat { length } => (Item::Heartbeat, length),
        Step::Frame(extent) => {
            let whole = Bytes::copy_from_slice(&bytes[..extent.length()]);
            (Item::Frame(Frame { whole, extent }), extent.length())
        }
    };
    scan.reset();
    Ok(Some((item, length)))
}

/// What a read has brought.
enum Arrived {
    /// Something, which has been added to what was received.
    Bytes,
    /// An item, taken from it at once.
    Item(Item),
    /// The peer has closed its side.
    End,
}

/// Shows what `encode` puts together, in a buffer of the thread. Neither may write to a stream by
/// [`Outgoing::begin`].
///
/// # Errors
///
/// What `encode` says.
pub(crate) fn with_encoded<R, E>(
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    show: impl FnOnce(&[u8]) -> R,
) -> Result<R, E> {
    WRITE_BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let encoded = encode(buffer);
        let shown = encoded.map(|()| show(buffer));
        buffer.clear();
        buffer.shrink_to(THREAD_BUFFER);
        shown
    })
}

/// Bytes on their way out.
///
/// What `encode` puts together is written at once as far as the socket takes it; most often that is
/// all of it, and nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// What the socket hasn't taken at once.
    rest: Vec<u8>,
    /// How much of that it has taken since.
    written: usize,
    /// How much it has taken in all.
    taken: usize,
    /// TLS may hold a record back that it has taken.
    unflushed: bool,
}

impl Outgoing {
    /// Begins to write what `encode` puts into a buffer. One system call, if the socket takes it.
    ///
    /// # Errors
    ///
    /// What `encode` says; then nothing is written. What the socket says, which may have taken a
    /// part.
    pub(crate) fn begin<E>(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<(), io::Error>, E> {
        debug_assert!(self.is_empty(), "what came before must go before");
        let written = with_encoded(encode, |bytes| self.write_now(stream, cx, bytes))?;
        if written.is_err() {
            return Ok(written);
        }
        self.unflushed = true;
        Ok(match self.poll_rest(stream, cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        })
    }

    /// Writes as much as the socket takes, and keeps the rest.
    #[inline]
    fn write_now(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(more)) => {
                    rest = &rest[more..];
                    self.taken += more;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.rest = rest.to_vec();
                    break;
                }
            }
        }
        Ok(())
    }

    /// Nothing is left to be written.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty() && !self.unflushed
    }

    /// How many bytes the socket has taken.
    #[inline]
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// How many bytes the buffer of what is left takes up.
    pub(crate) fn held(&self) -> usize {
        self.rest.capacity()
    }

    /// How many bytes are left that the stream hasn't taken.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len() - self.written
    }

    /// Writes the rest. Cancel safe: what was written is remembered.
    #[inline]
    pub(crate) fn poll_rest(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.rest.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.rest[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => {
                    self.written += more;
                    self.taken += more;
                }
            }
        }
        self.rest = Vec::new();
        self.written = 0;
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
