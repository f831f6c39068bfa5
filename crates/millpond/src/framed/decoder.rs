//! Bytes to items, however the bytes are cut: what was received beyond the last item, and what the
//! framing has found out of it. Reads nothing itself.

use bytes::Bytes;

use super::{item::Item, received::Received};
use crate::framing::{Context, Extent, Frame, FrameError, Framing, Scan, Step};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pub(super) received: Received,
    pub(super) scan: Scan,
}

impl Decoder {
    /// The length of the frame that is on its way, once its head has told.
    pub(super) fn announced(&self) -> Option<usize> {
        self.scan.announced().map(Extent::length)
    }

    /// The next item of what is held and of `arrived`, which comes behind it. What belongs to the
    /// item is taken from `arrived`. If no whole item is there, all of `arrived` is taken and held.
    // The compiler doesn't inline it by itself, and each item would be moved once more.
    #[inline(always)]
    pub(super) fn next(
        &mut self,
        framing: &impl Framing,
        context: Context<'_>,
        arrived: &mut &[u8],
    ) -> Result<Option<Item>, FrameError> {
        while !self.received.is_empty() {
            if let Some(item) = self.take(framing, context)? {
                return Ok(Some(item));
            }
            if arrived.is_empty() {
                return Ok(None);
            }
            // Of a frame whose end is known, no more than it lacks: the rest needn't be copied
            // twice. Otherwise all, so that the framing isn't asked again for each byte.
            let most = match self.announced() {
                Some(whole) => arrived.len().min(whole - self.received.len()),
                None => arrived.len(),
            };
            let (lacking, behind) = arrived.split_at(most);
            self.received.append(lacking);
            *arrived = behind;
        }
        if arrived.is_empty() {
            return Ok(None);
        }
        let (item, length) = match step(framing, context, arrived, &mut self.scan)? {
            Step::More { .. } => {
                self.received.append(arrived);
                *arrived = &[];
                return Ok(None);
            }
            Step::Heartbeat { length } => (Item::Heartbeat, length),
            Step::Frame(extent) => {
                let whole = Bytes::copy_from_slice(&arrived[..extent.length()]);
                (Item::Frame(Frame::new(whole, extent)), extent.length())
            }
        };
        self.scan.reset();
        *arrived = &arrived[length..];
        Ok(Some(item))
    }

    /// The next item of what is held.
    #[inline]
    pub(super) fn take(
        &mut self,
        framing: &impl Framing,
        context: Context<'_>,
    ) -> Result<Option<Item>, FrameError> {
        if self.received.is_empty() {
            return Ok(None);
        }
        let item = match step(framing, context, self.received.as_slice(), &mut self.scan)? {
            Step::More { .. } => return Ok(None),
            Step::Heartbeat { length } => {
                self.received.forget(length);
                Item::Heartbeat
            }
            Step::Frame(extent) => {
                let whole = self.received.take(extent.length());
                Item::Frame(Frame::new(whole, extent))
            }
        };
        self.scan.reset();
        Ok(Some(item))
    }
}

/// What the bytes begin with, if the framing's answer can be true.
#[inline]
fn step(
    framing: &impl Framing,
    context: Context<'_>,
    bytes: &[u8],
    scan: &mut Scan,
) -> Result<Step, FrameError> {
    let step = framing.next(context, bytes, scan)?;
    step.checked(bytes.len(), scan, framing.max_frame())
}
