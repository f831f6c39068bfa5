//! Streams without sockets, for tests: two ends in one process, on tokio's paused clock. One end
//! can be made as slow as a stream may be: each read and write is `Pending` at first, and then
//! carries one byte.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};

use crate::net::Stream;

/// How fast an end reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As much as there is.
    AtOnce,
    /// Every read that finds something, every write and flush is `Pending` once, and then one byte
    /// is carried.
    ByByte,
}

/// What the near ends of an [`Inlet`] have done, all together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) read: AtomicUsize,
    pub(crate) written: AtomicUsize,
    /// How many writes have carried something.
    pub(crate) writes: AtomicUsize,
    pub(crate) open: AtomicUsize,
    pub(crate) opened: AtomicUsize,
    /// The largest room cleared beforehand that a read was given.
    pub(crate) cleared: AtomicUsize,
    /// Nobody listens: streams that would be opened are refused.
    pub(crate) is_down: AtomicBool,
}

impl Tally {
    /// How many streams are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// How many were ever opened.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Relaxed)
    }

    /// Bytes carried, both ways; but for those that a look found, which waits for nothing.
    pub(crate) fn carried(&self) -> usize {
        self.read.load(Relaxed) + self.written.load(Relaxed)
    }
}

/// What a connector opens streams by; the far ends come out of the receiver.
#[derive(Debug)]
pub(crate) struct Inlet {
    pace: Pace,
    /// How many bytes one direction holds.
    capacity: usize,
    tally: Arc<Tally>,
    far: mpsc::UnboundedSender<MemoryStream>,
}

impl Inlet {
    pub(crate) fn new(
        pace: Pace,
        capacity: usize,
    ) -> (Inlet, mpsc::UnboundedReceiver<MemoryStream>, Arc<Tally>) {
        let (far, accepted) = mpsc::unbounded_channel();
        let tally = Arc::<Tally>::default();
        let inlet = Inlet {
            pace,
            capacity,
            tally: Arc::clone(&tally),
            far,
        };
        (inlet, accepted, tally)
    }

    /// Opens a stream; its far end goes to the receiver.
    pub(crate) fn open(&self) -> io::Result<Stream> {
        if self.tally.is_down.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let [there, back] = [(); 2].map(|()| Arc::new(Mutex::new(Pipe::new(self.capacity))));
        let far = MemoryStream::new(Arc::clone(&there), Arc::clone(&back), Pace::AtOnce, None);
        let near = MemoryStream::new(back, there, self.pace, Some(Arc::clone(&self.tally)));
        self.far
            .send(far)
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(Stream::foreign(near))
    }
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Nothing more will be written.
    ended: bool,
    /// Nobody reads any more.
    deaf: bool,
    /// What is read is an error.
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Pipe {
            bytes: VecDeque::new(),
            capacity,
            ended: false,
            deaf: false,
            reset: false,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
            .for_each(Waker::wake);
    }

    /// Whether a read would be answered.
    fn has_something(&self) -> bool {
        !self.bytes.is_empty() || self.ended || self.reset
    }

    /// Takes at most as many bytes as fit.
    fn take(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        if self.reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.bytes.is_empty() {
            return self.ended.then_some(Ok(0));
        }
        let taken = self.bytes.len().min(into.len());
        let (front, back) = self.bytes.as_slices();
        let of_front = taken.min(front.len());
        into[..of_front].copy_from_slice(&front[..of_front]);
        into[of_front..taken].copy_from_slice(&back[..taken - of_front]);
        self.bytes.drain(..taken);
        self.writer.take().into_iter().for_each(Waker::wake);
        Some(Ok(taken))
    }
}

/// An end.
#[derive(Debug)]
pub(crate) struct MemoryStream {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    pace: Pace,
    tally: Option<Arc<Tally>>,
    /// The last read, write, or flush was made to wait.
    read_held: bool,
    write_held: bool,
    flush_held: bool,
}

impl MemoryStream {
    fn new(
        incoming: Arc<Mutex<Pipe>>,
        outgoing: Arc<Mutex<Pipe>>,
        pace: Pace,
        tally: Option<Arc<Tally>>,
    ) -> Self {
        if let Some(tally) = &tally {
            tally.open.fetch_add(1, Relaxed);
            tally.opened.fetch_add(1, Relaxed);
        }
        MemoryStream {
            incoming,
            outgoing,
            pace,
            tally,
            read_held: false,
            write_held: false,
            flush_held: false,
        }
    }

    /// Breaks both directions; what was under way is lost.
    pub(crate) fn reset(&self) {
        for pipe in [&self.incoming, &self.outgoing] {
            let mut pipe = pipe.lock();
            pipe.reset = true;
            pipe.deaf = true;
            pipe.wake();
        }
    }

    /// Takes nothing more in: the other side's writes fail, but what was sent to it can still be
    /// read.
    pub(crate) fn stop_reading(&self) {
        let mut pipe = self.incoming.lock();
        pipe.deaf = true;
        pipe.wake();
    }

    fn count(&self, bytes: usize, what: impl Fn(&Tally) -> &AtomicUsize) {
        if let Some(tally) = &self.tally {
            what(tally).fetch_add(bytes, Relaxed);
        }
    }

    /// Whether this time it has to wait.
    fn is_held(pace: Pace, held: &mut bool, cx: &Context<'_>) -> bool {
        *held = pace == Pace::ByByte && !*held;
        if *held {
            cx.waker().wake_by_ref();
        }
        *held
    }

    fn at_once(&self, length: usize) -> usize {
        match self.pace {
            Pace::AtOnce => length,
            Pace::ByByte => length.min(1),
        }
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A look brings no waker: nobody's has no address. It finds what is there at once, and isn't
        // counted.
        let is_look = cx.waker().data().is_null();
        if !is_look
            && this.incoming.lock().has_something()
            && MemoryStream::is_held(this.pace, &mut this.read_held, cx)
        {
            return Poll::Pending;
        }
        if let Some(tally) = this.tally.as_ref().filter(|_| !is_look) {
            let cleared = buffer.initialized().len() - buffer.filled().len();
            tally.cleared.fetch_max(cleared, Relaxed);
        }
        // The near end does as sockets do: who reads on and on is made to pause.
        let budget = match this.tally {
            Some(_) => Some(ready!(tokio::task::coop::poll_proceed(cx))),
            None => None,
        };
        let room = match is_look {
            true => buffer.remaining(),
            false => this.at_once(buffer.remaining()),
        };
        let mut pipe = this.incoming.lock();
        let room = room.min(pipe.bytes.len());
        match pipe.take(buffer.initialize_unfilled_to(room)) {
            None => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(taken) => {
                drop(pipe);
                if let Some(budget) = budget {
                    budget.made_progress();
                }
                let taken = taken?;
                buffer.advance(taken);
                if !is_look {
                    this.count(taken, |tally| &tally.read);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if MemoryStream::is_held(this.pace, &mut this.write_held, cx) {
            return Poll::Pending;
        }
        let mut pipe = this.outgoing.lock();
        if pipe.deaf {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = pipe.capacity.saturating_sub(pipe.bytes.len());
        let taken = this.at_once(bytes.len().min(room));
        if taken == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.extend(&bytes[..taken]);
        pipe.reader.take().into_iter().for_each(Waker::wake);
        drop(pipe);
        this.count(taken, |tally| &tally.written);
        this.count(1, |tally| &tally.writes);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match MemoryStream::is_held(this.pace, &mut this.flush_held, cx) {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.outgoing.lock();
        pipe.ended = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.lock();
        outgoing.ended = true;
        outgoing.wake();
        drop(outgoing);
        let mut incoming = self.incoming.lock();
        incoming.deaf = true;
        incoming.wake();
        drop(incoming);
        if let Some(tally) = &self.tally {
            tally.open.fetch_sub(1, Relaxed);
        }
    }
}
