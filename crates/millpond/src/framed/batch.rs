//! All items that a read brings, at once: for connections on which many are on their way.

use super::*;

impl Framed {
    /// Reads once, and shows every item that is there as a whole, in order. It is ready when
    /// something has arrived, though that may be a part of an item alone; what comes before an
    /// error is shown first. `each` must not read.
    ///
    /// Cancel safe: what was read and not shown is kept.
    pub(crate) fn poll_batch(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        cx: &mut Context<'_>,
        mut each: impl FnMut(Item),
    ) -> Poll<Result<(), ReadError>> {
        if let Some(lacking) = self.lacks_much() {
            // A long frame: straight to where it is put together.
            return Poll::Ready(
                match ready!(self.poll_fill(cx, lacking)).map_err(ReadError::Io)? {
                    0 => Err(ReadError::Truncated),
                    _ => self.sort(framing, way, &[], &mut each),
                },
            );
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let arrived = ready!(self.poll_read(cx, buffer)).map_err(ReadError::Io)?;
            Poll::Ready(match arrived {
                [] if self.received.is_empty() => Err(ReadError::Closed),
                [] => Err(ReadError::Truncated),
                arrived => self.sort(framing, way, arrived, &mut each),
            })
        })
    }

    /// Takes all whole items from what was left over and what has arrived behind it, and keeps the
    /// rest.
    fn sort(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        mut arrived: &[u8],
        each: &mut impl FnMut(Item),
    ) -> Result<(), ReadError> {
        while !self.received.is_empty() {
            if let Some(item) = self.take(framing, way).map_err(ReadError::Frame)? {
                each(item);
                continue;
            }
            if arrived.is_empty() {
                return Ok(());
            }
            // Of a frame whose end is known no more than it lacks: the rest needn't be copied
            // twice. Otherwise all, so that the framing isn't asked again for each
            // byte.
            let most = match self.announced() {
                Some(whole) => arrived.len().min(whole - self.received.len()),
                None => arrived.len(),
            };
            let (lacking, behind) = arrived.split_at(most);
            self.received.append(lacking);
            arrived = behind;
        }
        while !arrived.is_empty() {
            let first =
                first_in(framing, way, arrived, &mut self.scan).map_err(ReadError::Frame)?;
            let Some((item, taken)) = first else {
                self.received.append(arrived);
                return Ok(());
            };
            each(item);
            arrived = &arrived[taken..];
        }
        Ok(())
    }
}
