//! The exchanges of one connection, in the order of its requests: handlers that run, and answers
//! that wait for their turn. Reads and writes no stream.
//!
//! # Why a queue of its own
//!
//! `FuturesOrdered` allocates for each future as well, and polls only the one that was woken. But
//! there each deadline would need a timer of its own. Here there is one timer per connection, and
//! one place where a handler's panic, its deadline and its answer are dealt with. The price is that
//! a wake-up polls all handlers that run, at most `max_in_flight`.

use std::{
    collections::VecDeque,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use millpond_words::Span;

use super::{group::BoxedAnswers, ledger::Handled, reply::Reply};
use crate::{framed::Asked, framing::Failure};

/// See the module. `A` is the future of an answer.
pub(super) struct Exchanges<A> {
    queue: VecDeque<Exchange<A>>,
    /// The number of the first in the queue: how many were taken before.
    first: u64,
    /// Those whose handlers run.
    running: usize,
    /// Of those, how many are handled alone.
    alone: usize,
    /// Those that are handled together, in the order of their requests.
    groups: VecDeque<Group>,
    /// How many bytes all of them hold.
    bytes: usize,
}

/// A request and, at some time, its answer.
pub(super) struct Exchange<A> {
    /// The request's frame, kept if the protocol needs it to tell of a failure.
    pub(super) request: Option<Bytes>,
    /// What it asks for, if the framing looks at requests.
    pub(super) asked: Option<Box<Asked>>,
    pub(super) state: ExchangeState<A>,
}

/// How far an exchange is.
pub(super) enum ExchangeState<A> {
    Running {
        answer: Pin<Box<A>>,
        deadline: Option<Instant>,
        /// The length in bytes of the request's frame, which the handler holds.
        held: usize,
    },
    /// Its group answers it.
    Grouped {
        /// The length in bytes of the request's frame, which the handler holds.
        held: usize,
    },
    Answered(Result<Reply, Failure>),
}

/// Exchanges that are handled together.
struct Group {
    answers: BoxedAnswers,
    deadline: Option<Instant>,
    /// The number of its first exchange, and how many there are.
    first: u64,
    length: usize,
    /// Those that are being handled.
    handled: Handled,
}

/// What the client is to be told, and the request if it was kept.
pub(super) struct Answered {
    pub(super) request: Option<Bytes>,
    pub(super) asked: Option<Box<Asked>>,
    pub(super) answer: Result<Reply, Failure>,
}

impl<A> Exchange<A> {
    /// How many bytes it holds. While the handler runs, a request that is kept is the same memory
    /// as the one that is handled.
    fn bytes(&self) -> usize {
        let kept = self.request.as_ref().map_or(0, Bytes::len);
        match &self.state {
            ExchangeState::Running { held, .. } | ExchangeState::Grouped { held } => *held,
            ExchangeState::Answered(Ok(reply)) => kept + reply.len(),
            ExchangeState::Answered(Err(failure)) => kept + failure.message().len(),
        }
    }
}

impl<A: Future<Output = Result<Reply, Failure>>> Exchanges<A> {
    pub(super) fn new() -> Self {
        Exchanges {
            queue: VecDeque::new(),
            first: 0,
            running: 0,
            alone: 0,
            groups: VecDeque::new(),
            bytes: 0,
        }
    }

    /// How many bytes of requests and replies they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, exchange: Exchange<A>) {
        let is_answered = matches!(exchange.state, ExchangeState::Answered(_));
        self.running += usize::from(!is_answered);
        self.alone += usize::from(matches!(exchange.state, ExchangeState::Running { .. }));
        self.bytes += exchange.bytes();
        self.queue.push_back(exchange);
    }

    /// Of the last so many exchanges the first ones, those that are handled, are a group, which
    /// `answers` answers by this deadline. The others have failed so.
    pub(super) fn group(
        &mut self,
        count: usize,
        handled: Handled,
        deadline: Option<Instant>,
        answers: BoxedAnswers,
        others: Option<&Failure>,
    ) {
        let (first, length) = (self.queue.len() - count, handled.count());
        if let Some(failure) = others {
            for at in first + length..self.queue.len() {
                self.answer(at, Err(failure.clone()));
            }
        }
        if length > 0 {
            self.groups.push_back(Group {
                answers,
                deadline,
                first: self.first + first as u64,
                length,
                handled,
            });
        }
    }

    /// The exchange at this place of the queue is answered. Whether it wasn't before.
    fn answer(&mut self, at: usize, answer: Result<Reply, Failure>) -> bool {
        let Some(exchange) = self.queue.get_mut(at) else {
            return false;
        };
        match &exchange.state {
            ExchangeState::Running { .. } => self.alone -= 1,
            ExchangeState::Grouped { .. } => {}
            ExchangeState::Answered(_) => return false,
        }
        self.running -= 1;
        self.bytes -= exchange.bytes();
        exchange.state = ExchangeState::Answered(answer);
        self.bytes += exchange.bytes();
        true
    }

    /// Polls the handlers that run, in the order of their requests. One that panics has failed; so
    /// has one whose deadline has passed, if it has no answer even now. `limit` is
    /// `handler_deadline`, for the text.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, limit: Duration) {
        if self.running == 0 {
            return;
        }
        let mut groups = mem::take(&mut self.groups);
        let mut next = groups.iter_mut().peekable();
        for at in 0..self.queue.len() {
            if self.alone == 0 {
                break;
            }
            let number = self.first + at as u64;
            while let Some(group) = next.next_if(|group| group.first <= number) {
                self.poll_group(group, cx, now, limit);
            }
            self.poll_alone(at, cx, now, limit);
        }
        for group in next {
            self.poll_group(group, cx, now, limit);
        }
        groups.retain(|group| group.handled.count() > 0);
        self.groups = groups;
    }

    fn poll_alone(&mut self, at: usize, cx: &mut Context<'_>, now: Instant, limit: Duration) {
        let ExchangeState::Running {
            answer, deadline, ..
        } = &mut self.queue[at].state
        else {
            return;
        };
        // A handler that panics must keep what it shares with others consistent itself. Its
        // future isn't polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)));
        let answer = match polled {
            Ok(Poll::Ready(answer)) => answer,
            Ok(Poll::Pending) if deadline.is_some_and(|deadline| deadline <= now) => {
                Err(too_late(limit))
            }
            Ok(Poll::Pending) => return,
            Err(_) => Err(panicked()),
        };
        self.answer(at, answer);
    }

    fn poll_group(
        &mut self,
        group: &mut Group,
        cx: &mut Context<'_>,
        now: Instant,
        limit: Duration,
    ) {
        let (first, length) = (group.first, group.length);
        let mut answered = 0;
        let answers = group.answers.as_mut();
        // As of one that is alone.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            answers.poll(cx, &mut |index, answer| {
                if index < length {
                    answered += usize::from(self.answer_of(first + index as u64, answer));
                }
            })
        }));
        let failure = match polled {
            Ok(Poll::Pending) if group.deadline.is_none_or(|deadline| now < deadline) => None,
            Ok(Poll::Pending) => Some(too_late(limit)),
            Ok(Poll::Ready(())) if answered == group.handled.count() => None,
            Ok(Poll::Ready(())) => Some(Failure::handler_failed("the handler has no answer")),
            Err(_) => Some(panicked()),
        };
        if let Some(failure) = failure {
            for number in first..first + length as u64 {
                answered += usize::from(self.answer_of(number, Err(failure.clone())));
            }
        }
        group.handled.end(answered);
    }

    /// The exchange of this number is answered. Whether it wasn't before.
    fn answer_of(&mut self, number: u64, answer: Result<Reply, Failure>) -> bool {
        let at = number.checked_sub(self.first);
        at.is_some_and(|at| self.answer(at as usize, answer))
    }

    /// Whether what comes behind the last in line isn't to be read before that is answered: it may
    /// change the state of the connection, on which the form of the next request may depend, or its
    /// answer ends the connection.
    pub(super) fn ends_reading(&self) -> bool {
        self.queue.back().is_some_and(|last| {
            let asked = last.asked.as_deref();
            asked.is_some_and(|asked| asked.demand.pins)
                || match &last.state {
                    ExchangeState::Answered(Ok(reply)) => reply.closes(),
                    ExchangeState::Answered(Err(failure)) => failure.closes(),
                    ExchangeState::Running { .. } | ExchangeState::Grouped { .. } => false,
                }
        })
    }

    /// Whether the last in line is handled, and whoever executes it may wait by itself: for something
    /// that its client shall have, and so only while the client is there.
    pub(super) fn waits_for_client(&self) -> bool {
        self.queue.back().is_some_and(|last| {
            let asked = last.asked.as_ref();
            matches!(last.state, ExchangeState::Running { .. })
                && asked.is_some_and(|asked| !asked.demand.may_wait.is_zero())
        })
    }

    /// Whether the first in line has its answer.
    pub(super) fn has_answer(&self) -> bool {
        matches!(
            self.queue.front(),
            Some(Exchange {
                state: ExchangeState::Answered(_),
                ..
            })
        )
    }

    /// The length in bytes of the first in line's reply; 0 while it has none.
    pub(super) fn next_length(&self) -> usize {
        match self.queue.front().map(|first| &first.state) {
            Some(ExchangeState::Answered(Ok(reply))) => reply.len(),
            _ => 0,
        }
    }

    /// Whether no handler runs any more.
    pub(super) fn are_answered(&self) -> bool {
        self.running == 0
    }

    /// Takes the first in line, if it has its answer.
    pub(super) fn take_answer(&mut self) -> Option<Answered> {
        if !self.has_answer() {
            return None;
        }
        let exchange = self.queue.pop_front()?;
        self.first += 1;
        self.bytes -= exchange.bytes();
        let Exchange {
            request,
            asked,
            state,
        } = exchange;
        match state {
            ExchangeState::Answered(answer) => Some(Answered {
                request,
                asked,
                answer,
            }),
            ExchangeState::Running { .. } | ExchangeState::Grouped { .. } => None,
        }
    }

    /// The earliest deadline. Deadlines are in the order of the requests.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let of_group = self.groups.front().and_then(|group| group.deadline);
        if self.alone == 0 {
            return of_group;
        }
        let mut alone = self
            .queue
            .iter()
            .filter_map(|exchange| match exchange.state {
                ExchangeState::Running { deadline, .. } => deadline,
                ExchangeState::Grouped { .. } | ExchangeState::Answered(_) => None,
            });
        alone.next().into_iter().chain(of_group).min()
    }

    /// Drops all of them, and their handlers.
    pub(super) fn clear(&mut self) {
        *self = Exchanges::new();
    }

    /// Whether the queue is empty and still owns memory.
    pub(super) fn keeps_room(&self) -> bool {
        self.queue.is_empty() && self.queue.capacity() > 0
    }
}

fn too_late(limit: Duration) -> Failure {
    Failure::timed_out(format!("not answered within {}", Span(limit)))
}

fn panicked() -> Failure {
    Failure::handler_failed("the handler panicked")
}

#[cfg(test)]
mod tests;
