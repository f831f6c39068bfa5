//! A caller that waits for what it will be told.

use std::sync::atomic::Ordering;

use tokio::{sync::oneshot, time::Instant};

use super::{
    machine::{GivenUp, Rank},
    reply::{PipelineError, PipelineResult},
    shared::Shared,
};
use crate::{
    client::failure::{ExchangeFailure, Progress},
    framing::Framing,
    pool::unstable::Refusal,
};

/// An answer that is waited for: dropped, its caller has gone.
pub(super) struct Awaited<'s, F: Framing> {
    pub(super) shared: &'s Shared<F>,
    /// Among those who wait, if it does or did.
    pub(super) rank: Option<Rank>,
    pub(super) began: Instant,
    pub(super) answer: oneshot::Receiver<PipelineResult>,
}

impl<F: Framing> Awaited<'_, F> {
    pub(super) fn ended(
        &self,
        told: Result<PipelineResult, oneshot::error::RecvError>,
    ) -> PipelineResult {
        match told {
            Ok(Ok(reply)) => {
                self.shared.unread.fetch_sub(1, Ordering::Relaxed);
                Ok(reply)
            }
            Ok(Err(failed)) => Err(failed),
            // It was left out as its time was up.
            Err(_) => Err(self.waited_in_vain()),
        }
    }

    /// The error, if it is among those who wait; else it is under way.
    pub(super) fn timed_out(&mut self) -> Option<Box<PipelineError>> {
        let rank = self.rank.take()?;
        if !self.gives_up(rank) {
            return None;
        }
        Some(self.waited_in_vain())
    }

    fn waited_in_vain(&self) -> Box<PipelineError> {
        let error = self.shared.explain(Refusal::TimedOut, self.began.elapsed());
        Box::new(PipelineError::Acquire(error))
    }

    /// Whether it waited until now.
    fn gives_up(&self, rank: Rank) -> bool {
        let given_up = self.shared.state.lock().give_up(rank);
        let Some(GivenUp { request, wakes }) = given_up else {
            return false;
        };
        drop(request);
        self.shared.tell_waiting();
        for waker in wakes {
            waker.wake();
        }
        true
    }

    /// The driver keeps the same time, and may know more of why there is no reply.
    pub(super) async fn last_word(&mut self) -> PipelineResult {
        tokio::task::yield_now().await;
        match self.answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => Err(PipelineError::new(
                ExchangeFailure::TimedOut,
                Progress::Unanswered,
                false,
            )),
            Ok(told) => self.ended(Ok(told)),
            Err(oneshot::error::TryRecvError::Closed) => Err(self.waited_in_vain()),
        }
    }
}

impl<F: Framing> Drop for Awaited<'_, F> {
    fn drop(&mut self) {
        if let Some(rank) = self.rank.take() {
            self.gives_up(rank);
        }
        self.answer.close();
        if let Ok(Ok(_)) = self.answer.try_recv() {
            self.shared.unread.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
