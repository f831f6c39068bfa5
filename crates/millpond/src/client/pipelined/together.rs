//! Requests of one flow that are begun together, as their caller sees them.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use super::{
    flow::Flow,
    group::{Group, Member},
    pipelines::Pipelines,
    reply::{PipelineError, PipelineResult},
    sender::Sender,
    shared::Shared,
};
use crate::{
    client::{deadline::Times, demands::Accepts, metrics::Metrics, outcome::Outcome},
    framed::{Prepared, Replied, with_requests},
    framing::{Context as FrameContext, Frame, Framing, Replies},
    pool::unstable::Refusal,
};

/// A first attempt that has failed.
pub(crate) struct FirstAttempt {
    /// Which one of its flow it was.
    pub(in crate::client) number: u64,
    pub(in crate::client) times: Times,
    pub(in crate::client) failed: Box<PipelineError>,
}

/// Requests that were begun together. Dropped, it costs nobody else anything: the replies that
/// haven't come are dropped when they do.
pub(crate) struct Together<F: Framing> {
    shared: Arc<Shared<F>>,
    group: Arc<Group>,
    count: usize,
    /// The number of the first in its flow.
    first: u64,
    untold: usize,
    times: Times,
}

impl<F: Framing> Pipelines<F> {
    /// Begins the first ones of these requests, those that have room at once and get one reply each.
    /// The others are to be brought one by one: whoever may have to wait keeps its own time.
    /// Nothing, if that is the first one already.
    pub(in crate::client) fn begin_together(
        &self,
        frames: &[Frame],
        times: &Times,
        flow: &Flow<F>,
    ) -> Option<Together<F>> {
        let shared = self.shared();
        self.reconsider_if_told();
        // Where the driver may stand still, each caller keeps its own time.
        if times.deadline <= times.began || shared.leases.runtime().may_stand_still() {
            return None;
        }
        let framing = shared.leases.connector().framing();
        let looks = framing.looks_at_requests();
        let group = Arc::new(Group::default());
        let id = flow.id();
        let is_plain = |prepared: &Prepared| match &prepared.asked {
            None => true,
            Some(asked) => {
                let demand = &asked.demand;
                let accepted = Accepts::ONE_REPLY.check(demand);
                accepted.is_ok() && demand.awaits() == Replies::One
            }
        };
        let (begun, first) = with_requests(
            framing,
            frames,
            looks.then_some(FrameContext::REQUEST.state()),
            || shared.next_number(),
            is_plain,
            |bytes, mut prepared| {
                let mut state = shared.state.lock();
                let first = state.brought(id) + 1;
                let lengths: Vec<usize> = prepared.iter().map(|one| one.length).collect();
                let begun = state.begin_together(bytes, lengths, times.deadline, id, |index| {
                    let member = Sender::Together(Member::new(&group, index));
                    (member, prepared[index].asked.take())
                });
                (begun, first)
            },
        );
        if let Some(waker) = begun.wake {
            waker.wake();
        }
        shared.lease(begun.leases);
        if begun.count == 0 {
            return None;
        }
        let together = Together {
            shared: Arc::clone(shared),
            group,
            count: begun.count,
            first,
            untold: begun.count,
            times: *times,
        };
        if let Some(metrics) = together.metrics() {
            (0..begun.count).for_each(|_| metrics.began());
        }
        Some(together)
    }
}

impl<F: Framing> Together<F> {
    /// How many were begun.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Hands over what has become of them since the last time, and is ready when there is no more to
    /// come. Those whose attempt has failed are to be
    /// [passed on again](crate::client::Client::pass_on_again).
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut tell: impl FnMut(usize, Result<Replied, FirstAttempt>),
    ) -> Poll<()> {
        while self.untold > 0 {
            let told = self.group.poll(cx);
            if told.is_empty() {
                return Poll::Pending;
            }
            self.untold -= told.len();
            let replies = told.iter().filter(|(_, told)| is_reply(told)).count();
            self.shared.unread.fetch_sub(replies, Ordering::Relaxed);
            let metrics = self.metrics();
            for (index, told) in told {
                let told = told.unwrap_or_else(|| Err(self.left_out()));
                if let (Ok(_), Some(metrics)) = (&told, metrics) {
                    metrics.ended(Outcome::Replied);
                }
                let attempted = told.map(|reply| reply.replied);
                tell(
                    index,
                    attempted.map_err(|failed| self.failed(index, failed)),
                );
            }
        }
        Poll::Ready(())
    }

    fn failed(&self, index: usize, failed: Box<PipelineError>) -> FirstAttempt {
        FirstAttempt {
            number: self.first + index as u64,
            times: self.times,
            failed,
        }
    }

    /// None without the feature `metrics`.
    fn metrics(&self) -> Option<&Metrics> {
        self.shared.leases.connector().reports().metrics()
    }

    fn left_out(&self) -> Box<PipelineError> {
        let waited = self.times.began.elapsed();
        let error = self.shared.explain(Refusal::TimedOut, waited);
        Box::new(PipelineError::Acquire(error))
    }
}

fn is_reply(told: &Option<PipelineResult>) -> bool {
    matches!(told, Some(Ok(_)))
}

impl<F: Framing> Drop for Together<F> {
    fn drop(&mut self) {
        if self.untold > 0 {
            let told = self.group.leave();
            let replies = told.iter().filter(|(_, told)| is_reply(told)).count();
            self.shared.unread.fetch_sub(replies, Ordering::Relaxed);
            if let Some(metrics) = self.metrics() {
                (0..self.untold).for_each(|_| metrics.ended(Outcome::Cancelled));
            }
        }
    }
}
