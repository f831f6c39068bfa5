//! A stream whose bytes are frames: reads them as they come, however they are cut, and keeps what came beyond them. What both sides of
//! every protocol need; what an exchange is, and whose turn it is, the client and the server know.
//!
//! # Where the bytes lie
//!
//! A read goes to a buffer of the thread, and what it brought is taken from there, so a connection on which nothing is under
//! way holds no buffer at all. Only what is left over, a part of a frame or the frames behind the first, is kept in one of the connection's own;
//! that grows with what arrives, never with what was announced.

mod allowance;
mod batch;
mod pulse;

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::allowance::HeartbeatLimit;
pub(crate) use self::{allowance::Allowance, pulse::Pulse};
use crate::{
    framing::{Direction, Extent, FrameError, Framing, Scan, Step},
    transport::Stream,
};

/// The size of a thread's buffer: a read that doesn't fill it tells the reactor that nothing more has arrived, at no further system
/// call.
const THREAD_BUFFER: usize = 16 << 10;

/// How much is read at once at least of a frame that is larger than that.
const LARGE_READ: usize = 64 << 10;

/// How much one call of [`Framed::poll_next`] reads: behind that, whoever reads a long frame looks at the clock.
pub(crate) const READ_AT_ONCE: usize = 256 << 10;

/// Frames up to this length are copied out of the connection's buffer, so that none pins a larger one.
const SMALL_FRAME: usize = 4 << 10;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; THREAD_BUFFER].into_boxed_slice());
    static WRITE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A stream, and what was received on it beyond the last item.
#[derive(Debug)]
pub(crate) struct Framed {
    stream: Stream,
    received: BytesMut,
    scan: Scan,
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
            received: BytesMut::new(),
            scan: Scan::default(),
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

    /// How many bytes have been received beyond the last item.
    #[inline]
    pub(crate) fn left_over(&self) -> &[u8] {
        &self.received
    }

    /// The length of the frame that is on its way, once its head has told.
    pub(crate) fn announced(&self) -> Option<usize> {
        self.scan.extent.map(Extent::length)
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
        match framing.next(way, &self.received, &mut self.scan)? {
            Step::More { .. } => Ok(None),
            Step::Heartbeat { length } => {
                self.drop_received(length);
                Ok(Some(Item::Heartbeat))
            }
            Step::Frame(extent) => {
                let length = extent.length();
                let whole = if length <= SMALL_FRAME {
                    let copy = Bytes::copy_from_slice(&self.received[..length]);
                    self.drop_received(length);
                    copy
                } else {
                    self.split_received(length).freeze()
                };
                Ok(Some(Item::Frame(Frame { whole, extent })))
            }
        }
    }

    /// Forgets the first bytes, and the buffer with the last of them.
    fn drop_received(&mut self, length: usize) {
        self.scan = Scan::default();
        if length == self.received.len() {
            self.received = BytesMut::new();
        } else {
            drop(self.received.split_to(length));
        }
    }

    /// Parts with the buffer and the first bytes in it. What is behind them moves to one of its own, so that neither pins the other's.
    fn split_received(&mut self, length: usize) -> BytesMut {
        self.scan = Scan::default();
        let behind = match &self.received[length..] {
            [] => BytesMut::new(),
            behind => BytesMut::from(behind),
        };
        let mut first = std::mem::replace(&mut self.received, behind);
        first.truncate(length);
        first
    }

    /// Reads what has arrived already, without waiting, and adds it to what was received; no system call while the reactor has seen nothing
    /// arrive. What is there is shown by [`take`](Framed::take).
    #[inline]
    pub(crate) fn receive_now(&mut self) -> io::Result<usize> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let arrived = self.stream.try_read(buffer)?;
            self.received.extend_from_slice(&buffer[..arrived]);
            Ok(arrived)
        })
    }

    /// The next item. Of one that is long, [`READ_AT_ONCE`] bytes or some more are read in one call: then it is `Pending`, and the task is
    /// woken when all others and the reactor have had a turn. Cancel safe: what was read is kept.
    pub(crate) fn poll_next(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Item, ReadError>> {
        let before = self.received.len();
        loop {
            if let Some(item) = self.take(framing, way).map_err(ReadError::Frame)? {
                return Poll::Ready(Ok(item));
            }
            if self.received.len() - before >= READ_AT_ONCE {
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            }
            let arrived = match self.received.is_empty() {
                true => ready!(self.poll_first(framing, way, cx))?,
                false => ready!(self.poll_more(framing, way, cx))?,
            };
            match arrived {
                Arrived::Item(item) => return Poll::Ready(Ok(item)),
                Arrived::Bytes => {}
                Arrived::End if self.received.is_empty() => return Poll::Ready(Err(ReadError::Closed)),
                Arrived::End => return Poll::Ready(Err(ReadError::Truncated)),
            }
        }
    }

    /// Reads where nothing is left over: into the thread's buffer, and takes the first item from there.
    fn poll_first(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Arrived, ReadError>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).map_err(ReadError::Io)?;
            let arrived = buffer.filled();
            if arrived.is_empty() {
                return Poll::Ready(Ok(Arrived::End));
            }
            let step = framing
                .next(way, arrived, &mut self.scan)
                .map_err(ReadError::Frame)?;
            let (item, taken) = match step {
                Step::More { .. } => {
                    self.received.extend_from_slice(arrived);
                    return Poll::Ready(Ok(Arrived::Bytes));
                }
                Step::Heartbeat { length } => (Item::Heartbeat, length),
                Step::Frame(extent) => {
                    let whole = Bytes::copy_from_slice(&arrived[..extent.length()]);
                    (Item::Frame(Frame { whole, extent }), extent.length())
                }
            };
            self.scan = Scan::default();
            self.received.extend_from_slice(&arrived[taken..]);
            Poll::Ready(Ok(Arrived::Item(item)))
        })
    }

    /// Reads the rest of what has begun, into the connection's buffer.
    fn poll_more(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Arrived, ReadError>> {
        let missing = match framing.next(way, &self.received, &mut self.scan) {
            Ok(Step::More { missing }) => missing,
            // The caller has just looked.
            Ok(_) => return Poll::Ready(Ok(Arrived::Bytes)),
            Err(error) => return Poll::Ready(Err(ReadError::Frame(error))),
        };
        if missing < THREAD_BUFFER {
            // Whatever has come with the rest is read at once, and none of it costs room before it is there.
            return READ_BUFFER.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).map_err(ReadError::Io)?;
                self.received.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(match buffer.filled().len() {
                    0 => Arrived::End,
                    _ => Arrived::Bytes,
                }))
            });
        }
        // As much again as has come, at most: who only announces much is given little.
        let room = missing.min(LARGE_READ.max(self.received.len()));
        let before = self.received.len();
        self.received.resize(before + room, 0);
        let mut buffer = ReadBuf::new(&mut self.received[before..]);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let arrived = buffer.filled().len();
        self.received.truncate(before + arrived);
        ready!(read).map_err(ReadError::Io)?;
        Poll::Ready(Ok(match arrived {
            0 => Arrived::End,
            _ => Arrived::Bytes,
        }))
    }
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

/// Shows what `encode` puts together, in a buffer of the thread. Neither may write to a stream by [`Outgoing::begin`].
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
/// What `encode` puts together is written at once as far as the socket takes it; most often that is all of it, and nothing is kept.
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
    /// What `encode` says; then nothing is written. What the socket says, which may have taken a part.
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
    fn write_now(&mut self, stream: &mut Stream, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
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

    /// How many bytes are left that the stream hasn't taken.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len() - self.written
    }

    /// Writes the rest. Cancel safe: what was written is remembered.
    #[inline]
    pub(crate) fn poll_rest(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
