//! The public framed stream: both ends, what is kept when a future is dropped, and what ends it.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    framings::{Lines, Stubborn},
    *,
};

type Ours = FramedStream<LengthJson>;

fn client_end(pace: Pace, capacity: usize) -> (Ours, MemoryStream) {
    let (inlet, mut accepted, _) = Inlet::new(pace, capacity);
    let near = inlet.open().expect("a receiver");
    let stream = FramedStream::new(near, LengthJson::default());
    (stream, accepted.try_recv().expect("its far end"))
}

/// Polls once, and drops.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn both_ends_understand_each_other() {
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    let mut client = FramedStream::new(Stream::from(near), LengthJson::default());
    let mut server = FramedStream::accepted(Stream::from(far), LengthJson::default());
    client.queue(b"1").unwrap();
    assert!(client.queue_heartbeat());
    client.send(b"\"two\"").await.unwrap();
    assert_eq!(client.queued(), 0);
    assert_eq!(server.receive().await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(
        server.receive().await.unwrap().as_deref(),
        Some(&b"\"two\""[..]),
        "heartbeats are passed over"
    );
    server.send(b"3").await.unwrap();
    assert_eq!(client.receive().await.unwrap().as_deref(), Some(&b"3"[..]));
    drop(server);
    assert_eq!(
        client.receive().await.unwrap(),
        None,
        "closed between frames"
    );
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_is_dropped_loses_nothing() {
    let (mut stream, mut far) = client_end(Pace::AtOnce, 1 << 20);
    let wire = [&frame(5)[..], &frame(40_000), &frame(0)].concat();
    let mut seen = Vec::new();
    for piece in wire.chunks(7) {
        far.write_all(piece).await.unwrap();
        // This task has its budget anew.
        tokio::task::yield_now().await;
        // A future of its own each time.
        if let Poll::Ready(received) = poll_once(stream.receive()) {
            seen.push(received.unwrap().expect("a frame").len());
        }
    }
    assert_eq!(seen, [5, 40_000, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_dropped_goes_on_with_the_next_and_no_frame_is_cut() {
    let (mut stream, mut far) = client_end(Pace::AtOnce, 7);
    let body = |of: u8| vec![b'0' + of; 30];
    for of in 0..4 {
        let sent = poll_once(stream.send(&body(of)));
        assert!(sent.is_pending(), "seven bytes are taken");
        assert!(stream.queued() > 0);
    }
    let mut wire = Vec::new();
    for of in 0..4 {
        LengthJson::default()
            .encode(framing::Context::REQUEST, &body(of), &mut wire)
            .unwrap();
    }
    let mut arrived = vec![0; wire.len()];
    let (flushed, read) = tokio::join!(stream.flush(), far.read_exact(&mut arrived));
    flushed.unwrap();
    read.unwrap();
    assert_eq!(arrived, wire, "each frame once, as a whole, in order");
    assert_eq!(stream.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_bounded_and_a_long_frame_goes_alone() {
    let (stream, _far) = client_end(Pace::AtOnce, 7);
    let mut stream = stream.max_queued(100);
    stream.queue(&[b'1'; 200]).expect("it is alone");
    let full = stream.queue(b"1").unwrap_err();
    let SendError::Full {
        queued: 220,
        frame: 21,
        max_queued: 100,
    } = full
    else {
        panic!("{full:?}");
    };
    assert_eq!(stream.queued(), 220, "nothing was queued");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_queued_once_and_only_where_there_is_room() {
    let (inlet, mut accepted, _) = Inlet::new(Pace::AtOnce, 7);
    let near = inlet.open().unwrap();
    let mut far = accepted.try_recv().unwrap();
    // Its frames end as its heartbeats do.
    let mut stream = FramedStream::new(near, Lines::default())
        .max_queued(20)
        .without_requests();
    for _ in 0..100 {
        assert!(stream.queue_heartbeat());
    }
    assert_eq!(stream.queued(), 2);
    stream.queue(b"0123456789").unwrap();
    assert!(stream.queue_heartbeat(), "what is last is a frame");
    assert_eq!(stream.queued(), 16);
    stream.queue(b"").unwrap();
    stream.queue(b"toolong").unwrap_err();
    assert!(stream.queue_heartbeat(), "there is just room for it");
    stream.queue(b"").unwrap_err();
    assert_eq!(stream.queued(), 20);
    assert!(stream.queue_heartbeat(), "it is the last already");
    assert_eq!(stream.queued(), 20);

    let mut arrived = [0; 20];
    let (flushed, read) = tokio::join!(stream.flush(), far.read_exact(&mut arrived));
    flushed.unwrap();
    read.unwrap();
    assert_eq!(&arrived, b"\r\n0123456789\r\n\r\n\r\n\r\n");
    assert!(stream.queue_heartbeat(), "the last has been written");
    assert_eq!(stream.queued(), 2);

    let mut full = stream.max_queued(10);
    full.queue(b"01234").unwrap();
    assert!(!full.queue_heartbeat());
    assert_eq!(full.queued(), 9);
    let (inlet, _accepted, _) = Inlet::new(Pace::AtOnce, 7);
    let mut none = FramedStream::new(inlet.open().unwrap(), Sloppy);
    assert!(!none.queue_heartbeat(), "the protocol has none");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_refused_and_nothing_of_it_is_sent() {
    let (inlet, mut accepted, _) = Inlet::new(Pace::AtOnce, 1 << 20);
    let near = inlet.open().unwrap();
    let mut far = accepted.try_recv().unwrap();
    let mut stream = FramedStream::new(near, LengthJson::with_max_body(10));
    let error = stream.send(&[b'1'; 11]).await.unwrap_err();
    assert!(
        matches!(error, SendError::Unframeable(FrameError::TooLong { .. })),
        "{error:?}"
    );
    stream.send(b"1").await.unwrap();
    let mut arrived = [0; 21];
    far.read_exact(&mut arrived).await.unwrap();
    assert_eq!(&arrived, b"length:00000000000011");
    far.write_all(&frame(11)).await.unwrap();
    let error = stream.receive().await.unwrap_err();
    assert!(
        matches!(error, ReceiveError::Frame(FrameError::TooLong { .. })),
        "{error:?}"
    );
}

/// Behind what is no frame nobody knows where the next one begins: a frame that comes later must
/// not be taken for one.
#[tokio::test(start_paused = true)]
async fn after_what_is_no_frame_nothing_more_is_received() {
    let (mut stream, mut far) = client_end(Pace::AtOnce, 1 << 20);
    far.write_all(b"lenght:").await.unwrap();
    for _ in 0..3 {
        let error = stream.receive().await.unwrap_err();
        assert!(
            matches!(error, ReceiveError::Frame(FrameError::Unexpected { .. })),
            "{error:?}"
        );
        far.write_all(&frame(3)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_within_a_frame_is_told_apart() {
    for (sent, closed) in [(&b""[..], true), (b"length:", false), (b"HeartBe", false)] {
        let (mut stream, mut far) = client_end(Pace::AtOnce, 1 << 20);
        far.write_all(sent).await.unwrap();
        drop(far);
        for _ in 0..2 {
            match stream.receive().await {
                Ok(None) => assert!(closed),
                Err(ReceiveError::Truncated) => assert!(!closed),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Sends heartbeats as fast as they are read; after many of them it breaks.
struct Endless {
    reads: usize,
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads += 1;
        if self.reads == 1_000 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        while buffer.remaining() >= 9 {
            buffer.put_slice(b"HeartBeat");
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_flood_of_heartbeats_lets_others_have_a_turn() {
    let endless = Stream::foreign(Endless { reads: 0 });
    let mut stream = FramedStream::new(endless, LengthJson::default());
    let mut turns = 0;
    let received = tokio::select! {
        biased;
        received = stream.receive() => Some(received),
        () = async {
            while turns < 3 {
                turns += 1;
                tokio::task::yield_now().await;
            }
        } => None,
    };
    assert!(received.is_none(), "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_peeked_at_is_received_all_the_same() {
    let (mut stream, mut far) = client_end(Pace::AtOnce, 1 << 20);
    assert!(poll_once(stream.peek()).is_pending());
    assert_eq!(stream.buffered(), b"");
    far.write_all(&frame(3)).await.unwrap();
    assert_eq!(stream.peek().await.unwrap(), frame(3));
    assert_eq!(stream.buffered(), frame(3));
    assert_eq!(
        stream.receive().await.unwrap().as_deref(),
        Some(&b"777"[..])
    );
    assert_eq!(stream.buffered(), b"");
    drop(far);
    assert_eq!(stream.peek().await.unwrap(), b"", "closed");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_framing_that_cannot_be_true_ends_it() {
    let nothing = Extent::default();
    for answer in [
        Step::Frame(nothing),
        Step::Heartbeat { length: 0 },
        Step::More { missing: 0 },
    ] {
        let (inlet, mut accepted, _) = Inlet::new(Pace::AtOnce, 1 << 20);
        let near = inlet.open().unwrap();
        let mut far = accepted.try_recv().unwrap();
        let mut stream = FramedStream::new(
            near,
            Stubborn {
                answer,
                announces: None,
            },
        );
        far.write_all(b"abc").await.unwrap();
        let received = timeout(Duration::from_secs(1), stream.receive()).await;
        let error = received.expect("no loop without end").unwrap_err();
        assert!(
            matches!(error, ReceiveError::Frame(FrameError::WrongAnswer { .. })),
            "{error:?}"
        );
    }
}

/// Fails to encode after it has written something, as no framing should.
struct Sloppy;

impl Framing for Sloppy {
    fn next(&self, _: framing::Context<'_>, _: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
        Ok(Step::More { missing: 1 })
    }

    fn encode(
        &self,
        _: framing::Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        match body {
            b"bad" => Err(FrameError::Http),
            _ => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_frame_is_never_sent() {
    let (inlet, mut accepted, _) = Inlet::new(Pace::AtOnce, 1 << 20);
    let near = inlet.open().unwrap();
    let mut far = accepted.try_recv().unwrap();
    let mut stream = FramedStream::new(near, Sloppy).without_requests();
    stream.queue(b"good").unwrap();
    stream.queue(b"bad").unwrap_err();
    stream.send(b"better").await.unwrap();
    let mut arrived = [0; 10];
    far.read_exact(&mut arrived).await.unwrap();
    assert_eq!(&arrived, b"goodbetter");
}

/// Writes the head last, where it takes its frame to begin.
struct BackPatching;

impl Framing for BackPatching {
    fn next(&self, _: framing::Context<'_>, _: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
        Ok(Step::More { missing: 1 })
    }

    fn encode(
        &self,
        _: framing::Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        out.push(0);
        out.extend_from_slice(body);
        out[0] = b'0' + body.len() as u8;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn no_framing_can_write_into_the_frames_before_its_own() {
    let (inlet, mut accepted, _) = Inlet::new(Pace::AtOnce, 1 << 20);
    let mut stream = FramedStream::new(inlet.open().unwrap(), BackPatching).without_requests();
    let mut far = accepted.try_recv().unwrap();
    stream.queue(b"a").unwrap();
    stream.queue(b"bc").unwrap();
    stream.send(b"def").await.unwrap();
    let mut arrived = [0; 9];
    far.read_exact(&mut arrived).await.unwrap();
    assert_eq!(&arrived, b"1a2bc3def");
}

#[tokio::test]
async fn a_stream_that_broke_says_so_in_both_directions() {
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    let mut stream = FramedStream::new(Stream::from(near), LengthJson::default());
    drop(far);
    let error = stream.send(b"1").await.unwrap_err();
    let SendError::Io(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
