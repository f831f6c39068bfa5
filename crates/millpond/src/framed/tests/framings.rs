//! Framings for tests, as somebody else might write them: they count the bytes that they look at.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::framing::{self, Extent, FrameError, Framing, Scan, Step};

/// Lines that end with two bytes, and may be told apart from heartbeats by their first.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) looked_at: AtomicUsize,
    pub(super) asked: AtomicUsize,
}

impl Framing for Lines {
    fn next(
        &self,
        _: framing::Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        self.asked.fetch_add(1, Relaxed);
        let from = scan.searched();
        let end = bytes[from..].windows(2).position(|pair| pair == b"\r\n");
        self.looked_at
            .fetch_add(end.map_or(bytes.len() - from, |at| at + 2), Relaxed);
        let Some(at) = end else {
            // The first byte of an end may be there.
            scan.set_searched(bytes.len().saturating_sub(1));
            return Ok(Step::More { missing: 1 });
        };
        Ok(match from + at {
            0 => Step::Heartbeat { length: 2 },
            body => Step::Frame(Extent {
                head: 0,
                body,
                tail: 2,
            }),
        })
    }

    fn encode(
        &self,
        _: framing::Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        Some(b"\r\n")
    }
}

/// Four bytes with the body's length, then the body; a length of zero is a heartbeat.
#[derive(Debug, Default)]
pub(super) struct Prefixed {
    pub(super) looked_at: AtomicUsize,
    pub(super) asked: AtomicUsize,
}

impl Framing for Prefixed {
    fn next(
        &self,
        _: framing::Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        self.asked.fetch_add(1, Relaxed);
        if let Some(extent) = scan.announced() {
            return Ok(extent.within(bytes.len()));
        }
        self.looked_at.fetch_add(bytes.len().min(4), Relaxed);
        let Some(head) = bytes.first_chunk::<4>() else {
            return Ok(Step::More {
                missing: 4 - bytes.len(),
            });
        };
        let body = u32::from_be_bytes(*head) as usize;
        if body == 0 {
            return Ok(Step::Heartbeat { length: 4 });
        }
        let extent = Extent {
            head: 4,
            body,
            tail: 0,
        };
        scan.announce(extent);
        Ok(extent.within(bytes.len()))
    }

    fn encode(
        &self,
        _: framing::Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(body);
        Ok(())
    }

    fn heartbeat(&self) -> Option<&[u8]> {
        Some(&[0; 4])
    }
}

/// Always answers the same, announcing a frame before if it is told to.
#[derive(Debug)]
pub(super) struct Stubborn {
    pub(super) answer: Step,
    pub(super) announces: Option<Extent>,
}

impl Framing for Stubborn {
    fn max_frame(&self) -> usize {
        usize::MAX
    }

    fn next(&self, _: framing::Context<'_>, _: &[u8], scan: &mut Scan) -> Result<Step, FrameError> {
        if let Some(extent) = self.announces {
            scan.announce(extent);
        }
        Ok(self.answer)
    }

    fn encode(
        &self,
        _: framing::Context<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        Ok(())
    }
}
