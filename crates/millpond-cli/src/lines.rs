//! Reads lines with a bound on memory: no more than a limit is kept of each line, however long it
//! is.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Reads lines.
pub(crate) struct Lines<R> {
    from: R,
    limit: usize,
}

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The first bytes of it, at most as many as the limit.
    pub(crate) bytes: Vec<u8>,
    /// How many bytes it had.
    pub(crate) length: u64,
}

impl Line {
    /// Whether all of it was kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.length == self.bytes.len() as u64
    }

    /// Whether it has nothing but white space.
    pub(crate) fn is_blank(&self) -> bool {
        self.is_whole() && self.bytes.trim_ascii().is_empty()
    }
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Keeps at most `limit` bytes of each line.
    pub(crate) fn new(from: R, limit: usize) -> Self {
        Lines { from, limit }
    }

    /// The next line; `None` at the end. The last line may lack a line end.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what was read of a line is lost.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Line {
            bytes: Vec::new(),
            length: 0,
        };
        loop {
            let arrived = self.from.fill_buf().await?;
            if arrived.is_empty() {
                return Ok((line.length > 0).then_some(line));
            }
            let end = arrived.iter().position(|&byte| byte == b'\n');
            let part = &arrived[..end.unwrap_or(arrived.len())];
            let kept = part.len().min(self.limit - line.bytes.len());
            line.bytes.extend_from_slice(&part[..kept]);
            line.length += part.len() as u64;
            let consumed = part.len() + usize::from(end.is_some());
            self.from.consume(consumed);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn lines_are_told_apart_and_long_ones_are_cut() {
        let text = &b"one\n\n  \r\na long one\nlast"[..];
        // The buffer is smaller than the lines.
        let mut lines = Lines::new(BufReader::with_capacity(2, text), 6);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.expect("memory") {
            seen.push((
                String::from_utf8(line.bytes.clone()).expect("text"),
                line.is_whole(),
                line.is_blank(),
            ));
        }
        let line = |text: &str, whole, blank| (String::from(text), whole, blank);
        assert_eq!(
            seen,
            [
                line("one", true, false),
                line("", true, true),
                line("  \r", true, true),
                line("a long", false, false),
                line("last", true, false)
            ]
        );
    }
}
