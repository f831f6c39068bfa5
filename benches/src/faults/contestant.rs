//! A pool over TCP as the campaign sees it, and one exchange over what it lends.

use std::{
    error::Error,
    fmt::Write as _,
    future::Future,
    io::{self, ErrorKind},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a contestant's method returns.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A pool of TCP connections.
pub trait Contestant: Send + Sync {
    /// A connection, or what the caller is told instead.
    fn acquire(&self) -> Task<'_, Result<Box<dyn Lent>, String>>;
}

/// A connection that is lent. Dropping it is what a caller's `?` does.
pub trait Lent: Send {
    /// Sends a token and reads it back, without any deadline. Returns the last number of the
    /// address of the server that answered.
    fn exchange(&mut self) -> Task<'_, io::Result<u8>>;

    /// Gives it back after its exchanges.
    fn complete(self: Box<Self>);
}

/// One exchange over any stream: a token that was never used before must come back.
pub async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<u8> {
    static TOKENS: AtomicU64 = AtomicU64::new(1);
    let token = TOKENS.fetch_add(1, Relaxed).to_be_bytes();
    stream.write_all(&token).await?;
    let mut reply = [0; 9];
    stream.read_exact(&mut reply).await?;
    if reply[..8] == token {
        Ok(reply[8])
    } else {
        Err(io::Error::new(
            ErrorKind::InvalidData,
            "somebody else's reply",
        ))
    }
}

/// An error with its causes, but for those that it names itself.
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if !text.contains(&cause.to_string()) {
            let _ = write!(text, ": {cause}");
        }
        source = cause.source();
    }
    text
}
