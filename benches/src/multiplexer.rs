//! The multiplexer that one would write by hand: per connection a channel, a writer task that sends
//! whatever is queued in one write, and a reader task that answers the callers in order. It has no
//! deadlines, no limits and no second connection when one fails.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::slices::{Caller, HEADER, append_frame, body_length};

/// When the writer writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// As soon as something is queued.
    AtOnce,
    /// After one pause, so that callers who are ready append theirs.
    AfterAPause,
}

/// Its connections end when it is dropped, or when all callers are gone.
pub(crate) struct Multiplexer {
    lines: Vec<mpsc::UnboundedSender<Request>>,
    _tasks: JoinSet<io::Result<()>>,
    writes: Arc<AtomicU64>,
}

struct Request {
    frame: Vec<u8>,
    reply: oneshot::Sender<Vec<u8>>,
}

/// Whose replies are still to come on a connection, in order; `None` once it has ended.
type Awaited = Arc<Mutex<Option<VecDeque<oneshot::Sender<Vec<u8>>>>>>;

impl Multiplexer {
    pub(crate) async fn connect(
        address: SocketAddr,
        connections: usize,
        when: Writes,
    ) -> io::Result<Self> {
        let (writes, mut tasks, mut lines) = (Arc::default(), JoinSet::new(), Vec::new());
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (read_half, write_half) = stream.into_split();
            let counted = Counted {
                stream: write_half,
                writes: Arc::clone(&writes),
            };
            // Never longer than there are callers: each waits for its reply.
            let (line, requests) = mpsc::unbounded_channel();
            let awaited = Arc::new(Mutex::new(Some(VecDeque::new())));
            tasks.spawn(write(counted, requests, Arc::clone(&awaited), when));
            tasks.spawn(async move {
                let ended = read(read_half, &awaited).await;
                // Who still waits is told, and nobody new waits.
                *awaited.lock() = None;
                ended
            });
            lines.push(line);
        }
        Ok(Multiplexer {
            lines,
            _tasks: tasks,
            writes,
        })
    }

    /// Callers, spread evenly over the connections.
    pub(crate) fn callers(&self, callers: usize) -> Vec<Multiplexed> {
        let lines = self.lines.iter().cycle().take(callers);
        lines
            .map(|line| Multiplexed { line: line.clone() })
            .collect()
    }

    /// How many writes all its connections have made.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

pub(crate) struct Multiplexed {
    line: mpsc::UnboundedSender<Request>,
}

impl Caller for Multiplexed {
    async fn exchange(&mut self, body: &[u8]) -> anyhow::Result<impl AsRef<[u8]> + Send> {
        let mut frame = Vec::with_capacity(HEADER + body.len());
        append_frame(body, &mut frame);
        let (reply, replied) = oneshot::channel();
        let sent = self.line.send(Request { frame, reply });
        sent.ok().context("the connection's writer has ended")?;
        replied
            .await
            .context("the connection ended before its reply came")
    }
}

async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut requests: mpsc::UnboundedReceiver<Request>,
    awaited: Awaited,
    when: Writes,
) -> io::Result<()> {
    /// Requests per write at most.
    const MOST: usize = 1024;
    let (mut queued, mut bytes) = (Vec::with_capacity(MOST), Vec::new());
    while requests.recv_many(&mut queued, MOST).await > 0 {
        if when == Writes::AfterAPause {
            tokio::task::yield_now().await;
            while queued.len() < MOST
                && let Ok(request) = requests.try_recv()
            {
                queued.push(request);
            }
        }
        bytes.clear();
        {
            let mut awaited = awaited.lock();
            let Some(awaited) = awaited.as_mut() else {
                return Ok(());
            };
            for request in queued.drain(..) {
                bytes.extend_from_slice(&request.frame);
                awaited.push_back(request.reply);
            }
        }
        stream.write_all(&bytes).await?;
    }
    Ok(())
}

async fn read(mut stream: impl AsyncRead + Unpin, awaited: &Awaited) -> io::Result<()> {
    let (mut bytes, mut filled) = (vec![0; 64 * 1024], 0);
    loop {
        // Also when a frame is longer than the buffer: then nothing fits.
        let read = stream.read(&mut bytes[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut frames = &bytes[..filled];
        {
            let mut awaited = awaited.lock();
            let awaited = awaited.as_mut().expect("only the reader's end takes it");
            while let Some((header, rest)) = frames.split_first_chunk::<HEADER>() {
                let Some((body, rest)) = rest.split_at_checked(body_length(header)?) else {
                    break;
                };
                let caller = awaited.pop_front();
                let caller =
                    caller.ok_or_else(|| io::Error::other("a reply that nobody asked for"))?;
                // A caller that is gone wants no reply.
                let _ = caller.send(body.to_vec());
                frames = rest;
            }
        }
        let parsed = filled - frames.len();
        bytes.copy_within(parsed..filled, 0);
        filled -= parsed;
    }
}

/// Counts the writes that the stream took, whole or in part.
struct Counted<S> {
    stream: S,
    writes: Arc<AtomicU64>,
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_caller_gets_its_own_reply_however_the_bytes_are_torn() {
        // So many bytes come at a time: headers and bodies are torn anywhere.
        let (mut peer, stream) = tokio::io::duplex(33);
        let body_of = |number: usize| number.to_string().repeat(number).into_bytes();
        let (senders, replies): (VecDeque<_>, Vec<_>) = (0..20).map(|_| oneshot::channel()).unzip();
        tokio::spawn(async move { read(stream, &Arc::new(Mutex::new(Some(senders)))).await });
        tokio::spawn(async move {
            let mut frames = Vec::new();
            for number in 0..20 {
                append_frame(&body_of(number), &mut frames);
            }
            peer.write_all(&frames).await
        });
        for (number, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.await.unwrap(), body_of(number));
        }
    }

    #[tokio::test]
    async fn callers_are_told_that_the_connection_has_ended() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let multiplexer = Multiplexer::connect(listener.local_addr().unwrap(), 1, Writes::AtOnce)
            .await
            .unwrap();
        let mut caller = multiplexer.callers(1).remove(0);
        tokio::spawn(async move { drop(listener.accept().await) });
        let told = tokio::time::timeout(std::time::Duration::from_secs(10), caller.exchange(b"1"));
        assert!(told.await.expect("told at all").is_err());
    }
}
