//! Bytes on their way to a socket: what it hasn't taken yet, and how much of that it has taken
//! since. Everything that writes frames writes by this: the client in both modes, the server, and
//! [`FramedStream`](super::FramedStream).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::buffers::with_encoded;
use crate::net::Stream;

/// What takes bytes.
pub(crate) trait Sink {
    /// As [`AsyncWrite::poll_write`].
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// As [`AsyncWrite::poll_flush`]. TLS may hold back a record that it has taken; a flush sends
    /// it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Sink for Stream {
    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(self), cx, bytes)
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }
}

/// See the module.
///
/// [`begin`](Outgoing::begin) writes at once as far as the socket takes it. Most often that is all
/// of it, and nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// What the socket hasn't taken at once.
    rest: Vec<u8>,
    /// How much of that it has taken since.
    written: usize,
    /// How much it has taken in all.
    taken: usize,
    /// Something was written since the last flush.
    unflushed: bool,
    /// How many bytes the buffer keeps when all is written.
    kept: u32,
}

impl Outgoing {
    /// Keeps a buffer of up to so many bytes when all is written, for what comes next.
    pub(crate) fn keeping(kept: u32) -> Self {
        Outgoing {
            kept,
            ..Outgoing::default()
        }
    }

    /// Begins to write what `encode` puts into a buffer. One system call, if the socket takes it.
    ///
    /// # Errors
    ///
    /// What `encode` says; then nothing is written. What the socket says, which may have taken a
    /// part.
    pub(crate) fn begin<E>(
        &mut self,
        sink: &mut impl Sink,
        cx: &mut Context<'_>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<(), io::Error>, E> {
        with_encoded(encode, |bytes| self.begin_with(sink, cx, bytes))
    }

    /// Begins to write these bytes. One system call, if the socket takes them; then they aren't
    /// copied.
    ///
    /// # Errors
    ///
    /// What the socket says, which may have taken a part.
    #[inline]
    pub(crate) fn begin_with(
        &mut self,
        sink: &mut impl Sink,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        debug_assert!(self.is_empty(), "what came before must go before");
        self.write_now(sink, cx, bytes)?;
        self.unflushed = true;
        match self.poll_rest(sink, cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    /// Adds bytes behind what is left, without writing them: `fill` is shown the buffer, and may
    /// only append to it.
    pub(crate) fn append<R>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.drop_written();
        let before = self.rest.len();
        let filled = fill(&mut self.rest);
        self.unflushed |= self.rest.len() > before;
        filled
    }

    /// Makes room for more once half of the buffer has been written: it would grow without end
    /// where more is always added before all is written. No byte is moved more than once for each
    /// that was written.
    fn drop_written(&mut self) {
        if self.written > 0 && self.written >= self.rest.len() / 2 {
            self.rest.drain(..self.written);
            self.written = 0;
        }
    }

    /// Writes as much as the socket takes, and keeps the rest.
    #[inline]
    fn write_now(
        &mut self,
        sink: &mut impl Sink,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match sink.poll_write(cx, rest) {
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

    /// Nothing is left to be written or flushed.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty() && !self.unflushed
    }

    /// How many bytes the socket has taken in all.
    #[inline]
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// How many bytes the buffer of what is left takes up.
    pub(crate) fn held(&self) -> usize {
        self.rest.capacity()
    }

    /// How many bytes are left that the socket hasn't taken.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len() - self.written
    }

    /// Writes the rest, and flushes. Cancel safe: what was written is remembered.
    #[inline]
    pub(crate) fn poll_rest(
        &mut self,
        sink: &mut impl Sink,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.rest.len() {
            match ready!(sink.poll_write(cx, &self.rest[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => {
                    self.written += more;
                    self.taken += more;
                }
            }
        }
        self.rest.clear();
        self.rest.shrink_to(self.kept as usize);
        self.written = 0;
        ready!(sink.poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}
