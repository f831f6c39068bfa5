//! Frames over a stream that is itself made of frames, as a tunnel is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;

/// A stream within frames.
struct Tunnel {
    outer: FramedStream,
    left_over: Bytes,
}

impl Tunnel {
    fn through(outer: FramedStream) -> Stream {
        Stream::foreign(Tunnel {
            outer,
            left_over: Bytes::new(),
        })
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left_over.is_empty() {
            let received = ready!(self.outer.poll_receive(cx)).map_err(io::Error::other)?;
            self.left_over = received.unwrap_or_default();
        }
        let length = self.left_over.len().min(buffer.remaining());
        buffer.put_slice(&self.left_over.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.outer.poll_flush(cx))?;
        self.outer.queue(bytes).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outer.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn frames_travel_in_frames() {
    let (near, far) = tokio::io::duplex(4_096);
    let near = FramedStream::new(Stream::foreign(near), LengthJson::default());
    let far = FramedStream::accepted(Stream::foreign(far), LengthJson::default());
    let mut client = Framed::new(Tunnel::through(near));
    let mut server = FramedStream::accepted(Tunnel::through(far), LengthJson::default());

    // As the client and the server write.
    let mut outgoing = Outgoing::default();
    let begun = poll_fn(|cx| {
        Poll::Ready(outgoing.begin(client.stream_mut(), cx, |out| {
            LengthJson::default().encode(framing::Context::REQUEST, b"[1]", out)
        }))
    });
    begun.await.unwrap().unwrap();
    poll_fn(|cx| outgoing.poll_rest(client.stream_mut(), cx))
        .await
        .unwrap();
    assert_eq!(
        server.receive().await.unwrap().as_deref(),
        Some(&b"[1]"[..])
    );
    server.send(b"[2]").await.unwrap();
    let Item::Frame(reply) = next(&mut client).await else {
        panic!("a reply");
    };
    assert_eq!(reply.into_body(), "[2]");
}
