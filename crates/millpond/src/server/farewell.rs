//! How a connection is left: with a word to HTTP clients, and without a reset that could overtake
//! what was just written.

use std::{future::poll_fn, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::snapshot::Closed;
use crate::net::Stream;

/// How long a client has to close its side once ours is closed. As the server drains it has until
/// the drain's deadline, at which this task is dropped.
const LINGER: Duration = Duration::from_secs(1);

/// Longer than any drain.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How much of what it still sends is read and forgotten, most often.
const LINGER_BYTES: usize = 256 << 10;

/// After a frame that is too long: its client is most often still sending it, and reads what it was
/// told only then.
const LINGER_TOO_LONG: Duration = Duration::from_secs(10);

/// How much, as the server drains or after a frame that is too long: more than the kernels of both
/// sides hold by their defaults (6 and 4 MB), so that whoever goes beyond it has gone on sending
/// after it could have seen the end.
const LINGER_BYTES_MOST: usize = 16 << 20;

/// Whether the server drains.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draining {
    No,
    Yes,
}

/// Leaves a connection on which nothing is owed any more.
///
/// Where bytes may have arrived that nobody will read, ours is closed first and theirs read for a
/// while: closing a socket with unread bytes resets it, and a reset may take the last reply from
/// the client's hands.
pub(super) async fn leave(mut stream: Stream, reason: Closed, status: Draining, speaks: &str) {
    let lingers = matches!(
        reason,
        Closed::ProtocolError
            | Closed::FrameTooLong
            | Closed::Http
            | Closed::ToldFailure
            | Closed::Drained
            | Closed::IdleTimeout
    );
    let (time, bytes) = match (status, reason) {
        (Draining::Yes, _) => (FAR, LINGER_BYTES_MOST),
        (Draining::No, Closed::FrameTooLong) => (LINGER_TOO_LONG, LINGER_BYTES_MOST),
        (Draining::No, _) => (LINGER, LINGER_BYTES),
    };
    if lingers {
        let farewell = async {
            if reason == Closed::Http {
                stream.write_all(http_refusal(speaks).as_bytes()).await?;
            }
            stream.shutdown().await?;
            forget(&mut stream, bytes).await
        };
        // Whether it was heard nobody needs to know.
        let _ = timeout(time, farewell).await;
    }
    match reason {
        // Nobody takes what the kernel still holds.
        Closed::WriteTimeout | Closed::HeartbeatMissed => stream.abort(),
        _ => stream.close(),
    }
}

/// Reads until the client has closed its side as well, or it is enough.
async fn forget(stream: &mut Stream, bytes: usize) -> std::io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let read = poll_fn(|cx| {
            // On the stack of this turn only, not in the future.
            let mut room = [0; 4096];
            let mut buffer = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
            polled.map_ok(|()| buffer.filled().len())
        });
        match read.await? {
            0 => return Ok(()),
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

/// What an HTTP client is told.
fn http_refusal(speaks: &str) -> String {
    let body = format!("This port speaks {speaks}, not HTTP.\n");
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
