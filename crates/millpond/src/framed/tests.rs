//! What a framed stream holds between its frames: nothing, or no more than it has to; and when a
//! write is complete.

mod budget;
mod framings;
mod splits;
mod stream;
mod tunnel;
mod wrong;

use std::{
    future::{Future, poll_fn},
    ops::ControlFlow,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{buffers::THREAD_BUFFER, received::SMALL_FRAME, *};
use crate::{
    framing::{self, Extent, FrameError, Framing, LengthJson, Scan, Step},
    memory::{Inlet, MemoryStream, Pace},
    net::Stream,
};

/// Calls this with each item of a batch of replies.
struct Each<F>(F);

impl<F: FnMut(Item)> Items for Each<F> {
    fn context(&self) -> framing::Context<'_> {
        framing::Context::REPLY
    }

    fn item(&mut self, item: Item) -> ControlFlow<()> {
        (self.0)(item);
        ControlFlow::Continue(())
    }
}

fn pair(pace: Pace, capacity: usize) -> (Framed, MemoryStream) {
    let (inlet, mut accepted, _) = Inlet::new(pace, capacity);
    let near = inlet.open().expect("a receiver");
    (Framed::new(near), accepted.try_recv().expect("its far end"))
}

fn frame(length: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let framing = LengthJson::default();
    framing
        .encode(framing::Context::REPLY, &vec![b'7'; length], &mut frame)
        .expect("short enough");
    frame
}

async fn next(framed: &mut Framed) -> Item {
    let framing = LengthJson::default();
    poll_fn(|cx| framed.poll_next(&framing, framing::Context::REPLY, cx))
        .await
        .expect("an item")
}

#[tokio::test(start_paused = true)]
async fn after_a_frame_no_buffer_is_left() {
    for pace in [Pace::AtOnce, Pace::ByByte] {
        for length in [
            0,
            1,
            100,
            SMALL_FRAME,
            THREAD_BUFFER - 20,
            THREAD_BUFFER,
            200_000,
        ] {
            let (mut framed, mut far) = pair(pace, 1 << 20);
            far.write_all(&frame(length)).await.unwrap();
            let Item::Frame(reply) = next(&mut framed).await else {
                panic!("a frame of {length}");
            };
            assert_eq!(reply.into_body().len(), length);
            assert_eq!(framed.decoder.received.capacity(), 0, "{length}, {pace:?}");
            assert_eq!(framed.decoder.scan, Scan::default());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_behind_a_large_frame_does_not_pin_its_buffer() {
    // So that the last read brings what is behind the frame as well.
    let wire = [&frame(100_000)[..], b"Heart"].concat();
    for cut in wire.len() - 60..wire.len() {
        let (mut framed, mut far) = pair(Pace::AtOnce, 1 << 20);
        far.write_all(&wire[..cut]).await.unwrap();
        let framing = LengthJson::default();
        let mut cx = Context::from_waker(Waker::noop());
        let first = framed.poll_next(&framing, framing::Context::REPLY, &mut cx);
        far.write_all(&wire[cut..]).await.unwrap();
        let item = match first {
            Poll::Ready(item) => item.expect("an item"),
            Poll::Pending => next(&mut framed).await,
        };
        assert!(matches!(item, Item::Frame(_)));
        framed.receive_now().ok();
        assert_eq!(framed.left_over(), b"Heart");
        assert!(
            framed.decoder.received.capacity() <= THREAD_BUFFER,
            "{}",
            framed.decoder.received.capacity()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn frames_and_heartbeats_come_out_in_their_order() {
    let wire = [
        &frame(3)[..],
        b"HeartBeat",
        &frame(5_000),
        &frame(0),
        b"HeartBeatHear",
    ]
    .concat();
    for pace in [Pace::AtOnce, Pace::ByByte] {
        let (mut framed, mut far) = pair(pace, 1 << 20);
        far.write_all(&wire).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(match next(&mut framed).await {
                Item::Frame(frame) => Some(frame.into_body().len()),
                Item::Heartbeat => None,
            });
        }
        assert_eq!(seen, [Some(3), None, Some(5_000), Some(0), None]);
        drop(far);
        let framing = LengthJson::default();
        let end = poll_fn(|cx| framed.poll_next(&framing, framing::Context::REPLY, cx)).await;
        assert!(matches!(end, Err(ReadError::Truncated)), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_between_frames_is_one() {
    let (mut framed, mut far) = pair(Pace::AtOnce, 100);
    far.write_all(&frame(1)).await.unwrap();
    drop(far);
    next(&mut framed).await;
    let framing = LengthJson::default();
    let end = poll_fn(|cx| framed.poll_next(&framing, framing::Context::REPLY, cx)).await;
    assert!(matches!(end, Err(ReadError::Closed)), "{end:?}");
}

/// A large announcement brings no large buffer: only what arrives does.
#[tokio::test(start_paused = true)]
async fn what_is_announced_takes_no_memory() {
    let (mut framed, mut far) = pair(Pace::AtOnce, 100);
    far.write_all(b"length:0000001000000[").await.unwrap();
    let framing = LengthJson::default();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        framed
            .poll_next(&framing, framing::Context::REPLY, &mut cx)
            .is_pending()
    );
    assert!(
        framed.decoder.received.capacity() <= 64,
        "{}",
        framed.decoder.received.capacity()
    );
}

/// A stream that takes so many bytes, and then waits.
struct Narrow {
    room: usize,
    taken: Vec<u8>,
}

impl Sink for Narrow {
    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let taken = self.room.min(bytes.len());
        if taken == 0 {
            return Poll::Pending;
        }
        self.room -= taken;
        self.taken.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_queue_that_is_never_quite_empty_stays_small() {
    let mut outgoing = Outgoing::default();
    let mut sink = Narrow {
        room: 0,
        taken: Vec::new(),
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut wire = Vec::new();
    for nth in 0..1_000_u32 {
        let frame = nth.to_be_bytes().repeat(256);
        outgoing.append(|out| out.extend_from_slice(&frame));
        wire.extend_from_slice(&frame);
        // One frame and a half stay behind.
        sink.room = if nth == 0 { 0 } else { frame.len() };
        sink.room -= if nth == 1 { frame.len() / 2 } else { 0 };
        assert!(outgoing.poll_rest(&mut sink, &mut cx).is_pending());
        assert!(outgoing.remaining() <= 1_536, "{}", outgoing.remaining());
        assert!(outgoing.held() <= 8 << 10, "{}", outgoing.held());
    }
    sink.room = usize::MAX;
    assert!(outgoing.poll_rest(&mut sink, &mut cx).is_ready());
    assert_eq!(sink.taken, wire, "each byte once, in order");
}

/// TLS may have taken bytes and not have sent them: only a flush ends a write.
#[tokio::test(start_paused = true)]
async fn a_write_is_complete_when_it_is_flushed() {
    for (pace, capacity) in [
        (Pace::AtOnce, 1 << 20),
        (Pace::AtOnce, 7),
        (Pace::ByByte, 7),
    ] {
        let (mut framed, mut far) = pair(pace, capacity);
        let mut outgoing = Outgoing::default();
        assert!(outgoing.is_empty());
        for nth in 1..=2 {
            let mut cx = Context::from_waker(Waker::noop());
            let wire = frame(100);
            let begun = outgoing.begin(framed.stream_mut(), &mut cx, |out| {
                out.extend_from_slice(&wire);
                Ok::<_, ()>(())
            });
            begun.unwrap().unwrap();
            let mut arrived = vec![0; wire.len()];
            let (written, read) = tokio::join!(
                poll_fn(|cx| outgoing.poll_rest(framed.stream_mut(), cx)),
                far.read_exact(&mut arrived),
            );
            written.unwrap();
            read.unwrap();
            assert_eq!(arrived, wire);
            assert!(outgoing.is_empty());
            assert_eq!(outgoing.taken(), nth * wire.len());
        }
    }
    let (mut framed, mut far) = pair(Pace::ByByte, 100);
    let mut outgoing = Outgoing::default();
    let mut cx = Context::from_waker(Waker::noop());
    let begun = outgoing.begin(framed.stream_mut(), &mut cx, |out| {
        out.push(b'l');
        Ok::<_, ()>(())
    });
    begun.unwrap().unwrap();
    assert_eq!(far.read(&mut [0; 10]).await.unwrap(), 1);
    assert_eq!(outgoing.taken(), 1);
    assert!(!outgoing.is_empty(), "not flushed");
    assert!(outgoing.poll_rest(framed.stream_mut(), &mut cx).is_ready());
    assert!(outgoing.is_empty());
}
