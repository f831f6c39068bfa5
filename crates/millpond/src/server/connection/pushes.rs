//! Frames that the client is sent without having asked for them, where the framing knows such: while
//! nothing is owed, as the handler brings them.

use std::{
    future::Future,
    pin::pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use tokio::{task::yield_now, time::Instant};

use super::{Connection, TURN, TURN_BYTES};
use crate::{
    framing::{Answer, Context as FrameContext, Failure, FailureKind, Framing, extent_of},
    server::{handler::ConnectionHandler, reply::Reply, snapshot::Closed},
};

impl<F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'_, F, H, A>
{
    /// Whether frames may be sent that aren't asked for.
    pub(super) fn may_push(&self) -> bool {
        let framing = &self.service.framing;
        framing.looks_at_requests() && framing.may_push(&self.state)
    }

    /// Sends what has come for the client, as far as it takes it.
    pub(super) fn push(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Closed> {
        if !self.may_push() || self.ending.is_some() || !self.owes_nothing() {
            return Ok(());
        }
        let service = self.service;
        let (mut batch, mut pushes) = (Vec::new(), 0);
        let failed = loop {
            if pushes == TURN || batch.len() >= TURN_BYTES {
                let _ = pin!(yield_now()).poll(cx);
                break None;
            }
            match service.handler.poll_push(&self.kept, cx) {
                Poll::Pending => break None,
                Poll::Ready(Err(failure)) => break Some(failure.kind()),
                Poll::Ready(Ok(frame)) => {
                    if !self.takes(frame.as_bytes()) {
                        break Some(FailureKind::HandlerFailed);
                    }
                    batch.extend_from_slice(frame.as_bytes());
                    pushes += 1;
                }
            }
        };
        if pushes > 0 {
            self.used = now;
            let begun = self
                .outgoing
                .begin_with(self.framed.stream_mut(), cx, &batch);
            if begun.is_err() {
                return Err(Closed::Broken);
            }
            let counter = &service.ledger.counters.pushes;
            counter.fetch_add(pushes as u64, Ordering::Relaxed);
            self.written(now);
        }
        if let Some(failure) = failed {
            self.log_untold(failure);
            self.ending = Some(Closed::ToldFailure);
        }
        Ok(())
    }

    /// Whether these bytes are a frame that may come unasked.
    fn takes(&mut self, frame: &[u8]) -> bool {
        let framing = &self.service.framing;
        let is_frame = extent_of(framing, FrameContext::unasked(&self.state), frame).is_ok();
        is_frame && framing.answers(None, frame, &mut self.state) == Answer::Push
    }
}
