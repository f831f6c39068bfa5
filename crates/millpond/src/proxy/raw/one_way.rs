//! Bytes in one direction: read from one stream, and written to another as far as that takes them.
//! While nothing waits to be written, no buffer is held; while something does, nothing is read.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{net::Stream, server::transfer_time};

/// How many bytes are read at once, and so held at most: a record of TLS.
pub(super) const AT_ONCE: usize = 16 << 10;

/// How slowly a side may take what is written to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteLimit {
    pub(super) timeout: Duration,
    pub(super) least_rate: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct OneWay {
    /// Read, and not written yet.
    rest: Bytes,
    stage: Stage,
    /// What was written may still be in a buffer of TLS.
    is_unflushed: bool,
    /// How many bytes were written.
    passed: u64,
    /// When what is being written must have been taken; only while the other side doesn't.
    write_due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The end was read, and is to be passed on.
    Ending,
    Ended,
    /// The side to which bytes go takes none any more.
    Unwritable,
}

/// Which side it was that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The one that is read.
    Source,
    /// The one that is written to.
    Sink,
}

impl OneWay {
    /// These bytes were read already.
    pub(super) fn new(ahead: Vec<u8>) -> Self {
        OneWay {
            rest: ahead.into(),
            stage: Stage::Open,
            is_unflushed: false,
            passed: 0,
            write_due: None,
        }
    }

    /// How many bytes were written.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// All that its source had to say has been passed on, its end included.
    pub(super) fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    pub(super) fn write_due(&self) -> Option<Instant> {
        self.write_due
    }

    /// Passes on what there is. Ready when the end was passed on, or a side is broken; asked again,
    /// it is ready again.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        limit: WriteLimit,
        [source, sink]: [&mut Stream; 2],
    ) -> Poll<Result<(), Broken>> {
        loop {
            let written = self.poll_write(cx, sink);
            if written.is_pending() {
                let length = self.rest.len();
                self.write_due.get_or_insert_with(|| {
                    now + transfer_time(limit.timeout, length, limit.least_rate)
                });
                return Poll::Pending;
            }
            self.write_due = None;
            match self.stage {
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Unwritable => return Poll::Ready(Err(Broken::Sink)),
                Stage::Open => match ready!(self.poll_read(cx, [source, sink])) {
                    Ok(()) => {}
                    Err(broken) => return Poll::Ready(Err(broken)),
                },
                Stage::Ending => {}
            }
        }
    }

    /// Writes the rest, and the end behind it.
    fn poll_write(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Poll<()> {
        while !self.rest.is_empty() {
            match ready!(Pin::new(&mut *sink).poll_write(cx, &self.rest)) {
                Ok(written @ 1..) => {
                    self.took(written);
                    self.rest.advance(written);
                }
                Ok(0) | Err(_) => return self.unwritable(),
            }
        }
        // Frees the buffer.
        self.rest = Bytes::new();
        if self.is_unflushed {
            if ready!(Pin::new(&mut *sink).poll_flush(cx)).is_err() {
                return self.unwritable();
            }
            self.is_unflushed = false;
        }
        if self.stage == Stage::Ending {
            match ready!(Pin::new(&mut *sink).poll_shutdown(cx)) {
                Ok(()) => self.stage = Stage::Ended,
                Err(_) => return self.unwritable(),
            }
        }
        Poll::Ready(())
    }

    /// Reads once. What is read is written at once, as most often it can be; only the rest of it is
    /// kept.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        [source, sink]: [&mut Stream; 2],
    ) -> Poll<Result<(), Broken>> {
        let mut room = [const { MaybeUninit::uninit() }; AT_ONCE];
        let mut buffer = ReadBuf::uninit(&mut room);
        if ready!(Pin::new(source).poll_read(cx, &mut buffer)).is_err() {
            return Poll::Ready(Err(Broken::Source));
        }
        let read = buffer.filled();
        if read.is_empty() {
            self.stage = Stage::Ending;
            return Poll::Ready(Ok(()));
        }
        match Pin::new(sink).poll_write(cx, read) {
            Poll::Ready(Ok(written)) => {
                self.took(written);
                self.rest = Bytes::copy_from_slice(&read[written..]);
            }
            Poll::Ready(Err(_)) => self.stage = Stage::Unwritable,
            Poll::Pending => self.rest = Bytes::copy_from_slice(read),
        }
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, written: usize) {
        self.passed += written as u64;
        self.is_unflushed = true;
    }

    fn unwritable(&mut self) -> Poll<()> {
        self.rest = Bytes::new();
        self.is_unflushed = false;
        self.stage = Stage::Unwritable;
        Poll::Ready(())
    }
}
