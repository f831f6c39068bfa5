//! Requests of one client that came together and share a pipeline: one turn of the client for all of
//! them, and one wake-up for the replies that come together. What doesn't go its straight way goes
//! on alone: a request that has to wait for a place, or whose client has a connection to itself, or
//! whose attempt has failed.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use super::{
    downstream::{Downstream, Lent},
    snapshot::{Counters, count},
    told::{counted, told},
};
use crate::{
    client::{Client, FirstAttempt, Together},
    framing::{Failure, Frame, Framing},
    server::{Answers, Reply, Request, RequestGroup},
};

/// An answer that comes alone.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// What passes requests on one by one.
pub(super) trait PassesOn<F: Framing>: Clone + Send + Unpin + 'static {
    /// That of a lane, if there is one.
    fn upstream(&self, lane: u16) -> Option<&Client<F>>;

    fn counters(&self) -> &Counters;

    /// Passes a request on behind all that its client has sent before.
    fn pass_on_alone(&self, downstream: Arc<Downstream<F>>, request: Request) -> Answer;
}

/// See the module.
pub(super) struct Group<F: Framing, R: PassesOn<F>> {
    route: R,
    downstream: Arc<Downstream<F>>,
    requests: RequestGroup,
    begun: Option<Begun<F>>,
    /// How many of those that were begun together aren't answered.
    ongoing: usize,
    alone: Vec<Alone>,
    /// It was polled.
    is_begun: bool,
}

/// Those that were begun together. The client has them under way until this is dropped.
struct Begun<F: Framing> {
    together: Together<F>,
    downstream: Arc<Downstream<F>>,
}

/// One that goes on alone.
struct Alone {
    index: usize,
    answer: Answer,
    /// It was begun with others.
    was_together: bool,
}

impl<F: Framing, R: PassesOn<F>> Group<F, R> {
    pub(super) fn new(route: R, downstream: Arc<Downstream<F>>, requests: RequestGroup) -> Self {
        Group {
            route,
            downstream,
            requests,
            begun: None,
            ongoing: 0,
            alone: Vec::new(),
            is_begun: false,
        }
    }

    /// Begins those that can be begun at once, and has the others passed on behind them.
    fn begin(&mut self) {
        self.is_begun = true;
        self.begun = self.begin_together();
        let together = self
            .begun
            .as_ref()
            .map_or(0, |begun| begun.together.count());
        self.ongoing = together;
        for index in together..self.requests.frames.len() {
            let (downstream, request) = (self.downstream.clone(), self.requests.alone(index));
            self.alone.push(Alone {
                index,
                answer: self.route.pass_on_alone(downstream, request),
                was_together: false,
            });
        }
    }

    /// Nothing, if others of the client come first, or it has a connection to itself.
    fn begin_together(&self) -> Option<Begun<F>> {
        let flow = self.downstream.flow(self.requests.lane)?;
        let upstream = self.route.upstream(self.requests.lane)?;
        let lent = self.downstream.lent.try_lock().ok()?;
        if !matches!(&*lent, Lent::Nothing) {
            return None;
        }
        // Whoever waits for all that is under way has the lock meanwhile.
        let permit = self.downstream.under_way.try_acquire().ok()?;
        let RequestGroup {
            frames, deadline, ..
        } = &self.requests;
        let together = upstream.pass_on_together(frames, flow, *deadline)?;
        permit.forget();
        Some(Begun {
            together,
            downstream: Arc::clone(&self.downstream),
        })
    }

    /// Goes on with one whose attempt has failed.
    fn again(&self, index: usize, failed: FirstAttempt) -> Alone {
        let (route, downstream) = (self.route.clone(), self.downstream.clone());
        let (frame, lane) = (self.requests.frames[index].clone(), self.requests.lane);
        Alone {
            index,
            was_together: true,
            answer: Box::pin(async move {
                let flow = downstream.flow(lane).expect("it was begun in it");
                let upstream = route.upstream(lane).expect("it was begun there");
                match upstream.pass_on_again(frame.as_bytes(), flow, failed).await {
                    Ok(replied) => {
                        count(&route.counters().answered);
                        Ok(Reply::passed_on(replied))
                    }
                    Err(error) => {
                        let failure = told(&error);
                        count(counted(route.counters(), &failure, error.execution()));
                        Err(failure)
                    }
                }
            }),
        }
    }
}

impl<F: Framing, R: PassesOn<F>> Answers for Group<F, R> {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        tell: &mut dyn FnMut(usize, Result<Reply, Failure>),
    ) -> Poll<()> {
        let group = &mut *self;
        if !group.is_begun {
            group.begin();
        }
        let frames = &mut group.requests.frames;
        if let Some(begun) = &mut group.begun {
            let (mut answered, mut failed) = (0, Vec::new());
            let _: Poll<()> = begun.together.poll(cx, |index, attempted| match attempted {
                Ok(replied) => {
                    answered += 1;
                    // Its request is held no longer than it is under way.
                    frames[index] = Frame::empty();
                    tell(index, Ok(Reply::passed_on(replied)));
                }
                Err(attempt) => failed.push((index, attempt)),
            });
            group.ongoing -= answered;
            let counter = &group.route.counters().answered;
            counter.fetch_add(answered as u64, Ordering::Relaxed);
            for (index, attempt) in failed {
                let again = group.again(index, attempt);
                group.alone.push(again);
            }
        }
        let ongoing = &mut group.ongoing;
        group.alone.retain_mut(|one| {
            let Poll::Ready(answer) = one.answer.as_mut().poll(cx) else {
                return true;
            };
            *ongoing -= usize::from(one.was_together);
            tell(one.index, answer);
            false
        });
        if group.ongoing == 0 {
            group.begun = None;
        }
        match group.begun.is_none() && group.alone.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl<F: Framing, R: PassesOn<F>> Drop for Group<F, R> {
    /// What isn't answered, its client has left.
    fn drop(&mut self) {
        let abandoned = &self.route.counters().abandoned;
        abandoned.fetch_add(self.ongoing as u64, Ordering::Relaxed);
    }
}

impl<F: Framing> Drop for Begun<F> {
    fn drop(&mut self) {
        self.downstream.under_way.add_permits(1);
    }
}
