//! What a stream is read and written by when a user brings it: any asynchronous reader and writer.
//! It can't be asked what has arrived, so a look reads one byte ahead and keeps it for the next
//! read.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop::unconstrained,
};

/// Whatever can carry a stream.
pub(super) trait ForeignIo: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ForeignIo for T {}

/// A user's reader and writer, and what was read from it ahead.
pub(super) struct Foreign {
    io: Box<dyn ForeignIo>,
    ahead: Option<Ahead>,
    /// The waker of the last read that had to wait. The reader keeps only the last waker that it
    /// was polled by, so a look gives this one back to it.
    reader: Option<Waker>,
}

/// What the reader answered when nobody had asked for it yet.
enum Ahead {
    Byte(u8),
    /// The end of the stream. It stays.
    End,
    Failed(io::Error),
}

impl Foreign {
    pub(super) fn new(io: impl ForeignIo + 'static) -> Self {
        Foreign {
            io: Box::new(io),
            ahead: None,
            reader: None,
        }
    }

    pub(super) fn io(&mut self) -> Pin<&mut dyn ForeignIo> {
        Pin::new(&mut *self.io)
    }

    pub(super) fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Whether a byte, the end or an error is there to be read, found out without waiting.
    pub(super) fn has_unread(&mut self) -> bool {
        let _ = self.at_once(|this, cx| this.poll_ahead(cx));
        self.ahead.is_some()
    }

    /// Whether the next read fails.
    pub(super) fn has_failed(&mut self) -> bool {
        self.has_unread() && matches!(self.ahead, Some(Ahead::Failed(_)))
    }

    /// Waits until there is something to read.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ahead.is_none() {
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            let read = ready!(self.poll_io(cx, &mut buffer));
            self.ahead = Some(match (read, buffer.filled().first()) {
                (Err(error), _) => Ahead::Failed(error),
                (Ok(()), Some(byte)) => Ahead::Byte(*byte),
                (Ok(()), None) => Ahead::End,
            });
        }
        Poll::Ready(())
    }

    /// Reads what was read ahead, and whatever else there is.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.ahead.take() {
            None => return self.poll_io(cx, buffer),
            Some(Ahead::Failed(error)) => return Poll::Ready(Err(error)),
            Some(Ahead::End) => self.ahead = Some(Ahead::End),
            Some(Ahead::Byte(byte)) => {
                buffer.put_slice(&[byte]);
                let read = buffer.filled().len();
                if buffer.remaining() > 0 {
                    match self.poll_io(cx, buffer) {
                        Poll::Ready(Err(error)) => self.ahead = Some(Ahead::Failed(error)),
                        Poll::Ready(Ok(())) if buffer.filled().len() == read => {
                            self.ahead = Some(Ahead::End);
                        }
                        Poll::Ready(Ok(())) | Poll::Pending => {}
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what there is, without waiting. The buffer must not be empty.
    pub(super) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match self.at_once(|this, cx| this.poll_read(cx, &mut buffer)) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_io(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.io().poll_read(cx, buffer);
        self.reader = match read {
            Poll::Pending => Some(cx.waker().clone()),
            Poll::Ready(_) => None,
        };
        read
    }

    /// Polls without waiting. The first poll is by a waker that does nothing, and displaces the
    /// waker of the last read that had to wait. If there is nothing, a second poll gives that waker
    /// back. If bytes arrived between the two polls they woke nobody, so this wakes it. The task's
    /// budget doesn't count: used up, it would look like silence.
    fn at_once<T>(
        &mut self,
        mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let waiting = self.reader.take();
        let mut once = |this: &mut Self, waker: &Waker| {
            let polled = pin!(unconstrained(poll_fn(|cx| poll(this, cx))));
            polled.poll(&mut Context::from_waker(waker))
        };
        let polled = once(self, Waker::noop());
        match (polled, waiting) {
            (Poll::Pending, Some(waker)) => {
                let polled = once(self, &waker);
                if polled.is_ready() {
                    waker.wake();
                }
                polled
            }
            (polled, _) => {
                self.reader = None;
                polled
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
        time::Duration,
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::timeout,
    };

    use super::*;
    use crate::{IdleState, Stream};

    fn pair() -> (Stream, DuplexStream) {
        let (near, far) = duplex(64);
        (Stream::foreign(near), far)
    }

    async fn within<F: Future>(work: F) -> F::Output {
        let done = timeout(Duration::from_secs(10), work).await;
        done.expect("it takes an instant")
    }

    #[tokio::test]
    async fn an_idle_look_sees_nothing_then_bytes_then_the_end() {
        let (mut stream, mut far) = pair();
        assert_eq!(stream.check_idle(), IdleState::Quiet);
        far.write_all(b"unasked").await.expect("a write");
        assert_eq!(stream.check_idle(), IdleState::Bytes);
        let (mut stream, far) = pair();
        drop(far);
        assert_eq!(stream.check_idle(), IdleState::Closed);
        assert_eq!(stream.check_idle(), IdleState::Closed, "still");
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_the_first_that_is_read() {
        let (mut stream, mut far) = pair();
        assert!(!stream.has_unread());
        far.write_all(b"request").await.expect("a write");
        assert!(stream.has_unread() && stream.has_unread());
        within(poll_fn(|cx| stream.poll_read_ready(cx)))
            .await
            .expect("something");
        let mut read = [0; 16];
        assert_eq!(stream.try_read(&mut read).expect("bytes"), 7);
        assert_eq!(&read[..7], b"request");

        far.write_all(b"more").await.expect("a write");
        assert!(stream.has_unread());
        let read = within(stream.read(&mut read)).await.expect("bytes");
        assert_eq!(read, 4, "both parts in one read");
        let empty = stream.try_read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(empty, Err(io::ErrorKind::WouldBlock));
    }

    #[tokio::test]
    async fn the_end_right_behind_the_byte_that_was_read_ahead_is_told() {
        let (mut stream, mut far) = pair();
        far.write_all(b"1").await.expect("a write");
        drop(far);
        assert!(stream.has_unread());
        let mut read = Vec::new();
        within(stream.read_to_end(&mut read)).await.expect("an end");
        assert_eq!((&read[..], stream.has_unread()), (&b"1"[..], true));
        assert!(!stream.is_gone(), "it has only ended");
    }

    /// A reader that answers once, by an error.
    struct Fails(Option<io::ErrorKind>);

    impl AsyncRead for Fails {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.0.take() {
                Some(kind) => Poll::Ready(Err(kind.into())),
                None => Poll::Pending,
            }
        }
    }

    impl AsyncWrite for Fails {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn an_error_that_a_look_has_met_is_told_by_the_next_read() {
        let mut stream = Stream::foreign(Fails(Some(io::ErrorKind::ConnectionReset)));
        assert!(stream.is_gone() && stream.is_gone());
        let error = stream.read(&mut [0]).await.expect_err("an error");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut stream = Stream::foreign(Fails(Some(io::ErrorKind::ConnectionReset)));
        assert_eq!(stream.check_idle(), IdleState::Broken);
    }

    #[tokio::test]
    async fn a_look_leaves_the_waker_of_whoever_waits() {
        let (mut stream, mut far) = pair();
        let looked = Arc::new(tokio::sync::Notify::new());
        let tell = Arc::clone(&looked);
        let mut first = true;
        // A task of its own: nothing else must poll it, or a lost waker wouldn't be missed.
        let wait = tokio::spawn(poll_fn(move |cx| {
            let ready = stream.poll_read_ready(cx);
            if std::mem::take(&mut first) {
                assert!(ready.is_pending());
                assert_eq!(stream.check_idle(), IdleState::Quiet);
                assert!(!stream.has_unread());
                tell.notify_one();
            }
            ready
        }));
        within(looked.notified()).await;
        far.write_all(b"x").await.expect("a write");
        within(wait).await.expect("no panic").expect("a byte");
    }

    /// A reader whose byte arrives between its second poll and its third. It wakes the waker of the
    /// second, as whatever polled last.
    struct ArrivesBehindTheSecondPoll(usize);

    impl AsyncRead for ArrivesBehindTheSecondPoll {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0 += 1;
            match self.0 {
                1 => return Poll::Pending,
                2 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                _ => buffer.put_slice(b"x"),
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for ArrivesBehindTheSecondPoll {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn bytes_that_arrive_within_a_look_wake_whoever_waits() {
        let mut stream = Stream::foreign(ArrivesBehindTheSecondPoll(0));
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(Arc::clone(&wakes));
        let wait = stream.poll_read_ready(&mut Context::from_waker(&waker));
        assert!(wait.is_pending());
        assert!(stream.has_unread());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(stream.try_read(&mut [0]).expect("the byte"), 1);
    }

    #[tokio::test]
    async fn a_task_that_has_used_its_budget_up_still_sees_what_has_arrived() {
        let (mut stream, mut far) = pair();
        far.write_all(b"x").await.expect("a write");
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        assert_eq!(stream.check_idle(), IdleState::Bytes);
    }

    #[tokio::test]
    async fn a_closed_stream_says_farewell_and_an_aborted_one_ends_too() {
        for close in [Stream::close, Stream::abort] {
            let (stream, mut far) = pair();
            close(stream);
            let mut read = Vec::new();
            assert_eq!(within(far.read_to_end(&mut read)).await.expect("an end"), 0);
        }
    }

    #[test]
    fn a_foreign_stream_is_shared_between_threads_and_has_no_addresses() {
        fn is_shared<T: Send + Sync>(_: &T) {}
        let (stream, _far) = pair();
        is_shared(&stream);
        assert!(stream.peer_addr().is_none() && stream.tcp().is_none() && stream.unix().is_none());
        assert_eq!(format!("{stream:?}"), r#"Stream { transport: "foreign" }"#);
    }
}
