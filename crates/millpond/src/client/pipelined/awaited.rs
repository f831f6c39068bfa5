//! A caller that waits for what it will be told.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{
    machine::{GivenUp, Place},
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
    pub(super) place: Option<Place>,
    pub(super) began: Instant,
    /// The protocol says that the request may be executed twice without harm.
    pub(super) is_idempotent: bool,
    pub(super) answer: oneshot::Receiver<PipelineResult>,
}

impl<F: Framing> Awaited<'_, F> {
    /// What it is told by the deadline. If it waits for a place, that may take no longer than
    /// `limit`.
    pub(super) async fn told_in_time(
        &mut self,
        deadline: Instant,
        limit: Option<Duration>,
    ) -> PipelineResult {
        let runtime = self.shared.leases.runtime();
        let limit = limit.filter(|_| self.place.is_some());
        let waits_until = limit.and_then(|limit| self.began.checked_add(limit));
        if let Some(until) = waits_until.filter(|until| *until < deadline) {
            // There must be a place by then; if there is, there is time for the reply.
            if let Ok(told) = runtime.timeout_at(until, &mut self.answer).await {
                return self.ended(told);
            }
            if let Some(error) = self.timed_out() {
                return Err(error);
            }
        }
        match runtime.timeout_at(deadline, &mut self.answer).await {
            Ok(told) => self.ended(told),
            Err(_) => match self.timed_out() {
                Some(error) => Err(error),
                None => self.last_word().await,
            },
        }
    }

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
    fn timed_out(&mut self) -> Option<Box<PipelineError>> {
        let place = self.place.take()?;
        if !self.gives_up(place) {
            return None;
        }
        Some(self.waited_in_vain())
    }

    fn waited_in_vain(&self) -> Box<PipelineError> {
        let error = self.shared.explain(Refusal::TimedOut, self.began.elapsed());
        Box::new(PipelineError::Acquire(error))
    }

    /// Whether it waited until now.
    fn gives_up(&self, place: Place) -> bool {
        let given_up = self.shared.state.lock().give_up(place);
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
    async fn last_word(&mut self) -> PipelineResult {
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
        if let Some(place) = self.place.take() {
            self.gives_up(place);
        }
        if self.answer.is_terminated() {
            return;
        }
        self.answer.close();
        if let Ok(Ok(_)) = self.answer.try_recv() {
            self.shared.unread.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
