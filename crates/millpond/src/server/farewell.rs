//! How a connection is closed: HTTP clients get an answer in HTTP, and no reset overtakes what was
//! just written.

use std::{future::poll_fn, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::snapshot::Closed;
use crate::net::Stream;

/// How long a client has to close its side after the server has closed its own. As the server
/// drains the client has until the drain's deadline, at which this task is dropped.
const LINGER: Duration = Duration::from_secs(1);

/// Longer than any drain.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How many bytes that the client still sends are read and dropped.
const LINGER_BYTES: usize = 256 << 10;

/// How long after a frame that is too long: its client is most often still sending it, and reads
/// the error only then.
const LINGER_TOO_LONG: Duration = Duration::from_secs(10);

/// How many bytes as the server drains, or after a frame that is too long: more than the kernels of
/// both sides buffer by default (6 and 4 MB). A client that sends more has gone on after it could
/// have seen the end.
const LINGER_BYTES_MOST: usize = 16 << 20;

/// How long the client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// For some seconds.
    Brief,
    /// Until the drain's deadline: the server drains.
    UntilDeadline,
}

/// Closes a connection on which nothing is owed any more.
///
/// If bytes may have arrived that nobody will read, the sending side is closed first and the other
/// is read for a while. To close a socket with unread bytes resets it, and a reset may destroy the
/// last reply before the client has read it.
pub(super) async fn leave(mut stream: Stream, reason: Closed, patience: Patience, speaks: &str) {
    let lingers = matches!(
        reason,
        Closed::ProtocolError
            | Closed::FrameTooLong
            | Closed::Http
            | Closed::ToldFailure
            | Closed::Drained
            | Closed::IdleTimeout
    );
    let (time, bytes) = match (patience, reason) {
        (Patience::UntilDeadline, _) => (FAR, LINGER_BYTES_MOST),
        (Patience::Brief, Closed::FrameTooLong) => (LINGER_TOO_LONG, LINGER_BYTES_MOST),
        (Patience::Brief, _) => (LINGER, LINGER_BYTES),
    };
    if lingers {
        let farewell = async {
            if reason == Closed::Http {
                stream.write_all(http_refusal(speaks).as_bytes()).await?;
            }
            stream.shutdown().await?;
            discard(&mut stream, bytes).await
        };
        // Nobody needs to know whether it arrived.
        let _ = timeout(time, farewell).await;
    }
    match reason {
        // The client takes nothing any more: what the kernel still holds is dropped.
        Closed::WriteTimeout | Closed::HeartbeatMissed => stream.abort(),
        _ => stream.close(),
    }
}

/// Reads and drops bytes until the client has closed its side as well, or the limit is reached.
async fn discard(stream: &mut Stream, bytes: usize) -> std::io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let read = poll_fn(|cx| {
            // On the stack while it is polled, not in the future.
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

/// The answer to an HTTP client.
fn http_refusal(speaks: &str) -> String {
    let body = format!("This port speaks {speaks}, not HTTP.\n");
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
