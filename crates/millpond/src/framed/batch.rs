//! All items that a read brings, at once: for connections on which many are on their way.

use super::*;

impl Framed {
    /// Reads once, and shows every item that is there as a whole, in order. It is ready when something has arrived, though that may be a part
    /// of an item alone; what comes before an error is shown first. `each` must not read.
    ///
    /// Cancel safe: what was read and not shown is kept.
    pub(crate) fn poll_batch(
        &mut self,
        framing: &impl Framing,
        way: Direction,
        cx: &mut Context<'_>,
        mut each: impl FnMut(Item),
    ) -> Poll<Result<(), ReadError>> {
        let lacks = self
            .announced()
            .map_or(0, |whole| whole - self.received.len().min(whole));
        if lacks >= THREAD_BUFFER {
            // A long frame: straight to where it is put together.
            return match ready!(self.poll_more(framing, way, cx))? {
                Arrived::End => Poll::Ready(Err(ReadError::Truncated)),
                Arrived::Bytes | Arrived::Item(_) => Poll::Ready(self.sort(framing, way, &[], &mut each)),
            };
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).map_err(ReadError::Io)?;
            Poll::Ready(match buffer.filled() {
                [] if self.received.is_empty() => Err(ReadError::Closed),
                [] => Err(ReadError::Truncated),
                arrived => self.sort(framing, way, arrived, &mut each),
            })
        })
    }

    /// Takes all whole items from what was left over and what has arrived behind it, and keeps the rest.
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
            let step = framing.next(way, &self.received, &mut self.scan);
            let Step::More { missing } = step.map_err(ReadError::Frame)? else {
                unreachable!("nothing was there to be taken");
            };
            if arrived.is_empty() {
                return Ok(());
            }
            // No more than it lacks: the rest needn't be copied twice.
            let (lacking, behind) = arrived.split_at(missing.min(arrived.len()));
            self.received.extend_from_slice(lacking);
            arrived = behind;
        }
        while !arrived.is_empty() {
            let step = framing.next(way, arrived, &mut self.scan);
            let taken = match step.map_err(ReadError::Frame)? {
                Step::More { .. } => {
                    self.received.extend_from_slice(arrived);
                    return Ok(());
                }
                Step::Heartbeat { length } => {
                    each(Item::Heartbeat);
                    length
                }
                Step::Frame(extent) => {
                    let whole = Bytes::copy_from_slice(&arrived[..extent.length()]);
                    each(Item::Frame(Frame { whole, extent }));
                    extent.length()
                }
            };
            self.scan = Scan::default();
            arrived = &arrived[taken..];
        }
        Ok(())
    }
}
