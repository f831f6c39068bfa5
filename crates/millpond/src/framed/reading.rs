//! A stream that is read item by item, or all items that a read brings at once.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    task::coop::has_budget_remaining,
};

use super::{
    buffers::{THREAD_BUFFER, with_read_buffer},
    decoder::Decoder,
    item::{Item, Items, ReadError},
};
use crate::{
    framing::{self, FrameError, Framing},
    net::Stream,
};

/// How much one call of [`Framed::poll_next`] reads at most, or some more. Then the reader of a
/// long frame looks at the clock.
pub(crate) const READ_AT_ONCE: usize = 256 << 10;

/// A stream, and what was received on it beyond the last item. The caller passes the framing.
#[derive(Debug)]
pub(crate) struct Framed {
    stream: Stream,
    pub(super) decoder: Decoder,
    /// See [`Framed::is_caught_up`].
    caught_up: bool,
}

impl Framed {
    pub(crate) fn new(stream: Stream) -> Self {
        Framed {
            stream,
            decoder: Decoder::default(),
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
        self.decoder.received.as_slice()
    }

    /// How many bytes the buffer of what has been received takes up.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.decoder.received.capacity()
    }

    /// The length of the frame that is on its way, once its head has told.
    pub(crate) fn announced(&self) -> Option<usize> {
        self.decoder.announced()
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
        context: framing::Context<'_>,
    ) -> Result<Option<Item>, FrameError> {
        self.decoder.take(framing, context)
    }

    /// Reads what has arrived already, without waiting, and adds it to what was received; no system
    /// call while the reactor has seen nothing arrive. What is there is shown by
    /// [`take`](Framed::take).
    #[inline]
    pub(crate) fn receive_now(&mut self) -> io::Result<usize> {
        with_read_buffer(|buffer| {
            let arrived = self.stream.try_read(buffer)?;
            self.decoder.received.append(&buffer[..arrived]);
            Ok(arrived)
        })
    }

    /// The next item. Of one that is long, [`READ_AT_ONCE`] bytes or some more are read in one
    /// call: then it is `Pending`, and the task is woken when all others and the reactor have
    /// had a turn. Cancel safe: what was read is kept.
    pub(crate) fn poll_next(
        &mut self,
        framing: &impl Framing,
        context: framing::Context<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Item, ReadError>> {
        let next = ready!(self.poll_next_within(framing, context, usize::MAX, cx))?;
        Poll::Ready(Ok(next.expect("no buffer is so long")))
    }

    /// The next item, as [`poll_next`](Framed::poll_next) has it, if no more than `most` bytes have
    /// to be kept for it: nothing, when so many have come and more are missing. What one read
    /// brings may go beyond it.
    pub(crate) fn poll_next_within(
        &mut self,
        framing: &impl Framing,
        context: framing::Context<'_>,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Item>, ReadError>> {
        let before = self.decoder.received.len();
        loop {
            if let Some(item) = self.take(framing, context).map_err(ReadError::Frame)? {
                return Poll::Ready(Ok(Some(item)));
            }
            if self.decoder.received.len() >= most {
                return Poll::Ready(Ok(None));
            }
            if self.decoder.received.len() - before >= READ_AT_ONCE {
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            }
            let arrived = match self.decoder.received.is_empty() {
                true => ready!(self.poll_first(framing, context, cx))?,
                false => ready!(self.poll_more(most, cx))?,
            };
            match arrived {
                Arrived::Item(item) => return Poll::Ready(Ok(Some(item))),
                Arrived::Bytes => {}
                Arrived::End if self.decoder.received.is_empty() => {
                    return Poll::Ready(Err(ReadError::Closed));
                }
                Arrived::End => return Poll::Ready(Err(ReadError::Truncated)),
            }
        }
    }

    /// Reads once, and hands over every item that is there as a whole, in order. It is ready when
    /// something has arrived, though that may be a part of an item alone; what comes before an
    /// error is handed over first. `items` must not read.
    ///
    /// Cancel safe: what was read and not handed over is kept.
    pub(crate) fn poll_batch(
        &mut self,
        framing: &impl Framing,
        cx: &mut Context<'_>,
        items: &mut impl Items,
    ) -> Poll<Result<(), ReadError>> {
        if let Some(lacking) = self.lacks_much() {
            // A long frame: straight to where it is put together.
            return Poll::Ready(
                match ready!(self.poll_fill(cx, lacking)).map_err(ReadError::Io)? {
                    0 => Err(ReadError::Truncated),
                    _ => self.sort(framing, &[], items),
                },
            );
        }
        with_read_buffer(|buffer| {
            let arrived = ready!(self.poll_read(cx, buffer)).map_err(ReadError::Io)?;
            Poll::Ready(match arrived {
                [] if self.decoder.received.is_empty() => Err(ReadError::Closed),
                [] => Err(ReadError::Truncated),
                arrived => self.sort(framing, arrived, items),
            })
        })
    }

    /// Hands over all whole items of what was left over and what has arrived behind it, and keeps
    /// the rest.
    fn sort(
        &mut self,
        framing: &impl Framing,
        mut arrived: &[u8],
        items: &mut impl Items,
    ) -> Result<(), ReadError> {
        while let Some(item) = (self.decoder)
            .next(framing, items.context(), &mut arrived)
            .map_err(ReadError::Frame)?
        {
            if items.item(item).is_break() {
                self.decoder.received.append(arrived);
                break;
            }
        }
        Ok(())
    }

    /// Ready when something is left over, or the peer has closed its side. Cancel safe: what was
    /// read is kept.
    pub(super) fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.decoder.received.is_empty() {
            return Poll::Ready(Ok(()));
        }
        with_read_buffer(|buffer| {
            let arrived = ready!(self.poll_read(cx, buffer))?;
            self.decoder.received.append(arrived);
            Poll::Ready(Ok(()))
        })
    }

    /// Reads where nothing is left over: into the thread's buffer, and takes the first item from
    /// there.
    fn poll_first(
        &mut self,
        framing: &impl Framing,
        context: framing::Context<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Arrived, ReadError>> {
        with_read_buffer(|buffer| {
            let arrived = ready!(self.poll_read(cx, buffer)).map_err(ReadError::Io)?;
            if arrived.is_empty() {
                return Poll::Ready(Ok(Arrived::End));
            }
            let mut rest = arrived;
            let first = self.decoder.next(framing, context, &mut rest);
            let Some(item) = first.map_err(ReadError::Frame)? else {
                return Poll::Ready(Ok(Arrived::Bytes));
            };
            self.decoder.received.append(rest);
            Poll::Ready(Ok(Arrived::Item(item)))
        })
    }

    /// Reads the rest of what has begun, as far as that makes it `most` bytes.
    fn poll_more(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Result<Arrived, ReadError>> {
        let room = most - self.decoder.received.len();
        let arrived = match self.lacks_much() {
            Some(lacking) => ready!(self.poll_fill(cx, lacking.min(room))),
            // Whatever has come with the rest is read at once, and none of it costs room before it
            // is there.
            None => ready!(with_read_buffer(|buffer| {
                let arrived = ready!(self.poll_read(cx, buffer))?;
                self.decoder.received.append(arrived);
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
        let received = self.decoder.received.len();
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
        let read = self.decoder.received.poll_fill(&mut self.stream, cx, most);
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

/// What a read has brought.
enum Arrived {
    /// Something, which has been added to what was received.
    Bytes,
    /// An item, taken from it at once.
    Item(Item),
    /// The peer has closed its side.
    End,
}
