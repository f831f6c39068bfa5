//! Long requests and replies, and when a connection may go on with one.
//!
//! To check, handle and copy a megabyte takes milliseconds, and can't be interrupted. If every
//! connection did that whenever it was polled, a client with a small request would wait for all of
//! them. So a long request or reply takes a *long turn*. There are as many long turns as the
//! runtime has workers. They are given in the order in which they were asked for, and each ends
//! only after the runtime has looked at the sockets again: between two long turns on one worker,
//! every connection that has something to do gets a short turn.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use crate::framing::Frame;

/// Requests and replies of more bytes than this need a long turn. To check so much takes a tenth of
/// a millisecond.
pub(super) const LONG: usize = 32 << 10;

/// A long turn, awaited or given, and the request that waits for it.
pub(super) struct LongTurn<'s> {
    request: Option<Frame>,
    permit: Permit<'s>,
}

enum Permit<'s> {
    Awaited {
        permit:
            Pin<Box<dyn Future<Output = Result<SemaphorePermit<'s>, AcquireError>> + Send + 's>>,
        /// Whether it was asked for in this turn of the task.
        is_wanted: bool,
    },
    Given {
        /// Given back when it is dropped.
        _permit: SemaphorePermit<'s>,
    },
}

impl<'s> LongTurn<'s> {
    pub(super) fn new(turns: &'s Semaphore) -> Self {
        LongTurn {
            request: None,
            permit: Permit::Awaited {
                permit: Box::pin(turns.acquire()),
                is_wanted: true,
            },
        }
    }

    /// Whether the turn has been given; otherwise the task is woken when it is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Permit::Awaited { permit, is_wanted } = &mut self.permit {
            *is_wanted = true;
            match permit.as_mut().poll(cx) {
                Poll::Ready(Ok(_permit)) => self.permit = Permit::Given { _permit },
                // The semaphore is never closed.
                Poll::Ready(Err(_)) | Poll::Pending => return false,
            }
        }
        true
    }

    pub(super) fn is_given(&self) -> bool {
        matches!(self.permit, Permit::Given { .. })
    }

    /// Whether it is still awaited, and nobody has asked for it in this turn of the task.
    pub(super) fn is_unwanted(&self) -> bool {
        matches!(
            self.permit,
            Permit::Awaited {
                is_wanted: false,
                ..
            }
        )
    }

    /// A turn of the task begins. Answers whether this long turn is over: it was given, and other
    /// connections have had their turns since.
    pub(super) fn is_over(&mut self) -> bool {
        if let Permit::Awaited { is_wanted, .. } = &mut self.permit {
            *is_wanted = false;
            return false;
        }
        // It may have been given after reading had stopped for it: then the request has it now.
        self.request.is_none()
    }

    /// The request that waits for the turn.
    pub(super) fn request(&self) -> Option<&Frame> {
        self.request.as_ref()
    }

    /// The same, to put one there or take it.
    pub(super) fn request_mut(&mut self) -> &mut Option<Frame> {
        &mut self.request
    }
}
